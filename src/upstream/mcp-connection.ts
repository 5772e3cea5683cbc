import { SUPPORTED_PROTOCOL_VERSIONS, LATEST_PROTOCOL_VERSION } from '@modelcontextprotocol/sdk/types.js'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Offer } from '../vocabulary/offer.ts'
import type { Clock, Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText, editJson, jsonMembers, sliceJson, toJsonText, type JsonText } from '../std/json-text.ts'
import type { Call, Outcome } from '../calls/call.ts'
import type { Log } from '../log/log.ts'
import { describeRequest, withProgressToken } from './call-params.ts'
import { errorText, notificationText, parseObject, readServerMessage, requestText, resultText } from './json-rpc.ts'
import type { UpstreamLimits } from './limits.ts'
import type { Link, LinkEnd, LinkEvents, LinkFailure } from './link.ts'
import { LogBudget } from './log-budget.ts'
import { allLists, listOffer, listsChangedBy, type ListKind, type ListReply } from './offer-lists.ts'

/**
 * One MCP client connection of the 2025-11-25 era and older, over any link. Makes the handshake, keeps the offer
 * true, and carries many callers' requests side by side: ids and progress tokens are its own, everything else passes
 * untouched. Declares no client capabilities and answers every question of the server with -32601, but pings.
 */
export type ConnectionOptions = {
  readonly server: string
  readonly version: string
  readonly log: Log
  readonly clock: Clock
  readonly limits: UpstreamLimits
  /** Hides secrets in what the server prints. */
  readonly mask: (text: string) => string
  openLink(events: LinkEvents): Link
  /** The offer has changed since `start`. */
  offerChanged(offer: Offer): void
  /** Once: it takes no call any more. What is under way may still end, see LinkEnd. */
  ended(end: LinkEnd): void
}

/** `session-lost`: the server refused it unseen, with the session that it has forgotten. */
export type ConnectionOutcome = Outcome | { readonly kind: 'session-lost' }

export type CallTime = {
  readonly leftMs: number
  /** What the caller asked for, for the message. */
  readonly timeoutMs: number
}

type Pending = {
  readonly method: string
  /** What was asked, for messages: only calls that fail need one. */
  label(): string
  /** The caller's own token; null: it wants no progress. */
  readonly token: JsonText | null
  readonly hear: (message: JsonText) => void
  settle(outcome: ConnectionOutcome): void
}

type Request = {
  readonly method: string
  readonly params: JsonText
  readonly time: CallTime
  readonly hear: (message: JsonText) => void
  /** Null: nobody can cancel it. */
  readonly signal: AbortSignal | null
}

const methodNotFound = -32_601
const rubbishShownMax = 200
/** Masking costs time; a secret cut in two by this bound is past what is shown. */
const rubbishReadMax = 8192

