/**
 * A few Raft cores in memory with a disk and a network that the test moves by hand: nothing is written, sent or delivered
 * by itself. The disk keeps exactly what was made durable; a crash loses the rest.
 */
import { makeConfiguration, encodeConfiguration } from '../../src/raft/configuration.ts'
import type { Persist, RaftEffects, RaftEvent, RaftOptions } from '../../src/raft/effects.ts'
import type { Entry, HardState } from '../../src/raft/entry.ts'
import type { Message } from '../../src/raft/messages.ts'
import { Raft } from '../../src/raft/raft.ts'
import { assert } from '../../src/std/assert.ts'
import { compareIds } from '../../src/vocabulary/ids.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'

export type LabLimits = Pick<
  RaftOptions,
  | 'heartbeatTicks'
  | 'electionTicks'
  | 'appendBytesMax'
  | 'proposalBytesMax'
  | 'uncommittedBytesMax'
  | 'logBytesMax'
  | 'pendingProposalsMax'
>

export const labLimits: LabLimits = {
  heartbeatTicks: 3,
  electionTicks: 10,
  appendBytesMax: 1_000,
  proposalBytesMax: 100,
  uncommittedBytesMax: 10_000,
  logBytesMax: 1_000_000,
  pendingProposalsMax: 100,
}

export class LabNode {
  readonly id: NodeId
  disk: { hardState: HardState; entries: Entry[] }
  /** Undefined while crashed or not started yet. */
  raft: Raft | undefined
  /** Batches taken and not durable yet, oldest first. */
  writes: Persist[] = []
  /** The log in the memory of this life: what is on the disk and all that was taken to be written. */
  log: Entry[] = []
  /** What this life of the node applied. */
  applied: Entry[] = []
  lives = 0

  constructor(id: NodeId, entries: Entry[]) {
    this.id = id
    this.disk = { hardState: { term: 1, vote: null, commit: 1 }, entries }
  }
}

/** Asked after every change, with what the node wanted done. */
export type LabObserver = (node: LabNode, effects: RaftEffects) => void

export class Lab {
  readonly nodes = new Map<NodeId, LabNode>()
  /** Sent and not delivered, in the order of sending. */
  network: Message[] = []
  readonly #limits: LabLimits
  readonly #seed: number
  readonly #observe: LabObserver

  constructor(options: { size: number; seed?: number; limits?: Partial<LabLimits>; observe?: LabObserver }) {
    this.#limits = { ...labLimits, ...options.limits }
    this.#seed = options.seed ?? 1
    this.#observe = options.observe ?? (() => {})
    const ids = nodeIds(options.size)
    for (const id of ids) this.nodes.set(id, new LabNode(id, [firstEntry(ids)]))
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

  /** Starts the node from its disk. */
  start(id: string): void {
    const node = this.node(id)
    node.lives += 1
    node.applied = []
    node.writes = []
    node.log = [...node.disk.entries]
    node.raft = new Raft({
      ...this.#limits,
      id: node.id,
      hardState: node.disk.hardState,
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

  step(id: string, event: RaftEvent): RaftEffects {
    this.raft(id).step(event)
    return this.take(id)
  }

  take(id: string): RaftEffects {
    const node = this.node(id)
    const effects = this.raft(id).take()
    if (effects.persist !== null) {
      node.writes.push(effects.persist)
      writeInto(node.log, effects.persist)
    }
    this.send(id, effects.send)
    node.applied.push(...effects.apply)
    this.#observe(node, effects)
    return effects
  }

  /** Makes the oldest write durable. */
  write(id: string): Persist {
    const node = this.node(id)
    const batch = node.writes.shift()
    if (batch === undefined) throw new Error(`${id} has nothing to write`)
    writeInto(node.disk.entries, batch)
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
    for (let i = 0; i < count; i += 1) this.step(id, { kind: 'tick' })
  }

  propose(id: string, proposal: { id: string; text?: string }): RaftEffects {
    const data = new TextEncoder().encode(proposal.text ?? proposal.id)
    return this.step(id, { kind: 'propose', id: proposal.id as ProposalId, data })
  }

  /** Gives the message to its receiver, if that runs. */
  deliver(message: Message): void {
    if (this.node(message.to).raft !== undefined) this.step(message.to, { kind: 'message', message })
  }

  /** Takes the messages that `isMeant` names out of the network. */
  takeMessages(isMeant: (message: Message) => boolean): Message[] {
    const taken = this.network.filter(isMeant)
    this.network = this.network.filter((message) => !isMeant(message))
    return taken
  }

  /** Writes and delivers until nothing moves; `isCut` messages are lost. */
  settle(isCut: (message: Message) => boolean = () => false): void {
    for (let round = 0; round < 1_000; round += 1) {
      for (const id of this.ids) if (this.node(id).raft !== undefined) this.persistAll(id)
      if (this.network.length === 0) return
      for (const message of this.takeMessages(() => true)) if (!isCut(message)) this.deliver(message)
    }
    throw new Error('the cluster does not come to rest')
  }

  /** Lets time pass for the node until it begins a campaign. */
  campaign(id: string): void {
    for (let i = 0; i < 2 * this.#limits.electionTicks; i += 1) {
      const { send, status } = this.step(id, { kind: 'tick' })
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

  get leaders(): readonly NodeId[] {
    return this.ids.filter((id) => this.node(id).raft?.status().role === 'leader')
  }
}

function writeInto(log: Entry[], batch: Persist): void {
  if (batch.truncateFrom !== null) log.length = Math.min(log.length, batch.truncateFrom - 1)
  for (const entry of batch.entries) {
    assert(entry.index === log.length + 1, `batch ${batch.seq} leaves no gap before entry ${entry.index}`)
    log.push(entry)
  }
}

function assertKept({ hardState, entries }: LabNode['disk'], message: Message): void {
  if (message.kind === 'vote-request') {
    assert(hardState.term >= message.term, `${message.from} asks for votes before its own is durable`)
  } else if (message.kind === 'vote-response') {
    const isKept = hardState.term > message.term || (hardState.term === message.term && hardState.vote === message.to)
    assert(!message.granted || isKept, `${message.from} votes before the vote is durable`)
  } else if (message.kind === 'append-accepted') {
    const isKept = hardState.term > message.term || (hardState.term === message.term && entries.length >= message.match)
    assert(isKept, `${message.from} accepts up to ${message.match} before that is durable`)
  }
}

export function nodeIds(size: number): NodeId[] {
  return Array.from({ length: size }, (_, at) => `n${at + 1}` as NodeId)
}

export function firstEntry(voters: readonly NodeId[]): Entry {
  const data = encodeConfiguration(makeConfiguration('lab' as ClusterId, voters))
  return { index: 1, term: 1, kind: 'configuration', id: '' as ProposalId, data }
}

export function command(index: number, term: number, text = `${index}/${term}`): Entry {
  return { index, term, kind: 'command', id: text as ProposalId, data: new TextEncoder().encode(text) }
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
