import type { Clock, Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
import type { RaftStatus } from '../raft/effects.ts'

/** The wait of a leader that stops for another to lead in its place: over when one does, or after a while. */
export class Handover {
  readonly #options: { readonly clock: Clock; readonly timeoutMs: number }
  #waiting: { readonly over: Deferred<void>; readonly timer: Timer } | null = null

  constructor(options: { readonly clock: Clock; readonly timeoutMs: number }) {
    this.#options = options
  }

  begin(): Promise<void> {
    const { clock, timeoutMs } = this.#options
    const over = deferred<void>()
    this.#waiting = { over, timer: clock.after(timeoutMs, () => this.end()) }
    return over.promise
  }

  raftChanged({ role, leader }: RaftStatus): void {
    if (role !== 'leader' && leader !== null) this.end()
  }

  end(): void {
    this.#waiting?.timer.cancel()
    this.#waiting?.over.resolve()
    this.#waiting = null
  }
}
