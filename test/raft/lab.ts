/**
 * A few Raft cores in memory with a disk and a network that the test moves by hand: nothing is written, sent or delivered
 * by itself. The disk keeps exactly what was made durable; a crash loses the rest. The state machine of a node is the list of
 * everything that it has applied, and so is the content of a snapshot.
 */
import { encodeConfiguration, makeConfiguration } from '../../src/raft/configuration.ts'
import type { ConfigurationChange } from '../../src/raft/configuration.ts'
import type { Persist, RaftEffects, RaftEvent, RaftOptions, SnapshotMeta } from '../../src/raft/effects.ts'
import type { Entry, Index } from '../../src/raft/entry.ts'
import type { Message } from '../../src/raft/messages.ts'
import { Raft } from '../../src/raft/raft.ts'
import { assert } from '../../src/std/assert.ts'
import { compareIds } from '../../src/vocabulary/ids.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { assertKept, diskOf, lastIndexOf, writeInto } from './lab-disk.ts'
import type { Disk, LogImage, Sound } from './lab-disk.ts'

export type LabLimits = Omit<RaftOptions, 'id' | 'hardState' | 'snapshot' | 'entries' | 'seed'>

export const labLimits: LabLimits = {
  heartbeatTicks: 3,
  electionTicks: 10,
  appendBytesMax: 1_000,
  inflightMax: 4,
  inflightBytesMax: 4_000,
  proposalBytesMax: 100,
  uncommittedBytesMax: 10_000,
  unappliedEntriesMax: 100,
  logBytesMax: 1_000_000,
  trailingEntries: 0,
  pendingProposalsMax: 100,
  pendingReadsMax: 100,
  votersMax: 5,
  leaseReads: false,
}

/** As much of its past as a node's disk may fall back to, in writes. */
const beforeMax = 20

/** A leader's snapshot on its way. */
export type SnapshotOnItsWay = { from: NodeId; to: NodeId; term: number; snapshot: SnapshotMeta }

export class LabNode {
  readonly id: NodeId
  disk: Disk
  /** What the disk was before its last writes, the oldest first: what a disk that loses writes may come back to. */
  before: Disk[] = []
  /** While it recovers: the end of the longest log that it lost some of. */
  lostUpTo: Index = 0
  /** Whole snapshots on the disk, by index; their content is what was applied up to there. */
  readonly snapshots = new Map<Index, { readonly meta: SnapshotMeta; readonly content: readonly Entry[] }>()
  /** Undefined while crashed or not started yet. */
  raft: Raft | undefined
  /** Batches taken and not durable yet, oldest first. */
  writes: Persist[] = []
  /** The log in the memory of this life: what is on the disk and all that was taken to be written. */
  memory: LogImage = { snapshot: null, entries: [] }
  /** What the state machine of this life has applied, from entry 1 on, by itself or by a snapshot. */
  applied: Entry[] = []
  /** While set, the state machine does not say what it has applied. */
  isSilent = false
  /** Reads that were answered, and that were not, in this life. */
  readable: { id: number; index: Index }[] = []
  readsRefused: number[] = []
  lives = 0

  constructor(id: NodeId, disk: Disk) {
    this.id = id
    this.disk = disk
  }

  /** The entries that the memory holds. */
  get log(): readonly Entry[] {
    return this.memory.entries
  }
}

/** Asked after every change, with what the node wanted done. */
export type LabObserver = (node: LabNode, effects: RaftEffects) => void

export class Lab {
  readonly nodes = new Map<NodeId, LabNode>()
  /** Sent and not delivered, in the order of sending. */
  network: Message[] = []
  snapshotsOnTheirWay: SnapshotOnItsWay[] = []
  /** What the clocks of all nodes show. */
  now = 1_000
  readonly #limits: LabLimits
  readonly #seed: number
  readonly #observe: LabObserver
  #reads = 0

