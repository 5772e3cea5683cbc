import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { learnedPeersMax } from '../../src/consensus/limits.ts'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import { MemoryDisk, MemoryLogStore } from '../../src/storage/memory-log-store.ts'
import { MemorySnapshotStore } from '../../src/storage/memory-snapshot-store.ts'
import { SnapshotFileStore } from '../../src/storage/snapshot-file-store.ts'
import { isNodeId } from '../../src/vocabulary/ids.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { frameTypes } from '../../src/wire/frame-types.ts'
import { waitFor } from '../wait.ts'
import { Hub } from './hub.ts'
import { LoopCluster, stopClusters } from './loop-cluster.ts'
import { consensusOptions, introduce, leaderOf, propose, startNode, write } from './test-cluster.ts'
import type { LoopNode } from './test-cluster.ts'

const [n1, n2, n3, n4] = ['n1', 'n2', 'n3', 'n4'] as [NodeId, NodeId, NodeId, NodeId]

const undo: (() => Promise<void>)[] = []
afterEach(async () => {
  await stopClusters()
  for (const step of undo.splice(0).toReversed()) await step()
})

function configurationsOf(node: LoopNode): unknown {
  return node.told.entries.slice(0, 1).map(({ index, kind }) => ({ index, kind }))
}

describe('three nodes', () => {
  it('form, elect and apply every write in the same order, from entry 1 on', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    for (const node of nodes) await write(node, `from ${node.id}`, nodes)
    const first = nodes[0]?.told
    for (const { told } of nodes) {
      expect(told.entries.map(({ index }) => index)).toEqual(told.entries.map((_, at) => at + 1))
      expect(told.commands()).toEqual(first?.commands())
      expect(told.failures).toEqual([])
    }
    expect(configurationsOf(leader)).toEqual([{ index: 1, kind: 'configuration' }])
    const [status] = nodes.map(({ told }) => told.last)
    expect(status).toMatchObject({
      clusterId: status?.promised,
      waitingFor: null,
      connected: [n2, n3],
      reached: [n2, n3],
    })
    expect(status?.clusterId).toMatch(/^[0-9a-f-]{36}$/)
    expect(status?.raft?.configuration.voters).toEqual([n1, n2, n3])
  })

  it('say who is missing until all founders are there', async () => {
    const cluster = new LoopCluster()
    const first = await cluster.start(n1)
    await waitFor('a status', () => first.told.last?.waitingFor === '1 of 3 nodes are here: n1; waiting for 2 more')
    expect(first.told.last).toMatchObject({ clusterId: null, promised: null, raft: null })
    const id = propose(first, 'too early')
    expect(first.told.refusals.get(id)).toBe('no-leader')
    await cluster.start(n2)
    await waitFor('two', () => first.told.last?.waitingFor === '2 of 3 nodes are here: n1, n2; waiting for 1 more')
    await cluster.start(n3)
    await leaderOf(cluster.nodes)
    expect(first.told.last?.waitingFor).toBeNull()
    expect(first.told.lines.filter(({ event }) => event === 'cluster-formed')).toHaveLength(1)
  })

  it('go on when the leader ends, and give it everything again when it comes back', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    await write(await leaderOf(nodes), 'before', nodes)
    const old = await leaderOf(nodes)
    await cluster.stop(old)
    const next = await leaderOf(cluster.nodes)
    expect(next.id).not.toBe(old.id)
    await write(next, 'while it was away', cluster.nodes)
    const back = await cluster.start(old.id)
    expect(back.started.generation).toBe(2)
    await waitFor('the rest', () => back.told.commands().includes('while it was away'))
    expect(back.told.commands()).toEqual(next.told.commands())
    expect(back.told.entries[0]).toMatchObject({ index: 1, kind: 'configuration' })
  })

  it('keep every acknowledged write when all of them stop and start', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    for (let at = 0; at < 20; at += 1) await write(leader, `write ${at}`, [leader])
    const written = leader.told.commands()
    for (const node of nodes) await cluster.stop(node)
    await cluster.startAll([n1, n2, n3])
    await write(await leaderOf(cluster.nodes), 'after', cluster.nodes)
    for (const { told } of cluster.nodes) expect(told.commands()).toEqual([...written, 'after'])
  })

  it('refuse a voter that comes back without its data, and it stops', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    await leaderOf(nodes)
    const wiped = nodes[2]
    if (wiped === undefined) throw new Error('three nodes were started')
    await cluster.stop(wiped)
    cluster.disks.delete(wiped.id)
    const back = await cluster.start(wiped.id)
    const failure = await waitFor('the refusal', () => back.told.failures[0])
    expect(failure.code).toBe('wiped-node')
    expect(failure.message).toContain(
      'node n3 is a voter of this cluster but comes with an empty data directory: it would vote twice; bring its data directory back, or run "quorate node remove n3" on another and start it with a join token ("quorate token create")',
    )
    expect(cluster.nodes.find(({ id }) => id === n1)?.told.lines).toContainEqual(
      expect.objectContaining({ level: 'warn', event: 'peer-refused' }),
    )
    expect(
      await write(await leaderOf([nodes[0], nodes[1]].filter((node) => node !== undefined)), 'on', []),
    ).toBeUndefined()
  })

  it('refuse a node that is not one of them, and it goes on waiting', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    await leaderOf(nodes)
    const stranger = await cluster.start(n4)
    const line = await waitFor('the refusal', () => stranger.told.lines.find(({ event }) => event === 'peer-refused'))
    expect(line.fields).toMatchObject({ code: 'denied' })
    expect(line.fields['error']).toContain('node n4 is not part of cluster "test", which has formed of n1, n2, n3')
    expect(stranger.told.failures).toEqual([])
    expect(stranger.told.last?.waitingFor).toMatch(/^1 of 3 nodes are here: n4/)
  })

  it('drop and count what does not decode and who is not in the configuration, and log it once a second', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    const before = leader.told.last?.counters.framesRejected ?? 0
    for (let at = 0; at < 50; at += 1) {
      const rubbish = { from: n2, to: leader.id, lane: 'ctl', type: 16 + at, payload: Uint8Array.of(0xc1, at) }
      cluster.hub.inject(rubbish)
    }
    const forgery = await waitFor('an answered heartbeat', () =>
      cluster.hub.sent.find(({ type }) => type === frameTypes['heartbeat-response']),
    )
    cluster.hub.inject({ ...forgery, from: n4, to: leader.id })
    await waitFor('the count', () => (leader.told.last?.counters.framesRejected ?? 0) === before + 51)
    expect(leader.told.lines.filter(({ event }) => event === 'frame-rejected')).toHaveLength(1)
    expect(leader.told.failures).toEqual([])
  })

  it('depose no leader for a link that breaks and heals', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    const follower = nodes.find((node) => node !== leader)
    if (follower === undefined) throw new Error('three nodes were started')
    const term = leader.told.last?.raft?.term
    cluster.hub.cut(follower.id)
    await waitFor('the cut', () => leader.told.last?.connected.length === 1)
    await write(leader, 'without it', [leader])
    await waitFor('that it misses the leader', () => follower.told.last?.raft?.role === 'pre-candidate')
    cluster.hub.heal(follower.id)
    await waitFor('its catching up', () => follower.told.commands().includes('without it'))
    expect(leader.told.last?.raft).toMatchObject({ role: 'leader', term })
  })
})

