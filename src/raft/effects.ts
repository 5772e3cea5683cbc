import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { Configuration } from './configuration.ts'
import type { Entry, HardState, Index, Term } from './entry.ts'
import type { Message, RefusalReason } from './messages.ts'

/** What the core is told. */
export type RaftEvent =
  | { readonly kind: 'tick' }
  | { readonly kind: 'message'; readonly message: Message }
  | { readonly kind: 'propose'; readonly id: ProposalId; readonly data: Uint8Array }
  /** The write of `Persist.seq` is durable. Comes exactly once for each, in order. */
  | { readonly kind: 'persisted'; readonly seq: number }
  /** A message of `send` or `Persist.then` provably did not leave this node. */
  | { readonly kind: 'unsent'; readonly message: Message }
  /** The connection to the peer broke: what was in flight to it may be lost. */
  | { readonly kind: 'unreachable'; readonly peer: NodeId }

/** One atomic, durable batch (R3): truncate, append and hard state together. */
export type Persist = {
  /** Strictly increasing by one. */
  readonly seq: number
  readonly hardState: HardState
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
  /** Entries newly committed and durable here (R7), in index order, each exactly once. */
  readonly apply: readonly Entry[]
  readonly refused: readonly { readonly id: ProposalId; readonly why: RefusalReason }[]
  /** Set when role, term, leader or commit changed since the last take. */
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
  readonly snapshotIndex: Index
  readonly configuration: Configuration
  /** Bytes of the log held in memory. */
  readonly logBytes: number
}

/** How the core is made: what the store had at start, and the limits. */
export type RaftOptions = {
  readonly id: NodeId
  readonly hardState: HardState
  /** The whole log (no compaction yet), contiguous from index 1; entry 1 is a configuration. */
  readonly entries: readonly Entry[]
  readonly seed: number
  readonly heartbeatTicks: number
  /** The election timeout is drawn from [electionTicks, 2 * electionTicks). */
  readonly electionTicks: number
  /** Entries per append request: at most this many bytes, but at least one entry. */
  readonly appendBytesMax: number
  /** A proposal's data may be at most this long. */
  readonly proposalBytesMax: number
  /** The leader refuses proposals while more than this waits uncommitted. */
  readonly uncommittedBytesMax: number
  /**
   * The leader refuses proposals while the log is longer than this (there is no compaction yet). What a leader adds by
   * itself (a noop each term) and what is in the log already is taken in any case: to refuse that would end replication.
   */
  readonly logBytesMax: number
  /** Proposals of this node that wait for their outcome. */
  readonly pendingProposalsMax: number
}
