import { afterEach, describe, expect, it } from 'vitest'
import { raftLanes } from '../../src/wire/limits.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { waitFor } from '../wait.ts'
import { LoopCluster, stopClusters } from './loop-cluster.ts'
import { socketTransport } from './socket-transport.ts'
import { leaderOf, propose, write } from './test-cluster.ts'
import type { LoopNode, TestNode } from './test-cluster.ts'

const [n1, n2, n3] = ['n1', 'n2', 'n3'] as [NodeId, NodeId, NodeId]
const ids = [n1, n2, n3]

afterEach(stopClusters)

let reads = 0

/** Reads until it is answered with an index that is applied, as a client does that may repeat itself. */
async function read(node: TestNode): Promise<number> {
  const ask = (): number => {
    node.started.consensus.read((reads += 1))
    return reads
  }
  let id = ask()
  return waitFor(`a read on ${node.id}`, () => {
    const index = node.told.reads.get(id)
    if (index !== undefined) return node.told.applied >= index && index
    if (node.told.readsRefused.includes(id)) id = ask()
    return undefined
  })
}

const others = (nodes: readonly LoopNode[], node: LoopNode): LoopNode[] => nodes.filter((each) => each !== node)

describe('a read', () => {
  it('on every node sees what was written before, without growing the log', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll(ids)
    const leader = await leaderOf(nodes)
    for (let at = 0; at < 10; at += 1) {
      await write(leader, `w${at}`, [leader])
      for (const node of nodes) {
        await read(node)
        expect(node.told.commands()).toContain(`w${at}`)
      }
    }
    // The founders' configuration, the leader's noop, the ten.
    expect(leader.told.applied).toBe(12)
  })

  it('is refused where no leader is known, and by a leader that no majority answers', async () => {
    const cluster = new LoopCluster()
    const first = await cluster.start(n1)
    first.started.consensus.read(1)
    expect(first.told.readsRefused).toEqual([1])
    await cluster.startAll([n2, n3])
    const leader = await leaderOf(cluster.nodes)
    await read(leader)
    for (const node of others(cluster.nodes, leader)) cluster.hub.cut(node.id)
    const answered = leader.told.reads.size
    leader.started.consensus.read(2_000_000)
    await waitFor('the refusal', () => leader.told.readsRefused.includes(2_000_000))
    expect(leader.told.reads.size).toBe(answered)
  })
})

describe('a lease', () => {
  it('answers reads alone, until the process of the leader stood still', async () => {
    const cluster = new LoopCluster({ leaseReads: true, electionTimeoutMs: 1000 })
    const leader = await leaderOf(await cluster.startAll(ids))
    const ask = (): number => {
      leader.started.consensus.read((reads += 1))
      return reads
    }
    const asked = (): number => cluster.framesOf(leader, 'heartbeat-request')
    let before = asked()
    let id = ask()
    await waitFor('a read that asks nobody', () => {
      if (leader.told.reads.has(id) && asked() === before) return true
      before = asked()
      id = ask()
      return false
    })
    for (const node of others(cluster.nodes, leader)) cluster.hub.cut(node.id)
    leader.clock.pausedMs += 5000
    const late = ask()
    await waitFor('the refusal', () => leader.told.readsRefused.includes(late))
    expect(leader.told.reads.has(late)).toBe(false)
  })
})

