/**
 * One folder and the paths inside it. Whatever a client names is resolved to a real path first: absolute paths, `..`
 * and links that lead out are refused, and files are opened without following a last link, then checked to be still
 * where they were. Writes are whole or not at all. Knows nothing of MCP.
 *
 * What realpath cannot give: a folder of the sandbox that someone outside replaces by a link between the check and the
 * system call. Only processes with write access to the sandbox could do that.
 */
import { randomBytes } from 'node:crypto'
import { constants, type Dirent, type Stats } from 'node:fs'
import { link, lstat, mkdir, open, readdir, realpath, rename, rm, rmdir, unlink } from 'node:fs/promises'
import path from 'node:path'

/** Largest file that is written, edited or searched, and the most that one read returns. */
export const fileBytesMax = 1024 * 1024
/** Most entries that one listing returns, and most files that one search visits. */
export const entriesMax = 2000
const pathCharsMax = 1024
const depthMax = 32

/** Something the client can understand and put right. */
export class SandboxError extends Error {}

export type EntryKind = 'file' | 'folder' | 'link' | 'other'
export type Entry = { path: string; kind: EntryKind; bytes: number; modified: string }
export type Listing = { entries: Entry[]; truncated: boolean }
export type Piece = { bytes: Buffer; offset: number; size: number }

export class Sandbox {
  readonly #root: string

  private constructor(root: string) {
    this.#root = root
  }

  /** Opens the folder. `examples` (path to text) are written when the folder did not exist. */
  static async open(folder: string, examples: Readonly<Record<string, string>>): Promise<Sandbox> {
    const created = await mkdir(folder, { recursive: true })
    const sandbox = new Sandbox(await realpath(folder))
    if (created !== undefined)
      for (const [name, text] of Object.entries(examples))
        await sandbox.write(name, Buffer.from(text), { overwrite: false })
    return sandbox
  }

  async list(name: string, options: { recursive: boolean; signal?: AbortSignal }): Promise<Listing> {
    const folder = await this.#existing(name)
    const entries: Entry[] = []
    const pending: { folder: string; depth: number }[] = [{ folder, depth: 0 }]
    for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
      options.signal?.throwIfAborted()
      for (const item of await sortedEntries(next.folder, name)) {
        if (entries.length === entriesMax) return { entries: sorted(entries), truncated: true }
        const full = path.join(next.folder, item.name)
        const stats = await lstat(full).catch(() => null)
        if (stats === null) continue
        entries.push(this.#entry(full, stats))
        if (options.recursive && stats.isDirectory() && next.depth < depthMax)
          pending.push({ folder: full, depth: next.depth + 1 })
      }
    }
    return { entries: sorted(entries), truncated: false }
  }

  async stat(name: string): Promise<Entry & { created: string; mode: string }> {
    const full = await this.#own(name)
    const stats = await orMissing(lstat(full), name)
    const mode = (stats.mode & 0o777).toString(8).padStart(3, '0')
    return { ...this.#entry(full, stats), created: stats.birthtime.toISOString(), mode }
  }

  async read(name: string, range: { offset: number; length: number }): Promise<Piece> {
    const full = await this.#existing(name)
    const file = await openAgain(full, name)
    try {
      const stats = await file.stat()
      if (!stats.isFile()) throw new SandboxError(`${name} is not a file`)
      if ((await realpath(full).catch(() => '')) !== full) throw new SandboxError(`${name} moved while it was read`)
      const buffer = Buffer.alloc(Math.min(range.length, fileBytesMax, Math.max(0, stats.size - range.offset)))
      let filled = 0
      while (filled < buffer.length) {
        const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, range.offset + filled)
        if (bytesRead === 0) break
        filled += bytesRead
      }
      return { bytes: buffer.subarray(0, filled), offset: range.offset, size: stats.size }
    } finally {
      await file.close()
    }
  }

  /** The whole file, refused when it is larger than the limit. */
  async readWhole(name: string): Promise<Buffer> {
    const piece = await this.read(name, { offset: 0, length: fileBytesMax })
    if (piece.size > piece.bytes.length)
      throw new SandboxError(`${name} has ${piece.size} bytes, the limit is ${fileBytesMax}`)
    return piece.bytes
  }

  /** Writes the whole file or nothing; makes missing folders. */
  async write(name: string, bytes: Buffer, options: { overwrite: boolean }): Promise<{ created: boolean }> {
    if (bytes.length > fileBytesMax)
      throw new SandboxError(`${bytes.length} bytes are more than the limit of ${fileBytesMax} for one file`)
    const full = await this.#own(name, { makeFolders: true })
    const before = await lstat(full).catch(() => null)
    if (before !== null && !before.isFile()) throw new SandboxError(`${name} exists and is not a file`)
    const exists = new SandboxError(`${name} exists already; pass overwrite: true to replace it`)
    if (before !== null && !options.overwrite) throw exists
    const temporary = path.join(path.dirname(full), `.${randomBytes(8).toString('hex')}.tmp`)
    try {
      const file = await open(temporary, 'wx', before === null ? 0o644 : before.mode & 0o777)
      try {
        await file.writeFile(bytes)
      } finally {
        await file.close()
      }
      if (options.overwrite) await rename(temporary, full)
      else await link(temporary, full).catch((cause) => Promise.reject(codeOf(cause) === 'EEXIST' ? exists : cause))
    } finally {
      await rm(temporary, { force: true })
    }
    return { created: before === null }
  }

