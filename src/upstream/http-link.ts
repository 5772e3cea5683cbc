import { OperatingError, type ErrorCode, type Retry } from '../vocabulary/operating-error.ts'
import { unreachable } from '../std/assert.ts'
import { Backoff } from '../std/backoff.ts'
import { ChurningMap } from '../std/churning-map.ts'
import type { Timer } from '../std/clock.ts'
import { isObject } from '../std/is-object.ts'
import type { ExchangeEnd, ExchangeEvents, HttpExchange } from './http-exchange.ts'
import { HttpRequest, isPassing, type RequestEnd } from './http-request.ts'
import type { HttpServer, HttpServerOptions } from './http-server.ts'
import { HttpTells } from './http-tells.ts'
import { parseObject } from './json-rpc.ts'
import type { Link, LinkEnd, LinkEvents, LinkFailure } from './link.ts'

/**
 * One Streamable HTTP session: every message is a POST of its own, every request has a stream of its own, and one GET
 * stream brings what belongs to no request. A stream that ends without its answer fails its request at once, unless the
 * server said from what it can be resumed. Redirects are not followed. Configured headers and URLs are never logged.
 */
const sessionIdPattern = /^[\x21-\x7e]{1,1024}$/

export class HttpLink implements Link {
  readonly hasStreams = true
  readonly #options: HttpServerOptions
  readonly #server: HttpServer
  readonly #events: LinkEvents
  readonly #requests = new ChurningMap<number, HttpRequest>()
  /** All that is no awaited request, with what its end settles. */
  readonly #others = new Map<HttpExchange | HttpRequest, () => void>()
  /** Answered requests whose stream is still open. */
  readonly #lingering = new Map<number, Timer>()
  readonly #timers = new Set<Timer>()
  readonly #listenBackoff: Backoff
  readonly #tells: HttpTells
  #sessionId: string | null = null
  #protocolVersion: string | null = null
  #cancels = 0
  #hasListened = false
  /** What the GET stream can be resumed from. */
  #heardId: string | null = null
  #hasEnded = false
  #isForgotten = false
  /** Under way. */
  #check: Promise<unknown> | null = null
  #isClosed = false

