import type { Clock, Timer } from '../std/clock.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import type { EventStream } from './event-stream.ts'
import { notificationMessage } from './json-rpc.ts'
import type { RequestId } from './json-rpc.ts'
import type { GatewayLimits } from './limits.ts'

/** One session of a legacy-era client: bound to the URL it began on, with its calls in work and its standalone stream. */

/** Null: `/mcp`, all servers. */
export type SessionScope = ServerName | null

export type ChangingList = 'tools' | 'resources' | 'prompts'

/** What operators see of a session. */
export type SessionInfo = {
  readonly id: string
  readonly path: string
  readonly protocolVersion: string
  readonly client: ClientInfo
  /** Wall time, ms. */
  readonly createdAt: number
  readonly idleMs: number
  readonly activeCalls: number
  /** Whether the client listens on the standalone stream. */
  readonly listening: boolean
}

export type ClientInfo = { readonly name: string; readonly version: string }

/** A call of this session that has no answer yet. */
export type ActiveCall = {
  readonly id: RequestId
  /** The client does not want it any more: no answer follows. */
  cancel(): void
  /** The node stops: the client gets an error if it still can. */
  abandon(): void
}

export type SessionOptions = {
  readonly id: string
  readonly scope: SessionScope
  readonly protocolVersion: string
  readonly client: ClientInfo
  /** Fixed for the session's life. */
  readonly capabilities: ReadonlySet<ChangingList>
  readonly clock: Clock
}

export class Session {
  readonly id: string
  readonly scope: SessionScope
  readonly protocolVersion: string
  readonly client: ClientInfo
  readonly #capabilities: ReadonlySet<ChangingList>
  readonly #clock: Clock
  readonly #createdAt: number
  readonly #calls = new Set<ActiveCall>()
  /** Changes that the client could not be told, because it was not listening. */
  readonly #owed = new Set<ChangingList>()
  #stream: EventStream | null = null
  #usedAt: number

  constructor(options: SessionOptions) {
    this.id = options.id
    this.scope = options.scope
    this.protocolVersion = options.protocolVersion
    this.client = options.client
    this.#capabilities = options.capabilities
    this.#clock = options.clock
    this.#createdAt = options.clock.now()
    this.#usedAt = options.clock.monotonic()
  }

  get activeCalls(): number {
    return this.#calls.size
  }

  get isListening(): boolean {
    return this.#stream !== null
  }

  touch(): void {
    this.#usedAt = this.#clock.monotonic()
  }

  /** Ms since the last sign of life; 0 while a call or the stream is open. */
  idleMs(): number {
    return this.#calls.size > 0 || this.#stream !== null ? 0 : this.#clock.monotonic() - this.#usedAt
  }

  begin(call: ActiveCall): void {
    this.#calls.add(call)
  }

  end(call: ActiveCall): void {
    this.#calls.delete(call)
    this.touch()
  }

  /** Cancels the calls with exactly this id; answers how many. */
  cancel(id: RequestId): number {
    const meant = [...this.#calls].filter((call) => call.id.key === id.key)
    for (const call of meant) call.cancel()
    return meant.length
  }

  listen(stream: EventStream): void {
    this.#stream = stream
    const owed = [...this.#owed]
    this.#owed.clear()
    for (const list of owed) this.tellChanged(list)
  }

  hungUp(): void {
    this.#stream = null
    this.touch()
  }

  tellChanged(list: ChangingList): void {
    if (!this.#capabilities.has(list)) return
    if (this.#stream === null) this.#owed.add(list)
    else this.#stream.send(notificationMessage(`notifications/${list}/list_changed`))
  }

  /** Nothing of the session is left: calls are cancelled without an answer. */
  close(): void {
    this.#stream?.end()
    for (const call of this.#calls) call.cancel()
  }

  /** As close, but the clients of calls in work are told. */
  abandon(): void {
    this.#stream?.end()
    for (const call of this.#calls) call.abandon()
  }

  describe(): SessionInfo {
    return {
      id: this.id,
      path: this.scope === null ? '/mcp' : `/mcp/${this.scope}`,
      protocolVersion: this.protocolVersion,
      client: this.client,
      createdAt: this.#createdAt,
      idleMs: Math.round(this.idleMs()),
      activeCalls: this.#calls.size,
      listening: this.#stream !== null,
    }
  }
}

/** The sessions of this node. A session that nobody used for long is closed by the sweep. */
export class SessionTable {
  readonly #sessions = new Map<string, Session>()
  readonly #clock: Clock
  readonly #limits: Pick<GatewayLimits, 'sessionsMax' | 'sessionIdleMs'>
  readonly #expired: (session: Session) => void
  #sweep: Timer

  constructor(options: {
    readonly clock: Clock
    readonly limits: Pick<GatewayLimits, 'sessionsMax' | 'sessionIdleMs'>
    expired(session: Session): void
  }) {
    this.#clock = options.clock
    this.#limits = options.limits
    this.#expired = (session) => options.expired(session)
    this.#sweep = this.#armSweep()
  }

  get size(): number {
    return this.#sessions.size
  }

  get isFull(): boolean {
    return this.#sessions.size >= this.#limits.sessionsMax
  }

  add(session: Session): void {
    this.#sessions.set(session.id, session)
  }

  find(id: string): Session | undefined {
    return this.#sessions.get(id)
  }

  all(): Session[] {
    return [...this.#sessions.values()]
  }

  close(session: Session): void {
    this.#sessions.delete(session.id)
    session.close()
  }

  /** Ends them all; the clients of calls in work are told. */
  abandon(): void {
    for (const session of this.all()) session.abandon()
    this.#sessions.clear()
  }

  stop(): void {
    this.#sweep.cancel()
    this.abandon()
  }

  #armSweep(): Timer {
    const { sessionIdleMs } = this.#limits
    return this.#clock.after(Math.min(60_000, sessionIdleMs / 2), () => {
      for (const session of this.all()) {
        if (session.idleMs() <= sessionIdleMs) continue
        this.close(session)
        this.#expired(session)
      }
      this.#sweep = this.#armSweep()
    })
  }
}
