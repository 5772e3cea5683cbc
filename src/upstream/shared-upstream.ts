import { OperatingError } from '../vocabulary/operating-error.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import type { Isolation } from '../vocabulary/isolation.ts'
import { isLogLevel, type LogLevel } from '../vocabulary/log-level.ts'
import { asJsonText, editJson, jsonMembers, sliceJson, toJsonText, type JsonText } from '../std/json-text.ts'
import type { Signal } from '../std/signal.ts'
import type { Call, Outcome } from '../calls/call.ts'
import type { Clients } from './clients.ts'
import { ElicitationOwners } from './elicitation-owners.ts'
import { errorObject, paramOf, parseObject, type ServerNotification, type ServerRequest } from './json-rpc.ts'
import type { Audience, McpConnection } from './mcp-connection.ts'
import { listsChangedBy, type ListKind } from './offer-lists.ts'
import type { Questions } from './questions.ts'
import type { Party, UnderWay } from './requests.ts'
import { SharedLevels } from './shared-levels.ts'
import { SharedSubscriptions, type Hearer } from './shared-subscriptions.ts'
import { SupervisedUpstream, type SupervisedOptions } from './supervised-upstream.ts'
import type { TaskOwners } from './task-owners.ts'
import type { UpstreamStatus } from './upstream.ts'

/**
 * The upstream of a server that sessions share, and that tells what the server offers. Nothing reaches a session that
 * is not provably its own: a question has to come on the stream of a call of its, or is refused. Levels and subscriptions
 * are counted by session, and said again when the connection has to be made anew.
 */
export type SharedOptions = Omit<SupervisedOptions, 'audience' | 'ready' | 'lost' | 'refused'> & {
  readonly clients: Clients
  readonly questions: Questions
  mail(session: SessionId, message: JsonText): void
}

type Hear = (message: JsonText) => void

export class SharedUpstream implements Audience {
  readonly #options: SharedOptions
  readonly #supervised: SupervisedUpstream
  readonly #levels = new SharedLevels()
  readonly #subscriptions: SharedSubscriptions
  /**
   * Sessions that said here what they subscribe to: they are right about it, and their records, which may be behind here,
   * are not asked.
   */
  readonly #sayers = new Set<SessionId>()
  readonly #elicitations: ElicitationOwners
  /** Which of the URIs the connection is subscribed to. */
  readonly #subscribed = new Set<string>()
  /** By URI, what was said of it last and is not answered yet. */
  readonly #turns = new Map<string, Promise<unknown>>()
  /** What the connection is set to; null: it was not set. */
  #level: LogLevel | null = null

