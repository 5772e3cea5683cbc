import type { Random } from './random.ts'

/** Exponential back-off with full jitter: the n-th wait is uniform in [min, min(max, min * 2^n)]. */
export class Backoff {
  readonly #limits: BackoffLimits
  readonly #random: Random
  #attempt = 0

  constructor(limits: BackoffLimits, random: Random) {
    this.#limits = limits
    this.#random = random
  }

  /** How many waits have been handed out since the last reset. */
  get attempt(): number {
    return this.#attempt
  }

  /** The next wait in ms. */
  next(): number {
    const { minMs, maxMs } = this.#limits
    const ceiling = Math.min(maxMs, minMs * 2 ** Math.min(this.#attempt, 30))
    this.#attempt += 1
    return minMs + this.#random.below(Math.max(1, Math.floor(ceiling - minMs) + 1))
  }

  reset(): void {
    this.#attempt = 0
  }
}

export type BackoffLimits = { minMs: number; maxMs: number }