describe('the disk', () => {
  it('takes what gathers during a write in one batch: group commit', async () => {
    const cluster = new LoopCluster()
    const node = await cluster.start(n1, { bootstrapExpect: 1 })
    await leaderOf([node])
    await write(node, 'first', [node])
    const store = cluster.store(node)
    await waitFor('a quiet disk', () => node.told.last?.raft?.commitIndex === store.batches.at(-1)?.hardState.commit)
    const from = store.batches.length
    store.shut()
    for (let at = 0; at < 100; at += 1) propose(node, `a${at}`)
    await waitFor('the write', () => store.batches.length > from)
    for (let at = 0; at < 300; at += 1) {
      propose(node, `b${at}`)
      if (at % 50 === 0) await new Promise((resume) => setImmediate(resume))
    }
    await new Promise((resume) => setImmediate(resume))
    expect(store.batches.length).toBe(from + 1)
    expect(node.told.commands()).toEqual(['first'])
    store.unshut()
    await waitFor('all of them', () => node.told.commands().length === 401)
    const written = store.batches.slice(from).filter(({ entries }) => entries.length > 0)
    expect(written.map(({ entries }) => entries.length)).toEqual([100, 300])
    expect(written.map(({ sync }) => sync)).toEqual([true, true])
  })

  it('does not delay heartbeats, nor what commits without it; and nothing is acknowledged before it is durable', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    const [slow, fast] = nodes.filter((node) => node !== leader)
    if (slow === undefined || fast === undefined) throw new Error('three nodes were started')
    await write(leader, 'before', nodes)
    cluster.store(slow).shut()
    const acknowledged = cluster.framesOf(slow, 'append-accepted')
    const answered = cluster.framesOf(slow, 'heartbeat-response')
    await write(leader, 'during', [leader, fast])
    await waitFor('heartbeats', () => cluster.framesOf(slow, 'heartbeat-response') > answered + 5)
    expect(cluster.framesOf(slow, 'append-accepted')).toBe(acknowledged)
    expect(slow.told.commands()).toEqual(['before'])
    expect(leader.told.last?.raft?.role).toBe('leader')
    cluster.store(slow).unshut()
    await waitFor('the slow one', () => slow.told.commands().includes('during'))
    expect(cluster.framesOf(slow, 'append-accepted')).toBeGreaterThan(acknowledged)
  })

  it('ends the node when a write fails: it says so once, sends nothing more, and the others go on', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    await write(leader, 'before', nodes)
    const disk = cluster.disks.get(leader.id)
    if (disk === undefined) throw new Error('it has a disk')
    disk.failure = new Error('EIO')
    propose(leader, 'lost')
    const failure = await waitFor('the failure', () => leader.told.failures[0])
    const sent = cluster.hub.sent.filter(({ from }) => from === leader.id).length
    expect(failure.code).toBe('storage-failed')
    const rest = nodes.filter((node) => node !== leader)
    await write(await leaderOf(rest), 'after', rest)
    expect(cluster.hub.sent.filter(({ from }) => from === leader.id)).toHaveLength(sent)
    expect(leader.told.failures).toHaveLength(1)
    const late = propose(leader, 'too late')
    expect(leader.told.refusals.get(late)).toBe('no-leader')
    await leader.started.consensus.stop()
    expect(leader.clock.pending).toBe(0)
  })

  it('ends the node when what it holds breaks an invariant', async () => {
    const cluster = new LoopCluster()
    const node = await cluster.start(n1, { bootstrapExpect: 1 })
    await leaderOf([node])
    const id = propose(node, 'once')
    node.started.consensus.propose(id, { kind: 'command', data: new Uint8Array(1) })
    const failure = await waitFor('the failure', () => node.told.failures[0])
    expect(failure.code).toBe('internal')
    expect((failure.cause as Error).message).toContain('is made once')
  })

  it('stops the start with its own error', async () => {
    const cluster = new LoopCluster()
    const node = await cluster.start(n1, { bootstrapExpect: 1 })
    await expect(cluster.start(n1)).rejects.toMatchObject({ code: 'locked' })
    await cluster.stop(node)
    await expect(cluster.start(n1, { nodeId: n2 })).resolves.toBeDefined()
  })
})

