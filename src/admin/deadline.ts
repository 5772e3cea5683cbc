import type { Clock } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * The time of one request, shared by its steps. A step ends by itself, or with its own error when the time is up: then its
 * signal is aborted first, so that it may still say what it knows better. The signal is aborted as well when the client
 * goes away.
 */
export class Deadline {
  readonly #clock: Clock
  readonly #client: AbortSignal
  readonly #end: number

  constructor(options: { readonly clock: Clock; readonly timeoutMs: number; readonly client: AbortSignal }) {
    this.#clock = options.clock
    this.#client = options.client
    this.#end = options.clock.monotonic() + options.timeoutMs
  }

  /** `timeoutMs` is what the step itself may take: a little is kept for the way back. */
  async step<T>(
    late: OperatingError,
    work: (limits: { readonly timeoutMs: number; readonly signal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    const leftMs = Math.max(0, this.#end - this.#clock.monotonic())
    const timeoutMs = Math.max(1, Math.floor(leftMs - Math.min(wayBackMs, leftMs / 10)))
    const abort = new AbortController()
    const onGone = (): void => abort.abort(this.#client.reason)
    const tooLate = deferred<never>()
    const timer = this.#clock.after(leftMs, () => {
      abort.abort(late)
      setImmediate(() => tooLate.reject(late))
    })
    this.#client.addEventListener('abort', onGone, { once: true })
    if (this.#client.aborted) onGone()
    try {
      return await Promise.race([work({ timeoutMs, signal: abort.signal }), tooLate.promise])
    } finally {
      timer.cancel()
      this.#client.removeEventListener('abort', onGone)
    }
  }
}

const wayBackMs = 100
