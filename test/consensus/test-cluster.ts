import { randomUUID } from 'node:crypto'
import { startConsensus } from '../../src/consensus/loop.ts'
import type { ConsensusPorts } from '../../src/consensus/loop.ts'
import type {
  ConsensusEvents,
  ConsensusOptions,
  ConsensusStarted,
  ConsensusStatus,
} from '../../src/consensus/consensus.ts'
import type { Entry } from '../../src/raft/entry.ts'
import { realClock } from '../../src/std/clock.ts'
import type { Clock } from '../../src/std/clock.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import type { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'

/** What one node told, from its start on. */
export class Told implements ConsensusEvents {
  readonly entries: Entry[] = []
  readonly refusals = new Map<ProposalId, string>()
  readonly statuses: ConsensusStatus[] = []
  readonly lines: { level: string; event: string; fields: Record<string, unknown> }[] = []
  readonly failures: OperatingError[] = []

  committed(entries: readonly Entry[]): void {
    this.entries.push(...entries)
  }

  refused(id: ProposalId, why: string): void {
    this.refusals.set(id, why)
  }

  status(status: ConsensusStatus): void {
    this.statuses.push(status)
  }

  log(level: string, event: string, fields: Record<string, unknown>): void {
    this.lines.push({ level, event, fields })
  }

  failed(error: OperatingError): void {
    this.failures.push(error)
  }

  get last(): ConsensusStatus | undefined {
    return this.statuses.at(-1)
  }

  /** The commands that were committed, as text. */
  commands(): string[] {
    return this.entries.filter(({ kind }) => kind === 'command').map(({ data }) => new TextDecoder().decode(data))
  }

  knows(id: ProposalId): boolean {
    return this.entries.some((entry) => entry.id === id)
  }
}

export function consensusOptions(nodeId: NodeId, change: Partial<ConsensusOptions> = {}): ConsensusOptions {
  return {
    nodeId,
    dataDir: '/nowhere',
    clusterName: 'test',
    secret: 'a secret of at least thirty-two bytes',
    listen: { host: '127.0.0.1', port: 0 },
    advertiseRaft: null,
    bootstrapExpect: 3,
    heartbeatMs: 40,
    electionTimeoutMs: 300,
    logBytesMax: 64 * 1024 * 1024,
    version: '0.0.0',
    ...change,
  }
}

/** A clock that knows how many of its timers have neither fired nor been cancelled. */
export class CountingClock implements Clock {
  pending = 0
  now = (): number => realClock.now()
  monotonic = (): number => realClock.monotonic()

  after(ms: number, fire: () => void): { cancel(): void } {
    let isPending = true
    const done = (): void => {
      if (isPending) this.pending -= 1
      isPending = false
    }
    this.pending += 1
    const timer = realClock.after(ms, () => {
      done()
      fire()
    })
    return {
      cancel: () => {
        done()
        timer.cancel()
      },
    }
  }
}

export type TestNode = {
  readonly id: NodeId
  readonly told: Told
  readonly started: ConsensusStarted
}

export type LoopNode = TestNode & { readonly clock: CountingClock }

export type NodePorts = Pick<ConsensusPorts, 'store' | 'makeTransport'>

let seeds = 0

export async function startNode(
  options: ConsensusOptions & { readonly nodeId: NodeId },
  ports: NodePorts,
): Promise<LoopNode> {
  const told = new Told()
  const clock = new CountingClock()
  const started = await startConsensus(options, told, {
    ...ports,
    clock,
    afterIo: (run) => void setImmediate(run),
    seed: (seeds += 1),
    boot: randomUUID(),
    newClusterId: randomUUID() as ClusterId,
    takeLoopDelayMs: () => 0,
  })
  return { id: options.nodeId, told, started, clock }
}

export function introduce(nodes: readonly TestNode[]): void {
  for (const node of nodes)
    for (const other of nodes) node.started.consensus.learnPeer(other.id, other.started.raftAddress)
}

/** The node that all of them take for the leader. */
export function leaderOf<Node extends TestNode>(nodes: readonly Node[]): Promise<Node> {
  return waitFor(`one leader of ${nodes.map(({ id }) => id).join(', ')}`, () => {
    const leaders = new Set(nodes.map(({ told }) => told.last?.raft?.leader ?? null))
    const [leader] = leaders
    if (leaders.size !== 1 || leader === null) return undefined
    return nodes.find(({ id, told }) => id === leader && told.last?.raft?.role === 'leader')
  })
}

let proposals = 0

export function propose(node: TestNode, text: string): ProposalId {
  const id = `${node.id}.${node.started.generation}.${(proposals += 1)}` as ProposalId
  node.started.consensus.propose(id, new TextEncoder().encode(text))
  return id
}

/** Proposes until it is committed on all, as a client does that may repeat itself. */
export async function write(node: TestNode, text: string, on: readonly TestNode[]): Promise<void> {
  let id = propose(node, text)
  await waitFor(`"${text}" on ${on.map((each) => each.id).join(', ')}`, () => {
    if (node.told.refusals.has(id)) id = propose(node, text)
    return on.every(({ told }) => told.commands().includes(text))
  })
}
