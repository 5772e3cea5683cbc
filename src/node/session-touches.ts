import type { Clock, Timer } from '../std/clock.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import { touchesMax } from '../vocabulary/session-limits.ts'
import type { Command, CommandResult } from '../state/command.ts'
import type { StateReader } from '../state/reader.ts'
import type { Log } from '../log/log.ts'

/**
 * Tells the cluster which sessions are used here, many at a time: of each when a quarter of the time that it may be unused
 * has passed since the cluster knew of a use. What can not be told is told again as long as the session is there.
 */
export class SessionTouches {
  readonly #options: SessionTouchesOptions
  /** Used sessions, and when the cluster is to be told, in the clock's monotonic time. At most as many as there are. */
  readonly #dueAt = new Map<SessionId, number>()
  #next: { readonly at: number; readonly timer: Timer } | null = null
  #isTelling = false
  #isStopped = false
  #told = 0

  constructor(options: SessionTouchesOptions) {
    this.#options = options
  }

  /** Sessions that the cluster was told of, each as often as it was. */
  get told(): number {
    return this.#told
  }

  touch(id: SessionId): void {
    if (this.#isStopped || this.#dueAt.has(id)) return
    const { state, clock } = this.#options
    const session = state.clientSession(id)
    if (session === undefined) return
    const quarterMs = session.idleMs / 4
    const inMs = Math.min(Math.max(session.usedAt + quarterMs - clock.now(), 0), quarterMs)
    const dueAt = clock.monotonic() + inMs
    this.#dueAt.set(id, dueAt)
    this.#wake(dueAt)
  }

  /** They have ended. */
  forget(ids: readonly SessionId[]): void {
    for (const id of ids) this.#dueAt.delete(id)
  }

  stop(): void {
    this.#isStopped = true
    this.#dueAt.clear()
    this.#next?.timer.cancel()
  }

  #wake(at: number): void {
    if (this.#isTelling || this.#isStopped || (this.#next !== null && this.#next.at <= at)) return
    const { clock } = this.#options
    this.#next?.timer.cancel()
    // A little later, so that what falls due meanwhile goes with it.
    const inMs = Math.max(at - clock.monotonic(), 0) + gatherMs
    this.#next = { at, timer: clock.after(inMs, () => void this.#tell()) }
  }

  async #tell(): Promise<void> {
    const { propose, clock, log } = this.#options
    this.#next = null
    this.#isTelling = true
    const now = clock.monotonic()
    const due = [...this.#dueAt].filter(([, dueAt]) => dueAt <= now).map(([id]) => id)
    const ids = due.slice(0, touchesMax)
    try {
      if (ids.length > 0) await propose({ kind: 'session-touch', ids }, proposeTimeoutMs)
      this.forget(ids)
      this.#told += ids.length
    } catch (error) {
      log.debug('session-touches-deferred', { sessions: ids.length, error })
      for (const id of ids) if (this.#dueAt.has(id)) this.#dueAt.set(id, clock.monotonic() + againMs)
    }
    this.#isTelling = false
    const next = [...this.#dueAt.values()].reduce((first, dueAt) => Math.min(first, dueAt), Infinity)
    if (next < Infinity) this.#wake(next)
  }
}

export type SessionTouchesOptions = {
  readonly state: StateReader
  readonly propose: (command: Command, timeoutMs: number) => Promise<CommandResult>
  readonly clock: Clock
  readonly log: Log
}

const gatherMs = 200
const againMs = 1000
const proposeTimeoutMs = 5000
