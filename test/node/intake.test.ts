import { describe, expect, it } from 'vitest'
import type { SnapshotMeta } from '../../src/raft/effects.ts'
import type { Entry } from '../../src/raft/entry.ts'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import { Intake } from '../../src/node/intake.ts'
import { encodeSnapshot } from '../../src/state/snapshot.ts'
import { ClusterState } from '../../src/state/state.ts'
import { realClock } from '../../src/std/clock.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'

const configuration = makeConfiguration('c1' as ClusterId, ['n1' as NodeId])

function entries(from: number, to: number): Entry[] {
  const common = { term: 1, kind: 'noop', id: '' as ProposalId, time: 1, data: new Uint8Array() } as const
  return Array.from({ length: to - from + 1 }, (_, at) => ({ ...common, index: from + at }))
}

/** With one key for each entry. */
function snapshotAt(index: number): SnapshotMeta & { bytes: Uint8Array } {
  const state = new ClusterState()
  for (let at = 1; at <= index; at += 1) {
    const command = { kind: 'kv-set', key: `key/${at}`, value: asJsonText('"x"'), expect: null } as const
    state.apply({ index: at, time: 1, command: { command, idempotencyKey: null } })
  }
  const bytes = new Uint8Array(Buffer.concat([...encodeSnapshot(state.capture())]))
  return { index, term: 1, time: 1, configuration, bytes }
}

function makeIntake(): { intake: Intake; state: ClusterState; told: string[]; largestBatch: () => number } {
  const state = new ClusterState()
  const told: string[] = []
  let largest = 0
  const intake = new Intake({
    state,
    apply(batch) {
      largest = Math.max(largest, batch.length)
      for (const { index, time } of batch) state.apply({ index, time, command: null })
      told.push(`applied ${state.appliedIndex}`)
    },
    restored: ({ index }, { keys }) => told.push(`restored ${index} with ${keys}, state at ${state.appliedIndex}`),
    malformed: ({ index }, why) => told.push(`malformed ${index}: ${why}`),
    clock: realClock,
  })
  return { intake, state, told, largestBatch: () => largest }
}

async function turnsUntilSettled(intake: Intake, eachTurn: () => void = () => undefined): Promise<number> {
  let turns = 0
  while (intake.isBusy) {
    await new Promise((resolve) => setImmediate(resolve))
    eachTurn()
    turns += 1
  }
  return turns
}

describe('what consensus hands to the state', () => {
  it('is applied at once while no snapshot is being restored', () => {
    const { intake, told } = makeIntake()
    intake.committed(entries(1, 3))
    expect([told, intake.isBusy]).toEqual([['applied 3'], false])
  })

  it('is restored between turns of the event loop, and what comes behind it waits, in order', async () => {
    const { intake, state, told, largestBatch } = makeIntake()
    intake.committed(entries(1, 2))
    intake.restore(snapshotAt(60_000))
    intake.committed(entries(60_001, 61_000))
    let last = 61_000
    const seen = new Set<number>()
    const turns = await turnsUntilSettled(intake, () => {
      seen.add(Math.min(state.appliedIndex, 60_000))
      intake.committed(entries(last + 1, last + 2))
      last += 2
    })
    expect(turns).toBeGreaterThan(3)
    // Never anything between what it was and what it became.
    expect([...seen]).toEqual([2, 60_000])
    expect(state.appliedIndex).toBe(last)
    expect(told.slice(0, 3)).toEqual(['applied 2', 'restored 60000 with 60000, state at 60000', 'applied 60256'])
    expect(largestBatch()).toBeLessThanOrEqual(256)
    await intake.settled()
  })

  it('is the newer of two snapshots, and nothing of what came between them', async () => {
    const { intake, state, told } = makeIntake()
    intake.restore(snapshotAt(50_000))
    intake.committed(entries(50_001, 50_005))
    await new Promise((resolve) => setImmediate(resolve))
    intake.restore(snapshotAt(60_000))
    intake.committed(entries(60_001, 60_001))
    await intake.settled()
    expect(told).toEqual(['restored 60000 with 60000, state at 60000', 'applied 60001'])
    expect(state.kvGet('key/60000')).toBeDefined()
  })

  it('ends at bytes that are no snapshot, and leaves the state as it was', async () => {
    const { intake, state, told } = makeIntake()
    const snapshot = snapshotAt(10)
    intake.committed(entries(1, 2))
    intake.restore({ ...snapshot, bytes: snapshot.bytes.subarray(0, -1) })
    intake.committed(entries(11, 12))
    await intake.settled()
    intake.committed(entries(13, 14))
    intake.restore(snapshot)
    await intake.settled()
    expect(told).toEqual(['applied 2', expect.stringContaining('malformed 10: no block begins at byte')])
    expect([state.appliedIndex, intake.isBusy]).toEqual([2, false])
  })

  it('is left where it is when the node stops', async () => {
    const { intake, state, told } = makeIntake()
    intake.restore(snapshotAt(50_000))
    intake.committed(entries(50_001, 50_001))
    intake.end()
    await intake.settled()
    intake.committed(entries(1, 1))
    expect([told, state.appliedIndex]).toEqual([[], 0])
  })
})
