import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log/log.ts'
import { Snapshots } from '../../src/node/snapshots.ts'
import { decodeSnapshot } from '../../src/state/snapshot.ts'
import { ClusterState } from '../../src/state/state.ts'
import { realClock } from '../../src/std/clock.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { waitFor } from '../wait.ts'

function stateOf(keys: number, valueLength: number): ClusterState {
  const state = new ClusterState()
  const value = asJsonText(`"${'x'.repeat(valueLength)}"`)
  for (let index = 1; index <= keys; index += 1) {
    const command = { kind: 'kv-set', key: `key/${index}`, value, expect: null } as const
    state.apply({ index, time: index, command: { command, idempotencyKey: null } })
  }
  return state
}

type Saved = { index: number; bytes: Uint8Array }

function makeSnapshots(state: ClusterState): { snapshots: Snapshots; saved: Saved[] } {
  const saved: Saved[] = []
  const snapshots = new Snapshots({
    capture: () => state.capture(),
    save: (snapshot) => saved.push(snapshot),
    clock: realClock,
    log: silentLog,
  })
  return { snapshots, saved }
}

describe('a snapshot of a running state', () => {
  it('is of the state at the wish, whatever is applied while it is taken, and lets the event loop turn', async () => {
    const state = stateOf(100_000, 200)
    const { snapshots, saved } = makeSnapshots(state)
    snapshots.wanted()
    let turns = 0
    await waitFor('the snapshot', async () => {
      await new Promise((resolve) => setImmediate(resolve))
      turns += 1
      const command = { kind: 'kv-delete', key: `key/${turns}`, expect: null } as const
      const index = state.appliedIndex + 1
      state.apply({ index, time: index, command: { command, idempotencyKey: null } })
      return saved.length > 0
    })
    const [{ index, bytes }] = saved as [Saved]
    const image = decodeSnapshot(bytes)
    expect(index).toBe(100_000)
    expect('malformed' in image ? image.malformed : image.kv.length).toBe(100_000)
    expect(turns).toBeGreaterThan(2)
    expect(snapshots.figures).toMatchObject({ taken: 1, lastBytes: bytes.length })
  })

  it('is one at a time: a second wish meanwhile is the same wish', async () => {
    const { snapshots, saved } = makeSnapshots(stateOf(1000, 100))
    snapshots.wanted()
    snapshots.wanted()
    await waitFor('the snapshot', () => saved.length > 0)
    await snapshots.stop()
    expect(saved).toHaveLength(1)
  })

  it('is dropped when the node stops, and none is begun afterwards', async () => {
    const { snapshots, saved } = makeSnapshots(stateOf(50_000, 200))
    snapshots.wanted()
    await snapshots.stop()
    snapshots.wanted()
    await snapshots.stop()
    expect(saved).toEqual([])
  })
})
