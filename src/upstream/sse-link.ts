import { OperatingError, type ErrorCode, type Retry } from '../vocabulary/operating-error.ts'
import type { Timer } from '../std/clock.ts'
import { mediaType, type ExchangeEnd, type HttpExchange } from './http-exchange.ts'
import type { HttpServer, HttpServerOptions } from './http-server.ts'
import { HttpTells } from './http-tells.ts'
import type { Link, LinkEnd, LinkEvents, LinkFailure } from './link.ts'

/**
 * One session over HTTP+SSE, of revision 2024-11-05: one event stream brings everything, first of all the path to which
 * every message is posted. The session ends with its stream. Redirects are not followed, and messages only go where the
 * stream came from. Configured headers and URLs are never logged.
 */
export class SseLink implements Link {
  readonly hasSession = true
  readonly hasStreams = false
  readonly #options: HttpServerOptions
  readonly #server: HttpServer
  readonly #events: LinkEvents
  readonly #stream: HttpExchange
  /** Requests that have been sent and have no answer yet. */
  readonly #unanswered = new Set<number>()
  /** Of requests, by their ids. */
  readonly #posts = new Map<number, HttpExchange>()
  /** Of all else, with what its end settles. */
  readonly #others = new Map<HttpExchange, () => void>()
  readonly #tells: HttpTells
  /** Requests that wait for the endpoint, in their order. Before the handshake there is one. */
  readonly #waiting = new Map<number, string>()
  readonly #timers = new Set<Timer>()
  #endpoint: string | null = null
  #protocolVersion: string | null = null
  #hasEnded = false
  #isClosed = false

