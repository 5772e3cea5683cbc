import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { LogStore } from '../../src/storage/log-store.ts'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import { MemoryDisk, MemoryLogStore } from '../../src/storage/memory-log-store.ts'
import { MemorySnapshotStore, MemorySnapshots } from '../../src/storage/memory-snapshot-store.ts'
import { SnapshotFileStore } from '../../src/storage/snapshot-file-store.ts'
import type { SnapshotStore } from '../../src/storage/snapshot-store.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { frameTypes } from '../../src/wire/frame-types.ts'
import { snapshotBytesMax } from '../../src/wire/limits.ts'
import { decodeSnapshotMessage, encodeSnapshotMessage } from '../../src/wire/snapshot-codec.ts'
import { waitFor } from '../wait.ts'
import { LoopCluster, change, stopClusters } from './loop-cluster.ts'
import type { Life } from './loop-cluster.ts'
import { socketTransport } from './socket-transport.ts'
import { leaderOf, propose, write } from './test-cluster.ts'
import type { LoopNode } from './test-cluster.ts'

const [n1, n2, n3] = ['n1', 'n2', 'n3'] as [NodeId, NodeId, NodeId]

const undo: (() => Promise<void>)[] = []
afterEach(async () => {
  await stopClusters()
  for (const step of undo.splice(0).toReversed()) await step()
})

async function folder(): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'quorate-snapshots-'))
  undo.push(() => rm(made, { recursive: true }))
  return made
}

/** Writes so many commands, many at a time, and waits for all of them. */
async function writeMany(
  node: LoopNode,
  count: number,
  text: (at: number) => string = (at) => `w${at}`,
): Promise<void> {
  const before = node.told.commands().length
  let sent = 0
  await waitFor(
    `${count} writes`,
    () => {
      const done = node.told.commands().length - before
      for (; sent < Math.min(count, done + 500); sent += 1) propose(node, text(sent))
      return done === count
    },
    60_000,
  )
}

const raftOf = (node: LoopNode): NonNullable<NonNullable<LoopNode['told']['last']>['raft']> => {
  const raft = node.told.last?.raft
  if (!raft) throw new Error('it has no status')
  return raft
}

