/** The port through which time comes in. Tests and the simulator pass their own. */

export type Timer = { cancel(): void }

export type Clock = {
  /** Wall time in ms since 1970; may jump. For records that people read. */
  now(): number
  /** Monotonic ms; for every duration and deadline. */
  monotonic(): number
  /** Runs `fire` once after `ms`. */
  after(ms: number, fire: () => void): Timer
}

export const realClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms, fire) => new RealTimer(setTimeout(fire, ms)),
}

/** There are several in every call. */
class RealTimer implements Timer {
  readonly #handle: NodeJS.Timeout

  constructor(handle: NodeJS.Timeout) {
    this.#handle = handle
  }

  cancel(): void {
    clearTimeout(this.#handle)
  }
}