  constructor(options: { size: number; seed?: number; limits?: Partial<LabLimits>; observe?: LabObserver }) {
    this.#limits = { ...labLimits, ...options.limits }
    this.#seed = options.seed ?? 1
    this.#observe = options.observe ?? (() => {})
    const ids = nodeIds(options.size)
    for (const id of ids) {
      const hardState = { term: 1, vote: null, commit: 1, isRecovering: false }
      this.nodes.set(id, new LabNode(id, { hardState, snapshot: null, entries: [firstEntry(ids)] }))
    }
  }

  get ids(): readonly NodeId[] {
    return [...this.nodes.keys()].sort(compareIds)
  }

  node(id: string): LabNode {
    const node = this.nodes.get(id as NodeId)
    if (node === undefined) throw new Error(`no node ${id}`)
    return node
  }

  raft(id: string): Raft {
    const { raft } = this.node(id)
    if (raft === undefined) throw new Error(`${id} is not running`)
    return raft
  }

  /** A node with an empty disk, as one that joins begins; in the place of whoever had the id. */
  join(id: string): void {
    const hardState = { term: 0, vote: null, commit: 0, isRecovering: true }
    const lives = this.nodes.get(id as NodeId)?.lives ?? 0
    const node = new LabNode(id as NodeId, { hardState, snapshot: null, entries: [] })
    node.lives = lives
    this.nodes.set(node.id, node)
    this.start(id)
  }

  /** Starts the node from its disk. */
  start(id: string): void {
    const node = this.node(id)
    node.lives += 1
    node.applied = []
    node.writes = []
    node.readable = []
    node.readsRefused = []
    node.memory = { snapshot: node.disk.snapshot, entries: [...node.disk.entries] }
    node.raft = new Raft({
      ...this.#limits,
      id: node.id,
      hardState: node.disk.hardState,
      snapshot: node.disk.snapshot,
      entries: [...node.disk.entries],
      seed: this.#seed * 1_000 + this.ids.indexOf(node.id) * 100 + node.lives,
    })
    this.take(id)
  }

  startAll(): this {
    for (const id of this.ids) this.start(id)
    return this
  }

  /** Everything that is not on the disk is gone. What was sent stays under way. */
  crash(id: string): void {
    const node = this.node(id)
    node.raft = undefined
    node.writes = []
  }

  /**
   * The crashed node's disk has no entry behind `index` any more, nor the vote; `term`: nor any later term. Told, the next
   * start knows.
   */
  lose(id: string, index: Index, { term, isTold }: { term: string | undefined; isTold: boolean }): void {
    const { disk } = this.node(id)
    this.damage(id, { left: disk, upTo: index, term: Number(term ?? disk.hardState.term), isTold })
  }

  /** Of the crashed node's disk only this is left. */
  damage(id: string, sound: Sound): void {
    const node = this.node(id)
    assert(node.raft === undefined, `${id} has crashed`)
    node.lostUpTo = Math.max(node.disk.hardState.isRecovering ? node.lostUpTo : 0, lastIndexOf(node.disk))
    node.disk = diskOf(sound, node.disk.hardState.commit)
    node.before = []
  }

  step(id: string, event: RaftEvent): RaftEffects {
    this.raft(id).step(event)
    return this.take(id)
  }

