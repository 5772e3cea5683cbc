import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { Level } from 'level'
import { assert } from '../std/assert.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { inspectFolder, namesIn, salvage } from './level-files.ts'
import { LevelScrub } from './level-scrub.ts'
import { RecordsDamaged } from './records.ts'
import type { DamagedRecords, FilesReport, RecordBatch, Records, Row, RowIterator } from './records.ts'
import { syncFolder } from './sync-folder.ts'

/**
 * Records in LevelDB, under `<dataDir>/raft/`. Its files are proven sound before it opens them: it may crash on a damaged
 * table, and reads around what is lost. A folder that is replaced goes to `<dataDir>/damaged/`; the new one is made
 * whole beside it, as `raft.new`, and gets its name last.
 */
export class LevelRecords implements Records {
  readonly #dataDir: string
  readonly #folder: string
  readonly #newFolder: string
  readonly #asideFolder: string
  readonly #scrub: LevelScrub
  #db: Database | null = null
  #writes = 0
  #resting: (() => void)[] = []

  constructor(dataDir: string) {
    this.#dataDir = dataDir
    this.#folder = path.join(dataDir, 'raft')
    this.#newFolder = path.join(dataDir, 'raft.new')
    this.#asideFolder = path.join(dataDir, 'damaged')
    this.#scrub = new LevelScrub(this.#folder, {
      atRest: (look) => this.#atRest(look),
      // Nothing stands behind the last key: only the log is written out.
      flush: () => this.compact(Uint8Array.of(0xff), Uint8Array.of(0xff, 0xff)),
    })
  }

  async open(): Promise<DamagedRecords | null> {
    assert(this.#db === null, 'the records are opened twice')
    // For its owner alone, as it holds all that the cluster keeps; one that is there stays as open as it is.
    await mkdir(this.#dataDir, { recursive: true, mode: 0o700 })
    await this.#finishReplace()
    const found = await this.#inspect()
    if (typeof found === 'object') return { why: found.why, remains: await salvage(this.#folder) }
    try {
      this.#db = await openDatabase(this.#folder)
    } catch (error) {
      if (codeOf(error) === 'LEVEL_LOCKED') throw this.#locked(error)
      if (codeOf(error) !== 'LEVEL_CORRUPTION') throw error
      return { why: `LevelDB can not open it: ${messageOf(error)}`, remains: await salvage(this.#folder) }
    }
    // LevelDB syncs its files but not the folders that they were made in; a process before may not have come to it.
    for (const at of [this.#folder, this.#dataDir, path.dirname(this.#dataDir)]) await syncFolder(at)
    return null
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return damageTold(this.#opened().get(key))
  }

  iterate(from: Uint8Array, to: Uint8Array): RowIterator {
    const iterator = this.#opened().iterator({ gte: from, lt: to, highWaterMarkBytes: readAheadBytes })
    return { next: () => damageTold(iterator.nextv(rowsPerRead)), close: () => iterator.close() }
  }

  batch(): RecordBatch {
    // A chained batch copies into LevelDB's own memory at once; the array form costs four times as much.
    const batch = this.#opened().batch()
    return {
      put: (key, value) => void batch.put(key, value),
      delete: (key) => void batch.del(key),
      write: async ({ sync }) => {
        this.#writes += 1
        try {
          await batch.write({ sync })
        } finally {
          this.#writes -= 1
          if (this.#writes === 0) for (const look of this.#resting.splice(0)) look()
        }
      },
    }
  }

  compact(from: Uint8Array, to: Uint8Array): Promise<void> {
    return this.#opened().compactRange(from, to)
  }

  verify(): Promise<FilesReport> {
    return this.#scrub.next()
  }

  async replace(aside: string, records: Iterable<Row>): Promise<void> {
    await this.close()
    await rm(this.#newFolder, { recursive: true, force: true })
    await fill(this.#newFolder, records)
    await syncFolder(this.#newFolder)
    await syncFolder(this.#dataDir)
    const kept = path.join(this.#asideFolder, aside)
    await rm(kept, { recursive: true, force: true })
    await mkdir(kept, { recursive: true })
    if ((await namesIn(this.#folder)).length > 0) await rename(this.#folder, path.join(kept, 'raft'))
    else await rm(this.#folder, { recursive: true, force: true })
    for (const at of [kept, this.#asideFolder, this.#dataDir]) await syncFolder(at)
    await rename(this.#newFolder, this.#folder)
    await syncFolder(this.#dataDir)
    for (const name of await readdir(this.#asideFolder))
      if (name !== aside) await rm(path.join(this.#asideFolder, name), { recursive: true })
    this.#db = await openDatabase(this.#folder)
  }

  async removeAside(): Promise<void> {
    await rm(this.#asideFolder, { recursive: true, force: true })
  }

  async close(): Promise<void> {
    const db = this.#db
    this.#db = null
    await db?.close()
  }

  /** A folder with its name is whole; one that was to take its place is, once the old one is gone. */
  async #finishReplace(): Promise<void> {
    if ((await namesIn(this.#newFolder)).length === 0) return
    await this.#checkFree(this.#newFolder)
    if ((await namesIn(this.#folder)).length > 0) return rm(this.#newFolder, { recursive: true })
    await rm(this.#folder, { recursive: true, force: true })
    await rename(this.#newFolder, this.#folder)
    await syncFolder(this.#dataDir)
  }

  /** What another process is writing looks damaged: it is looked at twice, with nobody there in between. */
  async #inspect(): Promise<'new' | 'sound' | { readonly why: string }> {
    const found = await inspectFolder(this.#folder)
    if (found === 'new' || found === 'sound') return found
    await this.#checkFree(this.#folder)
    const again = await inspectFolder(this.#folder)
    if (again !== 'unmade') return again
    await rm(this.#folder, { recursive: true })
    return 'new'
  }

  /** LevelDB takes its lock before it looks at any file; so it is asked to open in a way that it must refuse. */
  async #checkFree(folder: string): Promise<void> {
    if ((await namesIn(folder)).length === 0) return
    try {
      await openDatabase(folder, { createIfMissing: false, errorIfExists: true }).then((db) => db.close())
    } catch (error) {
      if (codeOf(error) === 'LEVEL_LOCKED') throw this.#locked(error)
    }
  }

  #locked(cause: unknown): OperatingError {
    return new OperatingError(
      'locked',
      `another process holds the data directory ${this.#dataDir}: stop it, or give this node its own node.dataDir`,
      { cause },
    )
  }

  #atRest<Result>(look: () => Result): Promise<Result> {
    if (this.#writes === 0) return Promise.resolve(look())
    return new Promise((resolve) => {
      this.#resting.push(() => resolve(look()))
    })
  }

  #opened(): Database {
    assert(this.#db !== null, 'the records are not open')
    return this.#db
  }
}

/** What `level` gives on this platform: classic-level, which its types do not say. */
type Database = Level<Uint8Array, Uint8Array> & { compactRange(from: Uint8Array, to: Uint8Array): Promise<void> }

const rowsPerRead = 1000
const readAheadBytes = 1024 * 1024
const batchBytes = 4 * 1024 * 1024

async function openDatabase(
  folder: string,
  how: { createIfMissing?: boolean; errorIfExists?: boolean } = {},
): Promise<Database> {
  const encodings = { keyEncoding: 'view', valueEncoding: 'view', compression: false }
  const db = new Level<Uint8Array, Uint8Array>(folder, { ...encodings, ...how }) as Database
  await db.open()
  return db
}

/** Durable when resolved. */
async function fill(folder: string, records: Iterable<Row>): Promise<void> {
  const db = await openDatabase(folder)
  try {
    let batch = db.batch()
    let bytes = 0
    for (const [key, value] of records) {
      batch.put(key, value)
      bytes += value.length
      if (bytes < batchBytes) continue
      await batch.write({ sync: true })
      batch = db.batch()
      bytes = 0
    }
    await batch.write({ sync: true })
  } finally {
    await db.close()
  }
}

async function damageTold<Result>(reading: Promise<Result>): Promise<Result> {
  try {
    return await reading
  } catch (error) {
    if (codeOf(error) !== 'LEVEL_CORRUPTION') throw error
    throw new RecordsDamaged(`LevelDB finds damage: ${messageOf(error)}`, { cause: error })
  }
}

/** An error of opening stands behind one that says so. */
function codeOf(error: unknown): unknown {
  if (!(error instanceof Error)) return undefined
  const code = 'code' in error ? error.code : undefined
  return code === undefined || code === 'LEVEL_DATABASE_NOT_OPEN' ? codeOf(error.cause) : code
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? error.cause.message : error.message
}
