import type { Clock } from '../std/clock.ts'
import { syncTimesMax, syncWindowMs } from './limits.ts'

/** How long synced writes took lately: a ring of the newest, of which those within the window count. */
export class SyncTimes {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #endedAtMs = new Float64Array(syncTimesMax).fill(-Infinity)
  readonly #tookMs = new Float64Array(syncTimesMax)
  #next = 0

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
  }

  /** One has ended now. Returns how long it took, ms. */
  add(startedAtMs: number): number {
    const endedAtMs = this.#clock.monotonic()
    const tookMs = endedAtMs - startedAtMs
    this.#endedAtMs[this.#next] = endedAtMs
    this.#tookMs[this.#next] = tookMs
    this.#next = (this.#next + 1) % syncTimesMax
    return tookMs
  }

  /** 99 of 100 took no longer; 0: none ended within the window. */
  get p99Ms(): number {
    const sinceMs = this.#clock.monotonic() - syncWindowMs
    const tookMs = this.#tookMs.filter((_, at) => (this.#endedAtMs[at] ?? -Infinity) >= sinceMs).sort()
    return tookMs[Math.ceil(tookMs.length * 0.99) - 1] ?? 0
  }
}
