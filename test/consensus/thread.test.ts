import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import type { ConsensusOptions, ConsensusStarted } from '../../src/consensus/consensus.ts'
import { packCommands, packEntries, unpackCommands, unpackEntries } from '../../src/consensus/thread-messages.ts'
import { attachThread } from '../../src/consensus/thread.ts'
import type { startConsensusThread as startFromSource } from '../../src/consensus/thread.ts'
import type { Entry } from '../../src/raft/entry.ts'
import { crc32 } from '../../src/std/hash.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { entry } from '../fixtures/log-batches.ts'
import { waitFor } from '../wait.ts'
import { Told, consensusOptions, introduce, leaderOf, propose, write } from './test-cluster.ts'
import type { TestNode } from './test-cluster.ts'

// A worker can not load TypeScript: what was built is what runs here.
const built = pathToFileURL(path.resolve(import.meta.dirname, '../../dist/consensus/thread.js')).href
const { startConsensusThread } = (await import(built)) as {
  startConsensusThread: typeof startFromSource
}

const [n1, n2, n3] = ['n1', 'n2', 'n3'] as [NodeId, NodeId, NodeId]

describe('the consensus thread', () => {
  let folder: string
  const nodes: ConsensusStarted[] = []
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'quorate-thread-'))
  })
  afterEach(async () => {
    for (const { consensus } of nodes.splice(0)) await consensus.stop()
    await rm(folder, { recursive: true })
  })

  async function start(id: NodeId, change: Partial<ConsensusOptions> = {}): Promise<TestNode> {
    const told = new Told()
    const options = consensusOptions(id, { dataDir: path.join(folder, id), bootstrapExpect: 1, ...change })
    const started = await startConsensusThread(options, told)
    nodes.push(started)
    told.consensus = started.consensus
    started.consensus.applied(told.applied)
    return { id, told, started }
  }

  it('commits what is proposed, and has it again after a restart', async () => {
    const first = await start(n1)
    expect(first.started.node).toBe(n1)
    // Of a new data directory: the second in which it was made.
    expect(Math.abs(first.started.generation - Date.now() / 1000)).toBeLessThan(300)
    expect(first.started.raftAddress).toMatch(/^127\.0\.0\.1:\d+$/)
    await leaderOf([first])
    for (let at = 0; at < 200; at += 1) propose(first, `write ${at}`)
    await waitFor('all of them', () => first.told.commands().length === 200)
    await first.started.consensus.stop()

    const second = await start(n1)
    expect(second.started).toMatchObject({ node: n1, generation: first.started.generation + 1 })
    expect(second.started.boot).not.toBe(first.started.boot)
    await leaderOf([second])
    await write(second, 'after', [second])
    expect(second.told.commands()).toEqual([...Array.from({ length: 200 }, (_, at) => `write ${at}`), 'after'])
    expect(second.told.entries.map(({ index }) => index)).toEqual(second.told.entries.map((_, at) => at + 1))
    expect(second.told.last?.counters.loopDelayMs).toBeGreaterThanOrEqual(0)
  })

  it('is condemned through the port, and comes back in quarantine', async () => {
    const first = await start(n1)
    await leaderOf([first])
    await write(first, 'before', [first])
    first.started.consensus.condemn('its digest is another')
    const failure = await waitFor('the failure', () => first.told.failures[0])
    expect([failure.code, failure.message]).toEqual([
      'state-diverged',
      expect.stringContaining('its digest is another'),
    ])
    await first.started.consensus.stop()
    const second = await start(n1)
    const { quarantine } = await waitFor('its status', () => second.told.last)
    expect(quarantine).toMatchObject({ why: expect.stringContaining('its digest is another') as string, isOver: false })
    expect(second.told.last?.counters.diskFreeBytes).not.toBe(0)
  })

  it('forms a cluster of three over real sockets', async () => {
    const started: TestNode[] = []
    for (const id of [n1, n2, n3]) started.push(await start(id, { bootstrapExpect: 3 }))
    introduce(started)
    const leader = await leaderOf(started)
    await write(leader, 'by the leader', started)
    for (const node of started) if (node !== leader) await write(node, `by ${node.id}`, started)
    for (const { told } of started) expect(told.commands()).toEqual(leader.told.commands())
    await waitFor('all lanes', () => started.every(({ told }) => told.last?.connected.length === 2))
  })

  it('counts a frame that its transport rejects', async () => {
    const node = await start(n1)
    const stranger = new WebSocket(`ws://${node.started.raftAddress}/raft/ctl`)
    stranger.addEventListener('open', () => stranger.send('no frame'))
    await waitFor('the count', () => node.told.last?.counters.framesRejected === 1)
    stranger.close()
  })

  it('takes snapshots, begins from them, and answers reads', async () => {
    const first = await start(n1, { snapshotEntries: 50 })
    await leaderOf([first])
    for (let at = 0; at < 300; at += 1) propose(first, `write ${at}`)
    await waitFor('a snapshot', () => (first.told.last?.raft?.snapshotIndex ?? 0) > 0)
    await waitFor('all of them', () => first.told.commands().length === 300)
    first.started.consensus.read(1)
    await waitFor('the read', () => (first.told.reads.get(1) ?? 0) > 300)
    await first.started.consensus.stop()
    const second = await start(n1, { snapshotEntries: 50 })
    await leaderOf([second])
    await write(second, 'after', [second])
    expect(second.told.restores).toHaveLength(1)
    expect(second.told.commands()).toEqual([...Array.from({ length: 300 }, (_, at) => `write ${at}`), 'after'])
    second.started.consensus.transfer(null)
    await second.started.consensus.stop()
    second.started.consensus.read(2)
    expect(second.told.readsRefused).toEqual([2])
  })

  it('lets a learner in over real sockets, with a snapshot', async () => {
    const leader = await start(n1, { snapshotEntries: 50 })
    await leaderOf([leader])
    for (let at = 0; at < 300; at += 1) propose(leader, `write ${at}`)
    await waitFor('a snapshot', () => (leader.told.last?.raft?.firstIndex ?? 0) > 1)
    const joiner = await start(n2, { bootstrapExpect: null })
    introduce([leader, joiner])
    const id = 'n1.1.change' as ProposalId
    const change = { kind: 'add-learner', node: n2, promote: true } as const
    leader.started.consensus.propose(id, { kind: 'change', change })
    await waitFor('all of it', () => joiner.told.commands().length === 300)
    expect(joiner.told.restores.length).toBeGreaterThan(0)
    await waitFor('its promotion', () => {
      const raft = leader.told.last?.raft
      const isSettled = raft?.isConfigurationCommitted === true && raft.configuration.votersOutgoing.length === 0
      return isSettled && raft.configuration.voters.length === 2
    })
    const startMs = performance.now()
    await leader.started.consensus.stop()
    await waitFor('the other to lead', () => joiner.told.last?.raft?.role === 'leader')
    expect(performance.now() - startMs).toBeLessThan(3000)
  })

  it('gives the snapshot’s bytes away without a copy', async () => {
    const node = await start(n1)
    await leaderOf([node])
    const bytes = new Uint8Array(1000)
    node.started.consensus.saveSnapshot({ index: 999, bytes })
    expect(bytes.length).toBe(0)
    const shared = new Uint8Array(2000)
    node.started.consensus.saveSnapshot({ index: 999, bytes: shared.subarray(0, 1000) })
    expect(shared.length).toBe(2000)
    await write(node, 'goes on', [node])
  })

  it('leaves nothing behind when it is stopped', async () => {
    const before = process.getActiveResourcesInfo()
    const node = await start(n1)
    await leaderOf([node])
    await node.started.consensus.stop()
    await waitFor('the resources to be as before', () => {
      const left = process.getActiveResourcesInfo().filter((name) => name === 'MessagePort' || name === 'Worker')
      return left.length <= before.filter((name) => name === 'MessagePort' || name === 'Worker').length
    })
    const id = propose(node, 'too late')
    expect(node.told.refusals.get(id)).toBe('no-leader')
    expect(node.told.failures).toEqual([])
    expect(node.told.lines.map(({ event }) => event)).not.toContain('consensus-thread-terminated')
    await node.started.consensus.stop()
  })

  it('refuses what would overfill the way to it, and says nothing of the secret', async () => {
    const node = await start(n1)
    await leaderOf([node])
    const ids = Array.from({ length: 9000 }, (_, at) => propose(node, `${at}`))
    const refused = ids.filter((id) => node.told.refusals.get(id) === 'overloaded')
    expect(refused.length).toBe(9000 - 8192)
    await waitFor('an outcome of each', () => ids.every((id) => node.told.refusals.has(id) || node.told.knows(id)))
    expect(JSON.stringify(node.told.lines)).not.toContain(consensusOptions(n1).secret)
  })

  it('fails its start with what was wrong', async () => {
    await start(n1)
    await expect(start(n1)).rejects.toMatchObject({ name: 'OperatingError', code: 'locked' })
    await expect(start(n2, { secret: 'short' })).rejects.toMatchObject({ code: 'bad-config' })
    const { port } = { port: Number(nodes[0]?.raftAddress.split(':')[1]) }
    await expect(start(n3, { listen: { host: '127.0.0.1', port } })).rejects.toMatchObject({ code: 'listen-failed' })
  })

  it('is a failure of the node when an invariant breaks', async () => {
    const node = await start(n1)
    await leaderOf([node])
    const id = propose(node, 'once')
    node.started.consensus.propose(id, { kind: 'command', data: new Uint8Array(1) })
    const failure = await waitFor('the failure', () => node.told.failures[0])
    expect(failure).toMatchObject({ code: 'internal', cause: { message: expect.stringContaining('once') as string } })
  })

  it('is a failure of the node when it dies, once', async () => {
    const told = new Told()
    const script = `const { parentPort } = require('node:worker_threads')
      parentPort.postMessage({ kind: 'started', started: {} })
      parentPort.on('message', () => { throw new Error('an accident') })`
    const { consensus } = await attachThread(new Worker(script, { eval: true }), told)
    consensus.learnPeer(n2, '127.0.0.1:1')
    const failure = await waitFor('the failure', () => told.failures[0])
    expect(failure).toMatchObject({ code: 'internal', cause: { message: 'an accident' } })
    await consensus.stop()
    expect(told.failures).toHaveLength(1)
  })

  it('fails its start when it dies before it has started', async () => {
    const worker = new Worker('process.exit(3)', { eval: true })
    await expect(attachThread(worker, new Told())).rejects.toMatchObject({
      code: 'internal',
      cause: { message: 'it ended with code 3' },
    })
  })
})

