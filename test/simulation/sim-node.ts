import type { Consensus, ConsensusEvents, ConsensusOptions, ConsensusStatus } from '../../src/consensus/consensus.ts'
import { startConsensus } from '../../src/consensus/start.ts'
import type { Entry, Index } from '../../src/raft/entry.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { describeError } from '../../src/vocabulary/operating-error.ts'
import type { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { decodeMessage } from '../../src/wire/raft-codec.ts'
import { frameTypes } from '../../src/wire/frame-types.ts'
import { Answers } from './answers.ts'
import type { Invariants } from './invariants.ts'
import { KeyValue } from './key-value.ts'
import { SimLogStore } from './sim-log-store.ts'
import type { SimDisk } from './sim-disk.ts'
import type { SimNetwork } from './sim-network.ts'
import { SimProcess } from './sim-process.ts'
import { SimSnapshotStore } from './sim-snapshots.ts'
import type { Stream } from './streams.ts'
import type { World } from './world.ts'

/** How a node answers a client. */
export type Answer =
  | { readonly kind: 'done'; readonly index: Index; readonly value: string | null }
  /** It provably did not happen. */
  | { readonly kind: 'refused'; readonly why: string }

/**
 * One node: its disk outlives its processes. A process is the real driver over simulated ports, and beside it the main
 * thread: a mailbox in each direction, the state machine, and who waits for an answer.
 */
export class SimNode {
  readonly id: NodeId
  readonly disk: SimDisk
  life: Life | null = null
  readonly #parts: NodeParts
  #lives = 0
  wallOffsetMs = 0

  constructor(parts: NodeParts) {
    this.id = parts.id
    this.#parts = parts
    this.disk = parts.disk
  }

  get isRunning(): boolean {
    return this.life !== null
  }

  start(): void {
    if (this.life !== null) return
    this.#lives += 1
    const { world, wallMs, rate, haste, lateUs, turnUs } = this.#parts
    world.note(this.id, () => `starts, life ${this.#lives}`)
    const process = new SimProcess(world, {
      node: this.id,
      rate,
      haste,
      wallMs: () => wallMs() + this.wallOffsetMs,
      lateUs,
      turnUs,
    })
    this.life = new Life(this.#parts, { process, life: this.#lives, ended: () => this.#failed() })
    this.#parts.disk.hasErred = false
    this.life.start()
  }

  /** It stopped by itself: whoever watches over it starts it again. */
  #failed(): void {
    this.crash('kill')
    this.#parts.failed(this)
  }

  crash(how: 'kill' | 'power'): void {
    const { life } = this
    if (life === null) return
    const { world, network, disk } = this.#parts
    world.note(this.id, () => (how === 'kill' ? 'is killed' : 'loses power'))
    this.life = null
    life.process.end()
    disk.crash(how)
    network.gone(this.id, how)
    life.abandon()
    this.#parts.died(this.id)
  }
}

export type NodeParts = {
  readonly id: NodeId
  readonly world: World
  readonly disk: SimDisk
  readonly network: SimNetwork
  readonly invariants: Invariants
  readonly stream: Stream
  readonly options: ConsensusOptions
  readonly peers: readonly NodeId[]
  readonly rate: number
  /** Of its long timers. */
  readonly haste: number
  readonly wallMs: () => number
  readonly lateUs: () => number
  readonly turnUs: () => number
  /** From one thread of a node to the other. */
  readonly mailUs: () => number
  readonly died: (node: NodeId) => void
  readonly failed: (node: SimNode) => void
}

/** One life of a node. */
export class Life implements ConsensusEvents {
  readonly process: SimProcess
  readonly #parts: NodeParts
  readonly #toMain: Mailbox
  readonly #toConsensus: Mailbox
  readonly #ended: () => void
  readonly #life: number
  #consensus: Consensus | null = null
  #counter = 0
  #machine = new KeyValue()
  readonly #writes = new Map<ProposalId, (answer: Answer) => void>()
  readonly #reads = new Map<number, { key: string; answer: (answer: Answer) => void }>()
  #readable: { id: number; index: Index }[] = []
  status_: ConsensusStatus | null = null
  readonly answers: Answers

  constructor(parts: NodeParts, options: { process: SimProcess; life: number; ended: () => void }) {
    this.#parts = parts
    this.process = options.process
    this.#life = options.life
    this.#ended = options.ended
    this.answers = new Answers(parts.options.electionTimeoutMs)
    this.#toMain = new Mailbox(options.process, 'to main', parts.mailUs)
    this.#toConsensus = new Mailbox(options.process, 'to consensus', parts.mailUs)
  }

  get machine(): KeyValue {
    return this.#machine
  }

  start(): void {
    const { options, network, invariants, disk, id, stream, world, peers } = this.#parts
    const { process } = this
    world.promised()
    const starting = startConsensus(options, this, {
      store: new SimLogStore(process, disk, {
        opened: (stored) => invariants.booted(stored),
        write: (batch) => invariants.written(id, batch.entries),
        joins: () => invariants.joined(id),
        broken: (claim, detail) => invariants.broken(claim, `${id}: ${detail}`),
      }),
      snapshots: new SimSnapshotStore(process, disk),
      makeTransport: (link) =>
        network.transport(process, link, { sent: (to, _, type, payload) => this.#sent(to, type, payload) }),
      clock: process.clock,
      afterIo: process.afterIo,
      seed: stream.uint32(),
      boot: `${id}-${this.#life}`,
      newClusterId: `00000000-0000-4000-8000-${`${id.slice(1)}${this.#life}`.padStart(12, '0')}` as ClusterId,
      freeBytes: () => {
        world.promised()
        return Promise.resolve(disk.freeBytes ?? Number.MAX_SAFE_INTEGER)
      },
      takeLoopDelayMs: () => 0,
    })
    starting.then(
      ({ consensus }) => {
        if (!process.alive) return
        this.#consensus = consensus
        disk.snapshots.settle()
        for (const peer of peers) consensus.learnPeer(peer, `${peer}:7000`)
      },
      (error: unknown) => {
        if (!process.alive) return
        if (disk.hasErred) this.#ended()
        else world.violate('a node starts from its own disk', `${id}: ${describeError(error)}`)
      },
    )
  }

  // What clients ask for, in the main thread

  write(data: Uint8Array, answer: (answer: Answer) => void): void {
    const id = `${this.#parts.id}.${this.#life}.${(this.#counter += 1)}` as ProposalId
    this.#writes.set(id, answer)
    this.#toConsensus.post(() => this.#consensus?.propose(id, { kind: 'command', data }))
  }

  read(key: string, answer: (answer: Answer) => void): void {
    const id = (this.#counter += 1)
    this.#reads.set(id, { key, answer })
    this.#toConsensus.post(() => this.#consensus?.read(id))
  }

  transfer(to: NodeId | null): void {
    this.#toConsensus.post(() => this.#consensus?.transfer(to))
  }

  change(change: Parameters<Consensus['propose']>[1] & { kind: 'change' }, answer: (answer: Answer) => void): void {
    const id = `${this.#parts.id}.${this.#life}.${(this.#counter += 1)}` as ProposalId
    this.#writes.set(id, answer)
    this.#toConsensus.post(() => this.#consensus?.propose(id, change))
  }

  condemn(): void {
    this.#toConsensus.post(() => this.#consensus?.condemn('its state is another than the cluster has'))
  }

  stopMain(us: number): void {
    this.#toMain.hold(us)
  }

  /** Whoever still waits never hears. */
  abandon(): void {
    this.#writes.clear()
    this.#reads.clear()
  }

  // What consensus tells

  restore(snapshot: { readonly index: Index; readonly time: number; readonly bytes: Uint8Array }): void {
    if (!this.process.reach('apply')) return
    const { id, world, invariants } = this.#parts
    invariants.restored(id, snapshot.index)
    world.note(id, () => `restores the snapshot of ${snapshot.index}`)
    const bytes = new Uint8Array(snapshot.bytes)
    this.#toMain.post(() => {
      this.#machine = KeyValue.restore(bytes)
      if (this.#machine.index !== snapshot.index)
        world.violate('a snapshot is of its index', `${id}: ${this.#machine.index} under the name of ${snapshot.index}`)
      invariants.state(id, this.#machine)
      this.#applied()
    })
  }

  committed(entries: readonly Entry[]): void {
    if (!this.process.reach('apply')) return
    const { id, world, invariants } = this.#parts
    invariants.handedOver(id, entries)
    world.note(id, () => `applies ${entries[0]?.index}..${entries.at(-1)?.index}`)
    this.#toMain.post(() => {
      for (const entry of entries) {
        if (entry.index !== this.#machine.index + 1)
          world.violate('entries are applied in order, each once', `${id}: ${entry.index} after ${this.#machine.index}`)
        this.#machine.apply(entry)
        invariants.state(id, this.#machine)
        this.#settleWrite(entry.id, { kind: 'done', index: entry.index, value: null })
      }
      this.#applied()
    })
  }

  refused(id: ProposalId, why: string): void {
    if (!this.process.alive) return
    this.#parts.invariants.refused(id, why)
    this.#toMain.post(() => this.#settleWrite(id, { kind: 'refused', why }))
  }

  readable(id: number, index: Index): void {
    if (!this.process.alive) return
    this.#toMain.post(() => {
      this.#readable.push({ id, index })
      this.#answerReads()
    })
  }

  readRefused(id: number): void {
    if (!this.process.alive) return
    this.#toMain.post(() => this.#answerRead(id, { kind: 'refused', why: 'read refused' }))
  }

  snapshotWanted(): void {
    if (!this.process.alive) return
    this.#toMain.post(() => {
      const index = this.#machine.index
      const bytes = this.#machine.snapshot()
      this.#toConsensus.post(() => this.#consensus?.saveSnapshot({ index, bytes }))
    })
  }

  status(status: ConsensusStatus): void {
    if (!this.process.alive) return
    this.status_ = status
    this.answers.statusMade(status.raft, this.process.clock.monotonic())
  }

  log(level: string, event: string, fields: Record<string, unknown>): void {
    if (this.process.alive && level !== 'debug' && event !== 'peer-refused')
      this.#parts.world.note(this.#parts.id, () => `${event} ${JSON.stringify(fields)}`)
  }

  failed(error: OperatingError): void {
    if (!this.process.alive) return
    const { id, world, disk } = this.#parts
    if (disk.freeBytes !== null && disk.freeBytes < 0)
      world.violate('a full disk stops no node', `${id}: ${error.message}`)
    const isOut = error.code === 'removed' && this.#parts.invariants.hasRemoved(id)
    if (!isOut && !isDue(error, disk)) {
      const cause = error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : ''
      world.violate('no invariant of the code breaks', `${id}: ${error.message} ${cause}`)
      return
    }
    world.note(id, () => `fails: ${error.code}`)
    this.#ended()
  }

  #sent(to: NodeId, type: number, payload: Uint8Array): void {
    const { world, id } = this.#parts
    if (!checkedTypes.has(type) && world.trace === null) return
    if (type >= 40) return
    const message = decodeMessage(type, payload, { from: id, to })
    if ('malformed' in message) {
      world.violate('what a node sends is well-formed', `${id} to ${to}: ${message.malformed}`)
      return
    }
    world.note(id, () => `-> ${to} ${describeMessage(message)}`)
    this.#parts.invariants.sent(id, message)
  }

  #settleWrite(id: ProposalId, answer: Answer): void {
    const waiting = this.#writes.get(id)
    if (waiting === undefined) return
    this.#writes.delete(id)
    if (answer.kind === 'done') this.#parts.invariants.acknowledged(id, answer.index)
    waiting(answer)
  }

  #applied(): void {
    const { index } = this.#machine
    this.#toConsensus.post(() => this.#consensus?.applied(index))
    this.#answerReads()
  }

  #answerReads(): void {
    const due = this.#readable.filter(({ index }) => index <= this.#machine.index)
    if (due.length === 0) return
    this.#readable = this.#readable.filter(({ index }) => index > this.#machine.index)
    for (const { id } of due) {
      const key = this.#reads.get(id)?.key
      if (key !== undefined)
        this.#answerRead(id, { kind: 'done', index: this.#machine.index, value: this.#machine.value(key) })
    }
  }

  #answerRead(id: number, answer: Answer): void {
    const waiting = this.#reads.get(id)
    this.#reads.delete(id)
    waiting?.answer(answer)
  }
}