  constructor(options: HttpServerOptions, server: HttpServer, events: LinkEvents) {
    this.#options = options
    this.#server = server
    this.#events = events
    this.#tells = new HttpTells({
      ...options,
      post: (text) => (this.#endpoint === null ? Promise.resolve(null) : this.#tell(text, this.#endpoint)),
      pause: (ms) => new Promise((resolve) => this.#after(ms, resolve)),
      failed: (reason) => this.#end({ kind: 'unreachable', reason }),
    })
    this.#stream = server.exchange(
      { method: 'GET', body: null, headers: {}, pool: 'streams' },
      {
        accepted: (headers) => {
          if (mediaType(headers) !== 'text/event-stream')
            this.#end(dead('answered its event stream with something else'))
        },
        other: (kind, data) => {
          if (kind === 'endpoint') this.#onEndpoint(data)
        },
        message: (text) => this.#events.message(text, null),
        ended: (end) => this.#onStreamEnded(streamEndClause(end)),
      },
    )
    this.#stream.start()
  }

  request(id: number, text: string): void {
    if (this.#hasEnded) this.#events.failed(id, this.#failed('not-sent', 'server-unavailable', 'has no event stream'))
    else if (this.#endpoint === null) this.#waiting.set(id, text)
    else this.#post(id, text, this.#endpoint)
  }

  async tell(text: string): Promise<void> {
    if (!this.#hasEnded && this.#endpoint !== null) await this.#tells.tell(text)
  }

  /** One whose stream is kept, though it takes no new request, still has open questions. */
  answer(text: string): void {
    if (this.#endpoint !== null) this.#tells.answer(text)
  }

  abandon(id: number, cancelText: string): 'withdrawn' | 'sent' {
    if (this.#waiting.delete(id)) return 'withdrawn'
    this.#unanswered.delete(id)
    const post = this.#posts.get(id)
    this.#posts.delete(id)
    if (post !== undefined && !post.isSent) {
      post.abort()
      return 'withdrawn'
    }
    const path = this.#endpoint
    if (this.#hasEnded || path === null) return 'sent'
    if (this.#others.size >= this.#options.limits.callsInFlightMax) {
      this.#options.log.warn('upstream-message-dropped', { reason: 'too many are under way' })
      post?.abort()
      return 'sent'
    }
    if (post !== undefined) this.#others.set(post, () => undefined)
    const cancel = async (): Promise<void> => {
      await this.#tell(cancelText, path)
      if (post === undefined) return
      this.#others.delete(post)
      post.abort()
    }
    // They travel on different connections: the cancel must not overtake its request.
    if (post === undefined || post.hasHead) void cancel()
    else this.#after(this.#options.limits.cancelDelayMs, () => void cancel())
    return 'sent'
  }

  release(id: number): void {
    this.#unanswered.delete(id)
    // The answer may overtake the acknowledgement of its request, which nobody waits for any more.
    const post = this.#posts.get(id)
    if (post === undefined) return
    this.#posts.delete(id)
    const timer = this.#after(this.#options.limits.lingerMs, () => {
      this.#others.delete(post)
      post.abort()
    })
    this.#others.set(post, () => this.#cancel(timer))
  }

  negotiated(protocolVersion: string): void {
    this.#protocolVersion = protocolVersion
  }

  listen(): void {
    // The one stream carries everything.
  }

  close(): Promise<void> {
    this.#isClosed = true
    this.#tells.close()
    this.#end(dead('was stopped'))
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
    for (const post of this.#posts.values()) post.abort()
    this.#posts.clear()
    for (const [post, settle] of this.#others) {
      post.abort()
      settle()
    }
    this.#others.clear()
    return Promise.resolve()
  }

  #onEndpoint(data: string): void {
    const { url } = this.#server
    if (this.#hasEnded || this.#endpoint !== null) return
    const endpoint = URL.canParse(data, url.href) ? new URL(data, url) : null
    // Whoever can make the server name another place must not learn what is sent there, headers and all.
    if (endpoint?.origin !== url.origin) return this.#end(dead('named an endpoint that is not its own'))
    this.#endpoint = `${endpoint.pathname}${endpoint.search}`
    for (const [id, text] of this.#waiting) this.#post(id, text, this.#endpoint)
    this.#waiting.clear()
  }

  /** Whoever takes new requests now, those that were sent here are answered nowhere else. */
  #onStreamEnded(clause: string): void {
    const isRetired = this.#hasEnded
    this.#end(dead(clause))
    if (!isRetired) return
    const lost = [...this.#unanswered]
    this.#unanswered.clear()
    for (const id of lost) this.#events.failed(id, this.#failed('unknown', 'outcome-unknown', clause))
  }

  #post(id: number, text: string, path: string): void {
    const post: HttpExchange = this.#exchange(text, path, (end) => {
      this.#others.get(post)?.()
      this.#others.delete(post)
      if (this.#posts.get(id) !== post) return
      this.#posts.delete(id)
      const failure = this.#failure(end)
      if (failure === null || !this.#unanswered.delete(id)) return
      this.#events.failed(id, failure)
    })
    this.#posts.set(id, post)
    this.#unanswered.add(id)
    post.start()
  }

  /** Ends in any case within its time (null). */
  #tell(text: string, path: string): Promise<ExchangeEnd | null> {
    if (this.#isClosed) return Promise.resolve(null)
    return new Promise((resolve) => {
      const settle = (end: ExchangeEnd | null): void => {
        this.#cancel(timer)
        this.#others.delete(post)
        resolve(end)
      }
      const post = this.#exchange(text, path, (end) => {
        this.#failure(end)
        settle(end)
      })
      const timer = this.#after(this.#options.limits.tellTimeoutMs, () => {
        post.abort()
        settle(null)
      })
      this.#others.set(post, () => settle(null))
      post.start()
    })
  }

  #exchange(body: string, path: string, ended: (end: ExchangeEnd) => void): HttpExchange {
    const version = this.#protocolVersion
    const headers: Record<string, string> = version === null ? {} : { 'mcp-protocol-version': version }
    return this.#server.exchange(
      { method: 'POST', body, headers, path, pool: 'calls' },
      { accepted: () => undefined, message: () => undefined, ended },
    )
  }

  /** Null: the request was taken, and its answer comes on the stream. */
  #failure(end: ExchangeEnd): LinkFailure | null {
    switch (end.kind) {
      case 'done':
        return null
      case 'not-sent':
        return this.#failed('not-sent', 'server-unavailable', `can not be reached (${end.reason})`)
      case 'broken':
      case 'too-large':
        return this.#failed('unknown', 'outcome-unknown', `broke off when it was asked (${end.reason})`)
      case 'refused':
        if (end.status === 404) {
          this.#end({ kind: 'session-lost', reason: 'has forgotten the session' })
          return { kind: 'session-lost' }
        }
        if (end.status < 500) return this.#failed('rejected', 'server-failed', `refused with HTTP status ${end.status}`)
        return this.#failed('unknown', 'outcome-unknown', `answered with HTTP status ${end.status}`)
    }
  }

  #failed(kind: 'not-sent' | 'rejected' | 'unknown', code: ErrorCode, clause: string): LinkFailure {
    const retry: Retry = kind === 'unknown' ? 'outcome-unknown' : 'elsewhere'
    return { kind, error: new OperatingError(code, `server ${this.#options.server.name} ${clause}`, { retry }) }
  }

  /** A link whose session is lost keeps its stream: what is under way may still be answered. */
  #end(end: LinkEnd): void {
    if (end.kind === 'dead') this.#stream.abort()
    if (this.#hasEnded) return
    this.#hasEnded = true
    for (const id of this.#waiting.keys())
      this.#events.failed(id, this.#failed('not-sent', 'server-unavailable', end.reason))
    this.#waiting.clear()
    this.#events.ended(end)
  }

  #after(ms: number, run: () => void): Timer {
    const timer = this.#options.clock.after(ms, () => {
      this.#timers.delete(timer)
      run()
    })
    this.#timers.add(timer)
    return timer
  }

  #cancel(timer: Timer): void {
    timer.cancel()
    this.#timers.delete(timer)
  }
}

function dead(reason: string): LinkEnd {
  return { kind: 'dead', reason }
}

function streamEndClause(end: ExchangeEnd): string {
  switch (end.kind) {
    case 'done':
      return 'closed its event stream'
    case 'not-sent':
      return `can not be reached (${end.reason})`
    case 'refused':
      return `refused its event stream with HTTP status ${end.status}`
    case 'broken':
    case 'too-large':
      return `broke its event stream off (${end.reason})`
  }
}
