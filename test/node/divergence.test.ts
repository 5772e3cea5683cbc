import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { startConsensus } from '../../src/consensus/start.ts'
import { silentLog } from '../../src/log/log.ts'
import { startAgreement } from '../../src/node/agreement.ts'
import type { Agreement } from '../../src/node/agreement.ts'
import { checkInterval } from '../../src/state/checks.ts'
import type { Command } from '../../src/state/command.ts'
import type { ClusterState } from '../../src/state/state.ts'
import { MemoryDisk, MemoryLogStore } from '../../src/storage/memory-log-store.ts'
import { MemorySnapshotStore, MemorySnapshots } from '../../src/storage/memory-snapshot-store.ts'
import { realClock } from '../../src/std/clock.ts'
import { Random } from '../../src/std/random.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import type { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { Hub } from '../consensus/hub.ts'
import { waitFor } from '../wait.ts'

const ids = ['n1', 'n2', 'n3'] as [NodeId, NodeId, NodeId]
const folder = mkdtempSync(path.join(tmpdir(), 'quorate-divergence-'))
const running = new Set<Node>()
let seeds = 0

afterEach(async () => {
  await Promise.all([...running].map((node) => node.stop()))
  rmSync(folder, { recursive: true, force: true })
})

type Node = {
  readonly id: NodeId
  readonly agreement: Agreement
  readonly lost: OperatingError[]
  readonly failures: OperatingError[]
  readonly logged: string[]
  stop(): Promise<void>
}

/** Whole nodes' agreement, as the product puts it together, over consensus in this thread: disks and network in memory. */
class Nodes {
  readonly #hub = new Hub()
  readonly #disks = new Map(ids.map((id) => [id, { log: new MemoryDisk(), snapshots: new MemorySnapshots() }]))
  readonly all = new Map<NodeId, Node>()

  async start(id: NodeId): Promise<Node> {
    const disk = this.#disks.get(id) ?? { log: new MemoryDisk(), snapshots: new MemorySnapshots() }
    const { config } = loadConfig({
      file: null,
      env: {
        QUORATE_NODE_ID: id,
        QUORATE_NODE_DATA_DIR: path.join(folder, id),
        QUORATE_CLUSTER_SECRET: 'a secret of at least thirty-two bytes',
        QUORATE_CLUSTER_JOIN: 'nowhere:1, nowhere:2',
        QUORATE_CLUSTER_BOOTSTRAP_EXPECT: '3',
        QUORATE_CONSENSUS_SNAPSHOT_ENTRIES: '3000',
      },
      flags: [],
    })
    const [lost, failures, logged]: [OperatingError[], OperatingError[], string[]] = [[], [], []]
    const agreement = await startAgreement({
      config,
      version: '0.0.0',
      startConsensus: (options, events) =>
        startConsensus(options, events, {
          store: new MemoryLogStore(disk.log),
          snapshots: new MemorySnapshotStore(disk.snapshots),
          makeTransport: (link) => this.#hub.makeTransport(link),
          clock: realClock,
          afterIo: (run) => void setImmediate(run),
          seed: (seeds += 1),
          boot: randomUUID(),
          newClusterId: randomUUID() as ClusterId,
          freeBytes: () => Promise.resolve(Infinity),
          takeLoopDelayMs: () => 0,
        }),
      clock: realClock,
      random: new Random(seeds),
      log: { ...silentLog, error: (event) => logged.push(event) },
      lost: (why) => lost.push(why),
      failed: (error) => failures.push(error),
    })
    const node: Node = {
      id,
      agreement,
      lost,
      failures,
      logged,
      stop: async () => {
        running.delete(node)
        this.all.delete(id)
        await agreement.stop()
      },
    }
    running.add(node)
    this.all.set(id, node)
    for (const one of this.all.values())
      for (const other of this.all.values()) {
        one.agreement.started.consensus.learnPeer(other.id, other.agreement.started.raftAddress)
      }
    return node
  }
}

async function write(node: Node, command: Command): Promise<void> {
  await waitFor(`${command.kind} at ${node.id}`, async () => {
    const result = await node.agreement.cluster.propose(command, 5000).catch(() => null)
    return result?.kind === 'done'
  })
}

