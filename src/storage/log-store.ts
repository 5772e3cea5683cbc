import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
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
  close(): Promise<void>
}

export type LogBatch = {
  readonly hardState: HardState
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
  readonly hardState: HardState
  /** Empty until the cluster has formed. */
  readonly entries: readonly Entry[]
}