describe('a block of entries', () => {
  it('gives back what was packed, and holds at most 1 MiB unless one entry is larger', () => {
    const large = { ...entry(2, 1), data: new Uint8Array(1_500_000).fill(7) }
    const entries = [entry(1, 1), large, { ...entry(3, 1), data: new Uint8Array(0) }, entry(4, 1, 'x'.repeat(900_000))]
    const more = [entry(5, 1, 'y'.repeat(900_000)), { ...entry(6, 2), kind: 'noop' as const }]
    const blocks = packEntries([...entries, ...more])
    expect(blocks.map(({ ids }) => ids.length)).toEqual([1, 1, 2, 2])
    expect(blocks.flatMap(unpackEntries).map(digest)).toEqual([...entries, ...more].map(digest))
    expect(packEntries([])).toEqual([])
  })
})

describe('a block of commands', () => {
  it('gives back what was packed, none of which keeps the others alive', () => {
    const commands = ['a', '', 'bc'.repeat(1000)].map((text, at) => ({
      id: `n1.1.${at}` as ProposalId,
      data: new Uint8Array(Buffer.from(text)),
    }))
    const unpacked = unpackCommands(packCommands(commands))
    expect(unpacked).toEqual(commands)
    expect(unpacked.map(({ data }) => data.buffer.byteLength)).toEqual([1, 0, 2000])
  })
})

function digest({ data, ...head }: Entry): string {
  return `${JSON.stringify(head)} ${data.length} ${crc32(data)}`
}