describe('one node', () => {
  it('forms alone with a bootstrapExpect of 1 and has its writes after a restart', async () => {
    const cluster = new LoopCluster()
    const node = await cluster.start(n1, { bootstrapExpect: 1 })
    await leaderOf([node])
    await write(node, 'one', [node])
    const { clusterId } = node.told.last ?? {}
    await cluster.stop(node)
    const again = await cluster.start(n1, { bootstrapExpect: 1 })
    await leaderOf([again])
    await write(again, 'two', [again])
    expect(again.told.commands()).toEqual(['one', 'two'])
    expect(again.told.last?.clusterId).toBe(clusterId)
    const counters = await waitFor('the counters', () =>
      again.told.last?.counters.proposals === 1 ? again.told.last.counters : undefined,
    )
    expect(counters).toMatchObject({ elections: 1, proposals: 1, refusals: 0, framesIn: 0, framesOut: 0 })
    expect(counters.appendedEntries).toBeGreaterThanOrEqual(2)
    expect(counters.persistBatches).toBeGreaterThanOrEqual(2)
  })

  it('never forms without bootstrapExpect', async () => {
    const cluster = new LoopCluster()
    const node = await cluster.start(n1, { bootstrapExpect: null })
    await waitFor('a status', () => node.told.last?.waitingFor?.includes('never forms one'))
    expect(cluster.disks.get(n1)?.promise).toBeNull()
  })

  it('leaves no timer and tells nothing more after stop', async () => {
    const cluster = new LoopCluster()
    const node = await cluster.start(n1, { bootstrapExpect: 1 })
    await leaderOf([node])
    propose(node, 'in flight')
    await node.started.consensus.stop()
    await node.started.consensus.stop()
    const told = [node.told.entries.length, node.told.statuses.length]
    await new Promise((resume) => setImmediate(() => setImmediate(resume)))
    expect([node.told.entries.length, node.told.statuses.length]).toEqual(told)
    expect(node.clock.pending).toBe(0)
    expect(node.told.failures).toEqual([])
  })

  it('refuses a log that does not begin with a configuration', async () => {
    const cluster = new LoopCluster()
    const disk = new MemoryDisk()
    disk.nodeId = n1
    disk.hardState = { term: 1, vote: null, commit: 1, isRecovering: false }
    disk.entries.push({ index: 1, term: 1, kind: 'noop', id: '' as never, time: 0, data: new Uint8Array() })
    cluster.disks.set(n1, disk)
    await expect(cluster.start(n1)).rejects.toMatchObject({
      code: 'storage-failed',
      message: expect.stringContaining("entry 1 must be the cluster's configuration") as string,
    })
    expect(disk.held).toBe(false)
  })

  it('dials a peer where it is now, and no longer where it was', async () => {
    const { consensus, dialled } = await startDialling()
    consensus.learnPeer(n2, 'a:1')
    consensus.learnPeer(n2, 'a:1')
    consensus.learnPeer(n3, 'a:1')
    consensus.learnPeer(n2, 'a:2')
    consensus.learnPeer(n3, 'a:2')
    consensus.learnPeer(n1, 'a:9')
    expect(dialled).toEqual(['dial a:1', 'dial a:2', 'undial a:1'])
  })

  it('dials no more than the limit: who is away gives way to whom it learns of', async () => {
    const { consensus, dialled } = await startDialling()
    for (let at = 0; at <= learnedPeersMax; at += 1) consensus.learnPeer(`m${at}` as NodeId, `m:${at}`)
    expect(dialled.slice(-2)).toEqual(['undial m:0', `dial m:${learnedPeersMax}`])
  })
})

