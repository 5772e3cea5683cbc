import { OperatingError } from '../vocabulary/operating-error.ts'
import type { NodeId, SessionId } from '../vocabulary/ids.ts'
import { Backoff } from '../std/backoff.ts'
import type { Clock, Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import { jsonMembers, type JsonText } from '../std/json-text.ts'
import type { Random } from '../std/random.ts'
import type { Signal } from '../std/signal.ts'
import type { Call, Outcome } from '../calls/call.ts'
import type { Log } from '../log/log.ts'
import { isSubscribed, type Clients } from './clients.ts'
import type { UpstreamLimits } from './limits.ts'
import type { LinkSource } from './link.ts'
import { listAskedBy, type ListKind } from './offer-lists.ts'
import { OwnLists, type Listed, type OwnListsOptions } from './own-lists.ts'
import { OwnUpstream, type OwnEnd, type OwnEvents } from './own-upstream.ts'
import type { Questions } from './questions.ts'
import type { ConnectionOutcome, Party } from './requests.ts'
import { callTime } from './supervised-upstream.ts'
import type { ClientSession } from './upstream.ts'
import type { ConfiguredServer } from '../vocabulary/configured-server.ts'

/**
 * The upstreams of one server that sessions have to themselves: opened by a session's first call, closed when it ends or
 * has not used it for as long as it may be idle. So many at once and no more: beyond, the one longest unused makes room,
 * and where all are in use, or as many are still being closed, a call is refused. One that is lost at its opening is opened
 * again with back-off.
 */
export type OwnOptions = {
  readonly server: ConfiguredServer
  readonly node: NodeId
  readonly links: LinkSource
  readonly clients: Clients
  readonly questions: Questions
  readonly mask: (text: string) => string
  readonly log: Log
  readonly clock: Clock
  readonly random: Random
  readonly limits: UpstreamLimits
  mail(session: SessionId, message: JsonText): void
  /** A session's upstream says that the server offers something else. */
  listsChanged(kinds: readonly ListKind[]): void
} & Pick<OwnListsOptions, 'offered' | 'allowed'>

export class OwnUpstreams {
  readonly #options: OwnOptions
  /** Those that take calls; the one longest unused is first. */
  readonly #open = new Map<SessionId, OwnUpstream>()
  /** Those that take none any more, until they are closed. */
  readonly #leaving = new Set<OwnUpstream>()
  /** Of sessions that lost theirs. */
  readonly #reopenings = new Map<SessionId, Reopening>()
  readonly #lists: OwnLists
  readonly #events: OwnEvents
  #isStopping = false

  constructor(options: OwnOptions) {
    this.#options = options
    this.#lists = new OwnLists({
      ...options,
      server: options.server.name,
      find: (session) => this.#listed(session),
    })
    this.#events = {
      opened: ({ session }) => this.#lists.lookAgain(session),
      listsChanged: ({ session }, kinds) => this.#listsChanged(session, kinds),
      ended: (own, end) => this.#onEnded(own, end),
    }
  }

  get count(): number {
    return this.#open.size
  }

  call(call: Call, caller: OwnCaller): Promise<Outcome> {
    const list = listAskedBy(call.method)
    // Who has the cursor of a page has its beginning.
    if (list === undefined || jsonMembers(call.params).has('cursor')) return this.#perform(call, caller)
    return this.#lists.during(caller, list, () => this.#perform(call, caller))
  }

  async #perform(call: Call, { session, client, party, cancelled }: OwnCaller): Promise<Outcome> {
    const { clock, server } = this.#options
    const deadline = clock.monotonic() + (call.timeoutMs ?? server.timeoutMs)
    for (let attempt = 1; attempt <= 2; attempt += 1) {
      const own = this.#use(session, client)
      if (own instanceof OperatingError)
        return { kind: own.code === 'overloaded' ? 'rejected' : 'not-sent', error: own }
      own.begin()
      const outcome = await this.#callOn(own, call, { deadline, party, cancelled })
      own.finish()
      if (outcome.kind !== 'session-lost') return outcome
    }
    const message = `server ${server.name} has forgotten two sessions in a row`
    return { kind: 'rejected', error: new OperatingError('server-unavailable', message, { retry: 'elsewhere' }) }
  }

  /** Opens what the session's record says is this node's to keep: it may be subscribed to something. */
  adopt(session: SessionId): void {
    const isDue = this.#open.has(session) || (this.#reopenings.get(session)?.timer ?? null) !== null
    if (!isDue && !this.#isStopping) this.#openSubscriber(session)
  }

  /** Another node serves the session: takes no call of it any more, and closes its upstream when those under way have ended. */
  release(session: SessionId): void {
    this.#forgetReopening(session)
    this.#lists.forget(session)
    this.#open.get(session)?.leave()
  }

  /** Passes on what a client says, where its session has an upstream. */
  tell(session: SessionId, text: string): void {
    const own = this.#open.get(session)
    if (own === undefined) return
    // It must not be overtaken by the call that follows it.
    if (own.isOpen) return own.connection.tell(text)
    void own.opened.then((failure) => {
      if (failure === null) own.connection.tell(text)
    })
  }

  sessionsEnded(ended: ReadonlySet<SessionId>): void {
    for (const session of ended) {
      this.#forgetReopening(session)
      this.#lists.forget(session)
      void this.#open.get(session)?.close()
    }
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    for (const session of this.#reopenings.keys()) this.#forgetReopening(session)
    this.#lists.stop()
    await Promise.all([...this.#open.values(), ...this.#leaving].map((own) => own.close()))
  }

  async #callOn(
    own: OwnUpstream,
    call: Call,
    { deadline, party, cancelled }: { deadline: number; party: Party; cancelled: Signal },
  ): Promise<ConnectionOutcome> {
    const { clock, server } = this.#options
    const opened = own.isOpen ? null : await this.#within(own.opened, deadline, cancelled)
    if (cancelled.aborted) return { kind: 'cancelled' }
    if (opened === 'late') {
      const message = `server ${server.name} was not opened for the session in time`
      return { kind: 'not-sent', error: new OperatingError('server-unavailable', message, { retry: 'elsewhere' }) }
    }
    if (opened !== null) return { kind: 'not-sent', error: opened }
    return own.connection.call(call, callTime(call, server, deadline - clock.monotonic()), party, cancelled)
  }

  /** The session's upstream, opened if need be, as the one used last. */
  #use(session: SessionId, client: ClientSession): OwnUpstream | OperatingError {
    const known = this.#open.get(session)
    if (known !== undefined) {
      this.#open.delete(session)
      this.#open.set(session, known)
      return known
    }
    const { server, limits } = this.#options
    if (this.#isStopping) return unavailable(`server ${server.name} is being stopped`)
    const waitMs = (this.#reopenings.get(session)?.notBefore ?? 0) - this.#options.clock.monotonic()
    if (waitMs > 0)
      return unavailable(
        `server ${server.name} was lost by the session, and is opened again in ${Math.ceil(waitMs)} ms`,
      )
    if (!this.#makeRoom()) {
      const message = `server ${server.name} serves ${server.isolatedMax} sessions on this node, and none can make room`
      return new OperatingError('overloaded', message, { retry: 'after', retryAfterMs: limits.isolatedRetryAfterMs })
    }
    try {
      const own = new OwnUpstream(session, client, this.#options, this.#events)
      this.#open.set(session, own)
      return own
    } catch (error) {
      // The message of a refused argument repeats the argument.
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
      return unavailable(`server ${server.name} can not be started (${code})`)
    }
  }

  #listed(session: SessionId): Listed | undefined {
    const { connection, initialize } = this.#open.get(session) ?? {}
    return connection === undefined || initialize === undefined || initialize === null
      ? undefined
      : { connection, initialize }
  }

  #listsChanged(session: SessionId, kinds: readonly ListKind[]): void {
    const { clients, server } = this.#options
    this.#options.listsChanged(kinds)
    if (!this.#isStopping && clients.isShownOwnLists(session, server.name)) this.#lists.changed(session, kinds)
  }

  #makeRoom(): boolean {
    const { isolatedMax } = this.#options.server
    // Processes take their time to end: who opens and closes in a hurry has to wait for them.
    if (this.#leaving.size >= isolatedMax) return false
    if (this.#open.size < isolatedMax) return true
    const unused = [...this.#open.values()].filter((own) => own.callers === 0)
    // What a session is subscribed to would be told no more.
    const closed = unused.find((own) => this.#subscriber(own.session) === undefined) ?? unused[0]
    if (closed === undefined) return false
    this.#options.log.debug('upstream-makes-room', { isolatedMax })
    void closed.close()
    // It leaves the map when its connection has ended, which is at once.
    return this.#open.size < isolatedMax
  }

  #onEnded(own: OwnUpstream, end: OwnEnd): void {
    const { session } = own
    if (this.#open.get(session) === own) this.#open.delete(session)
    this.#leaving.add(own)
    void own.closed.then(() => this.#leaving.delete(own))
    if (end.isLost && !this.#isStopping && this.#options.clients.find(session) !== undefined) this.#lost(own, end)
  }

  /** Calls open it again, but not in a hurry; where the session is subscribed to something that needs no call. */
  #lost({ session, isOpen }: OwnUpstream, { isForgotten, livedMs }: OwnEnd): void {
    const { clock, limits, log } = this.#options
    const { restartsMax } = limits
    const reopening = this.#reopeningOf(session)
    const { backoff } = reopening
    reopening.timer?.cancel()
    reopening.timer = null
    if (livedMs >= limits.healthyAfterMs) backoff.reset()
    const { attempt } = backoff
    const delayMs = backoff.next()
    // One that has worked may have died of its call: the next call need not wait.
    const isAtOnce = isOpen && (attempt === 0 || isForgotten)
    reopening.notBefore = isAtOnce ? 0 : clock.monotonic() + delayMs
    if (this.#subscriber(session) === undefined) return
    if (attempt >= restartsMax) {
      log.warn('upstream-given-up', { reason: `a session's own was lost ${restartsMax} times` })
      return
    }
    this.#reopenAfter(delayMs, session, reopening)
  }

  #reopenAfter(delayMs: number, session: SessionId, reopening: Reopening): void {
    reopening.timer = this.#options.clock.after(delayMs, () => {
      reopening.timer = null
      reopening.notBefore = 0
      this.#openSubscriber(session)
    })
  }

  /** Where there is no room for it now, there may be later. */
  #openSubscriber(session: SessionId): void {
    const client = this.#subscriber(session)
    if (client === undefined || !(this.#use(session, client) instanceof OperatingError)) return
    this.#reopenAfter(this.#options.limits.isolatedRetryAfterMs, session, this.#reopeningOf(session))
  }

  #reopeningOf(session: SessionId): Reopening {
    const known = this.#reopenings.get(session)
    if (known !== undefined) return known
    const { restartDelayMinMs: minMs, restartDelayMaxMs: maxMs } = this.#options.limits
    const reopening = { backoff: new Backoff({ minMs, maxMs }, this.#options.random), notBefore: 0, timer: null }
    this.#reopenings.set(session, reopening)
    return reopening
  }

  #forgetReopening(session: SessionId): void {
    this.#reopenings.get(session)?.timer?.cancel()
    this.#reopenings.delete(session)
  }

  /** The session, if it is subscribed to something of the server, and this node keeps that. */
  #subscriber(session: SessionId): ClientSession | undefined {
    const { server, node, clients } = this.#options
    const client = clients.find(session)
    return client?.pins.get(server.name) === node && isSubscribed(client, server.name) ? client : undefined
  }

  /** What the promise says, but not past the deadline or the signal. */
  async #within<T>(promise: Promise<T>, deadline: number, cancelled: Signal): Promise<T | 'late'> {
    const { clock } = this.#options
    const waited = deferred<'late'>()
    const stopWaiting = (): void => waited.resolve('late')
    const timer = clock.after(Math.max(0, deadline - clock.monotonic()), stopWaiting)
    cancelled.addEventListener('abort', stopWaiting, { once: true })
    if (cancelled.aborted) stopWaiting()
    const first = await Promise.race([promise, waited.promise])
    timer.cancel()
    cancelled.removeEventListener('abort', stopWaiting)
    return first
  }
}

export type OwnCaller = {
  readonly session: SessionId
  readonly client: ClientSession
  readonly party: Party
  readonly cancelled: Signal
}

type Reopening = {
  readonly backoff: Backoff
  /** Of the monotonic clock. */
  notBefore: number
  /** Null: only a call opens it again. */
  timer: Timer | null
}

function unavailable(message: string): OperatingError {
  return new OperatingError('server-unavailable', message, { retry: 'elsewhere' })
}
