import { afterEach, describe, expect, it } from 'vitest'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { waitFor } from '../wait.ts'
import { LoopCluster, stopClusters } from './loop-cluster.ts'
import { leaderOf, propose, write } from './test-cluster.ts'

const [n1, n2, n3] = ['n1', 'n2', 'n3'] as [NodeId, NodeId, NodeId]
const ids = [n1, n2, n3]

afterEach(stopClusters)

describe('a full disk', () => {
  it('is no place for writes: the leader hands over, and where all are full writes are refused until there is room', async () => {
    const cluster = new LoopCluster({ reserveBytes: 1000 }, { hurry: (ms) => ms === 1000 })
    const nodes = await cluster.startAll(ids)
    const leader = await leaderOf(nodes)
    await write(leader, 'before', nodes)
    cluster.free.set(leader.id, 10)
    const rest = nodes.filter((node) => node !== leader)
    const next = await leaderOf(rest)
    await write(next, 'with one of them full', rest)
    expect(leader.told.last).toMatchObject({ isDiskFull: true, counters: { diskFreeBytes: 10 } })
    expect(leader.told.commands()).toEqual(['before'])
    for (const { id } of nodes) cluster.free.set(id, 10)
    await waitFor('all of them to know', () => nodes.every(({ told }) => told.last?.isDiskFull === true))
    await waitFor('a refusal', async () => {
      const on = nodes.find(({ told }) => told.last?.raft?.role === 'leader')
      if (on === undefined) return false
      const id = propose(on, 'too much')
      const why = await waitFor('its outcome', () => on.told.refusals.get(id))
      // While it looks for another leader it says that.
      expect(['disk-full', 'transferring']).toContain(why)
      return why === 'disk-full'
    })
    for (const { id } of nodes) cluster.free.set(id, 5000)
    await write(await leaderOf(nodes), 'after', nodes)
    for (const { told } of nodes) {
      expect(told.commands()).toEqual(['before', 'with one of them full', 'after'])
      expect(told.last?.isDiskFull).toBe(false)
      expect(told.lines.map(({ event }) => event)).toEqual(expect.arrayContaining(['disk-full', 'disk-has-room']))
    }
  })
})

describe('full disks of a majority', () => {
  it('end writes at once, though the leader has room; the next leader answers reads, and takes writes when there is room', async () => {
    const cluster = new LoopCluster({ reserveBytes: 1000 }, { hurry: (ms) => ms === 1000 })
    const nodes = await cluster.startAll(ids)
    const leader = await leaderOf(nodes)
    const rest = nodes.filter((node) => node !== leader)
    await write(leader, 'before', nodes)
    for (const { id } of rest) cluster.free.set(id, 900)
    await waitFor('the leader to know', () => leader.told.last?.raft?.progress.every(({ isDiskFull }) => isDiskFull))
    const id = propose(leader, 'too much')
    expect(await waitFor('its outcome', () => leader.told.refusals.get(id))).toBe('disk-full')
    cluster.kill(leader)
    const next = await leaderOf(rest)
    let reads = 0
    await waitFor('a read', () => {
      if (reads === 0 || next.told.readsRefused.includes(reads)) next.started.consensus.read((reads += 1))
      return next.told.reads.has(reads)
    })
    expect(next.told.commands()).toEqual(['before'])
    for (const node of rest) cluster.free.set(node.id, 5000)
    await write(next, 'after', rest)
  })
})

describe('a disk that is full from the start', () => {
  it('forms a cluster, which takes no write until there is room', async () => {
    const cluster = new LoopCluster({ bootstrapExpect: 1, reserveBytes: 1000 }, { hurry: (ms) => ms === 1000 })
    cluster.free.set(n1, 10)
    const node = await cluster.start(n1)
    await leaderOf([node])
    const id = propose(node, 'too much')
    expect(await waitFor('its outcome', () => node.told.refusals.get(id))).toBe('disk-full')
    cluster.free.set(n1, 5000)
    await write(node, 'after', [node])
    expect(node.told.commands()).toEqual(['after'])
  })
})
