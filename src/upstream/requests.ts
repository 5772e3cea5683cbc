import { OperatingError } from '../vocabulary/operating-error.ts'
import { ChurningMap } from '../std/churning-map.ts'
import type { Clock, Timer } from '../std/clock.ts'
import { deferred, type Deferred } from '../std/deferred.ts'
import { editJson, jsonMembers, sliceJson, toJsonText, type JsonText } from '../std/json-text.ts'
import type { Signal } from '../std/signal.ts'
import type { CallOrigin, Outcome } from '../calls/call.ts'
import { cancellationOf } from '../calls/cancellation.ts'
import { describeRequest, withProgressToken } from './call-params.ts'
import { edited, notificationText, paramRange, requestText, type ServerNotification } from './json-rpc.ts'
import type { Link, LinkEnd, LinkFailure } from './link.ts'

/**
 * The requests of one connection that wait for their answers. Ids and progress tokens are its own, so that many callers'
 * requests go side by side; progress, and a question to the client that is open, extend a request's time.
 */
export type Request = {
  readonly method: string
  readonly params: JsonText
  readonly time: CallTime
  /** Null: our own. */
  readonly party: Party | null
  /** Null: nobody can cancel it. */
  readonly cancelled: Signal | null
}

export type CallTime = {
  readonly leftMs: number
  /** What the caller asked for, for the message. */
  readonly timeoutMs: number
  /** Progress extends the time up to so long from now. */
  readonly leftMaxMs: number
}

/** Who waits for a call. */
export type Party = { readonly origin: CallOrigin | null; hear(message: JsonText): void }

/** `session-lost`: the server refused it unseen, with the session that it has forgotten. */
export type ConnectionOutcome = Outcome | { readonly kind: 'session-lost' }

/** A call under way, as those see it who find out what a message belongs to. */
export type UnderWay = {
  /** Upstream. */
  readonly id: number
  readonly party: Party
  readonly isOver: boolean
  /** A question that belongs to it is open: its time is the longest possible. As often as `resume` follows. */
  pause(): void
  resume(): void
}

export type RequestsOptions = {
  readonly server: string
  readonly clock: Clock
  /** A call that wants to be a task has its result: as it was, with its id upstream and the caller's own token. */
  answered(call: AnsweredCall): void
}

export type AnsweredCall = {
  readonly id: number
  readonly party: Party
  readonly token: JsonText | null
  readonly result: JsonText
}

export class Requests {
  readonly #options: RequestsOptions
  readonly #link: Link
  /** In the order of their coming. */
  readonly #pending = new ChurningMap<number, Pending>()
  readonly #events: PendingEvents
  /** Null: nobody waits for it. */
  #drained: Deferred<void> | null = null
  #calls = 0
  #nextId = 1

