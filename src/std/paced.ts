import type { Clock } from './clock.ts'

/** Of what may come in masses, once a second: how many have come since it was told last. */
export class Paced {
  readonly #clock: Pick<Clock, 'monotonic'>
  #quietUntilMs = -Infinity
  #untold = 0

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
  }

  /** One more has come. How many to tell of now, this one included; null: none now. */
  count(): number | null {
    this.#untold += 1
    const nowMs = this.#clock.monotonic()
    if (nowMs < this.#quietUntilMs) return null
    this.#quietUntilMs = nowMs + paceMs
    const told = this.#untold
    this.#untold = 0
    return told
  }
}

const paceMs = 1000
