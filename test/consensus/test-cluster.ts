import { randomUUID } from 'node:crypto'
import { startConsensus } from '../../src/consensus/start.ts'
import type { ConsensusPorts } from '../../src/consensus/ports.ts'
import type {
  Consensus,
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
  /** Since the last `restore`. */
  entries: Entry[] = []
  readonly restores: { index: number; time: number }[] = []
  readonly reads = new Map<number, number>()
  readonly readsRefused: number[] = []
  /** The commands, as the restored snapshot and then the entries brought them: the state machine of these tests. */
  #commands: string[] = []
  #applied = 0
  #wanted = 0
  /** Answers `snapshotWanted`; null: never. */
  consensus: Consensus | null = null
  takesSnapshots = true
  /** Its state is only how many commands there were. */
  forgets = false
  readonly refusals = new Map<ProposalId, string>()
  readonly statuses: ConsensusStatus[] = []
  readonly lines: { level: string; event: string; fields: Record<string, unknown> }[] = []
  readonly failures: OperatingError[] = []

  restore({ index, time, bytes }: { index: number; time: number; bytes: Uint8Array }): void {
    this.restores.push({ index, time })
    this.entries = []
    this.#applied = index
    this.#commands = JSON.parse(new TextDecoder().decode(bytes)) as string[]
    this.consensus?.applied(index)
  }

  committed(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.index !== this.#applied + 1) throw new Error(`entry ${entry.index} after ${this.#applied}`)
      this.#applied = entry.index
      if (!this.forgets) this.entries.push(entry)
      if (entry.kind === 'command' && this.forgets) this.#commands.length += 1
      else if (entry.kind === 'command') this.#commands.push(new TextDecoder().decode(entry.data))
    }
    this.consensus?.applied(this.#applied)
  }

  readable(id: number, index: number): void {
    this.reads.set(id, index)
  }

  readRefused(id: number): void {
    this.readsRefused.push(id)
  }

  snapshotWanted(): void {
    this.#wanted += 1
    if (this.takesSnapshots) setImmediate(() => this.saveSnapshot())
  }

  get wanted(): number {
    return this.#wanted
  }

  get applied(): number {
    return this.#applied
  }

  saveSnapshot(): void {
    const state = this.forgets ? [] : this.#commands
    const bytes = new TextEncoder().encode(JSON.stringify(state))
    this.consensus?.saveSnapshot({ index: this.#applied, bytes })
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
    return this.#commands
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
    snapshotEntries: 10_000,
    reserveBytes: 0,
    votersMax: 7,
    leaseReads: false,
    version: '0.0.0',
    ...change,
  }
}

/** A clock that knows how many of its timers have neither fired nor been cancelled. */
export class CountingClock implements Clock {
  pending = 0
  /** As if the process had stood still for so long. */
  pausedMs = 0
  now = (): number => realClock.now()
  monotonic = (): number => realClock.monotonic() + this.pausedMs
  readonly #hurry: (ms: number) => boolean

  constructor(hurry: (ms: number) => boolean = () => false) {
    this.#hurry = hurry
  }

  after(ms: number, fire: () => void): { cancel(): void } {
    let isPending = true
    const done = (): void => {
      if (isPending) this.pending -= 1
      isPending = false
    }
    this.pending += 1
    const timer = realClock.after(this.#hurry(ms) ? 1 : ms, () => {
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

export type NodePorts = Pick<ConsensusPorts, 'store' | 'snapshots' | 'makeTransport'> & {
  /** Nothing runs any more once it is over. */
  readonly life?: { readonly isOver: boolean }
  readonly freeBytes?: ConsensusPorts['freeBytes']
  readonly clock?: CountingClock
}

let seeds = 0

export async function startNode(
  options: ConsensusOptions & { readonly nodeId: NodeId },
  ports: NodePorts,
): Promise<LoopNode> {
  const told = new Told()
  const { life, clock = new CountingClock(), ...given } = ports
  const ifAlive = (run: () => void): (() => void) => {
    return () => {
      if (life?.isOver !== true) run()
    }
  }
  const started = await startConsensus(options, told, {
    freeBytes: () => Promise.resolve(Infinity),
    ...given,
    clock: {
      now: clock.now,
      monotonic: clock.monotonic,
      after: (ms, fire) => clock.after(ms, ifAlive(fire)),
    },
    afterIo: (run) => void setImmediate(ifAlive(run)),
    seed: (seeds += 1),
    boot: randomUUID(),
    newClusterId: randomUUID() as ClusterId,
    takeLoopDelayMs: () => 0,
  })
  told.consensus = started.consensus
  // What it heard before it could answer.
  if (told.applied > 0) started.consensus.applied(told.applied)
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
  node.started.consensus.propose(id, { kind: 'command', data: new TextEncoder().encode(text) })
  return id
}

/** Proposes until it is committed on all, as a client does that may repeat itself. */
export async function write(node: TestNode, text: string, on: readonly TestNode[]): Promise<void> {
  let id = propose(node, text)
  await waitFor(`"${text.slice(0, 40)}" on ${on.map((each) => each.id).join(', ')}`, () => {
    if (node.told.refusals.has(id)) id = propose(node, text)
    return on.every(({ told }) => told.commands().includes(text))
  })
}
