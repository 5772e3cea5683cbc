import type { Clock, Timer } from '../std/clock.ts'
import type { Entry } from '../raft/entry.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { committedHoldMs, heldEntriesMax } from './limits.ts'

/**
 * Committed entries on their way to the main thread. One that this node proposed goes at once with all before it, since
 * somebody waits there; what others proposed gathers for a moment, so that a follower is not woken for each write of the
 * cluster. `flush` comes before whatever else the main thread is told of the log.
 */
export class CommitOutbox {
  readonly #options: CommitOutboxOptions
  /** Of the ids that this node gives; until it is known who that is nothing is held. */
  #ownPrefix = ''
  #held: Entry[] = []
  #timer: Timer | undefined

  constructor(options: CommitOutboxOptions) {
    this.#options = options
  }

  start(self: NodeId): void {
    this.#ownPrefix = `${self}.`
  }

  add(entries: readonly Entry[]): void {
    for (const entry of entries) this.#held.push(entry)
    const isWaitedFor = entries.some(({ id }) => id.startsWith(this.#ownPrefix))
    if (isWaitedFor || this.#held.length >= heldEntriesMax) this.flush()
    else this.#timer ??= this.#options.clock.after(committedHoldMs, () => this.flush())
  }

  flush(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#held.length === 0) return
    const entries = this.#held
    this.#held = []
    this.#options.post(entries)
  }

  /** What is held is not said any more. */
  end(): void {
    this.#timer?.cancel()
    this.#held = []
  }
}

export type CommitOutboxOptions = {
  readonly clock: Clock
  readonly post: (entries: readonly Entry[]) => void
}
