import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { assert } from '../std/assert.ts'
import { crc32 } from '../std/hash.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { damaged, isDamage } from './log-record.ts'
import type { Damage } from './log-record.ts'
import {
  checkedFrom,
  decodeHead,
  decodeMeta,
  encodeBeginning,
  headBytes,
  isSameSnapshot,
  setChecksum,
  snapshotName,
} from './snapshot-record.ts'
import type { SnapshotStore } from './snapshot-store.ts'
import { isMissing } from './slot-file.ts'
import { syncFolder } from './sync-folder.ts'

/**
 * Snapshots as files under `<dataDir>/snapshots/`. A file gets its name only when it is whole, verified and synced, and the
 * folder is synced after that: what has a name survives a power cut. Reads and writes go piece by piece, so that the
 * thread is never away for longer than one piece takes.
 */
export class SnapshotFileStore implements SnapshotStore {
  readonly #folder: string
  readonly #whole = new Map<string, WholeSnapshot>()
  #part: PartSnapshot | null = null

  constructor(dataDir: string) {
    this.#folder = path.join(dataDir, 'snapshots')
  }

  open(): Promise<{ newest: SnapshotMeta | null; damaged: string[] }> {
    return this.#reporting('open', async () => {
      await mkdir(this.#folder, { recursive: true })
      for (const at of [path.dirname(path.dirname(this.#folder)), path.dirname(this.#folder)]) await syncFolder(at)
      const found = await readdir(this.#folder)
      const removed = found.filter((file) => file.endsWith(asideEnding) || file.endsWith('.tmp'))
      for (const file of removed) await rm(this.#pathOf(file), { force: true })
      const damaged: string[] = []
      for (const file of found) {
        const damage = file.endsWith(wholeEnding) ? await this.#openWhole(file) : null
        if (damage !== null) damaged.push(`the snapshot ${file} is damaged: ${damage}`)
        if (file.endsWith(partEnding)) await this.#openPart(file)
      }
      await syncFolder(this.#folder)
      const all = [...this.#whole.values()].map(({ snapshot }) => snapshot)
      return { newest: all.sort((a, b) => b.index - a.index || b.term - a.term)[0] ?? null, damaged }
    })
  }

  setAside(): Promise<void> {
    return this.#reporting('set aside what is in', async () => {
      if (this.#part !== null) await this.#discard()
      for (const name of this.#whole.keys()) await this.#putAside(`${name}${wholeEnding}`)
      this.#whole.clear()
      await syncFolder(this.#folder)
    })
  }

  verify(snapshot: SnapshotMeta, pause = goOn): Promise<string | null> {
    return this.#reporting(`read snapshot ${snapshotName(snapshot)} of`, async () => {
      const place = this.#pathOf(`${snapshotName(snapshot)}${wholeEnding}`)
      const damage = await damageOf(place, snapshot, pause)
      return damage === null ? null : `the snapshot ${path.basename(place)} is damaged: ${damage}`
    })
  }

  write(snapshot: SnapshotMeta, bytes: Uint8Array): Promise<void> {
    return this.#reporting('write', async () => {
      const name = snapshotName(snapshot)
      const temporary = this.#pathOf(`${name}.tmp`)
      const beginning = encodeBeginning(snapshot, bytes.length)
      const file = await open(temporary, 'w')
      try {
        let checksum = crc32(beginning.subarray(checkedFrom))
        await writeAll(file, beginning, 0)
        for (let at = 0; at < bytes.length; at += pieceBytes) {
          const piece = bytes.subarray(at, at + pieceBytes)
          checksum = crc32(piece, checksum)
          await writeAll(file, piece, beginning.length + at)
        }
        setChecksum(beginning, checksum)
        await writeAll(file, beginning.subarray(0, headBytes), 0)
        await file.sync()
      } finally {
        await file.close()
      }
      await this.#name(temporary, { snapshot, size: beginning.length + bytes.length })
    })
  }

  read(snapshot: SnapshotMeta): Promise<Uint8Array> {
    return this.#reporting(`read snapshot ${snapshotName(snapshot)} of`, () =>
      this.#withFile(snapshot, async (file, size) => {
        const read = await readSnapshot(file, { size, target: (length) => new Uint8Array(length) })
        if (isDamage(read)) throw new Error(`it is damaged: ${read.damage}`)
        return read.data
      }),
    )
  }

  readChunk(snapshot: SnapshotMeta, offset: number, lengthMax: number): Promise<{ bytes: Uint8Array; size: number }> {
    return this.#reporting(`read snapshot ${snapshotName(snapshot)} of`, () =>
      this.#withFile(snapshot, async (file, size) => {
        const bytes = new Uint8Array(Math.max(0, Math.min(lengthMax, size - offset)))
        await readAll(file, bytes, offset)
        return { bytes, size }
      }),
    )
  }

  async receivedOffset(snapshot: SnapshotMeta, size: number): Promise<number> {
    const name = snapshotName(snapshot)
    // Whoever wrote it, it stands for the same state.
    if (this.#whole.has(name)) return size
    return this.#part?.name === name && this.#part.size === size ? this.#part.length : 0
  }

  receive(
    snapshot: SnapshotMeta,
    chunk: { offset: number; size: number; bytes: Uint8Array },
  ): Promise<'more' | 'done' | 'damaged'> {
    return this.#reporting('write', async () => {
      const { offset, size, bytes } = chunk
      const part = await this.#partOf(snapshot, size)
      assert(offset === part.length, `chunk at ${offset} of a part that ends at ${part.length}`)
      if (offset + bytes.length > size) return this.#discard()
      await writeAll(part.file, bytes, offset)
      part.length += bytes.length
      return part.length < size ? 'more' : this.#complete(part, snapshot)
    })
  }

  prune(newest: SnapshotMeta): Promise<void> {
    return this.#reporting('delete from', async () => {
      for (const [name, { snapshot }] of this.#whole) {
        if (snapshot.index >= newest.index) continue
        this.#whole.delete(name)
        await rm(this.#pathOf(`${name}${wholeEnding}`), { force: true })
      }
    })
  }

  async close(): Promise<void> {
    await this.#part?.file.close()
    this.#part = null
  }

  /** Remembers it when it is whole and sets it aside when not; then says why. */
  async #openWhole(file: string): Promise<string | null> {
    const handle = await open(this.#pathOf(file), 'r')
    try {
      const { size } = await handle.stat()
      const read = await readSnapshot(handle, { size })
      if (isDamage(read) && read.isForeign) throw new Error(`another version wrote ${file}: ${read.damage}`)
      if (!isDamage(read) && `${snapshotName(read.snapshot)}${wholeEnding}` === file) {
        this.#whole.set(snapshotName(read.snapshot), { snapshot: read.snapshot, size })
        return null
      }
      await this.#putAside(file)
      return isDamage(read) ? read.damage : 'it has the name of another one'
    } finally {
      await handle.close()
    }
  }

  /** What a process before this one had received so far: its checksum stands at its end, whatever a crash did to it. */
  async #openPart(file: string): Promise<void> {
    const [, name, length] = /^(\d+-\d+)-(\d+)\.part$/.exec(file) ?? []
    const size = Number(length)
    const stored = await stat(this.#pathOf(file))
    if (this.#part !== null || name === undefined || stored.size >= size || this.#whole.has(name))
      return rm(this.#pathOf(file), { force: true })
    this.#part = { name, size, file: await open(this.#pathOf(file), 'r+'), length: stored.size }
  }

  async #putAside(file: string): Promise<void> {
    await rename(this.#pathOf(file), this.#pathOf(`${file}${asideEnding}`))
  }

  async #partOf(snapshot: SnapshotMeta, size: number): Promise<PartSnapshot> {
    const name = snapshotName(snapshot)
    if (this.#part?.name === name && this.#part.size === size) return this.#part
    if (this.#part !== null) await this.#discard()
    const file = await open(this.#partPath({ name, size }), 'w+')
    this.#part = { name, size, file, length: 0 }
    return this.#part
  }

  async #complete(part: PartSnapshot, expected: SnapshotMeta): Promise<'done' | 'damaged'> {
    const read = await readSnapshot(part.file, { size: part.size })
    if (isDamage(read) || !isSameSnapshot(read.snapshot, expected)) return this.#discard()
    await part.file.sync()
    await part.file.close()
    this.#part = null
    await this.#name(this.#partPath(part), { snapshot: read.snapshot, size: part.size })
    return 'done'
  }

  async #discard(): Promise<'damaged'> {
    const part = this.#part
    assert(part !== null, 'only what is there is thrown away')
    this.#part = null
    await part.file.close()
    await rm(this.#partPath(part), { force: true })
    return 'damaged'
  }

  /** The file is synced: gives it the name by which it counts. */
  async #name(temporary: string, whole: WholeSnapshot): Promise<void> {
    const name = snapshotName(whole.snapshot)
    await rename(temporary, this.#pathOf(`${name}${wholeEnding}`))
    await syncFolder(this.#folder)
    this.#whole.set(name, whole)
  }

  async #withFile<Result>(
    snapshot: SnapshotMeta,
    use: (file: FileHandle, size: number) => Promise<Result>,
  ): Promise<Result> {
    const place = this.#pathOf(`${snapshotName(snapshot)}${wholeEnding}`)
    const { size } = await stat(place)
    const file = await open(place, 'r')
    try {
      return await use(file, size)
    } finally {
      await file.close()
    }
  }

  #partPath({ name, size }: Pick<PartSnapshot, 'name' | 'size'>): string {
    return this.#pathOf(`${name}-${size}${partEnding}`)
  }

  #pathOf(file: string): string {
    return path.join(this.#folder, file)
  }

  async #reporting<Result>(what: string, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (cause) {
      if (!(cause instanceof Error) || cause.name === 'InvariantError') throw cause
      throw new OperatingError(
        'storage-failed',
        `${what} ${this.#folder} failed: check the disk: its space, its permissions, its health`,
        { cause },
      )
    }
  }
}

