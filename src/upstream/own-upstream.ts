import { describeError, OperatingError } from '../vocabulary/operating-error.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import type { Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import { toJsonText, type JsonText } from '../std/json-text.ts'
import { isSubscribed } from './clients.ts'
import { declares } from './isolation-of.ts'
import type { ServerNotification, ServerRequest } from './json-rpc.ts'
import type { LinkEnd } from './link.ts'
import { McpConnection, type Audience } from './mcp-connection.ts'
import { listsChangedBy, type ListKind } from './offer-lists.ts'
import type { OwnOptions } from './own-upstreams.ts'
import type { UnderWay } from './requests.ts'
import type { ClientSession } from './upstream.ts'

/**
 * One session's own upstream: one connection, made with the client's own words, from its opening to its end. All that the
 * server says is for the session; the level and the subscriptions of its record are said before its first call.
 */
export class OwnUpstream implements Audience {
  readonly session: SessionId
  readonly connection: McpConnection
  /** Never rejects; null: it takes calls. */
  readonly opened: Promise<OperatingError | null>
  /** Calls that use it, or wait for it. */
  callers = 0
  readonly #options: OwnOptions
  readonly #events: OwnEvents
  readonly #closed = deferred<void>()
  readonly #idleMs: number
  #idleTimer: Timer
  readonly #startedAt: number
  #usedAt: number
  /** The server's answer; null until it takes calls. */
  #initialize: JsonText | null = null
  #isClosing = false
  #isLeaving = false
  #isGone = false
  #isBroken = false

  /** May throw; then nothing is left open. */
  constructor(session: SessionId, client: ClientSession, options: OwnOptions, events: OwnEvents) {
    const { server, links, clock, limits, mask, log } = options
    this.session = session
    this.#options = options
    this.#events = events
    this.connection = new McpConnection({
      server: server.name,
      identity: client,
      log: log.child({ session: session.slice(0, sessionShown) }),
      clock,
      limits,
      mask,
      audience: this,
      openLink: (events) => links.open(events),
      ended: (connection, end) => this.#onEnded(connection, end),
    })
    this.#startedAt = clock.monotonic()
    this.#usedAt = this.#startedAt
    this.#idleMs = client.idleMs
    this.#idleTimer = clock.after(this.#idleMs, () => this.#onIdle())
    this.opened = this.#open(client)
  }

  /** It has taken calls. */
  get isOpen(): boolean {
    return this.#initialize !== null
  }

  /** What the server said to the client's words; null until it takes calls. */
  get initialize(): JsonText | null {
    return this.#initialize
  }

  /** A call begins to use it. */
  begin(): void {
    this.callers += 1
  }

  finish(): void {
    this.callers -= 1
    this.#usedAt = this.#options.clock.monotonic()
    if (this.#isLeaving && this.callers === 0) void this.close()
  }

  /** Takes no call any more, and closes when those under way have ended. */
  leave(): void {
    this.#isLeaving = true
    this.#gone(false)
    if (this.callers === 0) void this.close()
  }

  /** Ends it; what is under way has an unknown outcome. */
  close(): Promise<void> {
    if (!this.#isClosing) {
      this.#isClosing = true
      void this.connection.close().then(() => this.#closed.resolve())
    }
    return this.closed
  }

  /** Nothing of it is left. */
  get closed(): Promise<void> {
    return this.#closed.promise
  }

  notified(connection: McpConnection, notification: ServerNotification, on: UnderWay | null): void {
    const { method, text } = notification
    const stale = listsChangedBy(method)
    if (stale.length > 0) return this.#events.listsChanged(this, stale)
    if (method === 'notifications/cancelled')
      return this.#options.questions.cancelled(connection.asker, notification, on)
    const isOfNoCall = method === 'notifications/resources/updated' || method === 'notifications/tasks/status'
    const call = on ?? (isOfNoCall ? null : this.#likelyCall())
    if (call === null) this.#options.mail(this.session, text)
    else call.party.hear(text)
  }

  asked(connection: McpConnection, request: ServerRequest, on: UnderWay | null): void {
    const call = on ?? this.#likelyCall()
    this.#options.questions.ask(request, {
      asker: connection.asker,
      on,
      session: this.session,
      call,
      deliver: (message) => {
        if (call === null || call.isOver) this.#options.mail(this.session, message)
        else call.party.hear(message)
      },
    })
  }

  taskProgress(session: SessionId, message: JsonText): void {
    this.#options.mail(session, message)
  }

  missed(): void {
    // Lists are asked for on the shared upstream.
  }

  /** Where no stream tells, what a server says belongs to the call that it took last. */
  #likelyCall(): UnderWay | null {
    return this.connection.hasStreams ? null : this.connection.newestCall()
  }

