import type { ServerResponse } from 'node:http'
import type { Clock, Timer } from '../std/clock.ts'
import type { JsonText } from '../std/json-text.ts'
import { EventStream } from './event-stream.ts'
import type { GatewayLimits } from './limits.ts'

/**
 * The answer to one call on its own POST. It is plain JSON (one write, the cheapest) as long as nothing but the result
 * is to be said; a progress token, the first notification or a long wait turns it into an event stream, for good.
 * A call that its client cancelled gets no answer: its stream ends empty, which is also how a JSON one is answered then.
 */
export type CallAnswerOptions = {
  readonly res: ServerResponse
  readonly clock: Clock
  readonly limits: Pick<GatewayLimits, 'keepAliveMs' | 'streamAfterMs' | 'streamBytesMax'>
  /** The client closed its connection, or does not read, before the answer was complete. Said at most once. */
  lost(why: 'gone' | 'slow'): void
}

export class CallAnswer {
  readonly #options: CallAnswerOptions
  readonly #patience: Timer
  #stream: EventStream | null = null
  #done = false

  constructor(options: CallAnswerOptions) {
    this.#options = options
    this.#patience = options.clock.after(options.limits.streamAfterMs, () => this.openStream())
    options.res.once('close', () => this.#lose('gone'))
  }

  /** Sends the headers now. */
  openStream(): void {
    if (this.#done || this.#stream !== null) return
    const { res, clock, limits } = this.#options
    this.#patience.cancel()
    this.#stream = new EventStream({
      res,
      clock,
      keepAliveMs: limits.keepAliveMs,
      bytesMax: limits.streamBytesMax,
      overflowed: () => this.#lose('slow'),
    })
  }

  notify(message: JsonText): void {
    this.openStream()
    if (!this.#done) this.#stream?.send(message)
  }

  /** The last word. */
  finish(message: JsonText): void {
    if (!this.#end()) return
    if (this.#stream === null) sendJson(this.#options.res, message)
    else {
      this.#stream.send(message)
      this.#stream.end()
    }
  }

  finishWithoutAnswer(): void {
    this.openStream()
    if (this.#end()) this.#stream?.end()
  }

  #lose(why: 'gone' | 'slow'): void {
    if (this.#end()) this.#options.lost(why)
  }

  /** False when the answer is over already. */
  #end(): boolean {
    if (this.#done) return false
    this.#done = true
    this.#patience.cancel()
    return true
  }
}

export function sendJson(
  res: ServerResponse,
  body: JsonText,
  options: { readonly status?: number; readonly headers?: Readonly<Record<string, string>> } = {},
): void {
  const bytes = Buffer.from(body)
  res.writeHead(options.status ?? 200, {
    'Content-Type': 'application/json',
    'Content-Length': bytes.length,
    ...options.headers,
  })
  res.end(bytes)
}
