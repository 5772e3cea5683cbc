import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { ConsensusCounters, ConsensusOptions, QuarantineStatus } from '../../src/consensus/consensus.ts'
import type { RaftStatus } from '../../src/raft/effects.ts'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import { SnapshotFileStore } from '../../src/storage/snapshot-file-store.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { damageFile, filesOf } from '../fixtures/damaged-files.ts'
import { waitFor } from '../wait.ts'
import { LoopCluster, change, stopClusters } from './loop-cluster.ts'
import { leaderOf, propose, write } from './test-cluster.ts'
import type { LoopNode } from './test-cluster.ts'

const [n1, n2, n3, n4] = ['n1', 'n2', 'n3', 'n4'] as [NodeId, NodeId, NodeId, NodeId]
const ids = [n1, n2, n3]

const folders: string[] = []
afterEach(async () => {
  await stopClusters()
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

/** Three nodes on real files. */
class FileCluster extends LoopCluster {
  readonly #folder: string

  constructor(folder: string, options: Partial<ConsensusOptions> = {}, hurry?: (ms: number) => boolean) {
    super(options, {
      store: (id) => new LevelLogStore(path.join(folder, id)),
      snapshots: (id) => new SnapshotFileStore(path.join(folder, id)),
      ...(hurry === undefined ? {} : { hurry }),
    })
    this.#folder = folder
  }

  static async start(options: Partial<ConsensusOptions> = {}, hurry?: (ms: number) => boolean): Promise<FileCluster> {
    const folder = await mkdtemp(path.join(tmpdir(), 'quorate-damage-'))
    folders.push(folder)
    const cluster = new FileCluster(folder, options, hurry)
    await cluster.startAll(ids)
    return cluster
  }

  dataDir(id: NodeId): string {
    return path.join(this.#folder, id)
  }
}

async function writeMany(node: LoopNode, count: number, on: readonly LoopNode[]): Promise<void> {
  for (let at = 0; at < count; at += 1) await write(node, `${node.id} ${at} ${'x'.repeat(200)}`, [node])
  await write(node, `${node.id} last`, on)
}

function quarantineOf(node: LoopNode): QuarantineStatus | null {
  return node.told.last?.quarantine ?? null
}

function linesOf(node: LoopNode, event: string): LoopNode['told']['lines'] {
  return node.told.lines.filter((line) => line.event === event)
}

async function repaired(node: LoopNode): Promise<QuarantineStatus> {
  const status = await waitFor(
    () => `the repair of ${node.id}: ${JSON.stringify(quarantineOf(node))}`,
    () => quarantineOf(node)?.isOver === true && quarantineOf(node),
  )
  expect(linesOf(node, 'quarantined')).toHaveLength(1)
  expect(linesOf(node, 'quarantine-ended')).toHaveLength(1)
  return status
}

/** What all had acknowledged is what is left when another node dies, and the cluster goes on. */
async function expectNothingLost(cluster: FileCluster, written: readonly string[], id: NodeId): Promise<void> {
  const dying = await leaderOf(cluster.nodes)
  await cluster.stop(dying.id === id ? cluster.node(id === n1 ? n2 : n1) : dying)
  await write(await leaderOf(cluster.nodes), 'after a death', cluster.nodes)
  for (const { told } of cluster.nodes) expect(told.commands().slice(0, written.length)).toEqual(written)
}

describe('a node whose files were damaged while it was away', () => {
  it.each<[string, (dataDir: string) => unknown]>([
    [
      'the log of LevelDB has another byte',
      (dataDir) => damageFile(filesOf(dataDir, 'log')[0] ?? '', { how: 'flip', seed: 7 }),
    ],
    ['the log of LevelDB is cut', (dataDir) => damageFile(filesOf(dataDir, 'log')[0] ?? '', { how: 'cut', seed: 3 })],
    ['CURRENT is empty', (dataDir) => damageFile(filesOf(dataDir, 'current')[0] ?? '', { how: 'cut', seed: 1 })],
    [
      'the manifest has another byte',
      (dataDir) => damageFile(filesOf(dataDir, 'manifest')[0] ?? '', { how: 'flip', seed: 5 }),
    ],
    ['the vote file is gone', (dataDir) => rm(path.join(dataDir, 'vote'))],
    ['LevelDB is gone', (dataDir) => rm(path.join(dataDir, 'raft'), { recursive: true })],
  ])('is quarantined, repaired and counts again: %s', async (_, damage) => {
    const cluster = await FileCluster.start()
    const leader = await leaderOf(cluster.nodes)
    await writeMany(leader, 30, cluster.nodes)
    const written = [...leader.told.commands()]
    await cluster.stop(cluster.node(n1))
    await write(await leaderOf(cluster.nodes), 'without it', cluster.nodes)
    await damage(cluster.dataDir(n1))
    const back = await cluster.start(n1)
    expect(linesOf(back, 'quarantined')).toHaveLength(1)
    const { verified } = await repaired(back)
    expect(verified).not.toBe(false)
    await waitFor('what it missed', () => back.told.commands().includes('without it'))
    await expectNothingLost(cluster, [...written, 'without it'], n1)
    expect(cluster.nodes.flatMap(({ told }) => told.failures)).toEqual([])
  })

  it('is named by the leader, and ends its quarantine once: the next start knows nothing of it', async () => {
    const cluster = await FileCluster.start()
    await write(await leaderOf(cluster.nodes), 'a', cluster.nodes)
    await cluster.stop(cluster.node(n1))
    await rm(path.join(cluster.dataDir(n1), 'vote'))
    const back = await cluster.start(n1)
    await repaired(back)
    const leader = await leaderOf(cluster.nodes)
    await waitFor('the end for the leader', () => linesOf(leader, 'peer-recovered').length > 0)
    expect(linesOf(leader, 'peer-recovering')).toEqual([
      expect.objectContaining({ level: 'error', fields: expect.objectContaining({ peer: n1 }) as unknown }),
    ])
    await write(leader, 'b', cluster.nodes)
    for (let restart = 0; restart < 2; restart += 1) {
      await cluster.stop(cluster.node(n1))
      const again = await cluster.start(n1)
      await write(await leaderOf(cluster.nodes), `restart ${restart}`, cluster.nodes)
      expect(linesOf(again, 'quarantined')).toEqual([])
    }
    expect(quarantineOf(cluster.node(n1))).toBeNull()
  })

  it('is let in with nothing but its vote file too, when it had joined the cluster and become a voter', async () => {
    const cluster = await FileCluster.start()
    const leader = await leaderOf(cluster.nodes)
    await writeMany(leader, 10, cluster.nodes)
    const joiner = await cluster.start(n4, { bootstrapExpect: null })
    const isVoter = ({ configuration }: RaftStatus): boolean => configuration.voters.includes(n4)
    await change(leader, { kind: 'add-learner', node: n4, promote: true }, isVoter)
    expect(
      cluster.nodes.flatMap((node) => [...linesOf(node, 'entries-lost'), ...linesOf(node, 'quarantined')]),
    ).toEqual([])
    await cluster.stop(joiner)
    await rm(path.join(cluster.dataDir(n4), 'raft'), { recursive: true })
    const back = await cluster.start(n4, { bootstrapExpect: null })
    await repaired(back)
    await write(leader, 'after', cluster.nodes)
    expect(back.told.commands()).toEqual(leader.told.commands())
    expect(cluster.nodes.flatMap(({ told }) => told.failures)).toEqual([])
  })

  it('is refused when its vote file is gone with the rest: nothing tells it from one that was wiped', async () => {
    const cluster = await FileCluster.start()
    const leader = await leaderOf(cluster.nodes)
    const node = cluster.node(leader.id === n1 ? n2 : n1)
    await cluster.stop(node)
    await rm(cluster.dataDir(node.id), { recursive: true })
    const back = await cluster.start(node.id)
    expect(await waitFor('the refusal', () => back.told.failures[0])).toMatchObject({ code: 'wiped-node' })
  })

  it('makes no leader, nor helps one to be, with what it has left', async () => {
    const cluster = await FileCluster.start()
    const nodes = [...cluster.nodes]
    await writeMany(await leaderOf(nodes), 10, nodes)
    const former = cluster.node(n1)
    for (const node of nodes) await cluster.stop(node)
    // In its life before it may have campaigned.
    const campaigns = (node: typeof former): number[] =>
      (['pre-vote-request', 'vote-request'] as const).map((kind) => cluster.framesOf(node, kind))
    const before = campaigns(former)
    damageFile(filesOf(cluster.dataDir(n1), 'log')[0] ?? '', { how: 'cut', seed: 3 })
    const [damaged, other] = [await cluster.start(n1), await cluster.start(n2)]
    await waitFor('both to be linked', () => other.told.last?.connected.includes(n1))
    // It asks for votes again and again, and gets none.
    const asked = cluster.framesOf(other, 'pre-vote-request')
    await waitFor('campaigns', () => cluster.framesOf(other, 'pre-vote-request') > asked + 5)
    for (const { told } of [damaged, other]) {
      expect(told.statuses.every(({ raft }) => raft === null || raft.leader === null)).toBe(true)
    }
    expect(campaigns(damaged)).toEqual(before)
    expect(quarantineOf(damaged)).toMatchObject({ isOver: false })
    await cluster.start(n3)
    await write(await leaderOf(cluster.nodes), 'all three', cluster.nodes)
    await repaired(damaged)
    expect(damaged.told.commands()).toHaveLength(12)
  })

  it('gets the leader’s snapshot in the place of its own, when that is damaged', async () => {
    const cluster = await FileCluster.start({ snapshotEntries: 20 })
    const leader = await leaderOf(cluster.nodes)
    await writeMany(leader, 60, cluster.nodes)
    const node = cluster.node(leader.id === n1 ? n2 : n1)
    await waitFor('a log that does not go back', () => (node.told.last?.raft?.firstIndex ?? 0) > 1)
    const written = [...leader.told.commands()]
    await cluster.stop(node)
    for (const file of filesOf(cluster.dataDir(node.id), 'snapshot')) damageFile(file, { how: 'flip', seed: 900 })
    const back = await cluster.start(node.id)
    expect(linesOf(back, 'snapshot-set-aside')).toHaveLength(1)
    await repaired(back)
    await waitFor('all of it', () => back.told.commands().length >= written.length)
    expect(back.told.last?.counters.snapshotsReceived).toBe(1)
    await expectNothingLost(cluster, written, node.id)
  })

  it('starts without a damaged snapshot where its log goes back to entry 1', async () => {
    const cluster = await FileCluster.start({ snapshotEntries: 2000 })
    const leader = await leaderOf(cluster.nodes)
    await writeMany(leader, 10, cluster.nodes)
    // Its snapshot comes early, so that the log behind it stays.
    const node = cluster.node(leader.id === n1 ? n2 : n1)
    node.told.saveSnapshot()
    await waitFor('its snapshot', () => (node.told.last?.raft?.snapshotIndex ?? 0) > 0)
    expect(node.told.last?.raft?.firstIndex).toBe(1)
    await cluster.stop(node)
    for (const file of filesOf(cluster.dataDir(node.id), 'snapshot')) damageFile(file, { how: 'flip', seed: 4 })
    const back = await cluster.start(node.id)
    expect(linesOf(back, 'snapshot-lost')).toHaveLength(1)
    await write(await leaderOf(cluster.nodes), 'after', cluster.nodes)
    expect(back.told.commands()).toHaveLength(12)
    expect([back.told.restores, quarantineOf(back), linesOf(back, 'quarantined')]).toEqual([[], null, []])
  })
})

describe('a node that is condemned', () => {
  it('fails, and takes everything from the others at its next start, its own snapshot too', async () => {
    const cluster = await FileCluster.start({ snapshotEntries: 20 })
    const leader = await leaderOf(cluster.nodes)
    await writeMany(leader, 60, cluster.nodes)
    const node = cluster.node(leader.id === n1 ? n2 : n1)
    await waitFor('its snapshot', () => (node.told.last?.raft?.snapshotIndex ?? 0) > 0)
    node.started.consensus.condemn('the digest at 40 is another')
    const failure = await waitFor('the failure', () => node.told.failures[0])
    expect([failure.code, failure.message]).toEqual([
      'state-diverged',
      expect.stringContaining('the digest at 40 is another'),
    ])
    await cluster.stop(node)
    const back = await cluster.start(node.id)
    expect(linesOf(back, 'quarantined')).toHaveLength(1)
    await repaired(back)
    await waitFor('all of it', () => back.told.commands().length >= 61)
    expect(back.told.restores).toHaveLength(1)
    expect(back.told.last?.counters.snapshotsReceived).toBe(1)
    await write(await leaderOf(cluster.nodes), 'after', cluster.nodes)
    expect(back.told.commands()).toEqual(leader.told.commands())
    await cluster.stop(back)
    const again = await cluster.start(node.id)
    await write(await leaderOf(cluster.nodes), 'and again', cluster.nodes)
    expect(linesOf(again, 'quarantined')).toEqual([])
  })
})

describe('a disk that fails', () => {
  it('is never asked again: the node stops at once', async () => {
    const cluster = new LoopCluster({ bootstrapExpect: 1 })
    const node = await cluster.start(n1)
    await leaderOf([node])
    await write(node, 'before', [node])
    const store = cluster.store(node)
    const disk = cluster.disks.get(n1)
    if (disk !== undefined) disk.failure = new Error('EIO')
    const before = store.batches.length
    for (let at = 0; at < 10; at += 1) {
      propose(node, `w${at}`)
      await new Promise((resume) => setImmediate(resume))
    }
    const failure = await waitFor('the failure', () => node.told.failures[0])
    expect(failure.code).toBe('storage-failed')
    await node.started.consensus.stop()
    // None where the commit index was on its way when the disk failed.
    expect(store.batches.length - before).toBeLessThanOrEqual(1)
    expect(node.told.commands()).toEqual(['before'])
  })
})

describe('a scrub of a running node', () => {
  /** Three nodes of which n1 has a log of LevelDB and a table, since it was started twice. */
  async function scrubbed(): Promise<{ cluster: FileCluster; node: LoopNode }> {
    const cluster = await FileCluster.start({}, (ms) => ms >= 1000)
    await writeMany(await leaderOf(cluster.nodes), 20, cluster.nodes)
    await cluster.stop(cluster.node(n1))
    const node = await cluster.start(n1)
    await writeMany(await leaderOf(cluster.nodes), 20, cluster.nodes)
    return { cluster, node }
  }

  it.each(['log', 'table'] as const)('mends a damaged %s of LevelDB by what it has in memory', async (kind) => {
    const { cluster, node } = await scrubbed()
    damageFile(filesOf(cluster.dataDir(n1), kind)[0] ?? '', { how: 'flip', seed: 5 })
    await waitFor('the mending', () => linesOf(node, 'damage-mended').length > 0)
    const found = (): number => linesOf(node, 'damage-found').length
    const rounds = (): number => node.told.last?.counters.scrubRounds ?? 0
    await waitFor('clean rounds', async () => {
      const [before, after] = [found(), rounds() + 3]
      await waitFor('three rounds', () => rounds() >= after || node.told.failures.length > 0)
      return found() === before
    })
    expect(node.told.failures).toEqual([])
    await cluster.stop(node)
    const back = await cluster.start(n1)
    await write(await leaderOf(cluster.nodes), 'after', cluster.nodes)
    expect(back.told.commands()).toHaveLength(43)
    expect([quarantineOf(back), linesOf(back, 'quarantined')]).toEqual([null, []])
  })

  it('ends the node where only a start can help, and that does', async () => {
    const { cluster, node } = await scrubbed()
    damageFile(filesOf(cluster.dataDir(n1), 'current')[0] ?? '', { how: 'flip', seed: 5 })
    const failure = await waitFor('the failure', () => node.told.failures[0])
    expect([failure.code, failure.message]).toEqual([
      'storage-failed',
      expect.stringContaining('start the node again, and it repairs itself from the others'),
    ])
    await cluster.stop(node)
    const back = await cluster.start(n1)
    await repaired(back)
    await write(await leaderOf(cluster.nodes), 'after', cluster.nodes)
    expect(back.told.commands()).toHaveLength(43)
  })

  it('finds a damaged snapshot and has another made, also when nothing was committed since', async () => {
    const cluster = await FileCluster.start({ snapshotEntries: 2000 }, (ms) => ms >= 1000)
    const leader = await leaderOf(cluster.nodes)
    await writeMany(leader, 5, cluster.nodes)
    const figures = (): ConsensusCounters | undefined => leader.told.last?.counters
    leader.told.saveSnapshot()
    await waitFor('its snapshot', () => leader.told.last?.raft?.snapshotIndex === leader.told.applied)
    const [file = ''] = filesOf(cluster.dataDir(leader.id), 'snapshot')
    damageFile(file, { how: 'flip', seed: 77 })
    await waitFor('the damage to be found', () => linesOf(leader, 'damage-found').length > 0)
    await waitFor('another', () => figures()?.snapshotsSaved === 2)
    const rounds = figures()?.scrubRounds ?? 0
    await waitFor('two clean rounds', () => (figures()?.scrubRounds ?? 0) > rounds + 2)
    expect(linesOf(leader, 'damage-found')).toHaveLength(1)
    expect(cluster.nodes.flatMap(({ told }) => told.failures)).toEqual([])
    expect(await readdir(path.dirname(file))).toEqual([path.basename(file)])
    const commands = [...leader.told.commands()]
    await cluster.stop(leader)
    const back = await cluster.start(leader.id)
    await waitFor('its state', () => back.told.commands().length === commands.length)
    expect([back.told.restores.length, quarantineOf(back)]).toEqual([1, null])
  })
})
