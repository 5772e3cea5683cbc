import { describe, expect, it } from 'vitest'
import { lookAtStores } from '../../src/consensus/opening.ts'
import { decideRecovery } from '../../src/consensus/recovery.ts'
import type { FoundSnapshots, Recovery } from '../../src/consensus/recovery.ts'
import type { Entry, HardState } from '../../src/raft/entry.ts'
import type { StoredNode } from '../../src/storage/log-store.ts'
import { MemorySnapshotStore } from '../../src/storage/memory-snapshot-store.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { entry, n1, n2, snapshotOf } from '../fixtures/log-batches.ts'

const c1 = 'c1' as ClusterId

/** Of term 2, unless it says otherwise. */
function entriesOf(first: number, last: number, term = 2): Entry[] {
  return Array.from({ length: last - first + 1 }, (_, at) => entry(first + at, term))
}

function hard(term: number, commit: number, change: Partial<HardState> = {}): HardState {
  return { term, vote: null, commit, isRecovering: false, ...change }
}

/** A log of entries 6 to 12 behind a snapshot of entry 8. */
function node(change: Partial<StoredNode> = {}): StoredNode {
  return {
    nodeId: n1,
    generation: 1,
    promise: { clusterId: c1, voters: [n1, n2] },
    joined: null,
    hardState: hard(2, 9),
    snapshot: snapshotOf(8, 2),
    entries: entriesOf(6, 12),
    damage: null,
    quarantine: null,
    ...change,
  }
}

/** The same with damage: the sound beginning of what there was. */
function damaged(change: Partial<StoredNode> = {}): StoredNode {
  return node({ damage: { why: 'entry 10 is damaged', condemned: false }, ...change })
}

function found(change: Partial<FoundSnapshots> = {}): FoundSnapshots {
  return { newest: snapshotOf(8, 2), damaged: [], hasNamed: true, ...change }
}

const nothing: FoundSnapshots = { newest: null, damaged: [], hasNamed: false }
const lost: FoundSnapshots = { newest: null, damaged: ['8.snapshot: its checksum does not match'], hasNamed: false }
const blank = { snapshot: null, entries: [], hardState: hard(0, 0), promise: null }

/** `start: snapshot, entries, commit`, and the term where that is not 2; `!` where it is recovering. */
function told(recovery: Recovery): string {
  const { snapshot, entries, hardState } = recovery.kind === 'start' ? recovery.recovered : recovery.begin
  const [first, last] = [entries[0]?.index, entries.at(-1)?.index]
  const log = first === undefined ? 'no entries' : `${first}-${last}`
  const place = snapshot === null ? 'no snapshot' : `snapshot ${snapshot.index}`
  const kind = recovery.kind === 'start' && recovery.lost !== null ? 'start without' : recovery.kind
  const { term, commit, isRecovering } = hardState
  return `${kind}: ${place}, ${log}, commit ${commit}${term === 2 ? '' : `, term ${term}`}${isRecovering ? '!' : ''}`
}

