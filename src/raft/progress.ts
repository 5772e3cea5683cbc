import type { Index } from './entry.ts'

/** What a leader knows of one other member. Made when it is elected, changed only by its replication (leader.ts). */
export type Progress = {
  /** Highest index known durable there, with the same log below. Never falls within a term. */
  match: Index
  /** Where the next append request begins. Invariant: match < next. */
  next: Index
  /** True until an append at `next` was accepted: then a request carries one entry at most, as it may be in vain. */
  probing: boolean
  /**
   * At most one append request is out: 'answer' says that it is. 'sign-of-life': the link broke, so nothing is sent until
   * the member is heard again. 'nothing': the next request may go.
   */
  awaiting: 'nothing' | 'answer' | 'sign-of-life'
  /** Last index of the request that is out; meaningful while awaiting 'answer'. */
  sentUpTo: Index
  /** The core's tick at which it went out. */
  sentAtTick: number
  /** Highest commit index told: what is told again, because it may be lost, is the heartbeats'. */
  toldCommit: Index
  /** Heard from since the leader last checked its quorum. */
  isActive: boolean
}

/** What a new leader assumes: the logs agree to its end (paper 5.3), to be probed. */
export function newProgress(lastIndex: Index): Progress {
  return {
    match: 0,
    next: lastIndex + 1,
    probing: true,
    awaiting: 'nothing',
    sentUpTo: 0,
    sentAtTick: 0,
    toldCommit: 0,
    isActive: false,
  }
}
