import { assert } from '../std/assert.ts'
import type { Clock, Timer } from '../std/clock.ts'

/**
 * Gives the beat. A pause of the process makes one late tick, not many, and what the sockets hold by then is read first: a
 * node that slept must not campaign against heartbeats that already lie in its buffers (R12).
 */
export class Ticker {
  readonly #options: TickerOptions
  #timer: Timer | undefined
  #dueMs = 0
  #running = false

  constructor(options: TickerOptions) {
    this.#options = options
  }

  start(): void {
    assert(!this.#running, 'the ticker is started twice')
    this.#running = true
    this.#dueMs = this.#options.clock.monotonic()
    this.#arm()
  }

  stop(): void {
    this.#running = false
    this.#timer?.cancel()
  }

  #arm(): void {
    const { clock, tickMs } = this.#options
    this.#dueMs += tickMs
    this.#timer = clock.after(Math.max(0, this.#dueMs - clock.monotonic()), () => this.#fire())
  }

  #fire(): void {
    const { clock, tickMs, afterIo } = this.#options
    if (clock.monotonic() - this.#dueMs < tickMs) {
      this.#tick()
      return
    }
    afterIo(() =>
      afterIo(() => {
        this.#dueMs = clock.monotonic()
        this.#tick()
      }),
    )
  }

  #tick(): void {
    if (!this.#running) return
    this.#options.tick()
    if (this.#running) this.#arm()
  }
}

export type TickerOptions = {
  readonly clock: Clock
  /** Runs after the input that is there has been read. */
  readonly afterIo: (run: () => void) => void
  readonly tickMs: number
  readonly tick: () => void
}
