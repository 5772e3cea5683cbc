import { describe, expect, it } from 'vitest'
import { recover } from '../../src/consensus/recovery.ts'
import type { SnapshotMeta } from '../../src/raft/effects.ts'
import { MemorySnapshotStore } from '../../src/storage/memory-snapshot-store.ts'
import type { StoredNode } from '../../src/storage/log-store.ts'
import { entry, n1, snapshotOf } from '../fixtures/log-batches.ts'

/** A log of entries 6 to 12, all of term 2, behind a snapshot of entry 8. */
const stored: StoredNode = {
  nodeId: n1,
  generation: 1,
  promise: null,
  joined: null,
  hardState: { term: 2, vote: null, commit: 9, isRecovering: false },
  snapshot: snapshotOf(8, 2),
  entries: Array.from({ length: 7 }, (_, at) => entry(at + 6, 2)),
}

async function storeOf(...snapshots: readonly SnapshotMeta[]): Promise<MemorySnapshotStore> {
  const store = new MemorySnapshotStore()
  for (const snapshot of snapshots) await store.write(snapshot, new Uint8Array(10))
  return store
}

describe('a node starts from', () => {
  it.each<[string, readonly SnapshotMeta[], SnapshotMeta, number]>([
    ['the snapshot that its log names', [snapshotOf(8, 2)], snapshotOf(8, 2), 9],
    [
      'a newer one of its own, which the log had not heard of',
      [snapshotOf(8, 2), snapshotOf(11, 2)],
      snapshotOf(11, 2),
      11,
    ],
    ['the newer one alone, when the older is lost', [snapshotOf(11, 2)], snapshotOf(11, 2), 11],
    [
      'the older one, when the newer was received and not installed',
      [snapshotOf(8, 2), snapshotOf(40, 3)],
      snapshotOf(8, 2),
      9,
    ],
    ['the older one, when its log contradicts the newer', [snapshotOf(8, 2), snapshotOf(11, 3)], snapshotOf(8, 2), 9],
  ])('%s', async (_, files, snapshot, commit) => {
    const recovered = await recover(stored, await storeOf(...files))
    expect(recovered).toEqual({ snapshot, entries: stored.entries, hardState: { term: 2, vote: null, commit, isRecovering: false } })
  })

  it('nothing, when the snapshot is lost on which the log stands', async () => {
    for (const files of [[], [snapshotOf(7, 2)], [snapshotOf(40, 3)]]) {
      const recovering = recover(stored, await storeOf(...files))
      await expect(recovering).rejects.toMatchObject({ code: 'storage-failed' })
    }
  })

  it('an empty log beside a snapshot that it received while it joined', async () => {
    const joining = { ...stored, snapshot: null, entries: [], hardState: { term: 0, vote: null, commit: 0, isRecovering: false } }
    const { snapshot, entries } = await recover(joining, await storeOf(snapshotOf(40, 3)))
    expect([snapshot, entries]).toEqual([null, []])
  })
})