describe('a snapshot of a node’s own', () => {
  it('is asked for when enough was committed, and again only after it came', async () => {
    const cluster = new LoopCluster({ bootstrapExpect: 1, snapshotEntries: 20 })
    const node = await cluster.start(n1)
    node.told.takesSnapshots = false
    await leaderOf([node])
    await writeMany(node, 50)
    expect(node.told.wanted).toBe(1)
    await writeMany(node, 50)
    expect(node.told.wanted).toBe(1)
    expect(cluster.files.get(n1)?.whole.size).toBe(0)
    const index = node.told.applied
    node.told.saveSnapshot()
    await waitFor('the snapshot', () => raftOf(node).snapshotIndex === index)
    await waitFor('the next wish', () => node.told.wanted === 2)
    expect(raftOf(node).firstIndex).toBeGreaterThan(index - 20)
    node.told.saveSnapshot()
    await write(node, 'one more', [node])
    expect(node.told.wanted).toBe(2)
  })

  it('is asked for when enough bytes were committed', async () => {
    const cluster = new LoopCluster({ bootstrapExpect: 1, logBytesMax: 1024 * 1024 })
    const node = await cluster.start(n1)
    await leaderOf([node])
    await writeMany(node, 4, () => 'x'.repeat(100_000))
    expect(node.told.wanted).toBe(0)
    await writeMany(node, 2, () => 'x'.repeat(100_000))
    await waitFor('the snapshot', () => raftOf(node).snapshotIndex > 0)
  })

  it('makes room for more bytes than the log may hold', async () => {
    const cluster = new LoopCluster({ bootstrapExpect: 1, logBytesMax: 1024 * 1024 })
    const node = await cluster.start(n1)
    await leaderOf([node])
    for (let at = 0; at < 40; at += 1) await write(node, `${at} `.padEnd(100_000, 'x'), [node])
    expect(raftOf(node).logBytes).toBeLessThan(1024 * 1024)
  })

  it('that is larger than any may be is not kept, and asked for again when as much was committed once more', async () => {
    const cluster = new LoopCluster({ bootstrapExpect: 1, snapshotEntries: 20 })
    const node = await cluster.start(n1)
    node.told.takesSnapshots = false
    await leaderOf([node])
    await writeMany(node, 25)
    node.told.consensus?.saveSnapshot({ index: node.told.applied, bytes: new Uint8Array(snapshotBytesMax) })
    expect(node.told.lines.map(({ event }) => event)).toContain('snapshot-too-large')
    expect([node.told.wanted, raftOf(node).snapshotIndex]).toEqual([1, 0])
    await writeMany(node, 20)
    await waitFor('the next wish', () => node.told.wanted === 2)
    node.told.saveSnapshot()
    await waitFor('the snapshot', () => raftOf(node).snapshotIndex > 0)
  })

  it('is where a restart begins, with the entries behind it after', async () => {
    const cluster = new LoopCluster({ bootstrapExpect: 1, snapshotEntries: 20 })
    const node = await cluster.start(n1)
    await leaderOf([node])
    await writeMany(node, 90)
    const { snapshotIndex, commitIndex } = await waitFor(
      'a snapshot',
      () => raftOf(node).snapshotIndex > 0 && raftOf(node),
    )
    const commands = node.told.commands()
    await cluster.stop(node)
    const again = await cluster.start(n1)
    await leaderOf([again])
    await waitFor('all of it', () => again.told.applied > commitIndex)
    expect(again.told.commands()).toEqual(commands)
    expect(again.told.restores).toHaveLength(1)
    expect(again.told.restores[0]?.index).toBeGreaterThanOrEqual(snapshotIndex)
    expect(again.told.restores[0]?.time).toBeGreaterThan(1_500_000_000_000)
    expect(again.told.entries[0]?.index).toBe((again.told.restores[0]?.index ?? 0) + 1)
    expect(again.told.last?.clusterId).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('lets the log grow neither in memory nor on the disk, over 50,000 writes', async () => {
    const dataDir = await folder()
    const cluster = new LoopCluster(
      { bootstrapExpect: 1, snapshotEntries: 2000, logBytesMax: 4 * 1024 * 1024 },
      { store: () => new LevelLogStore(dataDir), snapshots: () => new SnapshotFileStore(dataDir) },
    )
    const node = await cluster.start(n1)
    node.told.forgets = true
    await leaderOf([node])
    const bytes = 'x'.repeat(256)
    await writeMany(node, 50_000, () => bytes)
    const figures = node.told.statuses.flatMap(({ raft }) => (raft === null ? [] : [raft]))
    expect(Math.max(...figures.map(({ logBytes }) => logBytes))).toBeLessThan(4 * 1024 * 1024)
    expect(Math.max(...figures.map(({ firstIndex, lastIndex }) => lastIndex - firstIndex))).toBeLessThan(7000)
    await cluster.stop(node)
    const files = await readdir(path.join(dataDir, 'snapshots'))
    expect(files.length).toBeLessThanOrEqual(2)
    let onDisk = 0
    for (const file of await readdir(path.join(dataDir, 'raft')))
      onDisk += (await stat(path.join(dataDir, 'raft', file))).size
    // All that was ever written is 18 MB; what the log holds at the end, 1 MB.
    expect(onDisk).toBeLessThan(8 * 1024 * 1024)
    const store = new LevelLogStore(dataDir)
    const stored = await store.open({ nodeId: n1 })
    expect(stored.entries.length).toBeLessThan(7000)
    await store.close()
  })

  it('ends the node when the disk refuses it', async () => {
    const cluster = new LoopCluster({ bootstrapExpect: 1, snapshotEntries: 20 })
    const node = await cluster.start(n1)
    await leaderOf([node])
    const files = cluster.files.get(n1)
    if (files !== undefined) files.failure = new Error('ENOSPC')
    for (let at = 0; at < 30; at += 1) propose(node, `w${at}`)
    const failure = await waitFor('the failure', () => node.told.failures[0])
    expect(failure.code).toBe('storage-failed')
    expect(node.told.failures).toHaveLength(1)
  })
})

describe('a follower that fell behind what the log holds', () => {
  it('gets the leader’s snapshot, then the log, and is equal', async () => {
    const cluster = new LoopCluster({ snapshotEntries: 20 })
    const nodes = await cluster.startAll([n1, n2, n3])
    await write(await leaderOf(nodes), 'before', nodes)
    const [lagging] = nodes
    if (lagging === undefined) throw new Error('three nodes were started')
    await cluster.stop(lagging)
    const leader = await leaderOf(cluster.nodes)
    await writeMany(leader, 200)
    const back = await cluster.start(lagging.id)
    await waitFor('the rest', () => back.told.commands().length === 201)
    expect(back.told.restores.length).toBeGreaterThanOrEqual(1)
    await write(leader, 'after', cluster.nodes)
    expect(back.told.commands()).toEqual(leader.told.commands())
    await waitFor('one file each', () => [...cluster.files.values()].every(({ whole }) => whole.size === 1))
    expect(cluster.nodes.flatMap(({ told }) => told.failures)).toEqual([])
  })

  it('throws away what came damaged, and gets it again', async () => {
    let damaged = 0
    const cluster = new LoopCluster(
      { snapshotEntries: 20, electionTimeoutMs: 200 },
      {
        makeTransport: (_, link) => {
          const transport = cluster.hub.makeTransport(link)
          const send = transport.send.bind(transport)
          transport.send = (to, lane, type, payload) => {
            const message = decodeSnapshotMessage(type, payload)
            if (damaged > 0 || 'malformed' in message || message.kind !== 'snapshot-chunk')
              return send(to, lane, type, payload)
            damaged += 1
            const bytes = new Uint8Array(message.bytes)
            bytes[bytes.length - 2] = (bytes[bytes.length - 2] ?? 0) ^ 1
            return send(to, lane, type, encodeSnapshotMessage({ ...message, bytes }).payload)
          }
          return transport
        },
      },
    )
    const nodes = await cluster.startAll([n1, n2, n3])
    await leaderOf(nodes)
    await cluster.stop(cluster.node(n3))
    const leader = await leaderOf(cluster.nodes)
    await writeMany(leader, 100)
    const back = await cluster.start(n3)
    await waitFor('the rest', () => back.told.commands().length === 100)
    expect(damaged).toBe(1)
    expect(back.told.lines).toContainEqual(expect.objectContaining({ event: 'snapshot-damaged' }))
    expect(leader.told.lines).toContainEqual(expect.objectContaining({ event: 'snapshot-not-sent' }))
  })

  it('gets the one that was offered, though the leader has taken a newer one meanwhile', async () => {
    let held: (() => void)[] | null = []
    const cluster = new LoopCluster(
      { snapshotEntries: 20, electionTimeoutMs: 1000 },
      {
        makeTransport: (_, link) => {
          const transport = cluster.hub.makeTransport(link)
          const send = transport.send.bind(transport)
          transport.send = (to, lane, type, payload) => {
            if (held === null || type !== frameTypes['snapshot-chunk']) return send(to, lane, type, payload)
            held.push(() => void send(to, lane, type, payload))
            return true
          }
          return transport
        },
      },
    )
    const nodes = await cluster.startAll([n1, n2, n3])
    await leaderOf(nodes)
    await cluster.stop(cluster.node(n3))
    const leader = await leaderOf(cluster.nodes)
    await writeMany(leader, 100)
    await waitFor('the newest alone', () => cluster.files.get(leader.id)?.whole.size === 1)
    const back = await cluster.start(n3)
    await waitFor('the chunk', () => held?.length === 1)
    const offered = [...(cluster.files.get(leader.id)?.whole.keys() ?? [])]
    await writeMany(leader, 100)
    await waitFor('a newer one', () => (cluster.files.get(leader.id)?.whole.size ?? 0) > 1)
    expect([...(cluster.files.get(leader.id)?.whole.keys() ?? [])]).toEqual(expect.arrayContaining(offered))
    const chunks = held
    held = null
    for (const release of chunks) release()
    await waitFor('the rest', () => back.told.commands().length === 200)
    expect(leader.told.lines.map(({ event }) => event)).not.toContain('snapshot-not-sent')
    await waitFor('one file each', () => [...cluster.files.values()].every(({ whole }) => whole.size === 1))
  })

  it('goes on where it was when the connection breaks in the middle, over real sockets and files', async () => {
    const dataDir = await folder()
    const offsets: number[] = []
    let cuts = 0
    const cluster: LoopCluster = new LoopCluster(
      { snapshotEntries: 20, electionTimeoutMs: 600 },
      {
        snapshots: (id) => new SnapshotFileStore(path.join(dataDir, id)),
        makeTransport: (id, link) => {
          const transport = socketTransport(link)
          const send = transport.send.bind(transport)
          transport.send = (to, lane, type, payload) => {
            const message = type === frameTypes['snapshot-chunk'] ? decodeSnapshotMessage(type, payload) : null
            if (message !== null && 'offset' in message) offsets.push(message.offset)
            const left = send(to, lane, type, payload)
            if (id === n1 && (offsets.length === 5 || offsets.length === 11) && message !== null) {
              cuts += 1
              transport.disconnect(to)
            }
            return left
          }
          return transport
        },
      },
    )
    const leader = await cluster.start(n1, { bootstrapExpect: 1 })
    await leaderOf([leader])
    await writeMany(leader, 50, (at) => `${at} `.padEnd(100_000, 'x'))
    await waitFor('a snapshot', () => raftOf(leader).snapshotIndex > 20)
    const joiner = await cluster.start(n2, { bootstrapExpect: null })
    await change(leader, { kind: 'add-learner', node: n2, promote: false }, ({ configuration }) =>
      configuration.learners.includes(n2),
    )
    await waitFor('the rest', () => joiner.told.commands().length === 50, 20_000)
    expect(joiner.told.commands()).toEqual(leader.told.commands())
    expect(cuts).toBe(2)
    expect(new Set(offsets).size).toBeGreaterThan(12)
    // A chunk that was under way when the connection broke goes again, and no other.
    expect(offsets.length - new Set(offsets).size).toBeLessThanOrEqual(2)
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
  })
})

/** The store, whose process is killed before or after the call that `when` picks. */
function killedAt<Port extends object>(
  port: Port,
  life: Life,
  when: (name: string, parameters: unknown[]) => 'before' | 'after' | null,
): Port {
  return new Proxy(port, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name)
      if (typeof member !== 'function') return member
      return async (...parameters: unknown[]): Promise<unknown> => {
        const place = when(String(name), parameters)
        if (place === 'before') life.kill()
        if (life.isOver) return new Promise(() => undefined)
        const answer: unknown = await Reflect.apply(member, target, parameters)
        if (place === 'after') life.kill()
        return answer
      }
    },
  })
}

