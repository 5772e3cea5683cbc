import type { SnapshotMeta } from '../raft/effects.ts'

/**
 * The port of durable snapshots: each is one file with its meta, length and checksum inside. A snapshot is either whole,
 * verified and synced (file and folder), or not there (R6). Errors: `storage-failed`.
 */
export type SnapshotStore = {
  /**
   * Verifies what is there, and sets aside what was whole and is damaged (`damaged`: a sentence for each); what an earlier
   * start has set aside is removed. What was being received may go on.
   */
  open(): Promise<{ readonly newest: SnapshotMeta | null; readonly damaged: readonly string[] }>
  /** After damage: sets every snapshot aside as damaged, so that none is left. */
  setAside(): Promise<void>
  /**
   * Reads all of it again: null when it is as it was written, else a sentence. Between two pieces it waits for `pause`, whose
   * rejection ends it.
   */
  verify(snapshot: SnapshotMeta, pause?: () => Promise<void>): Promise<string | null>
  /** Writes to a temporary file, syncs, renames, syncs the folder. */
  write(snapshot: SnapshotMeta, bytes: Uint8Array): Promise<void>
  read(snapshot: SnapshotMeta): Promise<Uint8Array>
  /** A part of the snapshot's bytes as stored, for sending; `size` is of the whole. */
  readChunk(snapshot: SnapshotMeta, offset: number, lengthMax: number): Promise<{ bytes: Uint8Array; size: number }>
  /** What is there of a snapshot that is being received: the offset to go on from. */
  receivedOffset(snapshot: SnapshotMeta, size: number): Promise<number>
  /** Appends at the offset; `done` when whole, verified and durable. A wrong checksum throws the part away and says so. */
  receive(
    snapshot: SnapshotMeta,
    chunk: { offset: number; size: number; bytes: Uint8Array },
  ): Promise<'more' | 'done' | 'damaged'>
  /** Removes every snapshot older than this one. */
  prune(newest: SnapshotMeta): Promise<void>
  close(): Promise<void>
}