  take(id: string): RaftEffects {
    const node = this.node(id)
    const effects = this.raft(id).take()
    if (effects.persist !== null) {
      node.writes.push(effects.persist)
      writeInto(node.memory, effects.persist)
    }
    this.send(id, effects.send)
    for (const { peer, term, snapshot } of effects.sendSnapshot) {
      assert(node.snapshots.has(snapshot.index), `${id} has the snapshot that it is to send`)
      this.snapshotsOnTheirWay.push({ from: node.id, to: peer, term, snapshot })
    }
    if (effects.restore !== null) node.applied = [...this.#contentOf(node, effects.restore)]
    node.applied.push(...effects.apply)
    if (!node.isSilent) this.raft(id).step({ kind: 'applied', index: node.applied.length })
    node.readable.push(...effects.reads)
    node.readsRefused.push(...effects.readsRefused)
    this.#observe(node, effects)
    return effects
  }

  /** Makes the oldest write durable. */
  write(id: string): Persist {
    const node = this.node(id)
    const batch = node.writes.shift()
    if (batch === undefined) throw new Error(`${id} has nothing to write`)
    node.before.push({ ...node.disk, entries: [...node.disk.entries] })
    if (node.before.length > beforeMax) node.before.shift()
    writeInto(node.disk, batch)
    node.disk.hardState = batch.hardState
    return batch
  }

  /** Makes the oldest write durable, sends what waited for it, and tells the core. */
  persist(id: string): void {
    const batch = this.write(id)
    this.send(id, batch.then)
    this.step(id, { kind: 'persisted', seq: batch.seq })
  }

  /** Puts messages into the network. None may promise what the sender's disk does not hold (R1). */
  send(id: string, messages: readonly Message[]): void {
    for (const message of messages) assertKept(this.node(id).disk, message)
    this.network.push(...messages)
  }

  persistAll(id: string): void {
    while (this.node(id).writes.length > 0) this.persist(id)
  }

  tick(id: string, count = 1): void {
    for (let i = 0; i < count; i += 1) this.step(id, { kind: 'tick', now: this.now })
  }

  propose(id: string, proposal: { id: string; text?: string }): RaftEffects {
    const data = new TextEncoder().encode(proposal.text ?? proposal.id)
    return this.step(id, { kind: 'propose', id: proposal.id as ProposalId, content: { kind: 'command', data } })
  }

  change(id: string, proposal: { id: string; change: ConfigurationChange }): RaftEffects {
    const { id: proposalId, change } = proposal
    return this.step(id, { kind: 'propose', id: proposalId as ProposalId, content: { kind: 'change', change } })
  }

  /** The id that the next read will get. */
  get nextRead(): number {
    return this.#reads + 1
  }

  /** Asks the node for a read; returns the read's id. */
  read(id: string): number {
    this.#reads += 1
    this.step(id, { kind: 'read', id: this.#reads })
    return this.#reads
  }

  /** The state machine's snapshot of what it has applied, or had at `index`, is made durable. */
  snapshot(id: string, index?: Index): SnapshotMeta | null {
    const node = this.node(id)
    const upTo = index ?? node.applied.length
    const snapshot = this.raft(id).snapshotMeta(upTo)
    if (snapshot === null) return null
    node.snapshots.set(upTo, { meta: snapshot, content: node.applied.slice(0, upTo) })
    this.step(id, { kind: 'snapshotted', snapshot })
    return snapshot
  }

  /** The snapshot's bytes arrive, and are durable at the receiver. */
  deliverSnapshot({ from, to, term, snapshot }: SnapshotOnItsWay): void {
    const node = this.node(to)
    if (node.raft === undefined) {
      this.failSnapshot({ from, to })
      return
    }
    node.snapshots.set(snapshot.index, { meta: snapshot, content: this.#contentOf(this.node(from), snapshot) })
    this.step(to, { kind: 'snapshot-received', from, term, snapshot })
  }

  failSnapshot({ from, to }: Pick<SnapshotOnItsWay, 'from' | 'to'>): void {
    if (this.node(from).raft !== undefined) this.step(from, { kind: 'snapshot-failed', peer: to })
  }

  /** As drivers do after a while: what was delivered, and not installed, has failed. */
  giveUpSnapshots(): void {
    for (const from of this.leaders) {
      for (const { node: to, state } of this.raft(from).status().progress) {
        const isOnItsWay = this.snapshotsOnTheirWay.some((one) => one.from === from && one.to === to)
        if (state === 'snapshot' && !isOnItsWay) this.failSnapshot({ from, to })
      }
    }
  }

  /** Gives the message to its receiver, if that runs. */
  deliver(message: Message): void {
    if (this.nodes.get(message.to)?.raft !== undefined) this.step(message.to, { kind: 'message', message })
  }

  /** Takes the messages that `isMeant` names out of the network; it is asked once for each. */
  takeMessages(isMeant: (message: Message) => boolean): Message[] {
    const taken: Message[] = []
    this.network = this.network.filter((message) => {
      if (!isMeant(message)) return true
      taken.push(message)
      return false
    })
    return taken
  }

  /** Writes and delivers until nothing moves; `isCut` messages are lost, and snapshots fail where all messages are. */
  settle(isCut: (message: Message) => boolean = () => false): void {
    for (let round = 0; round < 1_000; round += 1) {
      for (const id of this.ids) if (this.node(id).raft !== undefined) this.persistAll(id)
      if (this.network.length === 0 && this.snapshotsOnTheirWay.length === 0) return
      for (const message of this.takeMessages(() => true)) if (!isCut(message)) this.deliver(message)
      for (const snapshot of this.snapshotsOnTheirWay.splice(0)) {
        const { from, to, term } = snapshot
        if (isCut({ from, to, term, kind: 'timeout-now' })) this.failSnapshot(snapshot)
        else this.deliverSnapshot(snapshot)
      }
    }
    throw new Error('the cluster does not come to rest')
  }

  /** Lets time pass for the node until it begins a campaign. */
  campaign(id: string): void {
    for (let i = 0; i < 2 * this.#limits.electionTicks; i += 1) {
      const { send, status } = this.step(id, { kind: 'tick', now: this.now })
      if (send.some((message) => message.kind === 'pre-vote-request') || status?.role === 'candidate') return
    }
    throw new Error(`${id} does not campaign`)
  }

  /** Makes the node the leader of all, none of which has a leader yet. */
  elect(id: string): void {
    this.campaign(id)
    this.settle()
    if (this.raft(id).status().role !== 'leader') throw new Error(`${id} was not elected`)
  }

  /** A round of the leader's heartbeats, and what follows from it. */
  beat(id: string, isCut?: (message: Message) => boolean): void {
    for (let i = 0; i < this.#limits.heartbeatTicks; i += 1) {
      this.tick(id)
      if (this.network.some((message) => message.kind === 'heartbeat-request' && message.from === id)) break
    }
    this.settle(isCut)
  }

  get leaders(): readonly NodeId[] {
    return this.ids.filter((id) => this.node(id).raft?.status().role === 'leader')
  }

  #contentOf(node: LabNode, snapshot: SnapshotMeta): readonly Entry[] {
    const content = node.snapshots.get(snapshot.index)?.content
    assert(content?.at(-1)?.term === snapshot.term, `${node.id} has the snapshot at ${snapshot.index}`)
    return content
  }
}

export function nodeIds(size: number): NodeId[] {
  return Array.from({ length: size }, (_, at) => `n${at + 1}` as NodeId)
}

export function firstEntry(voters: readonly NodeId[]): Entry {
  const data = encodeConfiguration(makeConfiguration('lab' as ClusterId, voters))
  return { index: 1, term: 1, kind: 'configuration', id: '' as ProposalId, time: 0, data }
}

export function command(index: number, term: number, text = `${index}/${term}`): Entry {
  return { index, term, kind: 'command', id: text as ProposalId, time: 0, data: new TextEncoder().encode(text) }
}

/** A log as its terms, e.g. `1 1 2`: the first is the configuration's, the rest are commands. */
export function logOfTerms(voters: readonly NodeId[], terms: readonly number[]): Entry[] {
  return [firstEntry(voters), ...terms.slice(1).map((term, at) => command(at + 2, term))]
}

export function message<K extends Message['kind']>(
  kind: K,
  fields: Omit<Extract<Message, { kind: K }>, 'kind' | 'from' | 'to'> & { from: string; to: string },
): Message {
  return { kind, ...fields } as unknown as Message
}
