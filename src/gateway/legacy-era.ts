import type { ServerResponse } from 'node:http'
import { emptyScope } from '../routing/catalog.ts'
import type { SessionRecord } from '../state/command.ts'
import { isServerName } from '../vocabulary/ids.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import { wordOf } from './client-notes.ts'
import type { FeedEventId } from './event-ids.ts'
import type { EraOptions } from './gateway-options.ts'
import { Initializing } from './initializing.ts'
import type { Initialize, Opened } from './initializing.ts'
import type { Notification, Response } from './json-rpc.ts'
import { LegacyRequests } from './legacy-requests.ts'
import type { RequestInSession } from './legacy-requests.ts'
import { digestLists } from './list-digests.ts'
import type { LocalSession } from './local-session.ts'
import { LocalSessions } from './local-sessions.ts'
import { refuse } from './refusal.ts'
import type { Refusal } from './refusal.ts'
import { BodyReader } from './request-body.ts'
import { listsOf } from './scope.ts'
import { SessionFeed } from './session-feed.ts'
import type { FeedSink } from './session-feed.ts'
import { messageToClient } from './translation.ts'

/**
 * MCP's legacy era (revisions 2024-11-05 to 2025-11-25), whatever transport brings it: the sessions, which are the
 * cluster's and have parts on this node, and what each message of a client means. A transport finds the session of a
 * message (`known`, `seek`), gives requests a `Reply` (`answer`), passes on the rest (`hear`), and makes the stream on which the
 * session listens of a feed (`makeFeed`) with a sink of its own.
 */
export class LegacyEra {
  readonly counters: EraCounters = { sessionsOpened: 0, sessionsClosed: 0, messages: 0, refused: 0 }
  readonly locals: LocalSessions
  readonly requests: LegacyRequests
  /** Of all its transports, within one sum. */
  readonly bodies: BodyReader
  readonly #options: EraOptions
  readonly #initializing: Initializing

  constructor(options: EraOptions) {
    this.#options = options
    this.requests = new LegacyRequests(options)
    this.bodies = new BodyReader(options.clock, options.limits)
    this.#initializing = new Initializing(options)
    this.locals = new LocalSessions({
      sessions: options.sessions,
      clock: options.clock,
      limits: options.limits,
      ended: (session) => this.#log('mcp-session-ended', session.id),
    })
  }

  /** Resolves when the cluster has the session: it is used here from now on. */
  async open(initialize: Initialize): Promise<Opened | { readonly kind: 'refused'; readonly refusal: Refusal }> {
    const opened = await this.#initializing.open(initialize)
    if (opened.kind === 'refused') return opened
    this.counters.sessionsOpened += 1
    const { id, path, protocolVersion, transport } = opened.opening
    this.#log('mcp-session-opened', id, { path, protocolVersion, transport })
    const record = this.#options.sessions.find(id)
    if (record !== undefined) this.locals.of(record).told = opened.told
    return opened
  }

  known(id: string): SessionRecord | undefined {
    return this.#options.sessions.find(id as SessionId)
  }

  /** A session that this node does not know is looked for in the cluster once. Rejects when that can not be done. */
  seek(id: string): Promise<SessionRecord | undefined> {
    return this.#options.sessions.seek(id as SessionId)
  }

  /** The session is in use. */
  use(record: SessionRecord): LocalSession {
    this.#options.sessions.touch(record.id)
    return this.locals.of(record)
  }

  /** Whether what needs that is taken now. */
  takes(needed: 'everything' | 'known-sessions'): boolean {
    const takes = this.#options.takes()
    return takes === 'everything' || takes === needed
  }

  /** Of all its transports, counted. */
  refuse(res: ServerResponse, refusal: Refusal): void {
    this.counters.refused += 1
    refuse(res, refusal)
  }

  answer(request: RequestInSession): Promise<void> {
    return this.requests.answer(request)
  }

  /** What a client says that is no request. */
  hear(session: LocalSession, message: Notification | Response): void {
    const catalog = this.#options.catalog()
    const word = wordOf(session, message, (name) => isServerName(name) && catalog.servers.has(name))
    if (word !== undefined) this.#options.words.say(session.id, word)
  }

  /** Attached by its transport when the stream stands, and opened when the session has begun. */
  makeFeed(session: LocalSession, from: FeedEventId | null, sink: FeedSink): SessionFeed {
    const { mailroom } = this.#options
    return new SessionFeed({
      session,
      mailroom,
      digests: () => digestLists(listsOf(this.#options.catalog(), session.scope) ?? emptyScope),
      translate: ({ server, message }) => (session.scope.server !== null ? message : messageToClient(server, message)),
      sink,
      from,
    })
  }

  /** By the client's wish. False: there was none. */
  async close(id: SessionId): Promise<boolean> {
    const closed = await this.#options.sessions.close(id)
    if (closed) this.counters.sessionsClosed += 1
    return closed
  }

  catalogChanged(): void {
    for (const session of this.locals.all()) session.catalogChanged()
  }

  async stop(): Promise<void> {
    this.locals.stop()
    await this.requests.calls.stop()
  }

  /** The whole id would let a reader of the log speak in the session. */
  #log(event: string, id: SessionId, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#options.log.info(event, { session: id.slice(0, 8), ...fields })
  }
}

/** Monotone since the start. */
export type EraCounters = {
  sessionsOpened: number
  sessionsClosed: number
  messages: number
  refused: number
}
