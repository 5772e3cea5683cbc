import type { RaftStatus } from '../raft/effects.ts'
import type { ConsensusEvents } from './consensus.ts'
import type { MutableCounters } from './status-report.ts'

/**
 * Tells of a disk that stands still: from when a write takes longer than half an election timeout, which is when Raft looks
 * for another leader, until it has ended. What follows from it, Raft decides by itself.
 */
export class StallWatch {
  readonly #options: StallWatchOptions
  /** The longest that the oldest write was seen to wait; null: the disk does not stand still. */
  #stalledMs: number | null = null

  constructor(options: StallWatchOptions) {
    this.#options = options
  }

  tick(): void {
    const { oldestMs, limitMs, counters, log } = this.#options
    const waitedMs = oldestMs()
    if (waitedMs >= limitMs) {
      if (this.#stalledMs === null) {
        counters.stalls += 1
        log('warn', 'disk-stalled', { oldestWriteMs: Math.round(waitedMs), limitMs })
      }
      this.#stalledMs = Math.max(this.#stalledMs ?? 0, waitedMs)
    } else if (this.#stalledMs !== null) {
      log('info', 'disk-goes-on', { stalledMs: Math.round(this.#stalledMs) })
      this.#stalledMs = null
    }
  }

  raftChanged(before: RaftStatus | null, { role, leader, term }: RaftStatus): void {
    if (this.#stalledMs === null || before?.role !== 'leader' || role === 'leader') return
    const { counters, log } = this.#options
    counters.stallHandovers += 1
    log('warn', 'stalled-leader-gave-up', { term, leader })
  }
}

export type StallWatchOptions = {
  /** For how long the oldest write that has not ended waits. */
  readonly oldestMs: () => number
  readonly limitMs: number
  readonly counters: MutableCounters
  readonly log: ConsensusEvents['log']
}