describe('a node starts from', () => {
  it.each<[string, StoredNode, FoundSnapshots, string]>([
    ['its log and the snapshot that it names', node(), found(), 'start: snapshot 8, 6-12, commit 9'],
    [
      'a log that goes back to entry 1',
      node({ snapshot: null, entries: entriesOf(1, 12) }),
      nothing,
      'start: no snapshot, 1-12, commit 9',
    ],
    [
      'a newer snapshot of its own, which the log had not heard of',
      node(),
      found({ newest: snapshotOf(11, 2) }),
      'start: snapshot 11, 6-12, commit 11',
    ],
    [
      'the first snapshot of its own, which the log had not heard of',
      node({ snapshot: null, entries: entriesOf(1, 12) }),
      found({ newest: snapshotOf(5, 2), hasNamed: false }),
      'start: snapshot 5, 1-12, commit 9',
    ],
    [
      'the newer one alone, when the older is lost',
      node(),
      found({ newest: snapshotOf(11, 2), hasNamed: false }),
      'start: snapshot 11, 6-12, commit 11',
    ],
    [
      'the older one, when the newer was received and not installed',
      node(),
      found({ newest: snapshotOf(40, 3) }),
      'start: snapshot 8, 6-12, commit 9',
    ],
    [
      'the older one, when its log contradicts the newer',
      node(),
      found({ newest: snapshotOf(11, 3) }),
      'start: snapshot 8, 6-12, commit 9',
    ],
    [
      'the older one, when a newer is damaged',
      node(),
      found({ damaged: ['11.snapshot'] }),
      'start: snapshot 8, 6-12, commit 9',
    ],
    [
      'a log that ends at its snapshot',
      node({ entries: [], hardState: hard(2, 8) }),
      found(),
      'start: snapshot 8, no entries, commit 8',
    ],
    [
      'nothing, before it is bound to a cluster',
      node(blank),
      nothing,
      'start: no snapshot, no entries, commit 0, term 0',
    ],
    [
      'nothing, when it has promised and not formed',
      node({ ...blank, promise: { clusterId: c1, voters: [n1] } }),
      nothing,
      'start: no snapshot, no entries, commit 0, term 0',
    ],
    [
      'nothing, recovering, when it has joined: it may have had its id before',
      node({ ...blank, joined: c1 }),
      nothing,
      'start: no snapshot, no entries, commit 0, term 0!',
    ],
    [
      'nothing, beside a snapshot that it received while it joined',
      node({ ...blank, joined: c1 }),
      found({ newest: snapshotOf(40, 3), hasNamed: false }),
      'start: no snapshot, no entries, commit 0, term 0!',
    ],
    [
      'what it has of the log, still recovering, when it was so before',
      node({ hardState: hard(2, 9, { isRecovering: true }) }),
      found(),
      'start: snapshot 8, 6-12, commit 9!',
    ],
    [
      'a log that goes back to entry 1, when the snapshot is lost',
      node({ entries: entriesOf(1, 12) }),
      lost,
      'start without: no snapshot, 1-12, commit 9',
    ],
    [
      'a log that goes back to entry 1, when the snapshot is missing',
      node({ entries: entriesOf(1, 12) }),
      nothing,
      'start without: no snapshot, 1-12, commit 9',
    ],
  ])('%s', (_, stored, snapshots, expected) => {
    expect(told(decideRecovery(stored, snapshots))).toBe(expected)
  })
})

