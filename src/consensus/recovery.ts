import type { SnapshotMeta } from '../raft/effects.ts'
import type { Entry, HardState } from '../raft/entry.ts'
import type { StoredNode } from '../storage/log-store.ts'
import type { SnapshotStore } from '../storage/snapshot-store.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/** What Raft starts from: the log, and a snapshot that is there and stands for what the log does not hold. */
export type Recovered = {
  readonly snapshot: SnapshotMeta | null
  readonly entries: readonly Entry[]
  readonly hardState: HardState
}

/**
 * Brings log and snapshots together after a start (R6). A snapshot becomes durable before the log hears of it, so a crash in
 * between leaves one that is newer than the log says: one that the log contains stands for its part of the log from now on;
 * one that the log does not reach was a leader's and was not installed, and will be offered again. The other way round the
 * snapshot was lost: error `storage-failed`.
 */
export async function recover(stored: StoredNode, snapshots: SnapshotStore): Promise<Recovered> {
  const { entries, hardState } = stored
  const newest = await snapshots.open()
  const isNewer = newest !== null && newest.index > (stored.snapshot?.index ?? 0) && isIn(entries, newest)
  const snapshot = isNewer ? newest : stored.snapshot
  if (snapshot === null) return { snapshot, entries, hardState }
  try {
    await snapshots.readChunk(snapshot, 0, 0)
  } catch (cause) {
    throw new OperatingError(
      'storage-failed',
      `start from the log: the snapshot of entries 1 to ${snapshot.index}, on which it stands, is missing or damaged: restore the data directory from a copy made while the node was stopped, or remove this node from the cluster and let it join under a new id with an empty data directory`,
      { cause },
    )
  }
  // The stored commit index is a hint and may lag; what a snapshot holds was committed.
  return { snapshot, entries, hardState: { ...hardState, commit: Math.max(hardState.commit, snapshot.index) } }
}

function isIn(entries: readonly Entry[], { index, term }: SnapshotMeta): boolean {
  const [first] = entries
  return first !== undefined && entries[index - first.index]?.term === term
}
