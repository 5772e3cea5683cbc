import type { Clock, Timer } from '../std/clock.ts'
import type { ExchangeEnd, ExchangeEvents, HttpExchange } from './http-exchange.ts'
import type { UpstreamLimits } from './limits.ts'

/**
 * One request over Streamable HTTP, until its answer or its end: its POST, and, where the server gave events of it ids, the
 * streams that go on behind the last of them. A stream without ids that ends is the end at once.
 */
export type HttpRequestOptions = {
  /** The POST (null), or the GET that goes on behind an event; not started. */
  exchange(after: string | null, events: ExchangeEvents): HttpExchange
  readonly clock: Clock
  readonly limits: UpstreamLimits
}

export type HttpRequestEvents = {
  message(text: string): void
  /** Once. */
  ended(end: RequestEnd): void
}

/** `not-resumed`: the request was taken and its stream ended too early; why no other stream brings the rest. */
export type RequestEnd = ExchangeEnd | { readonly kind: 'not-resumed'; readonly why: ExchangeEnd }

export class HttpRequest {
  readonly #options: HttpRequestOptions
  readonly #events: HttpRequestEvents
  #exchange: HttpExchange
  #lastEventId: string | null = null
  #retryMs: number | null = null
  /** In a row, without a stream. */
  #failures = 0
  #timer: Timer | null = null
  #isHeard = true
  #isWanted = true
  #isAnswered = false
  #isResumed = false

  constructor(options: HttpRequestOptions, events: HttpRequestEvents) {
    this.#options = options
    this.#events = events
    this.#exchange = this.#open(null)
  }

  /** Bytes of it may have left; before that it can still be taken back. */
  get isSent(): boolean {
    return this.#isResumed || this.#exchange.isSent
  }

  /** The server has taken it. */
  get hasHead(): boolean {
    return this.#isResumed || this.#exchange.hasHead
  }

  /** Its end follows in the same turn. */
  get isWhole(): boolean {
    return this.#exchange.isWhole
  }

  get isAnswered(): boolean {
    return this.#isAnswered
  }

  start(): void {
    this.#exchange.start()
  }

  /** It has its answer: what its stream still says is heard, but nothing is resumed. */
  answered(): void {
    this.#isAnswered = true
    this.#isWanted = false
  }

  /** It was given up: neither. */
  ignore(): void {
    this.#isWanted = false
    this.#isHeard = false
  }

  /** As `ignore`, and closes our side. No event follows. */
  abort(): void {
    this.ignore()
    this.#timer?.cancel()
    this.#exchange.abort()
  }

  #open(after: string | null): HttpExchange {
    const exchange: HttpExchange = this.#options.exchange(after, {
      accepted: () => (this.#failures = 0),
      message: (text) => {
        if (this.#isHeard) this.#events.message(text)
      },
      ended: (end) => this.#onEnded(exchange, end),
    })
    return exchange
  }

  #onEnded({ lastEventId, retryMs, hasHead }: HttpExchange, end: ExchangeEnd): void {
    this.#lastEventId = lastEventId ?? this.#lastEventId
    this.#retryMs = retryMs ?? this.#retryMs
    if (!this.#isWanted || this.#lastEventId === null) return this.#events.ended(end)
    if (end.kind === 'refused' || !hasHead) this.#failures += 1
    const { resumeFailuresMax, resumeDelayMs, resumeDelayMinMs, resumeDelayMaxMs } = this.#options.limits
    if (isFinal(end) || this.#failures > resumeFailuresMax) return this.#events.ended({ kind: 'not-resumed', why: end })
    const delayMs = Math.min(resumeDelayMaxMs, Math.max(resumeDelayMinMs, this.#retryMs ?? resumeDelayMs))
    this.#isResumed = true
    this.#timer = this.#options.clock.after(delayMs, () => {
      // A waiting cancel still needs the request to be there, but not its stream.
      if (!this.#isWanted) return
      this.#exchange = this.#open(this.#lastEventId)
      this.#exchange.start()
    })
  }
}

/** A message that is too large would be the next one again. Of refusals some are over later. */
function isFinal(end: ExchangeEnd): boolean {
  return end.kind === 'too-large' || (end.kind === 'refused' && !isPassing(end.status))
}

/** Whether a refusal with that status may be over later. */
export function isPassing(status: number): boolean {
  return status >= 500 || [408, 409, 425, 429].includes(status)
}
