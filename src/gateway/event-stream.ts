import type { ServerResponse } from 'node:http'
import type { Clock, Timer } from '../std/clock.ts'

/**
 * One Server-Sent-Events response: headers at once, a comment in silence, and a bound on what may wait for a client that
 * does not read. What its events' ids mean is not its business.
 */
export type EventStreamOptions = {
  readonly res: ServerResponse
  readonly clock: Clock
  readonly keepAliveMs: number
  readonly bytesMax: number
  readonly headers?: Readonly<Record<string, string>>
  /** The client does not read: the stream was closed by us. */
  overflowed(): void
}

export class EventStream {
  readonly #options: EventStreamOptions
  #timer: Timer
  #open = true

  constructor(options: EventStreamOptions) {
    this.#options = options
    const { res } = options
    res.writeHead(200, {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-cache, no-transform',
      'X-Accel-Buffering': 'no',
      ...options.headers,
    })
    res.flushHeaders()
    res.once('close', () => this.#close())
    this.#timer = this.#armKeepAlive()
  }

  /** `id`: null for an event that nothing can be resumed from. */
  send(message: string, id: string | null = null): void {
    this.#sendEvent(`event: message\n${id === null ? '' : `id: ${id}\n`}${dataLines(message)}\n`)
  }

  /** An event without data, from which the client can come back before it has been told anything. */
  prime(id: string): void {
    this.#sendEvent(`id: ${id}\ndata: \n\n`)
  }

  /** After how many ms a client that loses the stream is to come back. */
  retry(ms: number): void {
    this.#sendEvent(`retry: ${ms}\n\n`)
  }

  /** An event of another type than messages. */
  sendAs(type: string, data: string): void {
    this.#sendEvent(`event: ${type}\n${dataLines(data)}\n`)
  }

  end(): void {
    if (!this.#open) return
    this.#close()
    this.#options.res.end()
  }

  #sendEvent(text: string): void {
    if (!this.#open || !this.#write(text)) return
    this.#timer.cancel()
    this.#timer = this.#armKeepAlive()
  }

  /** False when the client was cut off for not reading. A single message may be as large as it is. */
  #write(text: string): boolean {
    const { res, bytesMax } = this.#options
    if (res.writableLength > bytesMax) {
      this.#close()
      res.destroy()
      this.#options.overflowed()
      return false
    }
    res.write(text)
    return true
  }

  #close(): void {
    this.#open = false
    this.#timer.cancel()
  }

  #armKeepAlive(): Timer {
    const { clock, keepAliveMs } = this.#options
    return clock.after(keepAliveMs, () => {
      if (this.#write(': keep-alive\n\n')) this.#timer = this.#armKeepAlive()
    })
  }
}

/** A line break in JSON stands between tokens only, so it does not matter which one the client puts back. */
function dataLines(message: string): string {
  if (!/[\r\n]/.test(message)) return `data: ${message}\n`
  return message
    .split(/\r\n|\r|\n/)
    .map((line) => `data: ${line}\n`)
    .join('')
}
