import { Inflights } from './inflights.ts'
import type { Index, Term } from './entry.ts'

/** What a leader knows of one other member. Made when it is elected or the member added, changed by replication.ts only. */
export type Progress = {
  /** Highest index known durable there, with the same log below. Within a term it falls only when the member says that it lost that. */
  match: Index
  /** Where the next append request begins; in `replicate` it runs ahead of what is acknowledged. Invariant: match < next. */
  next: Index
  /**
   * `probe`: where the logs agree is not known, so one request is out at most, with one entry at most. `replicate`: it is
   * known, requests follow each other without waiting. `snapshot`: it lacks what is compacted here.
   */
  state: 'probe' | 'replicate' | 'snapshot'
  /**
   * In `probe` and `snapshot`, what has to come before anything is sent: the answer to the probe, or to the snapshot; or, after
   * the link broke or a snapshot failed, any sign of life. In `replicate`, always `nothing`.
   */
  awaiting: 'nothing' | 'answer' | 'sign-of-life'
  /** Requests that are out in `replicate`. */
  readonly inflights: Inflights
  /** The snapshot that is on its way, in `snapshot`. */
  snapshot: { readonly index: Index; readonly term: Term } | null
  /** The tick at which what is out was sent, or last known to get on. What is out for too long is asked for. */
  sentAtTick: number
  /** Highest commit index told: what is told again, because it may be lost, is the heartbeats'. */
  toldCommit: Index
  /** Somebody there waits until it hears that this index is committed; else the news can wait for the next message. */
  awaitedCommit: Index
  /** The newest read context that it has answered. */
  ackedRead: number
  /** The tick at which it was last heard; -Infinity: not since this leader was elected. */
  heardAtTick: number
  /** Set when it is no member any more: it is still to hear that the entry at `index`, which says so, is committed. */
  leaving: { readonly index: Index; readonly untilTick: number } | null
  /** Heartbeat rounds in a row at which it was found to have caught up (learners). */
  caughtUpRounds: number
  /** What it last said of its disk; null: nothing yet. */
  isDiskFull: boolean | null
  /** Set while the member counts for nothing: until `index` is committed, and it has that (recovery.ts). */
  recovery: { readonly nonce: number; readonly index: Index } | null
}

/** Whether what the member has acknowledged counts: for what is committed, for reads, leases and hand-over. */
export function counts({ recovery }: Progress): boolean {
  return recovery === null
}

/** What a leader assumes first: the logs agree to its end (paper 5.3), to be probed. */
export function newProgress(lastIndex: Index): Progress {
  return {
    match: 0,
    next: lastIndex + 1,
    state: 'probe',
    awaiting: 'nothing',
    inflights: new Inflights(),
    snapshot: null,
    sentAtTick: 0,
    toldCommit: 0,
    awaitedCommit: 0,
    ackedRead: 0,
    heardAtTick: -Infinity,
    leaving: null,
    caughtUpRounds: 0,
    isDiskFull: null,
    recovery: null,
  }
}
