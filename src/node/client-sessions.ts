import type { Clock, Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
import { jsonMembers } from '../std/json-text.ts'
import { isSessionId } from '../vocabulary/ids.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import { canBeAsked } from '../vocabulary/isolation.ts'
import type { LogLevel } from '../vocabulary/log-level.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ErrorCode } from '../vocabulary/operating-error.ts'
import { sessionTextBytesMax, subscriptionUriLengthMax } from '../vocabulary/session-limits.ts'
import type { ClusterSessions, SessionPins } from '../gateway/sessions-port.ts'
import type { Log } from '../log/log.ts'
import type { Command, CommandResult, SessionOpening, SessionRecord, Subscription } from '../state/command.ts'
import { openingFields, openingOf, subscriptionOf } from '../state/session-fields.ts'
import type { Cluster } from './cluster.ts'
import { SessionExpiry } from './session-expiry.ts'
import { SessionTouches } from './session-touches.ts'

/**
 * The cluster's records of clients' sessions: looked up in this node's state, changed by commands. All of these are done
 * twice without harm, so what finds no leader, or one that is replaced meanwhile, is tried again for a while.
 */
export class ClientSessions implements ClusterSessions, SessionPins {
  readonly #options: ClientSessionsOptions
  readonly #touches: SessionTouches
  readonly #expiry: SessionExpiry
  readonly #listeners = new Set<(ids: readonly SessionId[]) => void>()
  /** On their way to the cluster, by session and server: they hold here already. At most `pinsUnderWayMax`. */
  readonly #pins = new Map<string, NodeId>()
  /** Tries that wait for the next. */
  readonly #pauses = new Map<Deferred<void>, Timer>()
  /** Changes and seeks under way: at most `attemptsMax`. */
  #attempts = 0
  #isStopped = false
  #opened = 0
  #seeks = 0
  readonly #unwatch: () => void

  constructor(options: ClientSessionsOptions) {
    const { cluster, isLeader, clock, log } = options
    this.#options = options
    const propose: Propose = (...proposal) => cluster.propose(...proposal)
    const { state } = cluster
    this.#touches = new SessionTouches({ state, propose, clock, log })
    this.#expiry = new SessionExpiry({ state, isLeader, propose, clock, log })
    this.#expiry.start()
    this.#unwatch = cluster.watch(({ sessionsEnded }) => {
      if (sessionsEnded.length > 0) this.#ended(sessionsEnded)
    })
  }

  get count(): number {
    return this.#options.cluster.state.clientSessionCount
  }

  get figures(): ClientSessionFigures {
    return { opened: this.#opened, seeks: this.#seeks, touched: this.#touches.told }
  }

  async open(opening: SessionOpening): Promise<void> {
    const { sessionsMax, cluster } = this.#options
    if (openingOf(openingFields(opening)) === undefined) {
      const limit = `clientInfo and capabilities may have ${sessionTextBytesMax} bytes each`
      throw new OperatingError('bad-request', `open session: it is not what a session may be; ${limit}`)
    }
    if (this.count >= sessionsMax) throw full(`the cluster has ${sessionsMax} sessions, which is all that it may have`)
    const result = await this.#change({ kind: 'session-open', session: opening }).catch((error: unknown) => {
      // Nobody knows of a session that may be there all the same, so its client may simply open another.
      throw isCode(error, ['outcome-unknown'])
        ? new OperatingError('no-quorum', 'open session: no majority took it in time', { ...soon, cause: error })
        : error
    })
    // Refused by the try before, if it is there.
    if (result.kind === 'refused' && cluster.state.clientSession(opening.id) === undefined) throw full(result.reason)
    this.#opened += 1
  }

  find(id: SessionId): SessionRecord | undefined {
    return this.#options.cluster.state.clientSession(id)
  }

  async seek(id: SessionId): Promise<SessionRecord | undefined> {
    const known = this.find(id)
    if (known !== undefined || !isSessionId(id)) return known
    this.#seeks += 1
    await this.#insist(seekMs, (timeoutMs) => this.#options.cluster.barrier(timeoutMs))
    return this.find(id)
  }

  async close(id: SessionId): Promise<boolean> {
    const wasKnown = this.find(id) !== undefined
    // What is not there any more may have been closed by the try before.
    return (await this.#change({ kind: 'session-close', id })).kind === 'done' || wasKnown
  }

  touch(id: SessionId): void {
    this.#touches.touch(id)
  }

  async setLevel(id: SessionId, level: LogLevel): Promise<void> {
    settle(await this.#change({ kind: 'session-level', id, level }))
  }

  async subscribe(id: SessionId, { server, uri }: Subscription): Promise<void> {
    if (subscriptionOf(server, uri) === undefined) {
      const limit = `a URI may have ${subscriptionUriLengthMax} characters`
      throw new OperatingError('bad-request', `subscribe: it is not what a subscription may be; ${limit}`)
    }
    settle(await this.#change({ kind: 'session-subscribe', id, server, uri }))
  }

  async unsubscribe(id: SessionId, { server, uri }: Subscription): Promise<void> {
    if (subscriptionOf(server, uri) === undefined) return
    settle(await this.#change({ kind: 'session-unsubscribe', id, server, uri }))
  }

  all(): readonly SessionRecord[] {
    return this.#options.cluster.state.clientSessions()
  }

  onEnded(listener: (ids: readonly SessionId[]) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Whether its client can be asked by a server. */
  asks(id: SessionId): boolean {
    const capabilities = this.find(id)?.capabilities
    return capabilities !== undefined && canBeAsked(Object.fromEntries(jsonMembers(capabilities)))
  }

  pinOf(session: SessionId, server: ServerName): NodeId | undefined {
    return this.#pins.get(`${session} ${server}`) ?? this.find(session)?.pins.get(server)
  }

  pin(session: SessionId, server: ServerName, node: NodeId): void {
    if (this.pinOf(session, server) === node || this.#pins.size >= pinsUnderWayMax) return
    const name = `${session} ${server}`
    this.#pins.set(name, node)
    // What can not be told is no pin: the next call chooses again.
    void this.#change({ kind: 'session-pin', id: session, server, node })
      .catch((error: unknown) => this.#options.log.debug('session-pin-lost', { server, node, error }))
      .finally(() => {
        if (this.#pins.get(name) === node) this.#pins.delete(name)
      })
  }

  stop(): void {
    this.#isStopped = true
    this.#unwatch()
    this.#touches.stop()
    this.#expiry.stop()
    this.#listeners.clear()
    for (const [pause, timer] of this.#pauses) {
      timer.cancel()
      pause.resolve()
    }
    this.#pauses.clear()
  }

  #ended(ids: readonly SessionId[]): void {
    this.#touches.forget(ids)
    for (const listener of this.#listeners) listener(ids)
  }

  #change(command: Command): Promise<CommandResult> {
    return this.#insist(changeMs, (timeoutMs) => this.#options.cluster.propose(command, timeoutMs))
  }

  /** Tries again what may pass by itself, until the time is up. */
  async #insist<Result>(withinMs: number, attempt: (timeoutMs: number) => Promise<Result>): Promise<Result> {
    if (this.#attempts >= attemptsMax)
      throw full(`${attemptsMax} changes of sessions, or searches for one, are under way here`)
    const { clock } = this.#options
    const endsAt = clock.monotonic() + withinMs
    this.#attempts += 1
    try {
      for (;;) {
        try {
          return await attempt(endsAt - clock.monotonic())
        } catch (error) {
          if (this.#isStopped || !isCode(error, passing) || clock.monotonic() + againMs >= endsAt) throw error
        }
        await this.#pause()
      }
    } finally {
      this.#attempts -= 1
    }
  }

  #pause(): Promise<void> {
    const pause = deferred<void>()
    const timer = this.#options.clock.after(againMs, () => {
      this.#pauses.delete(pause)
      pause.resolve()
    })
    this.#pauses.set(pause, timer)
    return pause.promise
  }
}

export type ClientSessionsOptions = {
  readonly cluster: Cluster
  readonly isLeader: () => boolean
  /** Of the whole cluster. */
  readonly sessionsMax: number
  readonly clock: Clock
  readonly log: Log
}

/** Counts since the start of the process. */
export type ClientSessionFigures = {
  /** Opened by this node. */
  readonly opened: number
  /** Sessions that were looked for after catching up with the leader, because this node did not know them. */
  readonly seeks: number
  /** How often this node told the cluster that a session is used. */
  readonly touched: number
}

type Propose = (command: Command, timeoutMs: number) => Promise<CommandResult>

const changeMs = 5000
/** Shorter: its answer is awaited by clients that come back from a node that has died. */
const seekMs = 2500
const againMs = 100
const attemptsMax = 4096
/** Fewer than `attemptsMax`, so that sessions can begin while many are pinned. */
const pinsUnderWayMax = 1024
const soon = { retry: 'after', retryAfterMs: 1000 } as const
/** What a new leader mends. */
const passing: readonly ErrorCode[] = ['no-leader', 'outcome-unknown']

function isCode(error: unknown, codes: readonly ErrorCode[]): error is OperatingError {
  return error instanceof OperatingError && codes.includes(error.code)
}

function settle(result: CommandResult): void {
  if (result.kind === 'not-found') throw new OperatingError('not-found', 'the session has ended')
  if (result.kind === 'refused') throw new OperatingError('overloaded', result.reason)
}

function full(reason: string): OperatingError {
  return new OperatingError('overloaded', reason, { retry: 'after', retryAfterMs: 10_000 })
}
