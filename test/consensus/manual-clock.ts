import type { Clock } from '../../src/std/clock.ts'

/** Time that passes only when a test says so. */
export class ManualClock implements Clock {
  #nowMs = 0
  #timers: { atMs: number; fire: () => void }[] = []

  get timers(): number {
    return this.#timers.length
  }

  now(): number {
    return this.#nowMs
  }

  monotonic(): number {
    return this.#nowMs
  }

  after(ms: number, fire: () => void): { cancel(): void } {
    const timer = { atMs: this.#nowMs + ms, fire }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((each) => each !== timer)
      },
    }
  }

  /** Fires what falls due on the way, in order, each at its time. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms
    for (;;) {
      const [next] = this.#timers.filter(({ atMs }) => atMs <= untilMs).toSorted((a, b) => a.atMs - b.atMs)
      if (next === undefined) break
      this.#timers = this.#timers.filter((each) => each !== next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.fire()
    }
    this.#nowMs = untilMs
  }

  /** As when the process was stopped: time has passed and nothing has run. */
  pause(ms: number): void {
    this.#nowMs += ms
  }
}
