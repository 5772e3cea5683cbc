import type { Index } from '../raft/entry.ts'
import { entryKey, indexOfKey } from './log-record.ts'
import type { Records } from './records.ts'

/**
 * Deletes the keys that the head has left behind, beside the writes, and has the disk give back their room. None of them is
 * ever written again, so the order of these batches does not matter.
 */
export class LeftBehind {
  readonly #records: Records
  readonly #failed: (error: unknown) => void
  readonly #work: (() => Promise<void>)[] = []
  #underWay: Promise<void> | null = null
  /** Bytes of entries written since the disk was last told to give back what was deleted. */
  #writtenBytes = 0
  #isEnding = false

  constructor(records: Records, failed: (error: unknown) => void) {
    this.#records = records
    this.#failed = failed
  }

  written(bytes: number): void {
    this.#writtenBytes += bytes
  }

  /** Entries from one up to the other are no longer of the log. */
  leave(from: Index, to: Index): void {
    if (from > to) return
    this.#begin(async () => {
      for (let at = from; at <= to && !this.#isEnding; at += keysPerBatch)
        await this.#delete(Array.from({ length: Math.min(keysPerBatch, to - at + 1) }, (_, n) => entryKey(at + n)))
      await this.#giveBack(to)
    })
  }

  /** Whatever an earlier process has left below the index. */
  leaveUnknown(firstIndex: Index): void {
    this.#begin(async () => {
      const rows = this.#records.iterate(entryKey(0), entryKey(firstIndex))
      try {
        while (!this.#isEnding) {
          const keys = (await rows.next()).map(([key]) => key)
          if (keys.length === 0) return
          await this.#delete(keys.filter((key) => indexOfKey(key) !== undefined))
        }
      } finally {
        await rows.close()
      }
    })
  }

  /** Writes what stands between the keys anew. */
  compact(from: Uint8Array, to: Uint8Array): void {
    this.#begin(() => this.#records.compact(from, to))
  }

  /** Nothing is under way. */
  async atRest(): Promise<void> {
    await this.#underWay
  }

  /** Begins nothing more, and resolves when nothing is under way. */
  async end(): Promise<void> {
    this.#isEnding = true
    await this.#underWay
  }

  #begin(work: () => Promise<void>): void {
    this.#work.push(work)
    this.#underWay ??= this.#run().finally(() => {
      this.#underWay = null
    })
  }

  async #run(): Promise<void> {
    try {
      for (let work = this.#work.shift(); work !== undefined && !this.#isEnding; work = this.#work.shift()) await work()
    } catch (error) {
      this.#isEnding = true
      this.#failed(error)
    }
  }

  async #delete(keys: readonly Uint8Array[]): Promise<void> {
    const batch = this.#records.batch()
    for (const key of keys) batch.delete(key)
    await batch.write({ sync: false })
  }

  /** LevelDB by itself keeps deleted entries until it happens to merge their files. */
  async #giveBack(to: Index): Promise<void> {
    if (this.#writtenBytes < giveBackBytes || this.#isEnding) return
    this.#writtenBytes = 0
    await this.#records.compact(entryKey(0), entryKey(to + 1))
  }
}

const keysPerBatch = 1000

/** Bytes of entries after which it is worth the merging of files to have deleted ones off the disk. */
const giveBackBytes = 4 * 1024 * 1024