type WholeSnapshot = { readonly snapshot: SnapshotMeta; readonly size: number }
type PartSnapshot = { readonly name: string; readonly size: number; readonly file: FileHandle; length: number }

/** What is read, checked or written before others get their turn. */
const pieceBytes = 1024 * 1024
const wholeEnding = '.snapshot'
const partEnding = '.part'
const asideEnding = '.damaged'

/** What is wrong with the file of that snapshot; null: nothing. */
async function damageOf(place: string, snapshot: SnapshotMeta, pause: Pause): Promise<string | null> {
  let file: FileHandle
  try {
    file = await open(place, 'r')
  } catch (error) {
    if (isMissing(error)) return 'it is missing'
    throw error
  }
  try {
    const { size } = await file.stat()
    const read = await readSnapshot(file, { size, pause })
    if (isDamage(read)) return read.damage
    return isSameSnapshot(read.snapshot, snapshot) ? null : 'another one stands there'
  } finally {
    await file.close()
  }
}

/** What is waited for between two pieces. */
type Pause = () => Promise<void>
const goOn: Pause = () => Promise.resolve()

/** Verifies the file; its data is kept where `target` makes room for it, else only looked at. */
async function readSnapshot(
  file: FileHandle,
  { size, target, pause = goOn }: { size: number; target?: (length: number) => Uint8Array; pause?: Pause },
): Promise<{ snapshot: SnapshotMeta; data: Uint8Array } | Damage> {
  const start = new Uint8Array(Math.min(headBytes, size))
  await readAll(file, start, 0)
  const head = decodeHead(start, size)
  if (isDamage(head)) return head
  const meta = new Uint8Array(head.metaBytes)
  await readAll(file, meta, headBytes)
  let checksum = crc32(meta, crc32(start.subarray(checkedFrom)))
  const data = target?.(head.dataBytes) ?? new Uint8Array(Math.min(pieceBytes, head.dataBytes))
  for (let at = 0; at < head.dataBytes; at += pieceBytes) {
    const length = Math.min(pieceBytes, head.dataBytes - at)
    if (at > 0) await pause()
    const piece = target === undefined ? data.subarray(0, length) : data.subarray(at, at + length)
    await readAll(file, piece, headBytes + head.metaBytes + at)
    checksum = crc32(piece, checksum)
  }
  if (checksum !== head.checksum) return damaged('its checksum does not match')
  const snapshot = decodeMeta(meta)
  return isDamage(snapshot) ? snapshot : { snapshot, data }
}

async function readAll(file: FileHandle, into: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < into.length;) {
    const { bytesRead } = await file.read(into, at, into.length - at, position + at)
    if (bytesRead === 0) throw new Error('the file is shorter than it was')
    at += bytesRead
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at)
    at += bytesWritten
  }
}
