import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { Configuration } from './configuration.ts'
import type { Entry, HardState, Index, Term } from './entry.ts'
import type { Message, ProposalContent, RefusalReason } from './messages.ts'

/** What the core is told. */
export type RaftEvent =
  /** `now`: the wall clock of this node, ms; the core only ever takes the highest it has seen for log time. */
  | { readonly kind: 'tick'; readonly now: number }
  | { readonly kind: 'message'; readonly message: Message }
  | { readonly kind: 'propose'; readonly id: ProposalId; readonly content: ProposalContent }
  /** Time has passed that no tick told of or will, as in a pause of the process: no lease outlives that. */
  | { readonly kind: 'ticks-missed' }
  /** A linearizable read; `id` is the driver's, unique in the process's life. Answered by `reads` or `readsRefused`. */
  | { readonly kind: 'read'; readonly id: number }
  /** Hand leadership over: to the node, or to the voter that is furthest (null). Ends by a change of leader, or in an election timeout. */
  | { readonly kind: 'transfer'; readonly to: NodeId | null }
  /** The write of `Persist.seq` is durable. Comes exactly once for each, in order. */
  | { readonly kind: 'persisted'; readonly seq: number }
  /** The state machine has applied entries up to here: the measure of back-pressure. */
  | { readonly kind: 'applied'; readonly index: Index }
  /** The state machine's snapshot is durable here: the log up to it may go. */
  | { readonly kind: 'snapshotted'; readonly snapshot: SnapshotMeta }
  /** A leader's snapshot is whole, verified and durable here, but not installed. */
  | { readonly kind: 'snapshot-received'; readonly from: NodeId; readonly term: Term; readonly snapshot: SnapshotMeta }
  /** Sending the snapshot to the peer ended in vain. */
  | { readonly kind: 'snapshot-failed'; readonly peer: NodeId }
  /** A message of `send` or `Persist.then` provably did not leave this node. */
  | { readonly kind: 'unsent'; readonly message: Message }
  /**
   * Whether this node's disk has no room but what the node keeps for itself; false at the start. `spareBytes`: of commands, so
   * many bytes it may still take as a follower; told again while it is full, it counts if it is less than what is left.
   */
  | { readonly kind: 'disk-full'; readonly isFull: boolean; readonly spareBytes: number }
  /** The connection to the peer broke: what was in flight to it may be lost. */
  | { readonly kind: 'unreachable'; readonly peer: NodeId }
  /** The peer's machine refused the connection: its process is gone. A hint; quorum and pre-vote still decide. */
  | { readonly kind: 'peer-gone'; readonly peer: NodeId }

/** What a snapshot stands for. Everything up to `index` is in it, membership too. */
export type SnapshotMeta = {
  readonly index: Index
  readonly term: Term
  /** Log time of the entry at `index`. */
  readonly time: number
  readonly configuration: Configuration
}

/** One atomic, durable batch (R3): install or compact, truncate, append and hard state together. */
export type Persist = {
  /** Strictly increasing by one. */
  readonly seq: number
  readonly hardState: HardState
  /** The whole log is replaced by this snapshot, which is durable already (R6); null: no. */
  readonly install: SnapshotMeta | null
  /** The log now begins behind `firstIndex - 1` and `snapshot` (durable already) stands for what is gone; null: no. */
  readonly compact: { readonly firstIndex: Index; readonly snapshot: SnapshotMeta } | null
  /** Delete every entry from this index on before appending (R5); null: nothing to delete. */
  readonly truncateFrom: Index | null
  readonly entries: readonly Entry[]
  /** False when only the commit hint moved: then no fsync is needed (R8). */
  readonly mustSync: boolean
  /** Responses that may leave only once this batch is durable (R1). */
  readonly then: readonly Message[]
}

