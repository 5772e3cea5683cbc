import type { ConsensusOptions } from '../../src/consensus/consensus.ts'
import type { ConsensusPorts } from '../../src/consensus/ports.ts'
import type { ConfigurationChange } from '../../src/raft/configuration.ts'
import type { LogStore } from '../../src/storage/log-store.ts'
import { MemoryDisk, MemoryLogStore } from '../../src/storage/memory-log-store.ts'
import { MemorySnapshotStore, MemorySnapshots } from '../../src/storage/memory-snapshot-store.ts'
import type { SnapshotStore } from '../../src/storage/snapshot-store.ts'
import type { Transport } from '../../src/transport/transport.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { frameTypes } from '../../src/wire/frame-types.ts'
import { waitFor } from '../wait.ts'
import { GatedStore } from './gated-store.ts'
import { Hub } from './hub.ts'
import { CountingClock, consensusOptions, introduce, startNode } from './test-cluster.ts'
import type { LoopNode } from './test-cluster.ts'

const running = new Set<LoopNode>()

/** After each test. */
export async function stopClusters(): Promise<void> {
  for (const node of running) await node.started.consensus.stop()
  running.clear()
}

/** Nodes on one hub (or what `makeTransport` makes), each on a disk of its own that outlives it. */
export class LoopCluster {
  readonly hub = new Hub()
  readonly disks = new Map<NodeId, MemoryDisk>()
  readonly files = new Map<NodeId, MemorySnapshots>()
  readonly stores = new Map<NodeId, GatedStore>()
  /** What is free on the disk of a node; where nothing is said, no end of it. */
  readonly free = new Map<NodeId, number>()
  nodes: LoopNode[] = []
  readonly #options: Partial<ConsensusOptions>
  readonly #ports: LoopClusterPorts
  readonly #lives = new Map<LoopNode, Life>()

  constructor(options: Partial<ConsensusOptions> = {}, ports: LoopClusterPorts = {}) {
    this.#options = options
    this.#ports = ports
  }

  async start(id: NodeId, change: Partial<ConsensusOptions> = {}): Promise<LoopNode> {
    const disk = this.disks.get(id) ?? new MemoryDisk()
    this.disks.set(id, disk)
    const files = this.files.get(id) ?? new MemorySnapshots()
    this.files.set(id, files)
    const life = new Life()
    const store = new GatedStore(life.mortal(this.#ports.store?.(id, life) ?? new MemoryLogStore(disk)))
    this.stores.set(id, store)
    const snapshots = life.mortal(this.#ports.snapshots?.(id, life) ?? new MemorySnapshotStore(files))
    const make = this.#ports.makeTransport ?? ((_, link) => this.hub.makeTransport(link))
    const node = await startNode(
      { ...consensusOptions(id, { ...this.#options, ...change }), nodeId: id },
      {
        store,
        snapshots,
        makeTransport: (link) => (life.transport = make(id, link)),
        life,
        freeBytes: () => Promise.resolve(this.free.get(id) ?? Infinity),
        clock: new CountingClock(this.#ports.hurry ?? (() => false)),
      },
    )
    running.add(node)
    this.#lives.set(node, life)
    life.killed = () => {
      disk.held = false
      this.#forget(node)
    }
    this.nodes = [...this.nodes.filter((each) => each.id !== id), node]
    introduce(this.nodes)
    return node
  }

  async startAll(ids: readonly NodeId[]): Promise<LoopNode[]> {
    for (const id of ids) await this.start(id)
    return this.nodes
  }

  async stop(node: LoopNode): Promise<void> {
    await node.started.consensus.stop()
    this.#forget(node)
  }

  /** As SIGKILL does: nothing of it runs any more, and its machine says so to who asks. */
  kill(node: LoopNode): void {
    this.#lives.get(node)?.kill()
  }

  node(id: NodeId): LoopNode {
    const found = this.nodes.find((node) => node.id === id)
    if (found === undefined) throw new Error(`${id} does not run`)
    return found
  }

  store(node: LoopNode): GatedStore {
    const store = this.stores.get(node.id)
    if (store === undefined) throw new Error(`${node.id} has no store`)
    return store
  }

  framesOf(node: LoopNode, kind: keyof typeof frameTypes): number {
    return this.hub.sent.filter((frame) => frame.from === node.id && frame.type === frameTypes[kind]).length
  }

  #forget(node: LoopNode): void {
    running.delete(node)
    this.nodes = this.nodes.filter((each) => each !== node)
  }
}

export type LoopClusterPorts = {
  readonly store?: (id: NodeId, life: Life) => LogStore | undefined
  readonly snapshots?: (id: NodeId, life: Life) => SnapshotStore | undefined
  /** Timers that fire at once, by their length. */
  readonly hurry?: (ms: number) => boolean
  readonly makeTransport?: (id: NodeId, link: Parameters<ConsensusPorts['makeTransport']>[0]) => Transport
}

/** One process: when it is killed, no timer of it fires, no write of it ends and nothing of it is sent. */
export class Life {
  isOver = false
  transport: Transport | undefined
  killed: () => void = () => undefined

  kill(): void {
    if (this.isOver) return
    this.isOver = true
    void this.transport?.close()
    this.killed()
  }

  /** What it asks for after its end is never answered. */
  mortal<Port extends object>(port: Port): Port {
    return new Proxy(port, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name)
        if (typeof member !== 'function') return member
        return (...parameters: unknown[]): unknown => {
          const answer: unknown = this.isOver ? undefined : Reflect.apply(member, target, parameters)
          if (!(answer instanceof Promise)) return this.isOver ? new Promise(() => undefined) : answer
          return new Promise((resolve, reject) => {
            answer.then(
              (value) => this.isOver || resolve(value),
              (error: unknown) => this.isOver || reject(error as Error),
            )
          })
        }
      },
    })
  }
}

let changes = 0

/** Proposes it at the node until the newest configuration there is committed and as wanted. */
export async function change(
  node: LoopNode,
  wanted: ConfigurationChange,
  isMade: (configuration: NonNullable<LoopNode['told']['last']>['raft'] & object) => boolean,
): Promise<void> {
  const propose = (): ProposalId => {
    const id = `${node.id}.${node.started.generation}.c${(changes += 1)}` as ProposalId
    node.started.consensus.propose(id, { kind: 'change', change: wanted })
    return id
  }
  let id = propose()
  await waitFor(`${wanted.kind} ${wanted.node}`, () => {
    const raft = node.told.last?.raft
    if (raft?.isConfigurationCommitted === true && raft.configuration.votersOutgoing.length === 0 && isMade(raft))
      return true
    if (node.told.refusals.has(id)) id = propose()
    return false
  })
}
