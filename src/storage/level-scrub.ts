import { statSync } from 'node:fs'
import path from 'node:path'
import { fileNumber, namesIn, numbered, readIfThere, readManifest, tableName } from './level-files.ts'
import { parseLog, parseTable } from './level-format.ts'
import type { TableFile } from './level-format.ts'
import type { FilesReport } from './records.ts'

/**
 * The rounds over the files of an open LevelDB: manifest, each table, the write-ahead logs. A damaged log is invisible
 * through LevelDB until the next start; what stands in it is in memory still, and is mended by being written to a table.
 */
export class LevelScrub {
  readonly #folder: string
  readonly #ports: ScrubPorts
  /** Tables of this round that are still to come, and what was found in them; null: a round begins. */
  #tables: TableFile[] | null = null
  readonly #found: NonNullable<FilesReport['damage']>[] = []
  /** A log only grows. */
  #logSizes = new Map<string, number>()

  constructor(folder: string, ports: ScrubPorts) {
    this.#folder = folder
    this.#ports = ports
  }

  async next(): Promise<FilesReport> {
    const found = this.#found.shift()
    if (found !== undefined) return { bytes: 0, isRoundDone: false, damage: found }
    if (this.#tables === null) return this.#begin()
    const table = this.#tables.shift()
    if (table !== undefined) return this.#verifyTable(table)
    this.#tables = null
    return this.#verifyLogs()
  }

  async #begin(): Promise<FilesReport> {
    const manifest = await readManifest(this.#folder)
    if (typeof manifest === 'string') return this.#restart(manifest)
    this.#tables = [...manifest.tables]
    return { bytes: 0, isRoundDone: false, damage: null }
  }

  async #verifyTable({ number, size }: TableFile): Promise<FilesReport> {
    const name = tableName(await namesIn(this.#folder), number)
    const bytes = name === undefined ? null : await readIfThere(path.join(this.#folder, name))
    if (name === undefined || bytes === null) {
      const manifest = await readManifest(this.#folder)
      const isLive = typeof manifest === 'string' || manifest.tables.some((table) => table.number === number)
      if (isLive) return this.#restart(`the table ${numbered(number)}.ldb is missing`)
      return { bytes: 0, isRoundDone: false, damage: null }
    }
    if (bytes.length !== size) return this.#restart(`the table ${name} has ${bytes.length} bytes, ${size} were written`)
    const table = parseTable(bytes)
    if (typeof table === 'string') return this.#restart(`the table ${name} is damaged: ${table}`)
    for (const { why, after, upTo } of table.bad) {
      const from = after ?? new Uint8Array()
      this.#found.push({ why: `the table ${name} is damaged: ${why}`, mend: 'rewrite', from, to: upTo })
    }
    return { bytes: bytes.length, isRoundDone: false, damage: this.#found.shift() ?? null }
  }

  async #verifyLogs(): Promise<FilesReport> {
    const names = (await namesIn(this.#folder)).filter((name) => fileNumber(name, 'log') !== null)
    // What is in the files while nothing is being written was written to its end.
    const sizes = await this.#ports.atRest(() => names.map((name) => this.#sizeOf(name)))
    const before = this.#logSizes
    this.#logSizes = new Map()
    let read = 0
    let why = names.length === 0 ? 'the write-ahead log is missing' : null
    for (const [at, name] of names.entries()) {
      const size = sizes[at] ?? null
      const bytes = size === null ? null : await readIfThere(path.join(this.#folder, name))
      if (size === null || bytes === null) continue
      read += size
      this.#logSizes.set(name, size)
      if (size < (before.get(name) ?? 0)) why ??= `the write-ahead log ${name} was cut at byte ${size}`
      const { badAt } = parseLog(bytes.subarray(0, size))
      if (badAt !== null) why ??= `the write-ahead log ${name} is damaged at byte ${badAt}`
    }
    if (why === null) return { bytes: read, isRoundDone: true, damage: null }
    await this.#ports.flush()
    return { bytes: read, isRoundDone: true, damage: { why, mend: 'done' } }
  }

  #sizeOf(name: string): number | null {
    return statSync(path.join(this.#folder, name), { throwIfNoEntry: false })?.size ?? null
  }

  #restart(why: string): FilesReport {
    this.#tables = null
    return { bytes: 0, isRoundDone: true, damage: { why, mend: 'restart' } }
  }
}

export type ScrubPorts = {
  /** Calls it, and resolves with its answer, at a moment when no write is under way. */
  readonly atRest: <Result>(look: () => Result) => Promise<Result>
  /** Writes what stands in the write-ahead log to tables, and begins a new one. */
  readonly flush: () => Promise<void>
}
