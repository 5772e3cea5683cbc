import type { NodeId, ProposalId } from '../vocabulary/ids.ts'

/** Terms and indexes are safe integers; 0 means "before the first". */
export type Term = number
export type Index = number

export const entryKinds = ['noop', 'command', 'configuration'] as const
export type EntryKind = (typeof entryKinds)[number]

/** One place of the log. Immutable once made. */
export type Entry = {
  readonly index: Index
  readonly term: Term
  readonly kind: EntryKind
  /** Who waits for it: the proposer's id, or '' for entries that nobody waits for. Travels with the entry. */
  readonly id: ProposalId
  /**
   * Log time: the leader's wall clock when it appended the entry, ms, kept from falling along the log. What expires by time
   * expires by this, so that it expires alike on every node.
   */
  readonly time: number
  /** What the state machine applies; the core never looks inside, except in a configuration. */
  readonly data: Uint8Array
}

/** What must be durable before any message that depends on it leaves (Raft paper, figure 2, "persistent state"). */
export type HardState = {
  readonly term: Term
  readonly vote: NodeId | null
  /** A hint for the next start; never made durable for its own sake (R8). */
  readonly commit: Index
  /**
   * True: this node has lost some of what it promised, or never knew it. It neither votes nor counts until a leader that was
   * told so has committed something without it, and it has all up to there (recovery.ts).
   */
  readonly isRecovering: boolean
}

/** Bytes that an entry counts for in every limit: its data plus a fixed overhead for the rest. */
export function entryBytes(entry: Entry): number {
  return entry.data.length + entryOverheadBytes
}

export const entryOverheadBytes = 64