export class McpConnection {
  readonly #options: ConnectionOptions
  readonly #link: Link
  readonly #rubbishBudget: LogBudget
  readonly #pending = new Map<number, Pending>()
  readonly #stale = new Set<ListKind>()
  #drained = deferred<void>()
  #nextId = 1
  #callsInFlight = 0
  #rubbish = 0
  #offer: Offer | null = null
  #relistTimer: Timer | null = null
  #isRelisting = false
  #end: LinkEnd | null = null

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#rubbishBudget = new LogBudget(options.clock, options.limits.logLinesPerSecond)
    this.#link = options.openLink({
      message: (text, requestId) => this.#onMessage(text, requestId),
      failed: (requestId, failure) => this.#onFailed(requestId, failure),
      missed: () => this.#markStale(allLists),
      ended: (end) => this.#onEnded(end),
    })
  }

  /** The handshake and all lists. Rejects with an OperatingError; the connection is then of no use. */
  async start(): Promise<Offer> {
    const initialize = await this.#initialize()
    await this.#link.tell(notificationText('notifications/initialized'))
    this.#link.listen()
    const none = asJsonText('[]')
    const empty: Offer = { initialize, tools: none, resources: none, resourceTemplates: none, prompts: none }
    const offer = await this.#list(empty, allLists)
    this.#offer = offer
    this.#relistSoon()
    return offer
  }

  async call(
    call: Call,
    time: CallTime,
    { hear, signal }: { hear: (message: JsonText) => void; signal: AbortSignal },
  ): Promise<ConnectionOutcome> {
    const { server, limits } = this.#options
    if (this.#callsInFlight >= limits.callsInFlightMax) {
      const error = new OperatingError(
        'overloaded',
        `server ${server} has ${limits.callsInFlightMax} calls under way`,
        {
          retry: 'elsewhere',
        },
      )
      return { kind: 'rejected', error }
    }
    this.#callsInFlight += 1
    try {
      return await this.#request({ method: call.method, params: call.params, time, hear, signal })
    } finally {
      this.#callsInFlight -= 1
    }
  }

  /** Settles when everything under way has ended by itself. */
  drained(): Promise<void> {
    if (this.#pending.size === 0) return Promise.resolve()
    return this.#drained.promise
  }

  /** Ends the link; what is still under way has an unknown outcome. */
  async close(): Promise<void> {
    this.#onEnded({ kind: 'dead', reason: 'was stopped' })
    this.#settleAll()
    await this.#link.close()
  }

  async #initialize(): Promise<JsonText> {
    const { version, server } = this.#options
    const params = toJsonText({
      protocolVersion: LATEST_PROTOCOL_VERSION,
      capabilities: {},
      clientInfo: { name: 'quorate', version },
    })
    const reply = await this.#ask('initialize', params)
    const result = reply.kind === 'result' ? parseObject(reply.text) : undefined
    const protocolVersion = result?.['protocolVersion']
    if (reply.kind !== 'result' || typeof protocolVersion !== 'string' || !isObject(result?.['capabilities']))
      throw new OperatingError('server-failed', `server ${server} does not know how to initialize`)
    if (!SUPPORTED_PROTOCOL_VERSIONS.includes(protocolVersion))
      throw new OperatingError(
        'server-failed',
        `server ${server} speaks MCP ${protocolVersion.slice(0, 40)}, which is not known here`,
      )
    this.#link.negotiated(protocolVersion)
    return reply.text
  }

  async #list(offer: Offer, kinds: Iterable<ListKind>): Promise<Offer> {
    const { server, limits } = this.#options
    return listOffer({ server, offer, kinds, limits, ask: (method, params) => this.#ask(method, params) })
  }

  async #ask(method: string, params: JsonText): Promise<ListReply> {
    const { server, limits } = this.#options
    const timeoutMs = limits.handshakeTimeoutMs
    const time = { leftMs: timeoutMs, timeoutMs }
    const outcome = await this.#request({ method, params, time, hear: () => undefined, signal: null })
    if (outcome.kind === 'result') return { kind: 'result', text: outcome.result }
    if (outcome.kind === 'error') {
      const code = parseObject(outcome.error)?.['code']
      if (code === methodNotFound) return { kind: 'unsupported' }
      throw new OperatingError('server-failed', `server ${server} answered ${method} with error ${String(code)}`)
    }
    if ('error' in outcome) throw outcome.error
    throw new OperatingError('server-failed', `server ${server} has forgotten the session during ${method}`)
  }

  #request(request: Request): Promise<ConnectionOutcome> {
    const { method, time, hear, signal } = request
    if (signal?.aborted === true) return Promise.resolve({ kind: 'cancelled' })
    if (this.#end !== null) return Promise.resolve(this.#notSent(this.#end.reason))
    const id = this.#nextId
    this.#nextId += 1
    const { params, token } = withProgressToken(request.params, id)
    const label = (): string => describeRequest(method, params)
    return new Promise((resolve) => {
      const onAbort = (): void => this.#abandon(id, 'cancelled by the client', () => ({ kind: 'cancelled' }))
      const timer = this.#options.clock.after(time.leftMs, () =>
        this.#abandon(id, 'timed out', (way) => this.#timedOut(way, label(), time.timeoutMs)),
      )
      signal?.addEventListener('abort', onAbort, { once: true })
      const settle = (outcome: ConnectionOutcome): void => {
        this.#pending.delete(id)
        timer.cancel()
        signal?.removeEventListener('abort', onAbort)
        if (this.#pending.size === 0) {
          this.#drained.resolve()
          this.#drained = deferred()
        }
        resolve(outcome)
      }
      this.#pending.set(id, { method, label, token, hear, settle })
      this.#link.request(id, requestText(id, method, params))
    })
  }

  #abandon(id: number, reason: string, outcome: (way: 'withdrawn' | 'sent') => ConnectionOutcome): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    // The protocol has no cancel for it; its connection is closed instead.
    if (pending.method === 'initialize') return pending.settle(outcome('sent'))
    const cancelText = notificationText('notifications/cancelled', toJsonText({ requestId: id, reason }))
    pending.settle(outcome(this.#link.abandon(id, cancelText)))
  }

  #onMessage(text: string, requestId: number | null): void {
    const message = readServerMessage(text)
    switch (message.kind) {
      case 'result':
        this.#answer(message.id, { kind: 'result', result: message.result })
        return
      case 'error':
        this.#answer(message.id, { kind: 'error', error: message.error })
        return
      case 'bad-answer':
        this.#answer(message.id, this.#unknown('gave an answer that is neither result nor error to', message.id))
        return
      case 'request':
        void this.#link.tell(
          message.method === 'ping'
            ? resultText(message.id, toJsonText({}))
            : errorText(message.id, methodNotFound, 'Method not found'),
        )
        return
      case 'notification':
        this.#onNotification(message.method, message.params, requestId)
        return
      case 'rubbish':
        this.#onRubbish(text)
    }
  }

  #answer(id: number, outcome: ConnectionOutcome): void {
    const pending = this.#pending.get(id)
    // Late, after a cancel or a time-out: nobody waits for it.
    if (pending === undefined) return
    pending.settle(outcome)
    this.#link.release(id)
  }

  #onNotification(method: string, params: JsonText, requestId: number | null): void {
    if (method === 'notifications/progress') {
      this.#onProgress(params)
      return
    }
    if (method === 'notifications/message' && requestId !== null) {
      this.#pending.get(requestId)?.hear(asJsonText(notificationText(method, params)))
      return
    }
    const stale = listsChangedBy(method)
    if (stale.length > 0) this.#markStale(stale)
    else this.#options.log.debug('upstream-notification-dropped', { method: method.slice(0, 100) })
  }

  #onProgress(params: JsonText): void {
    const range = jsonMembers(params).get('progressToken')
    const pending = range === undefined ? undefined : this.#pending.get(Number(sliceJson(params, range)))
    if (range === undefined || pending === undefined || pending.token === null) return
    const restored = editJson(params, [{ ...range, text: pending.token }])
    pending.hear(asJsonText(notificationText('notifications/progress', restored)))
  }

  #onRubbish(text: string): void {
    this.#rubbish += 1
    const suppressed = this.#rubbishBudget.take()
    if (suppressed === null) return
    const { log, mask } = this.#options
    log.warn('upstream-rubbish', {
      text: mask(text.slice(0, rubbishReadMax)).slice(0, rubbishShownMax),
      total: this.#rubbish,
    })
  }

  #markStale(kinds: readonly ListKind[]): void {
    for (const kind of kinds) this.#stale.add(kind)
    this.#relistSoon()
  }

  #relistSoon(): void {
    const isWaiting = this.#relistTimer !== null || this.#isRelisting
    if (this.#stale.size === 0 || this.#offer === null || this.#end !== null || isWaiting) return
    this.#relistTimer = this.#options.clock.after(this.#options.limits.relistDelayMs, () => {
      this.#relistTimer = null
      void this.#relist()
    })
  }

  async #relist(): Promise<void> {
    const known = this.#offer
    if (known === null) return
    this.#isRelisting = true
    const kinds = [...this.#stale]
    this.#stale.clear()
    try {
      const offer = await this.#list(known, kinds)
      if (this.#end === null && kinds.some((kind) => offer[kind] !== known[kind])) {
        this.#offer = offer
        this.#options.offerChanged(offer)
      }
    } catch (error) {
      // The server works; what it offered before stays until it offers something better.
      if (this.#end === null) this.#options.log.warn('upstream-offer-refused', { error })
    } finally {
      this.#isRelisting = false
      this.#relistSoon()
    }
  }

  #onFailed(id: number, failure: LinkFailure): void {
    this.#pending.get(id)?.settle(failure)
  }

  #onEnded(end: LinkEnd): void {
    if (this.#end === null) {
      this.#end = end
      this.#relistTimer?.cancel()
      this.#relistTimer = null
      this.#options.ended(end)
    }
    if (end.kind === 'dead') this.#settleAll()
  }

  /** All that the link has not failed before was sent, and will not be answered. */
  #settleAll(): void {
    const reason = this.#end?.reason ?? 'ended'
    for (const [id, pending] of this.#pending) pending.settle(this.#unknown(`${reason} during`, id))
  }

  #unknown(clause: string, id: number): ConnectionOutcome {
    const label = this.#pending.get(id)?.label() ?? 'a request'
    const error = new OperatingError('outcome-unknown', `server ${this.#options.server} ${clause} ${label}`)
    return { kind: 'unknown', error }
  }

  #timedOut(way: 'withdrawn' | 'sent', label: string, timeoutMs: number): ConnectionOutcome {
    const { server } = this.#options
    if (way === 'withdrawn') return this.#notSent(`did not take ${label} within ${timeoutMs} ms`)
    const message = `server ${server} did not answer ${label} within ${timeoutMs} ms`
    return { kind: 'unknown', error: new OperatingError('outcome-unknown', message) }
  }

  #notSent(clause: string): ConnectionOutcome {
    const message = `server ${this.#options.server} ${clause}`
    return { kind: 'not-sent', error: new OperatingError('server-unavailable', message, { retry: 'elsewhere' }) }
  }
}
