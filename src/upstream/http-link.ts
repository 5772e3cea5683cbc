import { Pool } from 'undici'
import { OperatingError, type ErrorCode, type Retry } from '../vocabulary/operating-error.ts'
import { unreachable } from '../std/assert.ts'
import { Backoff } from '../std/backoff.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { Log } from '../log/log.ts'
import { HttpExchange, type ExchangeEnd, type ExchangeEvents } from './http-exchange.ts'
import type { UpstreamLimits } from './limits.ts'
import type { Link, LinkEnd, LinkEvents, LinkFailure, LinkSource } from './link.ts'
import type { UpstreamServer } from './upstream.ts'

/**
 * One Streamable HTTP session: every message is a POST of its own, every request has a stream of its own, and one GET
 * stream brings what belongs to no request. A stream that ends without its answer fails its request at once; nothing is
 * resumed. Redirects are not followed. Configured headers and URLs are never logged.
 */
export type HttpLinkOptions = {
  readonly server: UpstreamServer
  readonly link: Extract<UpstreamServer['link'], { kind: 'http' }>
  readonly log: Log
  readonly clock: Clock
  readonly random: Random
  readonly limits: UpstreamLimits
}

/** All sessions with a server share one pool of connections. */
export function httpLinks(options: HttpLinkOptions): LinkSource {
  const { link, limits } = options
  const headers = Object.fromEntries(
    Object.entries(link.headers)
      .map(([name, value]): [string, string] => [name.toLowerCase(), value])
      .filter(([name]) => !ownHeaders.has(name)),
  )
  let pool: Pool | null = null
  return {
    open(events) {
      const url = new URL(link.url)
      pool ??= new Pool(url.origin, {
        connections: 2 * limits.callsInFlightMax + limits.tellsInFlightMax + 1,
        connect: { timeout: limits.connectTimeoutMs },
        headersTimeout: 0,
        bodyTimeout: 0,
      })
      return new HttpLink({ ...options, pool, headers, path: `${url.pathname}${url.search}` }, events)
    },
    async close() {
      await pool?.destroy()
    },
  }
}

