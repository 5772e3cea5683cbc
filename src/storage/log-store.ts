import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { Entry, HardState, Index } from '../raft/entry.ts'

/**
 * The port of durable bytes for one node: who it is, what it promised, and the Raft log. One writer; a write is started
 * only when the one before has ended (R4). After any failed write the store is dead: every later call fails (R11).
 */
export type LogStore = {
  /**
   * Opens, verifies (checksums, hash chain, contiguity, head) and loads everything; counts the boot generation up and
   * makes that durable. Errors: `locked` (another process holds it), `storage-failed` (damage or I/O; says which entry).
   */
  open(options: { nodeId: NodeId | null }): Promise<StoredNode>
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
  /** Empty until the cluster has formed, or a joining node got its first. */
  readonly entries: readonly Entry[]
}