  constructor(options: SharedOptions) {
    this.#options = options
    const { clock, limits } = options
    this.#subscriptions = new SharedSubscriptions(limits.subscriptionsMax)
    this.#elicitations = new ElicitationOwners({ clock, max: limits.taskOwnersMax, keptMs: limits.elicitationsKeptMs })
    this.#supervised = new SupervisedUpstream({
      ...options,
      audience: this,
      ready: () => this.#restore(),
      lost: (connection) => this.#lost(connection),
      refused: ({ origin }, error) => {
        if (origin !== null) this.#elicitations.refused(error, origin.session)
      },
    })
  }

  get status(): UpstreamStatus {
    return this.#supervised.status
  }

  get isolation(): Isolation {
    return this.#supervised.isolation
  }

  start(): void {
    this.#supervised.start()
  }

  stop(): Promise<void> {
    return this.#supervised.stop()
  }

  call(call: Call, hear: Hear, cancelled: Signal): Promise<Outcome> {
    if (call.origin === null) return this.#supervised.call(call, hear, cancelled)
    const { session } = call.origin
    this.#learnLevel(session)
    switch (call.method) {
      case 'logging/setLevel':
        return this.#setLevel(call, session, { hear, cancelled })
      case 'resources/subscribe':
        return this.#subscribe(call, session, { hear, cancelled })
      case 'resources/unsubscribe':
        return this.#unsubscribe(call, session, { hear, cancelled })
      case 'tasks/get':
      case 'tasks/result':
      case 'tasks/cancel': {
        const isForeign = this.#tasks?.isForeign(parseObject(call.params)?.['taskId'], session) === true
        return isForeign ? Promise.resolve(noSuchTask) : this.#supervised.call(call, hear, cancelled)
      }
      case 'tasks/list':
        return this.#listTasks(call, session, { hear, cancelled })
      default:
        return this.#supervised.call(call, hear, cancelled)
    }
  }

  /** Subscribes to what the session's record says, unless the session says it here itself. */
  adopt(session: SessionId): void {
    if (this.#sayers.has(session)) return
    const { server, clients } = this.#options
    for (const { server: of, uri } of clients.find(session)?.subscriptions ?? [])
      if (of === server.name && this.#subscriptions.add(session, uri)) this.#saySubscribed(uri)
  }

  /** Another node keeps its subscriptions. */
  release(session: SessionId): void {
    this.#sayers.delete(session)
    for (const uri of this.#subscriptions.removeSession(session)) this.#sayUnsubscribed(uri)
  }

  markStale(kinds: readonly ListKind[]): void {
    this.#supervised.markStale(kinds)
  }

  /** Settles when its offer is what the server has said by now. */
  settled(): Promise<void> {
    return this.#supervised.settled()
  }

  sessionsEnded(ended: ReadonlySet<SessionId>): void {
    this.#tasks?.sessionsEnded(ended)
    this.#elicitations.sessionsEnded(ended)
    for (const session of ended) {
      this.#levels.remove(session)
      this.release(session)
    }
    this.#sayLevel()
  }

  notified(connection: McpConnection, notification: ServerNotification, on: UnderWay | null): void {
    const { method, text } = notification
    const stale = listsChangedBy(method)
    if (stale.length > 0) return this.#supervised.markStale(stale)
    switch (method) {
      case 'notifications/cancelled':
        return this.#options.questions.cancelled(connection.asker, notification, on)
      case 'notifications/resources/updated':
        return this.#resourceUpdated(notification)
      case 'notifications/elicitation/complete': {
        const session = this.#elicitations.ownerOf(notification)
        if (on === null && session !== undefined) return this.#options.mail(session, text)
        break
      }
      case 'notifications/message': {
        // On the GET stream it may be about any session's call, also one that has ended: whoever else read it would read
        // what is not its own. On a pipe it precedes the answer of its call, so that the only one under way has said it.
        const call = on ?? (connection.hasStreams ? null : connection.onlyCall())
        if (call === null) break
        if (this.#passesLevel(call.party, notification)) call.party.hear(text)
        return
      }
      case 'notifications/tasks/status': {
        const session = connection.tasks.sessionOf(notification)
        if (session !== null) return this.#options.mail(session, text)
      }
    }
    if (on !== null) on.party.hear(text)
    else this.#options.log.debug('upstream-notification-dropped', { method: method.slice(0, 100) })
  }

  asked(connection: McpConnection, request: ServerRequest, on: UnderWay | null): void {
    const { clients, questions } = this.#options
    const session = on?.party.origin?.session
    const client = session === undefined ? undefined : clients.find(session)
    if (on === null || session === undefined || client === undefined || !clients.asks(client)) {
      connection.refuse(request)
      return
    }
    this.#elicitations.asked(request, session)
    questions.ask(request, {
      asker: connection.asker,
      on,
      session,
      call: on,
      deliver: (message) => (on.isOver ? this.#options.mail(session, message) : on.party.hear(message)),
    })
  }

  taskProgress(session: SessionId, message: JsonText): void {
    this.#options.mail(session, message)
  }

  missed(): void {
    this.#supervised.markStale(['tools', 'resources', 'resourceTemplates', 'prompts'])
  }

  #resourceUpdated(notification: ServerNotification): void {
    const uri = paramOf(notification, 'uri')
    if (typeof uri !== 'string') return
    const told = new Set<SessionId>()
    for (const hearer of this.#subscriptions.hearersOf(uri)) {
      const { session } = hearer
      if (told.has(session) || !this.#isSubscribed(hearer)) continue
      told.add(session)
      this.#options.mail(session, notification.text)
    }
  }

  /** By its own word, or else by its record, of whose every change nobody tells. */
  #isSubscribed({ session, uri }: Hearer): boolean {
    if (this.#sayers.has(session)) return true
    const { server, clients } = this.#options
    const recorded = clients.find(session)?.subscriptions ?? []
    if (recorded.some((subscription) => subscription.server === server.name && subscription.uri === uri)) return true
    this.#subscriptions.remove(session, uri)
    if (!this.#subscriptions.isWanted(uri)) this.#sayUnsubscribed(uri)
    return false
  }

  #learnLevel(session: SessionId): void {
    const record = this.#options.clients.find(session)
    if (record === undefined) return
    this.#levels.learn(session, record.level)
    this.#sayLevel()
  }

  #passesLevel({ origin }: Party, notification: ServerNotification): boolean {
    if (origin === null) return true
    const level = paramOf(notification, 'level')
    return !isLogLevel(level) || this.#levels.passes(origin.session, level, this.#level !== null)
  }

  get #tasks(): TaskOwners | null {
    return this.#supervised.connection?.tasks ?? null
  }

  async #listTasks(call: Call, session: SessionId, { hear, cancelled }: Caller): Promise<Outcome> {
    const outcome = await this.#supervised.call(call, hear, cancelled)
    if (outcome.kind !== 'result' || this.#tasks === null) return outcome
    return { kind: 'result', result: this.#tasks.withoutForeign(outcome.result, session) }
  }

  async #setLevel(call: Call, session: SessionId, { hear, cancelled }: Caller): Promise<Outcome> {
    const range = jsonMembers(call.params).get('level')
    const level: unknown = range === undefined ? undefined : JSON.parse(sliceJson(call.params, range))
    if (range === undefined || !isLogLevel(level)) return this.#supervised.call(call, hear, cancelled)
    const before = this.#levels.get(session)
    const recorded = this.#options.clients.find(session)?.level ?? null
    this.#levels.set(session, level, recorded)
    const { wanted } = this.#levels
    if (wanted === null || wanted === this.#level) return done
    const said = this.#level
    this.#level = wanted
    const params = editJson(call.params, [{ ...range, text: JSON.stringify(wanted) }])
    const outcome = await this.#supervised.call({ ...call, params }, hear, cancelled)
    if (outcome.kind === 'result') return outcome
    if (this.#level === wanted) this.#level = outcome.kind === 'error' ? said : null
    this.#levels.remove(session)
    if (before !== null) this.#levels.set(session, before, recorded)
    // Another session may have had its answer in the belief that the level was set.
    this.#sayLevel()
    return outcome
  }

  async #subscribe(call: Call, session: SessionId, { hear, cancelled }: Caller): Promise<Outcome> {
    const uri = parseObject(call.params)?.['uri']
    if (typeof uri !== 'string') return this.#supervised.call(call, hear, cancelled)
    this.#listenTo(session)
    const isNew = !this.#subscriptions.has(session, uri)
    if (!this.#subscriptions.add(session, uri)) return { kind: 'rejected', error: this.#tooManySubscriptions() }
    const outcome = await this.#inTurn(uri, async () => {
      if (this.#subscribed.has(uri)) return done
      const said = await this.#supervised.call(call, hear, cancelled)
      if (said.kind === 'result') this.#subscribed.add(uri)
      return said
    })
    if (outcome.kind !== 'result' && isNew) this.#subscriptions.remove(session, uri)
    // Its session may have ended meanwhile.
    if (!this.#subscriptions.isWanted(uri)) this.#sayUnsubscribed(uri)
    return outcome
  }

  async #unsubscribe(call: Call, session: SessionId, { hear, cancelled }: Caller): Promise<Outcome> {
    const uri = parseObject(call.params)?.['uri']
    if (typeof uri === 'string') {
      this.#listenTo(session)
      this.#subscriptions.remove(session, uri)
      return this.#inTurn(uri, async () => {
        if (this.#subscriptions.isWanted(uri)) return done
        this.#subscribed.delete(uri)
        return this.#supervised.call(call, hear, cancelled)
      })
    }
    return this.#supervised.call(call, hear, cancelled)
  }

  /** Requests over HTTP overtake each other: the end of one session's subscription must not end that of the next. */
  async #inTurn(uri: string, say: () => Promise<Outcome>): Promise<Outcome> {
    const before = this.#turns.get(uri)
    const turn = before === undefined ? say() : before.then(say, say)
    this.#turns.set(uri, turn)
    try {
      return await turn
    } finally {
      if (this.#turns.get(uri) === turn) this.#turns.delete(uri)
    }
  }

  /** From now on the session says itself what it subscribes to; what it has said on another node stays. */
  #listenTo(session: SessionId): void {
    this.adopt(session)
    this.#sayers.add(session)
  }

  #tooManySubscriptions(): OperatingError {
    const { server, limits } = this.#options
    const message = `server ${server.name} has ${limits.subscriptionsMax} subscriptions on this node`
    return new OperatingError('overloaded', message, { retry: 'after', retryAfterMs: limits.isolatedRetryAfterMs })
  }

  #lost(connection: McpConnection): void {
    this.#options.questions.lost(connection.asker)
    this.#subscribed.clear()
    this.#level = null
  }

  /** A connection knows nothing yet of what was said on the one before. */
  #restore(): void {
    this.#sayLevel()
    for (const uri of this.#subscriptions.uris()) this.#saySubscribed(uri)
  }

  #sayLevel(): void {
    const { wanted } = this.#levels
    if (wanted === null || wanted === this.#level || this.#supervised.connection === null) return
    this.#level = wanted
    this.#say('logging/setLevel', toJsonText({ level: wanted }))
  }

  #saySubscribed(uri: string): void {
    if (this.#subscribed.has(uri) || this.#supervised.connection === null) return
    this.#subscribed.add(uri)
    this.#say('resources/subscribe', toJsonText({ uri }))
  }

  #sayUnsubscribed(uri: string): void {
    if (this.#subscribed.delete(uri)) this.#say('resources/unsubscribe', toJsonText({ uri }))
  }

  /** What nobody waits for: a server that refuses it had said so to who asked first. */
  #say(method: string, params: JsonText): void {
    const { connection } = this.#supervised
    connection?.ask(method, params).catch((error: unknown) => {
      this.#options.log.warn('upstream-restore-failed', { method, error })
    })
  }
}

type Caller = { readonly hear: Hear; readonly cancelled: Signal }

/** As a server says it of an id that it does not know. */
const noSuchTask: Outcome = { kind: 'error', error: errorObject(-32_602, 'Task not found') }

const done: Outcome = { kind: 'result', result: asJsonText('{}') }