describe('a node goes into quarantine with', () => {
  it.each<[string, StoredNode, FoundSnapshots, string]>([
    [
      'nothing, when the snapshot is lost on which its log stands',
      node(),
      lost,
      'quarantine: no snapshot, no entries, commit 0!',
    ],
    [
      'a snapshot that was received, when the one of its log is lost',
      node(),
      found({ newest: snapshotOf(40, 2), hasNamed: false }),
      'quarantine: snapshot 40, no entries, commit 40!',
    ],
    [
      'the term of that, when it is higher',
      node(),
      found({ newest: snapshotOf(40, 5), hasNamed: false }),
      'quarantine: snapshot 40, no entries, commit 40, term 5!',
    ],
    [
      'an older snapshot and its log behind that',
      node(),
      found({ newest: snapshotOf(7, 2), hasNamed: false }),
      'quarantine: snapshot 7, 8-12, commit 9!',
    ],
    [
      'an older snapshot alone, when the log does not go back to it',
      node(),
      found({ newest: snapshotOf(4, 2), hasNamed: false }),
      'quarantine: snapshot 4, no entries, commit 4!',
    ],
    ['its snapshot and the sound entries behind it', damaged(), found(), 'quarantine: snapshot 8, 9-12, commit 9!'],
    [
      'entries that follow the snapshot at once',
      damaged({ entries: entriesOf(9, 12) }),
      found(),
      'quarantine: snapshot 8, 9-12, commit 9!',
    ],
    [
      'no more committed than is there',
      damaged({ entries: entriesOf(6, 9), hardState: hard(2, 11) }),
      found(),
      'quarantine: snapshot 8, 9-9, commit 9!',
    ],
    [
      'its snapshot alone, when the sound entries end before it',
      damaged({ entries: entriesOf(6, 7) }),
      found(),
      'quarantine: snapshot 8, no entries, commit 8!',
    ],
    [
      'its snapshot alone, when no entry is sound',
      damaged({ entries: [] }),
      found(),
      'quarantine: snapshot 8, no entries, commit 8!',
    ],
    [
      'its snapshot alone, when the log contradicts it',
      damaged(),
      found({ newest: snapshotOf(8, 1) }),
      'quarantine: snapshot 8, no entries, commit 8!',
    ],
    [
      'its snapshot, when what the log named is lost with the rest',
      damaged({ snapshot: null, entries: [] }),
      found({ hasNamed: false }),
      'quarantine: snapshot 8, no entries, commit 8!',
    ],
    [
      'a newer snapshot and what follows it',
      damaged(),
      found({ newest: snapshotOf(11, 2) }),
      'quarantine: snapshot 11, 12-12, commit 11!',
    ],
    [
      'the sound beginning of a log without snapshot',
      damaged({ snapshot: null, entries: entriesOf(1, 7) }),
      nothing,
      'quarantine: no snapshot, 1-7, commit 7!',
    ],
    [
      'nothing, when the beginning is damaged too',
      damaged({ snapshot: null, entries: entriesOf(3, 7) }),
      nothing,
      'quarantine: no snapshot, no entries, commit 0!',
    ],
    ['nothing, when the snapshot is lost with it', damaged(), lost, 'quarantine: no snapshot, no entries, commit 0!'],
    [
      'the term of the entries, when the other is lost',
      damaged({ hardState: hard(0, 0) }),
      found(),
      'quarantine: snapshot 8, 9-12, commit 8!',
    ],
    [
      'the term of the snapshot, when there is no other',
      damaged({ hardState: hard(0, 0), entries: [] }),
      found(),
      'quarantine: snapshot 8, no entries, commit 8!',
    ],
    [
      'its term alone, when it is condemned',
      damaged({ damage: { why: 'x', condemned: true } }),
      found(),
      'quarantine: no snapshot, no entries, commit 0!',
    ],
    [
      'nothing, when it is bound to no cluster',
      damaged(blank),
      nothing,
      'quarantine: no snapshot, no entries, commit 0, term 0!',
    ],
  ])('%s', (_, stored, snapshots, expected) => {
    expect(told(decideRecovery(stored, snapshots))).toBe(expected)
  })

  it.each<[string, HardState, NodeId | null]>([
    ['the vote of its term', hard(4, 9, { vote: n2 }), n2],
    ['no vote, where its term is lost', hard(1, 9, { vote: n2 }), null],
    ['no vote, where that is lost', hard(4, 9), null],
  ])('%s', (_, hardState, vote) => {
    expect(decideRecovery(damaged({ hardState }), found())).toMatchObject({ begin: { hardState: { vote } } })
  })

  it('a sentence about the damage', () => {
    expect(decideRecovery(damaged(), found())).toMatchObject({ begin: { why: 'entry 10 is damaged' } })
    expect(decideRecovery(node(), lost)).toMatchObject({
      begin: {
        why: 'the snapshot of entries 1 to 8, on which the log stands, is lost: 8.snapshot: its checksum does not match',
      },
    })
    expect(decideRecovery(node(), nothing)).toMatchObject({
      begin: { why: 'the snapshot of entries 1 to 8, on which the log stands, is lost: it is missing' },
    })
  })
})

describe('a snapshot that the log names', () => {
  it('is not lost because it can not be read now: that is an error', async () => {
    const error = new Error('EMFILE: too many open files')
    const snapshots = new MemorySnapshotStore()
    snapshots.readChunk = () => Promise.reject(error)
    snapshots.verify = () => Promise.reject(error)
    await expect(lookAtStores(node(), snapshots)).rejects.toBe(error)
  })

  it('is lost when it is not there, and there when it is the newest or beside that', async () => {
    const snapshots = new MemorySnapshotStore()
    expect(told((await lookAtStores(node(), snapshots)).recovery)).toMatch(/^quarantine/)
    for (const index of [8, 20]) {
      await snapshots.write(snapshotOf(index, 2), new Uint8Array())
      expect(told((await lookAtStores(node(), snapshots)).recovery)).toBe('start: snapshot 8, 6-12, commit 9')
    }
  })
})
