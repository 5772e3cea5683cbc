import type { Clock, Timer } from '../std/clock.ts'
import type { ConsensusCounters } from './consensus.ts'
import { statusIntervalMs, statusMovedMs, statusRefreshMs } from './limits.ts'

type Gauges = 'loopDelayMs' | 'oldestWriteMs' | 'syncP99Ms' | 'diskFreeBytes'

/** What the loop's parts count as they go. The gauges are read when a status is made. */
export type MutableCounters = { -readonly [Key in Exclude<keyof ConsensusCounters, Gauges>]: number }

export function newCounters(): MutableCounters {
  return {
    elections: 0,
    proposals: 0,
    refusals: 0,
    appendedEntries: 0,
    persistBatches: 0,
    persistSyncs: 0,
    persistMs: 0,
    stalls: 0,
    stallHandovers: 0,
    snapshotsSaved: 0,
    snapshotBytesSaved: 0,
    snapshotsSent: 0,
    snapshotBytesSent: 0,
    snapshotsReceived: 0,
    snapshotBytesReceived: 0,
    scrubbedBytes: 0,
    scrubRounds: 0,
    damageFound: 0,
    damageMended: 0,
    framesIn: 0,
    framesOut: 0,
    framesRejected: 0,
  }
}

/**
 * When to push a status: at once after a change, but not again within 50 ms; while the log gets on four times a second, since
 * each status costs as much as a write; and each second for the counters' sake. News of who leads is never held back:
 * somebody may wait for it.
 */
export class StatusReport {
  readonly #clock: Clock
  readonly #push: () => void
  #timer: Timer | undefined
  #resting = false
  #changed = false
  #hasMoved = false

  constructor(options: { clock: Clock; push: () => void }) {
    this.#clock = options.clock
    this.#push = options.push
  }

  start(): void {
    this.#pushNow()
  }

  changed(): void {
    if (this.#resting) this.#changed = true
    else if (this.#timer !== undefined) this.#pushNow()
  }

  moved(): void {
    if (this.#hasMoved) return
    this.#hasMoved = true
    if (this.#timer !== undefined && !this.#resting) this.#armNext()
  }

  leaderChanged(): void {
    if (this.#timer !== undefined) this.#pushNow()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#resting = false
  }

  #pushNow(): void {
    this.#timer?.cancel()
    this.#changed = false
    this.#hasMoved = false
    this.#resting = true
    this.#timer = this.#clock.after(statusIntervalMs, () => this.#rested())
    this.#push()
  }

  #rested(): void {
    this.#resting = false
    if (this.#changed) this.#pushNow()
    else this.#armNext()
  }

  #armNext(): void {
    this.#timer?.cancel()
    const afterMs = this.#hasMoved ? statusMovedMs : statusRefreshMs
    this.#timer = this.#clock.after(afterMs - statusIntervalMs, () => this.#pushNow())
  }
}