/** What the core wants done; the order of the fields is the order of the doing, except that `send` runs beside `persist`. */
export type RaftEffects = {
  readonly persist: Persist | null
  /** May leave at once, in parallel with the write (R2). */
  readonly send: readonly Message[]
  /** Stream this node's newest snapshot to the peer, in this term; ends by its `snapshot-installed` or a `snapshot-failed` event. */
  readonly sendSnapshot: readonly { readonly peer: NodeId; readonly term: Term; readonly snapshot: SnapshotMeta }[]
  /**
   * The state machine starts anew from this snapshot, before anything of `apply`: the one that was installed is durable now; or
   * it is the first take after the start, and the log began with a snapshot.
   */
  readonly restore: SnapshotMeta | null
  /** Entries newly committed and durable here (R7), in index order, each exactly once. */
  readonly apply: readonly Entry[]
  /** The read sees everything as soon as `index` is applied. */
  readonly reads: readonly { readonly id: number; readonly index: Index }[]
  /** No leader confirmed it (any more); it may simply be tried again. */
  readonly readsRefused: readonly number[]
  readonly refused: readonly { readonly id: ProposalId; readonly why: RefusalReason }[]
  /**
   * Set when role, term, leader, configuration (or that it is committed), who counts or the log's beginning changed since the
   * last take. That the log got on is no news: `persist` and `apply` show it.
   */
  readonly status: RaftStatus | null
}

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader'

export type RaftStatus = {
  readonly id: NodeId
  readonly role: Role
  readonly term: Term
  readonly leader: NodeId | null
  readonly commitIndex: Index
  readonly lastIndex: Index
  /** 0: there is no snapshot. */
  readonly snapshotIndex: Index
  /** First index that the log still holds. */
  readonly firstIndex: Index
  readonly configuration: Configuration
  /** Whether the newest configuration is committed. */
  readonly isConfigurationCommitted: boolean
  /** Bytes of the log held in memory. */
  readonly logBytes: number
  /** This node has lost what it promised, or never knew: it does not count. */
  readonly isRecovering: boolean
  /** While leader: what it knows of each other member, by id. */
  readonly progress: readonly MemberProgress[]
}

export type MemberProgress = {
  readonly node: NodeId
  readonly match: Index
  readonly state: 'probe' | 'replicate' | 'snapshot'
  /** Heard from within the last election timeout. */
  readonly isActive: boolean
  /** It said that it has lost what it promised, and does not count yet. */
  readonly isRecovering: boolean
  /** It said that its disk is full. */
  readonly isDiskFull: boolean
}

/** How the core is made: what the store had at start, and the limits. */
export type RaftOptions = {
  readonly id: NodeId
  readonly hardState: HardState
  /** What stands for the part of the log that is compacted away; null: the log begins with entry 1. */
  readonly snapshot: SnapshotMeta | null
  /**
   * The log, contiguous, up to its end; begins at or before the snapshot's next index. Empty without a snapshot: a node that
   * joins, which knows no configuration and follows whoever leads the cluster that it was admitted to.
   */
  readonly entries: readonly Entry[]
  readonly seed: number
  readonly heartbeatTicks: number
  /** The election timeout is drawn from [electionTicks, 2 * electionTicks). */
  readonly electionTicks: number
  /** Entries per append request: at most this many bytes, but at least one entry. */
  readonly appendBytesMax: number
  /** Append requests in flight to one member: so many, and so many bytes, at most. */
  readonly inflightMax: number
  readonly inflightBytesMax: number
  /** A proposal's data may be at most this long. */
  readonly proposalBytesMax: number
  /** The leader refuses proposals while more than this waits uncommitted. */
  readonly uncommittedBytesMax: number
  /** The state machine is handed no more than this many entries that it has not applied, and the leader refuses proposals meanwhile. */
  readonly unappliedEntriesMax: number
  /**
   * The leader refuses proposals while the log in memory is longer than this. What a leader adds by itself (a noop each
   * term) and what is in the log already is taken in any case: to refuse that would end replication. Other nodes let it grow to twice as much.
   */
  readonly logBytesMax: number
  /** Entries that compaction leaves behind the snapshot, for members that are a little behind; a quarter of `logBytesMax` at most. */
  readonly trailingEntries: number
  /** Proposals, and reads, of this node that wait for their outcome. */
  readonly pendingProposalsMax: number
  readonly pendingReadsMax: number
  /** A learner that caught up is promoted by itself while there are fewer voters than this. */
  readonly votersMax: number
  /** Off: reads ask a majority. On: a leader that a majority confirmed within the election timeout answers alone (thesis 6.4.1). */
  readonly leaseReads: boolean
}
