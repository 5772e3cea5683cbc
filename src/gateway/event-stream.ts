import type { ServerResponse } from 'node:http'
import type { Clock, Timer } from '../std/clock.ts'

/**
 * One Server-Sent-Events response: headers at once, a comment in silence, and a bound on what may wait for a client that
 * does not read. It carries no event ids: nothing is resumable, a broken stream is a lost stream.
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

  send(message: string): void {
    if (!this.#open || !this.#write(`event: message\n${dataLines(message)}\n`)) return
    this.#timer.cancel()
    this.#timer = this.#armKeepAlive()
  }

  end(): void {
    if (!this.#open) return
    this.#close()
    this.#options.res.end()
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
