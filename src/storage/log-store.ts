import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { Entry, HardState, Index } from '../raft/entry.ts'

/**
 * The port of durable bytes for one node: who it is, what it promised, and the Raft log. One writer; a write is started
 * only when the one before has ended (R4). After any failed write the store is dead: every later call fails (R11).
 */
export type LogStore = {
  /**
   * Opens, verifies (checksums, hash chain, contiguity, head, the second home of term and vote) and loads everything; counts
   * the boot generation up and makes that durable. Damage is no error: it is told (`StoredNode.damage`), nothing of this store
   * is written (the records below may have dropped what they could not read), and the only calls that may follow are
   * `quarantine` and `close`. Errors: `locked` (another process holds it), `storage-failed` (I/O, or who this node is can not
   * be told any more).
   */
  open(options: { nodeId: NodeId | null }): Promise<StoredNode>
  /**
   * After damage, of the log or of the snapshot that it stands on: sets what is there aside (kept until the node has recovered, for people to look at), and begins anew with
   * `begin`, whose hard state is recovering, durably and so that a crash in between is finished at the next start.
   */
  quarantine(begin: QuarantinedLog): Promise<StoredNode>
  /**
   * Why it came to a quarantine, while the node is recovering and in the one start after; else null. Ask again after writes: by
   * its end it says whether the log was verified, and stays until `close`.
   */
  readonly lastQuarantine: Quarantine | null
  /**
   * Makes durable that nothing of this node's log and snapshots is to be trusted at its next start; `why` is a sentence. May
   * be called beside a write, and when the store is dead.
   */
  condemn(why: string): Promise<void>
  /**
   * Verifies the next piece of what is on the disk, beside the writes (at most some thousand records or a MiB), and begins anew
   * behind the last. One call at a time; a failed one says nothing about the store.
   */
  scrub(): Promise<ScrubReport>
  /**
   * A write like every other: writes these entries, which the log has and which are contiguous, once more in their place,
   * found damaged by `scrub`; and with them the records that are not entries. An entry that is not what was written before
   * is refused by an assertion.
   */
  rewrite(entries: readonly Entry[]): Promise<void>
  /** Makes the batch durable as one: truncate, append, hard state. Resolves after fsync when `sync`. */
  write(batch: LogBatch): Promise<void>
  /** Makes the forming promise durable. A second, different promise is refused by an assertion. */
  writePromise(promise: FormingPromise): Promise<void>
  /** Makes durable that this node follows that cluster, at most once in a data directory's life. */
  writeJoined(clusterId: ClusterId): Promise<void>
  close(): Promise<void>
}

export type LogBatch = {
  readonly hardState: HardState
  /** As in raft/effects `Persist`. */
  readonly install: SnapshotMeta | null
  readonly compact: { readonly firstIndex: Index; readonly snapshot: SnapshotMeta } | null
  readonly truncateFrom: Index | null
  readonly entries: readonly Entry[]
  readonly sync: boolean
}

/** The promise to form exactly this cluster; made at most once in a data directory's life. */
export type FormingPromise = { readonly clusterId: ClusterId; readonly voters: readonly NodeId[] }

export type StoredNode = {
  readonly nodeId: NodeId
  /** 1 at the first start; counts up at each. */
  readonly generation: number
  readonly promise: FormingPromise | null
  /** The cluster that this node was admitted to join, when it did not form one. */
  readonly joined: ClusterId | null
  readonly hardState: HardState
  /** What stands for the compacted part of the log; its bytes are the snapshot store's. */
  readonly snapshot: SnapshotMeta | null
  /** Empty until the cluster has formed, or a joining node got its first. With damage: the sound ones before it. */
  readonly entries: readonly Entry[]
  /** Null: what is on the disk is what was written. */
  readonly damage: LogDamage | null
  /** While `hardState.isRecovering`, and for the one start after: why it came to that; null: it joins, or is well. */
  readonly quarantine: Quarantine | null
}

export type LogDamage = {
  /** A sentence for the operator: which file or record, and what is wrong with it. */
  readonly why: string
  /** The snapshots are not to be trusted either. */
  readonly condemned: boolean
}

/** What is known to be true of a log that was set aside: a snapshot and the sound entries that connect to it, either may lack. */
export type QuarantinedLog = {
  readonly why: string
  readonly hardState: HardState
  readonly snapshot: SnapshotMeta | null
  readonly entries: readonly Entry[]
}

export type Quarantine = {
  readonly why: string
  /** The last entry that the damaged log is known to have had; 0: not known. */
  readonly lostUpTo: Index
  /** Whether the log was found to be, up to there, what it was by the hash chain; null: not got so far, or not to be told. */
  readonly verified: boolean | null
}

export type ScrubReport = {
  readonly records: number
  readonly bytes: number
  readonly isRoundDone: boolean
  readonly damage: ScrubDamage | null
}

export type ScrubDamage = {
  /** A sentence that names the file or record, and what is wrong with it. */
  readonly why: string
  /**
   * `done`: the store has mended it. Entries: to be given to `rewrite` (none when `first` is behind `last`). `restart`: not to
   * be mended while the store is open; the next start finds it.
   */
  readonly mend: 'done' | 'restart' | { readonly first: Index; readonly last: Index }
}