  constructor(options: HttpServerOptions, server: HttpServer, events: LinkEvents) {
    this.#options = options
    this.#server = server
    this.#events = events
    const { listenDelayMinMs: minMs, restartDelayMaxMs: maxMs } = options.limits
    this.#listenBackoff = new Backoff({ minMs, maxMs }, options.random)
    this.#tells = new HttpTells({
      ...options,
      post: (text) => this.#perform({ method: 'POST', body: text }),
      pause: (ms) => new Promise((resolve) => this.#after(ms, resolve)),
      failed: (reason) => this.#end({ kind: 'unreachable', reason }),
    })
  }

  get hasSession(): boolean {
    return this.#sessionId !== null
  }

  request(id: number, text: string): void {
    const { clock, limits } = this.#options
    const exchange = (after: string | null, events: ExchangeEvents): HttpExchange =>
      this.#exchange(after === null ? { method: 'POST', body: text } : { method: 'GET', after, pool: 'calls' }, events)
    const request = new HttpRequest(
      { exchange, clock, limits },
      {
        message: (message) => this.#events.message(message, id),
        ended: (end) => {
          this.#forget(id)
          if (request.isAnswered) return
          // Whatever the status says, it is what the server made for its client.
          if (end.kind === 'refused' && isErrorOf(id, end.body)) this.#events.message(end.body, id)
          else void this.#fail(id, end)
        },
      },
    )
    this.#requests.set(id, request)
    request.start()
  }

  tell(text: string): Promise<void> {
    return this.#tells.tell(text)
  }

  answer(text: string): void {
    this.#tells.answer(text)
  }

  abandon(id: number, cancelText: string): 'withdrawn' | 'sent' {
    const request = this.#requests.get(id)
    if (request === undefined) return 'sent'
    this.#requests.delete(id)
    if (!request.isSent) {
      request.abort()
      return 'withdrawn'
    }
    if (this.#cancels >= this.#options.limits.callsInFlightMax) {
      this.#options.log.warn('upstream-message-dropped', { reason: 'too many are under way' })
      request.abort()
      return 'sent'
    }
    this.#cancels += 1
    request.ignore()
    this.#others.set(request, () => undefined)
    const cancel = async (): Promise<void> => {
      if (this.#isClosed) return
      await this.#perform({ method: 'POST', body: cancelText })
      this.#cancels -= 1
      this.#others.delete(request)
      request.abort()
    }
    // Requests and cancels travel on different connections: the cancel must not overtake its request.
    if (request.hasHead) void cancel()
    else this.#after(this.#options.limits.cancelDelayMs, () => void cancel())
    return 'sent'
  }

  release(id: number): void {
    const request = this.#requests.get(id)
    if (request === undefined) return
    request.answered()
    if (request.isWhole) return
    // Servers close the stream after the answer; one that does not is not waited for.
    const timer = this.#options.clock.after(this.#options.limits.lingerMs, () => {
      request.abort()
      this.#forget(id)
    })
    this.#lingering.set(id, timer)
  }

  negotiated(protocolVersion: string): void {
    this.#protocolVersion = protocolVersion
  }

  listen(): void {
    if (this.#isClosed || this.#hasEnded) return
    const { clock, limits } = this.#options
    const after = this.#heardId
    let openedAt = Infinity
    const exchange: HttpExchange = this.#exchange(
      { method: 'GET', pool: 'streams', ...(after === null ? {} : { after }) },
      {
        accepted: () => {
          openedAt = clock.monotonic()
          // Not all that give ids keep what is behind them.
          if (this.#hasListened) this.#events.missed()
          this.#hasListened = true
        },
        message: (text) => {
          this.#listenBackoff.reset()
          this.#events.message(text, null)
        },
        ended: (end) => {
          this.#others.delete(exchange)
          // Some servers end it as soon as it is there, every time.
          if (clock.monotonic() - openedAt >= limits.restartDelayMaxMs) this.#listenBackoff.reset()
          this.#heardId = end.kind === 'refused' || end.kind === 'too-large' ? null : (exchange.lastEventId ?? after)
          this.#listenAgain(end, { retryMs: exchange.retryMs, wasResumed: after !== null })
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
    this.#tells.close()
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
    if (endsSession) await this.#perform({ method: 'DELETE', timeoutMs: this.#options.limits.exitGraceMs })
  }

  #listenAgain(end: ExchangeEnd, { retryMs, wasResumed }: { retryMs: number | null; wasResumed: boolean }): void {
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
      // 405 and the like: the server has no such stream, unless it only could not go on with the one before.
      if (!isPassing(end.status) && !wasResumed) return
    }
    const { resumeDelayMinMs, resumeDelayMaxMs } = this.#options.limits
    const asked = retryMs === null ? 0 : Math.min(resumeDelayMaxMs, Math.max(resumeDelayMinMs, retryMs))
    this.#after(asked || this.#listenBackoff.next(), () => this.listen())
  }

  /** One message that nobody waits for an answer to; ends in any case within its time (null). */
  #perform(request: { method: 'POST' | 'DELETE'; body?: string; timeoutMs?: number }): Promise<ExchangeEnd | null> {
    return new Promise((resolve) => {
      const settle = (end: ExchangeEnd | null): void => {
        timer.cancel()
        this.#others.delete(exchange)
        resolve(end)
      }
      const exchange = this.#exchange(request, {
        accepted: () => undefined,
        message: () => undefined,
        ended: (end) => {
          const isLost = this.#isSessionLost(end) || (request.body === sessionCheck && this.#isDoubtful(end))
          if (request.method === 'POST' && isLost) this.#end(sessionLost)
          settle(end)
        },
      })
      const timer = this.#options.clock.after(request.timeoutMs ?? this.#options.limits.tellTimeoutMs, () => {
        exchange.abort()
        settle(null)
      })
      this.#others.set(exchange, () => settle(null))
      exchange.start()
    })
  }

  #exchange({ method, body, after, pool }: Message, events: ExchangeEvents): HttpExchange {
    const headers: Record<string, string> = {}
    if (after !== undefined) headers['last-event-id'] = after
    if (this.#sessionId !== null) headers['mcp-session-id'] = this.#sessionId
    if (this.#protocolVersion !== null) headers['mcp-protocol-version'] = this.#protocolVersion
    return this.#server.exchange(
      { method, body: body ?? null, headers, pool: pool ?? 'calls' },
      this.#protocolVersion === null ? this.#identifying(events) : events,
    )
  }

  /** Until initialize is answered, the server may give the session its id. */
  #identifying(events: ExchangeEvents): ExchangeEvents {
    return {
      ...events,
      accepted: (responseHeaders) => {
        const sessionId = responseHeaders['mcp-session-id']
        if (this.#protocolVersion === null && typeof sessionId === 'string' && sessionIdPattern.test(sessionId))
          this.#sessionId = sessionId
        events.accepted(responseHeaders)
      },
    }
  }

  async #fail(id: number, end: RequestEnd): Promise<void> {
    if (this.#isDoubtful(end)) await this.#checkSession()
    this.#events.failed(id, this.#failure(end))
  }

  /** Many servers say 400 instead of 404 when they have forgotten the session. A ping tells whether that was meant. */
  #isDoubtful(end: RequestEnd): boolean {
    return end.kind === 'refused' && end.status === 400 && this.#sessionId !== null
  }

  #checkSession(): Promise<unknown> {
    if (this.#hasEnded) return Promise.resolve()
    this.#check ??= this.#perform({ method: 'POST', body: sessionCheck }).finally(() => (this.#check = null))
    return this.#check
  }

  #failure(end: RequestEnd): LinkFailure {
    switch (end.kind) {
      case 'done':
        return this.#failed('unknown', 'outcome-unknown', 'ended its answer without a result')
      case 'broken':
      case 'too-large':
        return this.#failed('unknown', 'outcome-unknown', `broke off before its answer (${end.reason})`)
      case 'not-sent': {
        const reason = `can not be reached (${end.reason})`
        this.#end({ kind: 'unreachable', reason })
        return this.#failed('not-sent', 'server-unavailable', reason)
      }
      case 'refused':
        return this.#refusal(end)
      case 'not-resumed':
        if (this.#isSessionLost(end.why)) this.#end(sessionLost)
        return this.#failed('unknown', 'outcome-unknown', `broke off before its answer, and ${whyNot(end.why)}`)
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
      return {
        ...this.#failed('rejected', 'server-failed', `refused with HTTP status ${end.status}`),
        status: end.status,
      }
    return this.#failed('unknown', 'outcome-unknown', `answered with HTTP status ${end.status}`)
  }

  #failed(
    kind: 'not-sent' | 'rejected' | 'unknown',
    code: ErrorCode,
    clause: string,
  ): Exclude<LinkFailure, { kind: 'session-lost' }> {
    const retry: Retry = kind === 'unknown' ? 'outcome-unknown' : 'elsewhere'
    return { kind, error: new OperatingError(code, `server ${this.#options.server.name} ${clause}`, { retry }) }
  }

  #isSessionLost(end: RequestEnd): boolean {
    return end.kind === 'refused' && end.status === 404 && this.#sessionId !== null
  }

  #end(end: LinkEnd): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#isForgotten = end === sessionLost
    this.#events.ended(end)
  }

  #forget(id: number): void {
    this.#requests.delete(id)
    const lingering = this.#lingering.get(id)
    if (lingering === undefined) return
    lingering.cancel()
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

type Message = {
  readonly method: 'POST' | 'GET' | 'DELETE'
  readonly body?: string
  /** The id of the event behind which a stream goes on. */
  readonly after?: string
  readonly pool?: 'calls' | 'streams'
}

function isErrorOf(id: number, body: string): boolean {
  const message = body === '' ? undefined : parseObject(body)
  return message?.['id'] === id && isObject(message['error'])
}

function whyNot(end: ExchangeEnd): string {
  if (end.kind === 'done') return 'was not resumed'
  return `could not be resumed (${end.kind === 'refused' ? `HTTP status ${end.status}` : end.reason})`
}

/** Its id is no number, so that it is none of a request. */
const sessionCheck = `{"jsonrpc":"2.0","id":"session-check","method":"ping"}`

const sessionLost: LinkEnd = { kind: 'session-lost', reason: 'has forgotten the session' }