  /** Moves a file, folder or link. Only a file is ever overwritten. */
  async move(from: string, to: string, options: { overwrite: boolean }): Promise<void> {
    const source = await this.#own(from)
    const stats = await orMissing(lstat(source), from)
    const target = await this.#own(to, { makeFolders: true })
    if (source === target) throw new SandboxError(`${from} and ${to} are the same`)
    if (target.startsWith(source + path.sep)) throw new SandboxError(`${from} cannot move into itself`)
    const existing = await lstat(target).catch(() => null)
    if (existing !== null && !options.overwrite)
      throw new SandboxError(`${to} exists already; pass overwrite: true to replace it`)
    if (existing !== null && !(existing.isFile() && stats.isFile()))
      throw new SandboxError(`${to} exists already, and only a file can be replaced by a file`)
    await rename(source, target)
  }

  async delete(name: string, options: { recursive: boolean }): Promise<void> {
    const full = await this.#own(name)
    const stats = await orMissing(lstat(full), name)
    if (!stats.isDirectory()) return unlink(full)
    if (options.recursive) return rm(full, { recursive: true })
    await rmdir(full).catch((cause) => {
      if (codeOf(cause) === 'ENOTEMPTY')
        throw new SandboxError(`${name} is a folder that is not empty; pass recursive: true to delete all of it`)
      throw cause
    })
  }

  /** The real path of something that exists, every link on the way followed and still inside. */
  async #existing(name: string): Promise<string> {
    const real = await orMissing(realpath(path.join(this.#root, ...segmentsOf(name))), name)
    if (!this.#contains(real)) throw new SandboxError(`${name} leads out of the sandbox`)
    return real
  }

  /** The path of an entry itself, a link not followed: its folder is real and inside. Never the root. */
  async #own(name: string, options: { makeFolders?: boolean } = {}): Promise<string> {
    const segments = segmentsOf(name)
    const last = segments.pop()
    if (last === undefined) throw new SandboxError('the sandbox folder itself cannot be named here')
    let folder = this.#root
    for (const segment of segments) {
      const next = path.join(folder, segment)
      if (options.makeFolders === true)
        await mkdir(next).catch((cause) => (codeOf(cause) === 'EEXIST' ? undefined : Promise.reject(cause)))
      folder = await orMissing(realpath(next), name)
      if (!this.#contains(folder)) throw new SandboxError(`${name} leads out of the sandbox`)
    }
    if (!(await lstat(folder)).isDirectory()) throw new SandboxError(`the parent of ${name} is not a folder`)
    return path.join(folder, last)
  }

  #contains(real: string): boolean {
    return real === this.#root || real.startsWith(this.#root.endsWith(path.sep) ? this.#root : this.#root + path.sep)
  }

  #entry(full: string, stats: Stats): Entry {
    const name = path.relative(this.#root, full).split(path.sep).join('/')
    return { path: name, kind: kindOf(stats), bytes: stats.size, modified: stats.mtime.toISOString() }
  }
}

function segmentsOf(name: string): string[] {
  if (name.length > pathCharsMax) throw new SandboxError(`the path is longer than ${pathCharsMax} characters`)
  if (name.includes('\0')) throw new SandboxError('the path contains a NUL character')
  if (path.posix.isAbsolute(name) || path.win32.isAbsolute(name))
    throw new SandboxError(`${name} is absolute; name a path inside the sandbox, such as notes/ideas.md`)
  const segments = name.split(path.sep === '\\' ? /[\\/]/ : '/').filter((segment) => segment !== '' && segment !== '.')
  if (segments.includes('..')) throw new SandboxError(`${name} leads out of the sandbox`)
  if (segments.length > depthMax) throw new SandboxError(`${name} is deeper than ${depthMax} folders`)
  return segments
}

/** `full` is a real path, so a link at its end has come since: refused. Non-blocking, so that a FIFO cannot hold us. */
function openAgain(full: string, name: string): ReturnType<typeof open> {
  return orMissing(open(full, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK), name)
}

async function sortedEntries(folder: string, name: string): Promise<Dirent[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    if (codeOf(cause) === 'ENOTDIR') throw new SandboxError(`${name} is not a folder`)
    if (codeOf(cause) === 'ENOENT') return []
    throw cause
  })
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
}

function sorted(entries: Entry[]): Entry[] {
  return entries.sort((a, b) => (a.path < b.path ? -1 : 1))
}

async function orMissing<T>(work: Promise<T>, name: string): Promise<T> {
  try {
    return await work
  } catch (cause) {
    const code = codeOf(cause)
    if (code === 'ENOENT') throw new SandboxError(`${name} does not exist`, { cause })
    if (code === 'ENOTDIR') throw new SandboxError(`the parent of ${name} is not a folder`, { cause })
    if (code === 'ELOOP') throw new SandboxError(`${name} is a link that cannot be followed`, { cause })
    throw cause
  }
}

function kindOf(stats: Stats): EntryKind {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'folder'
  return stats.isSymbolicLink() ? 'link' : 'other'
}

/** The system's error code, such as ENOENT; '' when there is none. */
export function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : ''
}