  async #open(client: ClientSession): Promise<OperatingError | null> {
    const { server, log } = this.#options
    try {
      const initialize = await this.connection.start()
      const said = this.#restorations(client, initialize).map(async ([method, params]) => {
        try {
          await this.connection.ask(method, params)
        } catch (error) {
          log.warn('upstream-restore-failed', { method, error })
        }
      })
      await Promise.all(said)
      this.#initialize = initialize
      this.#events.opened(this)
      return null
    } catch (error) {
      const message = `server ${server.name} can not be opened for the session (${describeError(error)})`
      this.#isBroken = true
      void this.close()
      return new OperatingError('server-unavailable', message, { retry: 'elsewhere' })
    }
  }

  /** What the session has told the upstream before this one. */
  #restorations(
    { level, subscriptions }: ClientSession,
    initialize: JsonText,
  ): readonly (readonly [string, JsonText])[] {
    const { server } = this.#options
    const setLevel = level !== null && declares(initialize, 'logging')
    const subscribed = subscriptions.filter((subscription) => subscription.server === server.name)
    return [
      ...(setLevel ? ([['logging/setLevel', toJsonText({ level })]] as const) : []),
      ...subscribed.map(({ uri }) => ['resources/subscribe', toJsonText({ uri })] as const),
    ]
  }

  #onIdle(): void {
    const { clock, clients, server } = this.#options
    const client = clients.find(this.session)
    const keeps = client !== undefined && isSubscribed(client, server.name)
    // A stream on which its client listens is use too, also where no call comes here: the session's record knows of it.
    const leftMs = Math.max(
      this.#usedAt + this.#idleMs - clock.monotonic(),
      (client?.usedAt ?? -Infinity) + this.#idleMs - clock.now(),
    )
    if (this.callers === 0 && leftMs <= 0 && !keeps) void this.close()
    else this.#idleTimer = clock.after(leftMs > 0 ? leftMs : this.#idleMs, () => this.#onIdle())
  }

  #gone(isLost: boolean, isForgotten = false): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#events.ended(this, { isLost, isForgotten, livedMs: this.#options.clock.monotonic() - this.#startedAt })
  }

  #onEnded(connection: McpConnection, { kind }: LinkEnd): void {
    this.#idleTimer.cancel()
    this.#options.questions.lost(connection.asker)
    this.#gone(this.#isBroken || !this.#isClosing, kind === 'session-lost')
    // What is under way may end by itself where the server is only out of reach, or has forgotten the session.
    if (kind !== 'dead') void connection.drained().then(() => this.close())
    else void this.close()
  }
}

export type OwnEvents = {
  /** It takes calls. */
  opened(own: OwnUpstream): void
  /** Its server says that it offers something else. */
  listsChanged(own: OwnUpstream, kinds: readonly ListKind[]): void
  /** Once: it takes no call any more. */
  ended(own: OwnUpstream, end: OwnEnd): void
}

export type OwnEnd = {
  /** Nobody here wanted that. */
  readonly isLost: boolean
  /** The server forgot its session, and may begin another at once. */
  readonly isForgotten: boolean
  readonly livedMs: number
}

/** Characters of a session's id in the log. */
const sessionShown = 8
