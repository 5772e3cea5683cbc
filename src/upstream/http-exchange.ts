import type { IncomingHttpHeaders } from 'node:http'
import { createParser, type EventSourceParser } from 'eventsource-parser'
import type { Dispatcher, Pool } from 'undici'
import { joinBytes } from '../std/join-bytes.ts'

/**
 * One HTTP request and its answer, read as the messages in it: one JSON body, or the events of a stream. Says exactly once
 * how it ended, and whether any byte of the request can have left this node. What a broken stream can be resumed from is
 * kept; doing so is left to others.
 */
export type ExchangeRequest = {
  readonly pool: Pool
  readonly path: string
  readonly method: 'POST' | 'GET' | 'DELETE'
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | null
  readonly messageBytesMax: number
  /** So much of a refusal's body is read and told where that is JSON; 0, and of others, its head is the end. */
  readonly refusalBytesMax: number
}

export type ExchangeEvents = {
  /** The head of a 2xx answer is here. */
  accepted(headers: IncomingHttpHeaders): void
  message(text: string): void
  /** An event of another kind than `message`. */
  other?(kind: string, data: string): void
  ended(end: ExchangeEnd): void
}

export type ExchangeEnd =
  | { readonly kind: 'done' }
  /** Redirects are among them: none is followed. */
  | { readonly kind: 'refused'; readonly status: number; readonly body: string }
  /** One clause without secrets. */
  | { readonly kind: 'not-sent' | 'broken' | 'too-large'; readonly reason: string }

type Controller = Parameters<NonNullable<Dispatcher.DispatchHandler['onRequestStart']>>[0]

export class HttpExchange {
  readonly #request: ExchangeRequest
  readonly #events: ExchangeEvents
  #controller: Controller | null = null
  #body: Body | null = null
  #refusal: Refusal | null = null
  #lastEventId: string | null = null
  #retryMs: number | null = null
  #hasHead = false
  #isWhole = false
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

  /** Nothing more comes; where its body is one message, it is told now. */
  get isWhole(): boolean {
    return this.#isWhole
  }

  /** Of the last event that had an id: what the stream can be resumed from. */
  get lastEventId(): string | null {
    return this.#lastEventId
  }

  /** The server's own word about when to come back. */
  get retryMs(): number | null {
    return this.#retryMs
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
          if (this.#refusal !== null) this.#refuse(this.#refusal)
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
      const isRead = this.#request.refusalBytesMax > 0 && mediaType(headers) === 'application/json'
      if (!isRead) this.#breakOff({ kind: 'refused', status, body: '' })
      else this.#refusal = { status, chunks: [], bytes: 0 }
      return
    }
    this.#body = makeBody(mediaType(headers), {
      bytesMax: this.#request.messageBytesMax,
      message: (text) => {
        if (!this.#hasEnded) this.#events.message(text)
      },
      other: (kind, data) => {
        if (!this.#hasEnded) this.#events.other?.(kind, data)
      },
      id: (id) => {
        if (!this.#hasEnded) this.#lastEventId = id
      },
      retry: (ms) => (this.#retryMs = ms),
    })
    this.#events.accepted(headers)
  }

  #onData(chunk: Buffer): void {
    if (this.#hasEnded) return
    if (this.#refusal !== null) this.#onRefusalData(this.#refusal, chunk)
    if (this.#body === null) return
    if (!this.#body.feed(chunk))
      this.#breakOff({ kind: 'too-large', reason: `a message of more than ${this.#request.messageBytesMax} bytes` })
  }

  #onEnd(): void {
    if (this.#hasEnded) return
    this.#isWhole = true
    if (this.#refusal !== null) this.#refuse(this.#refusal)
    this.#body?.finish()
    this.#end({ kind: 'done' })
  }

  #onRefusalData(refusal: Refusal, chunk: Buffer): void {
    const { refusalBytesMax } = this.#request
    refusal.chunks.push(chunk.subarray(0, refusalBytesMax - refusal.bytes))
    refusal.bytes += chunk.length
    if (refusal.bytes < refusalBytesMax) return
    this.#refuse(refusal)
    this.#controller?.abort(new Error('given up'))
  }

  #refuse({ status, chunks }: Refusal): void {
    this.#end({ kind: 'refused', status, body: Buffer.concat(chunks).toString('utf8') })
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
type BodyOptions = {
  readonly bytesMax: number
  readonly message: (text: string) => void
  readonly other: (kind: string, data: string) => void
  readonly id: (id: string) => void
  readonly retry: (ms: number) => void
}

/** One that is being read; what it has grown to. */
type Refusal = { readonly status: number; readonly chunks: Buffer[]; bytes: number }

export function mediaType(headers: IncomingHttpHeaders): string {
  return (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
}

function makeBody(type: string, options: BodyOptions): Body | null {
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
      if (bytes > 0) message(joinBytes(chunks).toString('utf8'))
    },
  }
}

function eventBody({ bytesMax, message, other, id: identify, retry }: BodyOptions): Body {
  let isTooLong = false
  const decoder = new TextDecoder()
  const parser: EventSourceParser = createParser({
    maxBufferSize: bytesMax,
    onRetry: retry,
    onEvent: ({ event, data, id }) => {
      // The parser bounds only what it has to hold: an event within one chunk is none of it.
      if (data.length > bytesMax) isTooLong = true
      else if (event !== undefined && event !== 'message') other(event, data)
      // The event that only carries an id to resume from has no data.
      else if (data !== '') message(data)
      if (id !== undefined && !isTooLong) identify(id)
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