/** What a node may stop for: what its disk did, or what became of it. */
function isDue({ code }: OperatingError, disk: SimDisk): boolean {
  if (code === 'storage-failed') return disk.hasErred || disk.damaged.size > 0
  return (code === 'wiped-node' && disk.isWiped) || (code === 'state-diverged' && disk.isCondemned)
}

/** What one thread posts to the other arrives later, in order; the receiver can be held up. */
class Mailbox {
  readonly #process: SimProcess
  readonly #label: string
  readonly #mailUs: () => number
  readonly #mail: (() => void)[] = []
  #lastUs = 0

  constructor(process: SimProcess, label: string, mailUs: () => number) {
    this.#process = process
    this.#label = label
    this.#mailUs = mailUs
  }

  post(run: () => void): void {
    const { world } = this.#process
    this.#mail.push(run)
    this.#lastUs = Math.max(this.#lastUs, world.nowUs + this.#mailUs())
    this.#process.later(this.#lastUs - world.nowUs, 'input', this.#label, () => this.#mail.shift()?.())
  }

  hold(us: number): void {
    this.#lastUs = Math.max(this.#lastUs, this.#process.world.nowUs + us)
  }
}

const checkedTypes = new Set<number>([
  frameTypes['pre-vote-request'],
  frameTypes['pre-vote-response'],
  frameTypes['heartbeat-response'],
  frameTypes['snapshot-installed'],
  frameTypes['recovery-request'],
  frameTypes['recovery-response'],
  frameTypes['vote-request'],
  frameTypes['vote-response'],
  frameTypes['append-request'],
  frameTypes['append-accepted'],
  frameTypes['heartbeat-request'],
])

function describeMessage(message: object): string {
  const { kind, from: _from, to: _to, ...rest } = message as { kind: string; from: string; to: string }
  const fields = Object.entries(rest).map(([name, value]) => {
    if (name !== 'entries') return `${name} ${JSON.stringify(value)}`
    const entries = value as readonly Entry[]
    return entries.length === 0
      ? 'no entries'
      : `entries ${entries.map(({ index, term, kind }) => `${index}/${term}${kind === 'command' ? '' : ` ${kind}`}`).join(' ')}`
  })
  return [kind, ...fields].join(', ')
}
