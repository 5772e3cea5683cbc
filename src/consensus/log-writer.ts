import { assert } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import type { Persist } from '../raft/effects.ts'
import type { LogBatch, LogStore } from '../storage/log-store.ts'
import type { MutableCounters } from './status-report.ts'

/**
 * The one writer of the log (R4). While a batch is on its way to the disk the next ones gather and become one: the group
 * commit. After a failed write it never writes again (R11). What gathers is bounded by what Raft lets into its log.
 */
export class LogWriter {
  readonly #options: LogWriterOptions
  #gathered: Persist[] = []
  #underWay: Promise<void> | undefined
  #ended = false

  constructor(options: LogWriterOptions) {
    this.#options = options
  }

  write(persist: Persist): void {
    this.#gathered.push(persist)
    if (persist.mustSync && this.#underWay === undefined) this.#begin(() => this.#writeGathered())
  }

  /** A commit hint waits for the next batch that has to be written, and no longer than until this is called. */
  writeHints(): void {
    if (this.#gathered.length > 0 && this.#underWay === undefined) this.#begin(() => this.#writeGathered())
  }

  /** A write of forming: they are over before Raft's first. */
  perform(write: (store: LogStore) => Promise<void>, done: () => void): void {
    assert(this.#underWay === undefined, 'forming writes one thing at a time')
    this.#begin(() => this.#timed(true, write), done)
  }

  /** Starts no further write; resolves when the last one has ended. */
  async end(): Promise<void> {
    this.#ended = true
    await this.#underWay
  }

  #begin(work: () => Promise<void>, done: () => void = () => undefined): void {
    if (!this.#ended) this.#underWay = this.#run(work, done)
  }

  async #run(work: () => Promise<void>, done: () => void): Promise<void> {
    try {
      await work()
      this.#underWay = undefined
      if (!this.#ended) done()
      // What came between the last look and now.
      if (this.#mustWrite && this.#underWay === undefined) this.#begin(() => this.#writeGathered())
    } catch (error) {
      if (this.#ended) return
      this.#ended = true
      this.#options.failed(error)
    }
  }

  async #writeGathered(): Promise<void> {
    for (let isDue = true; isDue && !this.#ended; isDue = this.#mustWrite) {
      const persists = this.#gathered
      this.#gathered = []
      const batch = mergePersists(persists)
      await this.#timed(batch.sync, (store) => store.write(batch))
      this.#options.counters.appendedEntries += batch.entries.length
      if (!this.#ended) this.#options.durable(persists)
    }
  }

  get #mustWrite(): boolean {
    return this.#gathered.some((persist) => persist.mustSync)
  }

  async #timed(isSynced: boolean, write: (store: LogStore) => Promise<void>): Promise<void> {
    const { store, clock, counters } = this.#options
    const startMs = clock.monotonic()
    await write(store)
    counters.persistBatches += 1
    if (isSynced) counters.persistMs += clock.monotonic() - startMs
  }
}

export type LogWriterOptions = {
  readonly store: LogStore
  readonly clock: Clock
  readonly counters: MutableCounters
  /** In the order of their seq, each once. */
  readonly durable: (persists: readonly Persist[]) => void
  /** Said once; nothing is durable after it. */
  readonly failed: (error: unknown) => void
}

/** One batch that leaves the log as all of them in turn would. */
export function mergePersists(persists: readonly Omit<Persist, 'then'>[]): LogBatch {
  const last = persists.at(-1)
  assert(last !== undefined, 'a batch is made of something')
  let install: LogBatch['install'] = null
  let compact: LogBatch['compact'] = null
  let truncateFrom: number | null = null
  let entries: LogBatch['entries'] = []
  for (const persist of persists) {
    if (persist.install !== null) {
      install = persist.install
      compact = null
      truncateFrom = null
      entries = []
    }
    compact = persist.compact ?? compact
    const from = persist.truncateFrom
    if (from !== null) {
      truncateFrom = Math.min(truncateFrom ?? from, from)
      entries = entries.filter((entry) => entry.index < from)
    }
    entries = entries.length === 0 ? persist.entries : [...entries, ...persist.entries]
  }
  const sync = persists.some((persist) => persist.mustSync)
  return { hardState: last.hardState, install, compact, truncateFrom, entries, sync }
}
