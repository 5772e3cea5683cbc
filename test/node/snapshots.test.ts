import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log/log.ts'
import { Snapshots } from '../../src/node/snapshots.ts'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import { decodeSnapshot } from '../../src/state/snapshot.ts'
import { ClusterState } from '../../src/state/state.ts'
import { deferred } from '../../src/std/deferred.ts'
import { realClock } from '../../src/std/clock.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import * as record from '../../src/storage/snapshot-record.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
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

const configuration = makeConfiguration('c1' as ClusterId, ['n1' as NodeId, 'n2' as NodeId])

type Saved = { index: number; bytes: Uint8Array }

function makeSnapshots(
  state: ClusterState,
  settled = Promise.resolve(),
): { snapshots: Snapshots; saved: Saved[]; damages: OperatingError[] } {
  const saved: Saved[] = []
  const damages: OperatingError[] = []
  const snapshots = new Snapshots({
    settled: () => settled,
    damaged: (why) => damages.push(why),
    capture: () => state.capture(),
    position: () => (state.appliedIndex === 0 ? null : { term: 7, configuration }),
    save: (snapshot) => saved.push(snapshot),
    clock: realClock,
    log: silentLog,
  })
  return { snapshots, saved, damages }
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

  it('of a state that is still being restored is taken when it is', async () => {
    const restored = deferred<void>()
    const state = stateOf(10, 1)
    const { snapshots, saved } = makeSnapshots(state, restored.promise)
    snapshots.wanted()
    await new Promise((resolve) => setImmediate(resolve))
    expect(saved).toEqual([])
    state.restore(stateOf(20, 1).capture())
    restored.resolve()
    await waitFor('the snapshot', () => saved.length > 0)
    expect(saved[0]?.index).toBe(20)
  })

  it('is not given out when a record in memory is not what was applied, and whoever holds the state hears of it', async () => {
    const state = stateOf(100, 1)
    state.digest()
    Object.assign(state.kvGet('key/7') ?? {}, { revision: 8 })
    const { snapshots, saved, damages } = makeSnapshots(state)
    snapshots.wanted()
    await waitFor('the alarm', () => damages.length > 0)
    await snapshots.stop()
    expect(saved).toEqual([])
    expect(damages[0]).toMatchObject({ code: 'state-diverged', message: expect.stringContaining('at 100') })
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

describe('a snapshot for people', () => {
  it('is one whole record of the state at the wish, whatever is applied while it is handed out', async () => {
    const state = stateOf(20_000, 100)
    const { snapshots } = makeSnapshots(state)
    const exported = await snapshots.export(new AbortController().signal)
    const parts: Uint8Array[] = []
    for await (const part of exported.parts) {
      parts.push(part)
      const command = { kind: 'kv-delete', key: `key/${parts.length}`, expect: null } as const
      const index = state.appliedIndex + 1
      state.apply({ index, time: index, command: { command, idempotencyKey: null } })
    }
    exported.close()
    const bytes = Buffer.concat(parts)
    expect(parts.length).toBeGreaterThan(10)
    expect(bytes.length).toBe(exported.bytes)
    const decoded = record.decodeSnapshot(bytes)
    if ('damage' in decoded) throw new Error(decoded.damage)
    expect(decoded.snapshot).toEqual({ index: 20_000, term: 7, time: 20_000, configuration })
    const image = decodeSnapshot(decoded.data)
    expect('malformed' in image ? image.malformed : image.kv.length).toBe(20_000)
  })

  it('is one at a time, and the next one can be taken when it is closed', async () => {
    const { snapshots } = makeSnapshots(stateOf(1000, 100))
    const { signal } = new AbortController()
    const first = await snapshots.export(signal)
    await expect(snapshots.export(signal)).rejects.toMatchObject({ code: 'overloaded' })
    first.close()
    ;(await snapshots.export(signal)).close()
  })

  it('ends when nobody wants it any more, when the node stops, and is none while there is no state', async () => {
    const { snapshots } = makeSnapshots(stateOf(1000, 1000))
    await expect(snapshots.export(AbortSignal.abort())).rejects.toMatchObject({ code: 'cancelled' })
    const { parts } = await snapshots.export(new AbortController().signal)
    const taken = (async () => {
      for await (const _ of parts) await snapshots.stop()
    })()
    await expect(taken).rejects.toMatchObject({ code: 'stopped' })
    const empty = makeSnapshots(stateOf(0, 0)).snapshots.export(new AbortController().signal)
    await expect(empty).rejects.toBeInstanceOf(OperatingError)
    await expect(empty).rejects.toMatchObject({ code: 'not-found' })
  })
})
