import { setImmediate as afterIo } from 'node:timers/promises'
import type { Clock } from '../std/clock.ts'

/** A long piece of work in slices of a few milliseconds, between which the event loop turns. */
export class Slice {
  readonly #clock: Clock
  #startedAt: number
  #longestMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startedAt = clock.monotonic()
  }

  /** Longest time for which the event loop did not turn, ms. */
  get longestMs(): number {
    return this.#longestMs
  }

  /** To be awaited after each small step: at once while the slice is short, else when the event loop has turned. */
  rest(): Promise<void> | undefined {
    const sliceMs = this.#clock.monotonic() - this.#startedAt
    this.#longestMs = Math.max(this.#longestMs, sliceMs)
    return sliceMs < sliceMsMax ? undefined : this.#turn()
  }

  async #turn(): Promise<void> {
    await afterIo()
    this.#startedAt = this.#clock.monotonic()
  }
}

/** A slice ends with the first step after this. */
const sliceMsMax = 4
