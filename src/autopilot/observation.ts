import type { MemberStatus } from '../gossip/messages.ts'
import type { RaftStatus } from '../raft/effects.ts'
import type { NodeId } from '../vocabulary/ids.ts'

/** What a leader sees of its cluster at one moment. */
export type Observation = {
  /** Monotonic ms. */
  readonly nowMs: number
  readonly raft: RaftStatus
  /** Gossip's word on each other node; it has not heard of who is missing. */
  readonly gossip: ReadonlyMap<NodeId, MemberStatus>
  /**
   * Nodes that take nothing new. `leave`: they go for good; `drain`: they come back, also those that are down, or say of
   * themselves that they are stopping.
   */
  readonly draining: ReadonlyMap<NodeId, 'drain' | 'leave'>
}

/** What autopilot thinks of an observation. */
export type Verdict = {
  /** How many voters it wants: odd, and no more than there are nodes to vote, unless more vote already. */
  readonly voterTarget: number
  /** How many of the voters that are sound now may fail until no majority is left. */
  readonly failureTolerance: number
  /** The one thing to do now; null: nothing. */
  readonly decision: Decision | null
  /** Why it does not do what one might expect of it. A hold's text is the same for as long as its reason lasts. */
  readonly holds: readonly Hold[]
}

export type Decision = {
  readonly kind: 'promote' | 'remove'
  readonly node: NodeId
  /** The rest of a sentence that begins with what is done. */
  readonly why: string
}

export type Hold = {
  readonly kind: HoldKind
  /** About whom; null: about the cluster. */
  readonly node: NodeId | null
  /** A sentence. */
  readonly why: string
}

export type HoldKind =
  /** A change of the configuration is under way. */
  | 'changing'
  /** This node drains, or counts for nothing: another is to decide. */
  | 'not-fit'
  /** A learner that could not vote well now. */
  | 'not-sound'
  /** A learner that has not been sound for long enough. */
  | 'not-steady'
  /** There are learners, and enough voters without them. */
  | 'enough-voters'
  /** A learner that would make the number of voters even. */
  | 'alone'
  /** A voter that is dead, but not for long enough. */
  | 'not-long-dead'
  /** A dead voter that an operator has drained. */
  | 'awaited'
  /** A dead voter without which too few would be left. */
  | 'too-few-left'
  /** A change after which a majority would not surely answer. */
  | 'no-sure-majority'

export type AutopilotOptions = {
  readonly votersMax: number
  /** A voter that has been dead for so long is replaced or removed. */
  readonly deadVoterMs: number
  /** Who has been sound for so long is relied upon. */
  readonly stabilizationMs: number
}
