import { describe, expect, it } from 'vitest'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import { Raft } from '../../src/raft/raft.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { logOfTerms } from './lab.ts'

const n1 = 'n1' as NodeId
const voters = [n1, 'n2' as NodeId, 'n3' as NodeId]
const trailingEntries = 2

const options = {
  id: n1,
  seed: 1,
  heartbeatTicks: 2,
  electionTicks: 20,
  appendBytesMax: 1_000_000,
  inflightMax: 8,
  inflightBytesMax: 1_000_000,
  proposalBytesMax: 1_000_000,
  uncommittedBytesMax: 1_000_000,
  unappliedEntriesMax: 1000,
  logBytesMax: 1_000_000,
  trailingEntries,
  pendingProposalsMax: 10,
  pendingReadsMax: 10,
  votersMax: 5,
  leaseReads: false,
}

/** A node that ended when its snapshot at 8 was durable, and its log did not know of it yet. */
function startedBehind(snapshotIndex: number): Raft {
  const entries = logOfTerms(
    voters,
    Array.from({ length: 10 }, () => 1),
  )
  const configuration = makeConfiguration('c' as ClusterId, voters)
  return new Raft({
    ...options,
    hardState: { term: 1, vote: null, commit: snapshotIndex, isRecovering: false },
    snapshot: { index: snapshotIndex, term: 1, time: 0, configuration },
    entries,
  })
}

describe('a node that starts from a snapshot that its log does not know yet', () => {
  it('lets the log begin behind it as soon as the state machine stands on it, and not before', () => {
    const raft = startedBehind(8)
    const first = raft.take()
    expect(first.restore?.index).toBe(8)
    expect(first.persist?.compact ?? null).toBeNull()
    raft.step({ kind: 'applied', index: 8 })
    expect(raft.take().persist).toMatchObject({
      compact: { firstIndex: 8 - trailingEntries + 1, snapshot: { index: 8 } },
      mustSync: true,
    })
    expect(raft.status().firstIndex).toBe(7)
    raft.step({ kind: 'applied', index: 8 })
    expect(raft.take().persist?.compact ?? null).toBeNull()
  })
})

describe('a node that begins with nothing', () => {
  it('has to be told what it may have forgotten, whatever its store says, and makes that durable first', () => {
    const hardState = { term: 0, vote: null, commit: 0, isRecovering: false }
    const raft = new Raft({ ...options, hardState, snapshot: null, entries: [] })
    expect(raft.status().isRecovering).toBe(true)
    expect(raft.take().persist).toMatchObject({ hardState: { isRecovering: true }, mustSync: true })
  })
})
