import { assert } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import type { Persist } from '../raft/effects.ts'
import type { Index } from '../raft/entry.ts'
import type { LogBatch, LogStore } from '../storage/log-store.ts'
import type { MutableCounters } from './status-report.ts'
import { SyncTimes } from './sync-times.ts'

/**
 * The one writer of the log (R4). While a batch is on its way to the disk the next ones gather and become one: the group
 * commit. Other writes go between two batches. After a failed write it never writes again (R11). What gathers is bounded by
 * what Raft lets into its log.
 */
export class LogWriter {
  readonly #options: LogWriterOptions
  readonly #syncTimes: SyncTimes
  #gathered: Persist[] = []
  /** Few: each of those who ask waits for the end of one before the next. */
  readonly #others: OtherWrite[] = []
  #underWay: Promise<void> | undefined
  /** When the oldest write that has not ended was asked for, monotonic ms; and the oldest of what gathers. */
  #underWaySinceMs: number | null = null
  #gatheredSinceMs: number | null = null
  #ended = false

  constructor(options: LogWriterOptions) {
    this.#options = options
    this.#syncTimes = new SyncTimes(options.clock)
  }

  /** Something waits for the end of the write under way; a commit hint does not. */
  get hasWaiting(): boolean {
    return this.#mustWrite || this.#others.length > 0
  }

  /** For how long the oldest write that has not ended waits; 0: none does. */
  get oldestMs(): number {
    return this.#underWaySinceMs === null ? 0 : this.#options.clock.monotonic() - this.#underWaySinceMs
  }

  /** Of the synced writes that ended lately: 99 of 100 took no longer; 0: there were none. */
  get syncP99Ms(): number {
    return this.#syncTimes.p99Ms
  }

  write(persist: Persist): void {
    this.#gathered.push(persist)
    if (persist.mustSync) this.#gatheredSinceMs ??= this.#options.clock.monotonic()
    if (persist.mustSync && this.#underWay === undefined) this.#begin(() => this.#writeGathered())
  }

  /** A commit hint waits for the next batch that has to be written, and no longer than until this is called. */
  writeHints(): void {
    if (this.#gathered.length > 0 && this.#underWay === undefined) this.#begin(() => this.#writeGathered())
  }

  /** Another write: before what has gathered. */
  perform(write: OtherWrite['write'], done: OtherWrite['done']): void {
    this.#others.push({ write, done })
    if (this.#underWay === undefined) this.#goOn()
  }

  /** Whether entries up to there are on the disk as Raft has them: nothing that has gathered begins, ends or changes there. */
  isSettled(upTo: Index): boolean {
    return this.#gathered.every(({ install, compact, truncateFrom, entries }) => {
      const from = truncateFrom ?? entries[0]?.index ?? Infinity
      return install === null && compact === null && from > upTo
    })
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
      this.#underWaySinceMs = null
      if (!this.#ended) done()
      // What came between the last look and now.
      if (this.#underWay === undefined) this.#goOn()
    } catch (error) {
      if (this.#ended) return
      this.#ended = true
      this.#options.failed(error)
    }
  }

  #goOn(): void {
    const other = this.#others.shift()
    if (other !== undefined) this.#begin(() => this.#timed(true, other.write), other.done)
    else if (this.#mustWrite) this.#begin(() => this.#writeGathered())
  }

  async #writeGathered(): Promise<void> {
    for (let isDue = true; isDue && !this.#ended; isDue = this.#mustWrite && this.#others.length === 0) {
      const persists = this.#gathered
      this.#gathered = []
      this.#underWaySinceMs = this.#gatheredSinceMs
      this.#gatheredSinceMs = null
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
    this.#underWaySinceMs ??= startMs
    await write(store)
    counters.persistBatches += 1
    if (!isSynced) return
    counters.persistSyncs += 1
    counters.persistMs += this.#syncTimes.add(startMs)
  }
}

type OtherWrite = { readonly write: (store: LogStore) => Promise<void>; readonly done: () => void }

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