async function startDialling(): Promise<{ consensus: LoopNode['started']['consensus']; dialled: string[] }> {
  const dialled: string[] = []
  const hub = new Hub()
  const node = await startNode(
    { ...consensusOptions(n1), nodeId: n1 },
    {
      store: new MemoryLogStore(),
      snapshots: new MemorySnapshotStore(),
      makeTransport: (link) => {
        const transport = hub.makeTransport(link)
        transport.dial = (address) => void dialled.push(`dial ${address}`)
        transport.undial = (address) => void dialled.push(`undial ${address}`)
        return transport
      },
    },
  )
  undo.push(() => node.started.consensus.stop())
  return { consensus: node.started.consensus, dialled }
}

describe('three nodes on LevelDB', () => {
  it('form, write, and have everything after a restart', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'quorate-loop-'))
    undo.push(() => rm(folder, { recursive: true }))
    const ids = [n1, n2, n3].filter((id) => isNodeId(id))
    let written: string[] = []
    for (const round of ['first', 'second']) {
      const hub = new Hub()
      const nodes: LoopNode[] = []
      for (const id of ids) {
        const store = new LevelLogStore(path.join(folder, id))
        const snapshots = new SnapshotFileStore(path.join(folder, id))
        const ports = {
          store,
          snapshots,
          makeTransport: (link: Parameters<Hub['makeTransport']>[0]) => hub.makeTransport(link),
        }
        const node = await startNode({ ...consensusOptions(id), nodeId: id }, ports)
        undo.push(() => node.started.consensus.stop())
        nodes.push(node)
      }
      introduce(nodes)
      const leader = await leaderOf(nodes)
      for (let at = 0; at < 10; at += 1) await write(leader, `${round} ${at}`, nodes)
      for (const { told } of nodes) expect(told.commands().slice(0, written.length)).toEqual(written)
      written = leader.told.commands()
      for (const node of nodes) await node.started.consensus.stop()
    }
    expect(written).toHaveLength(20)
  })
})