type SessionOptions = HttpLinkOptions & {
  readonly pool: Pool
  /** Path and query. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}

/** What this side of the protocol says itself, or leaves to the HTTP client. */
const ownHeaders = new Set([
  'accept',
  'connection',
  'content-length',
  'content-type',
  'expect',
  'keep-alive',
  'mcp-protocol-version',
  'mcp-session-id',
  'transfer-encoding',
  'upgrade',
])

const sessionIdPattern = /^[\x21-\x7e]{1,1024}$/

class HttpLink implements Link {
  readonly hasStreams = true
  readonly #options: SessionOptions
  readonly #events: LinkEvents
  readonly #requests = new Map<number, HttpExchange>()
  /** All that is no awaited request, with what its end settles. */
  readonly #others = new Map<HttpExchange, () => void>()
  /** Answered requests whose stream is still open. */
  readonly #lingering = new Map<number, Timer>()
  readonly #timers = new Set<Timer>()
  readonly #listenBackoff: Backoff
  #sessionId: string | null = null
  #protocolVersion: string | null = null
  #tells = 0
  #cancels = 0
  #hasListened = false
  #hasEnded = false
  #isForgotten = false
  /** Under way. */
  #check: Promise<void> | null = null
  #isClosed = false

  constructor(options: SessionOptions, events: LinkEvents) {
    this.#options = options
    this.#events = events
    this.#listenBackoff = new Backoff({ minMs: 1000, maxMs: options.limits.restartDelayMaxMs }, options.random)
  }

  get hasSession(): boolean {
    return this.#sessionId !== null
  }

  request(id: number, text: string): void {
    const exchange = this.#exchange(
      { method: 'POST', body: text },
      {
        accepted: () => undefined,
        message: (message) => this.#events.message(message, id),
        ended: (end) => {
          const isAnswered = this.#lingering.has(id)
          this.#forget(id)
          if (!isAnswered) void this.#fail(id, end)
        },
      },
    )
    this.#requests.set(id, exchange)
    exchange.start()
  }

  async tell(text: string): Promise<void> {
    if (this.#tells >= this.#options.limits.tellsInFlightMax) {
      this.#dropped()
      return
    }
    this.#tells += 1
    await this.#perform({ method: 'POST', body: text })
    this.#tells -= 1
  }

  abandon(id: number, cancelText: string): 'withdrawn' | 'sent' {
    const exchange = this.#requests.get(id)
    if (exchange === undefined) return 'sent'
    this.#requests.delete(id)
    if (!exchange.isSent) {
      exchange.abort()
      return 'withdrawn'
    }
    if (this.#cancels >= this.#options.limits.callsInFlightMax) {
      this.#dropped()
      exchange.abort()
      return 'sent'
    }
    this.#cancels += 1
    this.#others.set(exchange, () => undefined)
    const cancel = async (): Promise<void> => {
      if (this.#isClosed) return
      await this.#perform({ method: 'POST', body: cancelText })
      this.#cancels -= 1
      this.#others.delete(exchange)
      exchange.abort()
    }
    // Requests and cancels travel on different connections: the cancel must not overtake its request.
    if (exchange.hasHead) void cancel()
    else this.#after(this.#options.limits.cancelDelayMs, () => void cancel())
    return 'sent'
  }

  release(id: number): void {
    // Servers close the stream after the answer; one that does not is not waited for.
    const timer = this.#options.clock.after(this.#options.limits.lingerMs, () => {
      this.#requests.get(id)?.abort()
      this.#forget(id)
    })
    this.#lingering.set(id, timer)
  }

  negotiated(protocolVersion: string): void {
    this.#protocolVersion = protocolVersion
  }

  listen(): void {
    if (this.#isClosed || this.#hasEnded) return
    const exchange = this.#exchange(
      { method: 'GET', body: null },
      {
        accepted: () => {
          this.#listenBackoff.reset()
          if (this.#hasListened) this.#events.missed()
          this.#hasListened = true
        },
        message: (text) => this.#events.message(text, null),
        ended: (end) => {
          this.#others.delete(exchange)
          this.#listenAgain(end)
        },
      },
    )
    this.#others.set(exchange, () => undefined)
    exchange.start()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    const endsSession = this.#sessionId !== null && !this.#hasEnded
    this.#hasEnded = true
    this.#isClosed = true
    for (const timer of [...this.#timers, ...this.#lingering.values()]) timer.cancel()
    this.#timers.clear()
    this.#lingering.clear()
    for (const exchange of this.#requests.values()) exchange.abort()
    this.#requests.clear()
    for (const [exchange, settle] of this.#others) {
      exchange.abort()
      settle()
    }
    this.#others.clear()
    if (endsSession) await this.#perform({ method: 'DELETE', body: null, timeoutMs: this.#options.limits.exitGraceMs })
  }

  #listenAgain(end: ExchangeEnd): void {
    if (end.kind === 'not-sent') {
      this.#end({ kind: 'unreachable', reason: `can not be reached (${end.reason})` })
      return
    }
    if (end.kind === 'refused') {
      if (this.#isSessionLost(end)) {
        this.#end(sessionLost)
        return
      }
      if (this.#isDoubtful(end)) void this.#checkSession()
      // 405 and the like: the server has no such stream. Others may be over later.
      if (end.status < 500 && ![408, 409, 425, 429].includes(end.status)) return
    }
    this.#after(this.#listenBackoff.next(), () => this.listen())
  }

  /** One message that nobody waits for an answer to; ends in any case within its time. */
  #perform(request: { method: 'POST' | 'DELETE'; body: string | null; timeoutMs?: number }): Promise<void> {
    return new Promise((resolve) => {
      const settle = (): void => {
        timer.cancel()
        this.#others.delete(exchange)
        resolve()
      }
      const exchange = this.#exchange(request, {
        accepted: () => undefined,
        message: () => undefined,
        ended: (end) => {
          const isLost = this.#isSessionLost(end) || (request.body === sessionCheck && this.#isDoubtful(end))
          if (request.method === 'POST' && isLost) this.#end(sessionLost)
          settle()
        },
      })
      const timer = this.#options.clock.after(request.timeoutMs ?? this.#options.limits.tellTimeoutMs, () => {
        exchange.abort()
        settle()
      })
      this.#others.set(exchange, settle)
      exchange.start()
    })
  }

  #exchange(request: { method: 'POST' | 'GET' | 'DELETE'; body: string | null }, events: ExchangeEvents): HttpExchange {
    const { pool, path, limits } = this.#options
    const headers: Record<string, string> = {
      ...this.#options.headers,
      accept: request.method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream',
    }
    if (request.body !== null) headers['content-type'] = 'application/json'
    if (this.#sessionId !== null) headers['mcp-session-id'] = this.#sessionId
    if (this.#protocolVersion !== null) headers['mcp-protocol-version'] = this.#protocolVersion
    return new HttpExchange(
      { pool, path, ...request, headers, messageBytesMax: limits.messageBytesMax, refusalBytesMax: 0 },
      {
        ...events,
        accepted: (responseHeaders) => {
          const sessionId = responseHeaders['mcp-session-id']
          if (this.#protocolVersion === null && typeof sessionId === 'string' && sessionIdPattern.test(sessionId))
            this.#sessionId = sessionId
          events.accepted(responseHeaders)
        },
      },
    )
  }

  async #fail(id: number, end: ExchangeEnd): Promise<void> {
    if (this.#isDoubtful(end)) await this.#checkSession()
    this.#events.failed(id, this.#failure(end))
  }

  /** Many servers say 400 instead of 404 when they have forgotten the session. A ping tells whether that was meant. */
  #isDoubtful(end: ExchangeEnd): boolean {
    return end.kind === 'refused' && end.status === 400 && this.#sessionId !== null
  }

  #checkSession(): Promise<void> {
    if (this.#hasEnded) return Promise.resolve()
    this.#check ??= this.#perform({ method: 'POST', body: sessionCheck }).finally(() => (this.#check = null))
    return this.#check
  }

  #failure(end: ExchangeEnd): LinkFailure {
    switch (end.kind) {
      case 'done':
        return this.#failed('unknown', 'outcome-unknown', 'ended its answer without a result')
      case 'broken':
        return this.#failed('unknown', 'outcome-unknown', `broke off before its answer (${end.reason})`)
      case 'not-sent': {
        const reason = `can not be reached (${end.reason})`
        this.#end({ kind: 'unreachable', reason })
        return this.#failed('not-sent', 'server-unavailable', reason)
      }
      case 'refused':
        return this.#refusal(end)
      default:
        return unreachable(end)
    }
  }

  #refusal(end: Extract<ExchangeEnd, { kind: 'refused' }>): LinkFailure {
    if (this.#isSessionLost(end)) {
      this.#end(sessionLost)
      return { kind: 'session-lost' }
    }
    if (this.#isForgotten && this.#isDoubtful(end)) return { kind: 'session-lost' }
    // A 5xx may come after the work, from the server or from what stands before it; so may a redirect that does not ask
    // for the same request again.
    if ((end.status >= 400 && end.status < 500) || end.status === 307 || end.status === 308)
      return this.#failed('rejected', 'server-failed', `refused with HTTP status ${end.status}`)
    return this.#failed('unknown', 'outcome-unknown', `answered with HTTP status ${end.status}`)
  }

  #failed(kind: 'not-sent' | 'rejected' | 'unknown', code: ErrorCode, clause: string): LinkFailure {
    const retry: Retry = kind === 'unknown' ? 'outcome-unknown' : 'elsewhere'
    return { kind, error: new OperatingError(code, `server ${this.#options.server.name} ${clause}`, { retry }) }
  }

  #isSessionLost(end: ExchangeEnd): boolean {
    return end.kind === 'refused' && end.status === 404 && this.#sessionId !== null
  }

  #end(end: LinkEnd): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#isForgotten = end === sessionLost
    this.#events.ended(end)
  }

  #dropped(): void {
    this.#options.log.warn('upstream-message-dropped', { reason: 'too many are under way' })
  }

  #forget(id: number): void {
    this.#requests.delete(id)
    this.#lingering.get(id)?.cancel()
    this.#lingering.delete(id)
  }

  #after(ms: number, run: () => void): void {
    if (this.#isClosed) return
    const timer = this.#options.clock.after(ms, () => {
      this.#timers.delete(timer)
      run()
    })
    this.#timers.add(timer)
  }
}

/** Its id is no number, so that it is none of a request. */
const sessionCheck = `{"jsonrpc":"2.0","id":"session-check","method":"ping"}`

const sessionLost: LinkEnd = { kind: 'session-lost', reason: 'has forgotten the session' }