  constructor(options: RequestsOptions, link: Link) {
    this.#options = options
    this.#link = link
    this.#events = {
      timedOut: (pending) =>
        this.#abandon(pending, toJsonText({ requestId: pending.id, reason: 'timed out' }), (way) =>
          this.#timedOut(way, pending),
        ),
      cancelled: (pending, said) =>
        this.#abandon(pending, cancelParams(pending.id, said), () => ({ kind: 'cancelled' })),
      settled: ({ id, party }) => {
        this.#pending.delete(id)
        if (party !== null) this.#calls -= 1
        if (this.#pending.size > 0) return
        this.#drained?.resolve()
        this.#drained = null
      },
    }
  }

  /** Of callers, under way. */
  get calls(): number {
    return this.#calls
  }

  /** Never rejects. */
  start(request: Request): Promise<ConnectionOutcome> {
    if (request.cancelled?.aborted === true) return Promise.resolve({ kind: 'cancelled' })
    const id = this.#nextId
    this.#nextId += 1
    return new Promise((resolve) => {
      const pending = new Pending(request, { id, clock: this.#options.clock, events: this.#events, resolve })
      this.#pending.set(id, pending)
      if (request.party !== null) this.#calls += 1
      this.#link.request(id, requestText(id, request.method, pending.params))
    })
  }

  answer(id: number, outcome: ConnectionOutcome): void {
    const pending = this.#pending.get(id)
    // Late, after a cancel or a time-out: nobody waits for it.
    if (pending === undefined) return
    const { party, token } = pending
    if (pending.wantsTask && outcome.kind === 'result' && party !== null)
      this.#options.answered({ id, party, token, result: outcome.result })
    pending.settle(outcome)
    this.#link.release(id)
  }

  badAnswer(id: number): void {
    this.answer(id, this.#unknown('gave an answer that is neither result nor error to', id))
  }

  /** False: it belongs to no request that is under way. */
  progress(notification: ServerNotification): boolean {
    const range = paramRange(notification, 'progressToken')
    const pending = range === undefined ? undefined : this.#pending.get(Number(sliceJson(notification.text, range)))
    if (range === undefined || pending === undefined) return false
    if (pending.token === null) return true
    pending.extend()
    pending.party?.hear(edited(notification, [{ ...range, text: pending.token }]))
    return true
  }

  failed(id: number, failure: LinkFailure): void {
    this.#pending.get(id)?.settle(failure)
  }

  underWay(id: number): UnderWay | null {
    return asCall(this.#pending.get(id))
  }

  /** The call that came last. */
  newest(): UnderWay | null {
    let newest: UnderWay | null = null
    for (const pending of this.#pending.values()) newest = asCall(pending) ?? newest
    return newest
  }

  /** The call under way, if there is exactly one. */
  only(): UnderWay | null {
    let only: UnderWay | null = null
    for (const pending of this.#pending.values()) {
      const call = asCall(pending)
      if (call === null) continue
      if (only !== null) return null
      only = call
    }
    return only
  }

  /** Settles when everything under way has ended by itself. */
  drained(): Promise<void> {
    if (this.#pending.size === 0) return Promise.resolve()
    this.#drained ??= deferred()
    return this.#drained.promise
  }

  /** All that the link has not failed before was sent, and will not be answered. */
  end(end: LinkEnd): void {
    for (const pending of this.#pending.values()) pending.settle(this.#unknown(`${end.reason} during`, pending.id))
  }

  #abandon(pending: Pending, params: JsonText, outcome: (way: 'withdrawn' | 'sent') => ConnectionOutcome): void {
    // The protocol has no cancel for it; its connection is closed instead.
    if (pending.method === 'initialize') return pending.settle(outcome('sent'))
    const cancelText = notificationText('notifications/cancelled', params)
    pending.settle(outcome(this.#link.abandon(pending.id, cancelText)))
  }

  #unknown(clause: string, id: number): ConnectionOutcome {
    const label = this.#pending.get(id)?.label() ?? 'a request'
    const error = new OperatingError('outcome-unknown', `server ${this.#options.server} ${clause} ${label}`)
    return { kind: 'unknown', error }
  }

  #timedOut(way: 'withdrawn' | 'sent', pending: Pending): ConnectionOutcome {
    const { server } = this.#options
    const [label, ms] = [pending.label(), pending.tookMs()]
    if (way === 'withdrawn') return notSent(server, `did not take ${label} within ${ms} ms`)
    const message = `server ${server} did not answer ${label} within ${ms} ms`
    return { kind: 'unknown', error: new OperatingError('outcome-unknown', message) }
  }
}

/** As the client said it, with the request's id upstream. */
function cancelParams(id: number, said: JsonText | null): JsonText {
  const range = said === null ? undefined : jsonMembers(said).get('requestId')
  return said === null || range === undefined
    ? toJsonText({ requestId: id, reason: 'cancelled by the client' })
    : editJson(said, [{ ...range, text: String(id) }])
}

/** Provably never reached the server. */
export function notSent(server: string, clause: string): ConnectionOutcome {
  const message = `server ${server} ${clause}`
  return { kind: 'not-sent', error: new OperatingError('server-unavailable', message, { retry: 'elsewhere' }) }
}

/** Of all of them alike, so that a call needs none of its own. `said`: the client's own params. */
type PendingEvents = {
  timedOut(pending: Pending): void
  cancelled(pending: Pending, said: JsonText | null): void
  settled(pending: Pending): void
}

type PendingOptions = {
  readonly id: number
  readonly clock: Clock
  readonly events: PendingEvents
  resolve(outcome: ConnectionOutcome): void
}

class Pending {
  readonly id: number
  readonly method: string
  readonly params: JsonText
  /** The caller's own token; null: it wants no progress. */
  readonly token: JsonText | null
  /** It asks to be a task, whose id its result would say. */
  readonly wantsTask: boolean
  readonly party: Party | null
  readonly #time: CallTime
  readonly #cancelled: Signal | null
  readonly #options: PendingOptions
  readonly #startedAt: number
  #deadline: number
  #timer: Timer
  #pauses = 0
  #isExtended = false
  #isOver = false

  constructor({ method, params, time, party, cancelled }: Request, options: PendingOptions) {
    const { id, clock } = options
    const asked = withProgressToken(params, id)
    this.id = id
    this.method = method
    this.params = asked.params
    this.token = asked.token
    this.wantsTask = asked.wantsTask
    this.party = party
    this.#time = time
    this.#cancelled = cancelled
    this.#options = options
    this.#startedAt = clock.monotonic()
    this.#deadline = this.#startedAt + time.leftMs
    this.#timer = clock.after(time.leftMs, this.#onTimer)
    cancelled?.addEventListener('abort', this.#onAbort, { once: true })
  }

  get isOver(): boolean {
    return this.#isOver
  }

  settle(outcome: ConnectionOutcome): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#timer.cancel()
    this.#cancelled?.removeEventListener('abort', this.#onAbort)
    this.#options.events.settled(this)
    this.#options.resolve(outcome)
  }

  /** It lives: from now on it has its whole time again, but never more than the most that it may have. */
  extend(): void {
    const { timeoutMs, leftMaxMs } = this.#time
    const now = this.#options.clock.monotonic()
    const deadline = Math.min(now + timeoutMs, this.#startedAt + leftMaxMs)
    if (deadline <= this.#deadline) return
    this.#deadline = deadline
    this.#isExtended = true
  }

  pause(): void {
    this.#pauses += 1
  }

  resume(): void {
    this.#pauses -= 1
    this.extend()
  }

  /** What was asked, for messages: only calls that fail need one. */
  label(): string {
    return describeRequest(this.method, this.params)
  }

  tookMs(): number {
    return this.#isExtended ? Math.round(this.#options.clock.monotonic() - this.#startedAt) : this.#time.timeoutMs
  }

  readonly #onAbort = (): void => {
    const said = this.#cancelled === null ? null : cancellationOf(this.#cancelled)
    this.#options.events.cancelled(this, said)
  }

  readonly #onTimer = (): void => {
    if (this.#pauses > 0) this.extend()
    const leftMs = this.#deadline - this.#options.clock.monotonic()
    if (leftMs <= 0) this.#options.events.timedOut(this)
    else this.#timer = this.#options.clock.after(leftMs, this.#onTimer)
  }
}

function asCall(pending: Pending | undefined): UnderWay | null {
  return pending === undefined || pending.party === null ? null : (pending as UnderWay)
}