const isInstall = (name: string, [batch]: unknown[]): boolean =>
  name === 'write' && (batch as { install?: object | null }).install !== null && 'hardState' in (batch as object)
const isCompact = (name: string, [batch]: unknown[]): boolean =>
  name === 'write' && 'compact' in (batch as object) && (batch as { compact?: object | null }).compact !== null

type Step = { readonly port: 'log' | 'snapshots'; readonly is: (name: string, parameters: unknown[]) => boolean }
const installSteps: Record<string, Step> = {
  'the offer': { port: 'snapshots', is: (name) => name === 'receivedOffset' },
  'a chunk': { port: 'snapshots', is: (name) => name === 'receive' },
  'the batch that installs it': { port: 'log', is: isInstall },
  'its way to the state machine': { port: 'snapshots', is: (name) => name === 'read' },
  'the deletion of older ones': { port: 'snapshots', is: (name) => name === 'prune' },
}
const ownSteps: Record<string, Step> = {
  'its file': { port: 'snapshots', is: (name) => name === 'write' },
  'the batch that compacts': { port: 'log', is: isCompact },
  'the deletion of older ones': { port: 'snapshots', is: (name) => name === 'prune' },
}
const places = ['before', 'after'] as const
const rows = (steps: Record<string, Step>) =>
  Object.entries(steps).flatMap(([name, step]) => places.map((place) => [place, name, step] as const))

