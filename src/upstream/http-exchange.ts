import type { IncomingHttpHeaders } from 'node:http'
import { createParser, type EventSourceParser } from 'eventsource-parser'
import type { Dispatcher, Pool } from 'undici'

/**
 * One HTTP request and its answer, read as the messages in it: one JSON body, or the events of a stream. Says exactly once
 * how it ended, and whether any byte of the request can have left this node. Bodies of refusals are not kept.
 */
export type ExchangeRequest = {
  readonly pool: Pool
  readonly path: string
  readonly method: 'POST' | 'GET' | 'DELETE'
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | null
  readonly messageBytesMax: number
}

export type ExchangeEvents = {
  /** The head of a 2xx answer is here. */
  accepted(headers: IncomingHttpHeaders): void
  message(text: string): void
  ended(end: ExchangeEnd): void
}

export type ExchangeEnd =
  | { readonly kind: 'done' }
  /** Redirects are among them: none is followed. */
  | { readonly kind: 'refused'; readonly status: number }
  /** One clause without secrets. */
  | { readonly kind: 'not-sent' | 'broken'; readonly reason: string }

type Controller = Parameters<NonNullable<Dispatcher.DispatchHandler['onRequestStart']>>[0]

export class HttpExchange {
  readonly #request: ExchangeRequest
  readonly #events: ExchangeEvents
  #controller: Controller | null = null
  #body: Body | null = null
  #hasHead = false
  #hasEnded = false

  constructor(request: ExchangeRequest, events: ExchangeEvents) {
    this.#request = request
    this.#events = events
  }

  /** Bytes of it may have left; before that it can still be taken back. */
  get isSent(): boolean {
    return this.#controller !== null
  }

  get hasHead(): boolean {
    return this.#hasHead
  }

  start(): void {
    const { pool, path, method, headers, body } = this.#request
    pool.dispatch(
      { path, method, headers, body },
      {
        onRequestStart: (controller) => {
          if (this.#hasEnded) controller.abort(new Error('given up'))
          else this.#controller = controller
        },
        onResponseStart: (_controller, status, responseHeaders) => this.#onHead(status, responseHeaders),
        onResponseData: (_controller, chunk) => this.#onData(chunk),
        onResponseEnd: () => this.#onEnd(),
        onResponseError: (_controller, error) => {
          const reason = nameOf(error)
          this.#end(this.isSent ? { kind: 'broken', reason } : { kind: 'not-sent', reason })
        },
      },
    )
  }

  /** Closes our side. No event follows. */
  abort(): void {
    this.#hasEnded = true
    this.#controller?.abort(new Error('given up'))
  }

  #onHead(status: number, headers: IncomingHttpHeaders): void {
    if (this.#hasEnded || status < 200) return
    this.#hasHead = true
    if (status >= 300) {
      this.#breakOff({ kind: 'refused', status })
      return
    }
    this.#body = makeBody(headers['content-type'] ?? '', {
      bytesMax: this.#request.messageBytesMax,
      message: (text) => {
        if (!this.#hasEnded) this.#events.message(text)
      },
    })
    this.#events.accepted(headers)
  }

  #onData(chunk: Buffer): void {
    if (this.#hasEnded || this.#body === null) return
    if (!this.#body.feed(chunk))
      this.#breakOff({ kind: 'broken', reason: `a message of more than ${this.#request.messageBytesMax} bytes` })
  }

  #onEnd(): void {
    if (this.#hasEnded) return
    this.#body?.finish()
    this.#end({ kind: 'done' })
  }

  #breakOff(end: ExchangeEnd): void {
    this.#end(end)
    this.#controller?.abort(new Error('given up'))
  }

  #end(end: ExchangeEnd): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#events.ended(end)
  }
}

/** Reads a body; `feed` is false when a message grew too large. */
type Body = { feed(chunk: Buffer): boolean; finish(): void }
type BodyOptions = { readonly bytesMax: number; readonly message: (text: string) => void }

function makeBody(contentType: string, options: BodyOptions): Body | null {
  const type = contentType.split(';')[0]?.trim().toLowerCase()
  if (type === 'text/event-stream') return eventBody(options)
  if (type === 'application/json') return jsonBody(options)
  return null
}

function jsonBody({ bytesMax, message }: BodyOptions): Body {
  const chunks: Buffer[] = []
  let bytes = 0
  return {
    feed(chunk) {
      bytes += chunk.length
      if (bytes > bytesMax) return false
      chunks.push(chunk)
      return true
    },
    finish() {
      if (bytes > 0) message(Buffer.concat(chunks).toString('utf8'))
    },
  }
}

function eventBody({ bytesMax, message }: BodyOptions): Body {
  let isTooLong = false
  const decoder = new TextDecoder()
  const parser: EventSourceParser = createParser({
    maxBufferSize: bytesMax,
    onEvent: ({ event, data }) => {
      // The parser bounds only what it has to hold: an event within one chunk is none of it.
      if (data.length > bytesMax) isTooLong = true
      // The event that only carries an id to resume from has no data.
      else if (data !== '' && (event === undefined || event === 'message')) message(data)
    },
    onError: (error) => {
      if (error.type === 'max-buffer-size-exceeded') isTooLong = true
    },
  })
  return {
    feed(chunk) {
      parser.feed(decoder.decode(chunk, { stream: true }))
      return !isTooLong
    },
    finish() {
      // An event that its stream did not end is none.
    },
  }
}

/** The cause by its code: messages of network errors name addresses, and those may hold credentials. */
function nameOf(error: Error): string {
  const code = (error as NodeJS.ErrnoException).code
  return typeof code === 'string' ? code : error.name
}
