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
  #hasMissed = false
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

  /** Whether, since it was last asked, time has passed that no tick tells of, or will. */
  takeMissed(): boolean {
    const hasMissed = this.#hasMissed || this.#isLate
    this.#hasMissed = false
    return hasMissed
  }

  get #isLate(): boolean {
    return this.#options.clock.monotonic() - this.#dueMs >= this.#options.tickMs
  }

  #arm(): void {
    const { clock, tickMs } = this.#options
    this.#dueMs += tickMs
    this.#timer = clock.after(Math.max(0, this.#dueMs - clock.monotonic()), () => this.#fire())
  }

  #fire(): void {
    const { clock, afterIo } = this.#options
    if (!this.#isLate) {
      this.#tick()
      return
    }
    afterIo(() =>
      afterIo(() => {
        this.#hasMissed = true
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