/** A cluster in which the first call of that step in the life of that node kills it, once it is armed. */
function fragile(victim: NodeId, step: Step, place: 'before' | 'after') {
  const state = { armed: false, kills: 0 }
  const when = (name: string, parameters: unknown[]): 'before' | 'after' | null => {
    if (!state.armed || !step.is(name, parameters)) return null
    state.armed = false
    state.kills += 1
    return place
  }
  const files = new MemorySnapshots()
  const disk = new MemoryDisk()
  const cluster = new LoopCluster(
    { snapshotEntries: 20 },
    {
      store: (id, life): LogStore | undefined => {
        if (id !== victim) return undefined
        // The process that was killed holds nothing any more.
        disk.held = false
        const store = new MemoryLogStore(disk)
        return step.port === 'log' ? killedAt(store, life, when) : store
      },
      snapshots: (id, life): SnapshotStore | undefined => {
        if (id !== victim) return undefined
        const store = new MemorySnapshotStore(files)
        return step.port === 'snapshots' ? killedAt(store, life, when) : store
      },
    },
  )
  return { cluster, state, files }
}

describe('a crash', () => {
  it.each(rows(installSteps))(
    '%s %s of an install leaves a node that starts again and catches up',
    async (place, _, step) => {
      const { cluster, state, files } = fragile(n3, step, place)
      const nodes = await cluster.startAll([n1, n2, n3])
      await write(await leaderOf(nodes), 'before', nodes)
      await cluster.stop(cluster.node(n3))
      const leader = await leaderOf(cluster.nodes)
      await writeMany(leader, 100)
      // At its start nothing is read, as it has no snapshot of its own.
      state.armed = true
      await cluster.start(n3)
      await waitFor('the crash', () => state.kills === 1 && !cluster.nodes.some(({ id }) => id === n3))
      await writeMany(leader, 30)
      const again = await cluster.start(n3)
      await waitFor('the rest', () => again.told.commands().length === 131)
      await write(leader, 'after', cluster.nodes)
      expect(again.told.commands()).toEqual(leader.told.commands())
      await waitFor('one file', () => files.whole.size === 1)
      expect(cluster.nodes.flatMap(({ told }) => told.failures)).toEqual([])
    },
  )

  it.each(rows(ownSteps))('%s %s of a snapshot of its own leaves a node that starts again', async (place, _, step) => {
    const { cluster, state, files } = fragile(n1, step, place)
    const node = await cluster.start(n1, { bootstrapExpect: 1 })
    await leaderOf([node])
    await writeMany(node, 50)
    await waitFor('a snapshot', () => raftOf(node).snapshotIndex > 0 && files.whole.size === 1)
    state.armed = true
    for (let at = 0; state.kills === 0 && at < 200; at += 1) {
      propose(node, `w${at}`)
      await new Promise((resume) => setImmediate(resume))
    }
    await waitFor('the crash', () => state.kills === 1 && cluster.nodes.length === 0)
    const known = node.told.commands()
    const again = await cluster.start(n1, { bootstrapExpect: 1 })
    await leaderOf([again])
    await write(again, 'after', [again])
    expect(again.told.commands().slice(0, known.length)).toEqual(known)
    await writeMany(again, 60)
    await waitFor('one file', () => files.whole.size === 1)
    expect(again.told.failures).toEqual([])
  })
})

describe('a start', () => {
  it('without the snapshot that stands for the first part of the log is a quarantine, of which a node alone finds no way out', async () => {
    const cluster = new LoopCluster({ bootstrapExpect: 1, snapshotEntries: 20 })
    const node = await cluster.start(n1)
    await leaderOf([node])
    await writeMany(node, 50)
    await waitFor('a snapshot', () => raftOf(node).firstIndex > 1)
    await cluster.stop(node)
    cluster.files.delete(n1)
    for (const start of ['first', 'second']) {
      const again = await cluster.start(n1)
      const { waitingFor, quarantine } = await waitFor(`the ${start} status`, () => again.told.last)
      expect(quarantine).toMatchObject({ isOver: false, why: expect.stringMatching(lostSnapshot) as string })
      expect(waitingFor).toContain('the log of n1 is lost')
      expect([again.told.commands(), again.told.failures]).toEqual([[], []])
      await cluster.stop(again)
    }
  })
})

const lostSnapshot = /^the snapshot of entries 1 to \d+, on which the log stands, is lost: it is missing$/