/** Until the check index of that number lies behind. */
async function writeUpTo(node: Node, check: number): Promise<void> {
  const { cluster } = node.agreement
  for (let n = 0; cluster.state.appliedIndex < check * checkInterval; n += 512) {
    const keys = Array.from({ length: 512 }, (_, at) => `key/${(n + at) % 1000}`)
    await Promise.all(
      keys.map((key) => write(node, { kind: 'kv-set', key, value: asJsonText(`"${n}"`), expect: null })),
    )
  }
}

async function outcomeAt(
  node: Node,
  check: number,
): Promise<{ agreed: readonly string[]; diverged: readonly string[] }> {
  return waitFor(`what ${node.id} found at ${check * checkInterval}`, () => {
    const { index, agreed, diverged } = node.agreement.checks.outcome
    return index === check * checkInterval && agreed.length + diverged.length === 3 && { agreed, diverged }
  })
}

describe('three nodes', () => {
  it('one of which applies an entry otherwise: it stops, the others go on, and it comes back as they are', async () => {
    const nodes = new Nodes()
    const [n1, , n3] = (await Promise.all(ids.map((id) => nodes.start(id)))) as [Node, Node, Node]
    for (const { id: node } of nodes.all.values()) {
      const addresses = { http: '', peer: '', raft: '' }
      const member = { node, generation: 1, addresses, labels: {}, version: '', startedAt: 0 }
      await write(n1, { kind: 'member-set', member })
    }
    const state = n3.agreement.cluster.state as ClusterState
    const apply = state.apply.bind(state)
    state.apply = (entry) => {
      if (entry.index !== 2000 || entry.command === null || !('command' in entry.command)) return apply(entry)
      const command: Command = { kind: 'kv-set', key: 'astray', value: asJsonText('1'), expect: null }
      return apply({ ...entry, command: { command, idempotencyKey: null } })
    }
    const reported: string[] = []
    const counted = n1.agreement.cluster.state as ClusterState
    const applyCounted = counted.apply.bind(counted)
    counted.apply = (entry) => {
      const command = entry.command !== null && 'command' in entry.command ? entry.command.command : null
      if (command?.kind === 'state-digest') reported.push(`${command.node} at ${command.index}`)
      return applyCounted(entry)
    }
    await writeUpTo(n1, 1)
    for (const id of [ids[0], ids[1]]) {
      const node = nodes.all.get(id) as Node
      expect(await outcomeAt(node, 1)).toEqual({ agreed: ['n1', 'n2'], diverged: ['n3'] })
      expect([node.lost, node.failures, node.logged]).toEqual([[], [], ['state-diverged-elsewhere']])
    }
    await waitFor('the end of n3', () => n3.failures.length > 0)
    expect([n3.lost, n3.failures].map((errors) => errors.map(({ code }) => code))).toEqual([
      ['state-diverged'],
      ['state-diverged'],
    ])
    expect(n3.logged).toContain('state-diverged')
    expect(() => n3.agreement.cluster.known).toThrow('the state of node n3 at entry 4096 is another')
    await n3.stop()

    // What it has of log and snapshots led it there: it takes both from the others.
    const again = await nodes.start('n3' as NodeId)
    await writeUpTo(n1, 2)
    for (const node of nodes.all.values()) {
      expect(await outcomeAt(node, 2)).toEqual({ agreed: ['n1', 'n2', 'n3'], diverged: [] })
    }
    expect([again.failures, again.lost]).toEqual([[], []])
    await waitFor('the end of the quarantine', () => again.agreement.status().quarantine?.isOver === true)
    expect(again.agreement.cluster.state.kvGet('astray')).toBeUndefined()
    // Each voter tells of each check once, and n3 of the first once more when it knows better.
    const expected = [1, 2].flatMap((check) => ids.map((id) => `${id} at ${check * checkInterval}`))
    expect([...new Set(reported)].sort()).toEqual(expected.sort())
    expect(reported.length).toBeLessThanOrEqual(expected.length + 1)
  }, 60_000)
})
