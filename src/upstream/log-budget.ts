import type { Clock } from '../std/clock.ts'

/** How much of what a server can make us log reaches the log: so many lines a second, the rest is only counted. */
export class LogBudget {
  readonly #clock: Clock
  readonly #perSecond: number
  #windowStart = -Infinity
  #used = 0
  #suppressed = 0

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock
    this.#perSecond = perSecond
  }

  /** Null when the line must not be logged; otherwise how many were not logged since the last one that was. */
  take(): number | null {
    const now = this.#clock.monotonic()
    if (now - this.#windowStart >= 1000) {
      this.#windowStart = now
      this.#used = 0
    }
    if (this.#used >= this.#perSecond) {
      this.#suppressed += 1
      return null
    }
    this.#used += 1
    const suppressed = this.#suppressed
    this.#suppressed = 0
    return suppressed
  }
}
