import type { Clock, Timer } from '../std/clock.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import type { GatewayLimits } from './limits.ts'
import { LocalSession } from './local-session.ts'
import type { SessionPlace } from './local-session.ts'
import type { ClusterSessions } from './sessions-port.ts'

/**
 * The sessions that clients have used on this node, as far as the cluster still has them: bounded by what the cluster may
 * have. Those with something open here are said to be in use, long before they would expire.
 */
export class LocalSessions {
  readonly #byId = new Map<SessionId, LocalSession>()
  readonly #options: LocalSessionsOptions
  readonly #unsubscribe: () => void
  #sweep: Timer

  constructor(options: LocalSessionsOptions) {
    this.#options = options
    this.#unsubscribe = options.sessions.onEnded((ids) => {
      for (const id of ids) this.end(id)
    })
    this.#sweep = this.#armSweep()
  }

  /** Made when the session is used here first, or when its stream is opened before it begins. */
  of(record: SessionPlace): LocalSession {
    let session = this.#byId.get(record.id)
    if (session === undefined) {
      session = new LocalSession(record)
      this.#byId.set(record.id, session)
    }
    return session
  }

  /** It has not begun, and will not. */
  forget(session: LocalSession): void {
    if (this.#byId.get(session.id) === session) this.#byId.delete(session.id)
  }

  all(): Iterable<LocalSession> {
    return this.#byId.values()
  }

  /** Streams on which sessions listen here. */
  get listening(): number {
    let count = 0
    for (const session of this.#byId.values()) if (session.isListening) count += 1
    return count
  }

  /** Ends what is open here; the sessions themselves go on. */
  abandon(): void {
    for (const session of this.#byId.values()) session.abandon()
    this.#byId.clear()
  }

  stop(): void {
    this.#sweep.cancel()
    this.#unsubscribe()
    this.abandon()
  }

  /** It has ended, or will soon. */
  end(id: SessionId): void {
    const session = this.#byId.get(id)
    if (session === undefined) return
    this.#byId.delete(id)
    session.close()
    this.#options.ended(session)
  }

  /** One that is there before it begins has from one sweep to the next for it. */
  #miss(session: LocalSession): void {
    if (session.isMissing) this.end(session.id)
    session.isMissing = true
  }

  #armSweep(): Timer {
    const { clock, sessions, limits } = this.#options
    const idleMs = Math.min(limits.sessionIdleMs, limits.sseSessionIdleMs)
    return clock.after(idleMs / touchesPerIdle, () => {
      for (const session of this.#byId.values())
        if (sessions.find(session.id) === undefined) this.#miss(session)
        else if (session.isListening || session.requests > 0) sessions.touch(session.id)
      this.#sweep = this.#armSweep()
    })
  }
}

export type LocalSessionsOptions = {
  readonly sessions: ClusterSessions
  readonly clock: Clock
  readonly limits: Pick<GatewayLimits, 'sessionIdleMs' | 'sseSessionIdleMs'>
  /** The cluster has not got it any more, and nothing of it is left here. */
  ended(session: LocalSession): void
}

/** Said so often within the time that a session may be idle, also when one is lost it does not expire. */
const touchesPerIdle = 8
