import type { ServerResponse } from 'node:http'
import type { Clock } from '../std/clock.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * The time of one request, shared by its steps. A step ends by itself, or with its own error when the time is up: then its
 * signal is aborted first, so that it may still say what it knows better. The signal is aborted as well when the client
 * goes away.
 */
export class Deadline {
  readonly #clock: Clock
  readonly #client: ServerResponse
  readonly #end: number

  constructor(options: { readonly clock: Clock; readonly timeoutMs: number; readonly client: ServerResponse }) {
    this.#clock = options.clock
    this.#client = options.client
    this.#end = options.clock.monotonic() + options.timeoutMs
  }

  /** `late` makes the error, which few steps need. */
  step<T>(late: () => OperatingError, work: (limits: StepLimits) => Promise<T>): Promise<T> {
    const limits = new StepLimits({ clock: this.#clock, end: this.#end, client: this.#client })
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(Math.max(0, this.#end - this.#clock.monotonic()), () => {
        const error = late()
        limits.abort(error)
        setImmediate(() => reject(error))
      })
      const over = (): void => {
        timer.cancel()
        limits.end()
      }
      work(limits).then(
        (value) => {
          over()
          resolve(value)
        },
        (error: unknown) => {
          over()
          reject(error instanceof Error ? error : new Error(String(error)))
        },
      )
    })
  }
}

/** What a step may take. Most never look at the signal, so there is none until they do. */
export class StepLimits {
  readonly #options: StepOptions
  #abort: AbortController | null = null
  #why: OperatingError | null = null
  readonly #onGone = (): void => this.#abort?.abort()

  constructor(options: StepOptions) {
    this.#options = options
  }

  /** What is left from now on: a little is kept for the way back. */
  get timeoutMs(): number {
    const { clock, end } = this.#options
    const leftMs = Math.max(0, end - clock.monotonic())
    return Math.max(1, Math.floor(leftMs - Math.min(wayBackMs, leftMs / 10)))
  }

  get signal(): AbortSignal {
    if (this.#abort !== null) return this.#abort.signal
    this.#abort = new AbortController()
    const { client } = this.#options
    if (this.#why !== null) this.#abort.abort(this.#why)
    else if (client.destroyed) this.#onGone()
    else client.once('close', this.#onGone)
    return this.#abort.signal
  }

  abort(why: OperatingError): void {
    this.#why = why
    this.#abort?.abort(why)
  }

  end(): void {
    if (this.#abort !== null) this.#options.client.off('close', this.#onGone)
  }
}

type StepOptions = {
  readonly clock: Clock
  /** Of the request, as the monotonic clock shows it. */
  readonly end: number
  readonly client: ServerResponse
}

const wayBackMs = 100