describe('leadership', () => {
  it('goes to the wanted node within a fraction of the election timeout', async () => {
    const cluster = new LoopCluster({ electionTimeoutMs: 2000 })
    const nodes = await cluster.startAll(ids)
    const leader = await leaderOf(nodes)
    await write(leader, 'before', nodes)
    const [target] = others(nodes, leader)
    if (target === undefined) throw new Error('there are three')
    const startMs = performance.now()
    leader.started.consensus.transfer(target.id)
    await waitFor('the change', () => nodes.every(({ told }) => told.last?.raft?.leader === target.id))
    expect(performance.now() - startMs).toBeLessThan(1000)
    await write(leader, 'after', nodes)
  })

  it('is handed over by a leader that stops', async () => {
    const cluster = new LoopCluster({ electionTimeoutMs: 2000 })
    const nodes = await cluster.startAll(ids)
    const leader = await leaderOf(nodes)
    await write(leader, 'before', nodes)
    const rest = others(nodes, leader)
    const startMs = performance.now()
    const stopped = cluster.stop(leader)
    await write(await leaderOf(rest), 'after', rest)
    await stopped
    expect(performance.now() - startMs).toBeLessThan(1500)
    const roles = leader.told.lines.filter(({ event }) => event === 'raft-role').map(({ fields }) => fields['role'])
    expect(roles.at(-1)).toBe('follower')
    expect(leader.clock.pending).toBe(0)
  })

  it('is not waited for in vain by a leader that stops when nobody can take it', async () => {
    const cluster = new LoopCluster({ electionTimeoutMs: 600 })
    const nodes = await cluster.startAll(ids)
    const leader = await leaderOf(nodes)
    for (const node of others(nodes, leader)) cluster.hub.cut(node.id)
    const startMs = performance.now()
    await cluster.stop(leader)
    expect(performance.now() - startMs).toBeLessThan(600)
    expect(leader.clock.pending).toBe(0)
  })

  it('is found anew within a fraction of the election timeout when the leader’s process is killed', async () => {
    const cluster = new LoopCluster({ electionTimeoutMs: 2000 })
    const nodes = await cluster.startAll(ids)
    const leader = await leaderOf(nodes)
    await write(leader, 'before', nodes)
    const rest = others(nodes, leader)
    const startMs = performance.now()
    cluster.kill(leader)
    await write(await leaderOf(rest), 'after', rest)
    expect(performance.now() - startMs).toBeLessThan(1500)
    for (const { told } of rest) expect(told.lines).toContainEqual(expect.objectContaining({ event: 'peer-gone' }))
  })

  it('is found anew as soon over real sockets', async () => {
    const cluster = new LoopCluster({ electionTimeoutMs: 2000 }, { makeTransport: (_, link) => socketTransport(link) })
    const nodes = await cluster.startAll(ids)
    const leader = await leaderOf(nodes)
    await write(leader, 'before', nodes)
    const rest = others(nodes, leader)
    const startMs = performance.now()
    cluster.kill(leader)
    await write(await leaderOf(rest), 'after', rest)
    expect(performance.now() - startMs).toBeLessThan(1500)
  })

  it('stays where it is when a follower’s process is killed, or a link breaks', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll(ids)
    const leader = await leaderOf(nodes)
    const [killed, cut] = others(nodes, leader)
    if (killed === undefined || cut === undefined) throw new Error('there are three')
    const term = leader.told.last?.raft?.term
    cluster.kill(killed)
    await waitFor('the news', () => leader.told.lines.some(({ event }) => event === 'peer-gone'))
    await write(leader, 'by two', [leader, cut])
    await cluster.start(killed.id)
    await write(leader, 'by three', cluster.nodes)
    cluster.hub.cut(cut.id)
    await waitFor('the cut', () => leader.told.last?.connected.length === 1)
    cluster.hub.heal(cut.id)
    await write(leader, 'healed', cluster.nodes)
    expect(leader.told.last?.raft).toMatchObject({ role: 'leader', term })
    expect(cut.told.lines.filter(({ event, fields }) => event === 'peer-gone' && fields['peer'] === leader.id)).toEqual(
      [],
    )
  })
})

describe('the loop', () => {
  it('refuses what is proposed while leadership changes hands, with the reason', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll(ids)
    const leader = await leaderOf(nodes)
    const [target] = others(nodes, leader)
    if (target === undefined) throw new Error('there are three')
    cluster.hub.cut(target.id)
    await write(leader, 'what it lacks', [leader])
    leader.started.consensus.transfer(target.id)
    const id = propose(leader, 'in between')
    await waitFor('an outcome', () => leader.told.refusals.has(id) || leader.told.knows(id))
    expect(['transferring', undefined]).toContain(leader.told.refusals.get(id))
  })

  it('has a lane of its own for snapshots, which Raft does not miss', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll(ids)
    await leaderOf(nodes)
    expect(Object.keys(raftLanes)).toEqual(['ctl', 'log', 'bulk'])
    await waitFor('every lane of each', () => nodes.every(({ told }) => told.last?.connected.length === 2))
  })
})
