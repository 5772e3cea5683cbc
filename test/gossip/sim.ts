import { gossipTiming } from '../../src/gossip/effects.ts'
import type { GossipEvent, GossipTiming, MemberEvent } from '../../src/gossip/effects.ts'
import { Gossip } from '../../src/gossip/gossip.ts'
import { messageBytes } from '../../src/gossip/messages.ts'
import type { GossipMessage } from '../../src/gossip/messages.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { Stream, itemAt } from '../simulation/streams.ts'
import { Claims } from './sim-claims.ts'

/**
 * Gossip cores in virtual time, from a seed: a network that loses, delays, doubles and cuts one way, nodes that crash, pause,
 * starve, leave and start again, and what must never happen, checked after every event (sim-claims.ts).
 */
export type SimOptions = {
  readonly seed: number
  readonly nodes: number
  readonly tickMs?: number
  readonly timing?: Partial<GossipTiming>
  readonly lossPerMille?: number
  readonly duplicatePerMille?: number
  readonly delayMs?: number
  /** Whether who sends to a process that is gone is told that the link is down, and who had a link when it ended. */
  readonly linkHints?: boolean
  /** Milliseconds between new gauges of each node; 0: never. */
  readonly gaugesMs?: number
}

export type SimEvent = MemberEvent & { readonly atMs: number; readonly viewer: NodeId }

export class Sim {
  readonly claims = new Claims()
  readonly events: SimEvent[] = []
  readonly nodes = new Map<NodeId, SimNode>()
  /** Of what these nodes receive so much is lost, of a thousand, beside what the network loses. */
  readonly deafPerMille = new Map<NodeId, number>()
  /** Whom an operator removed, whether they run or not. */
  readonly removed = new Set<NodeId>()
  readonly timing: GossipTiming
  readonly tickMs: number
  lossPerMille: number
  duplicatePerMille: number
  delayMs: number
  nowMs = 0
  bytesSent = 0
  messagesSent = 0

  readonly #options: SimOptions
  readonly #net: Stream
  readonly #queue = new Heap()
  readonly #cuts = new Set<string>()
  readonly #linkUsedMs = new Map<string, number>()

  constructor(options: SimOptions) {
    this.#options = options
    this.tickMs = options.tickMs ?? 100
    this.timing = {
      ...gossipTiming({ tickMs: this.tickMs, probeIntervalMs: 1000, probeTimeoutMs: 500 }),
      ...options.timing,
    }
    this.lossPerMille = options.lossPerMille ?? 0
    this.duplicatePerMille = options.duplicatePerMille ?? 0
    this.delayMs = options.delayMs ?? 2
    this.#net = new Stream(options.seed, 'net')
    for (let at = 0; at < options.nodes; at += 1) this.start(nodeId(at))
  }

  /** Live processes, in the order of their ids. */
  get up(): readonly SimNode[] {
    return [...this.nodes.values()].filter(({ isUp }) => isUp).sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  node(id: NodeId): SimNode {
    const node = this.nodes.get(id)
    if (node === undefined) throw new Error(`there is no node ${id}`)
    return node
  }

  /** A process of the node starts; of the next generation when there was one. Its contacts are all that are not removed. */
  start(id: NodeId): SimNode {
    const node = this.#begin(id)
    this.removed.delete(id)
    this.tellContacts()
    this.#announce(node)
    return node
  }

  /** A node that was not there before starts, and knows one other by its address. Nobody knows it but by what it says. */
  join(id: NodeId, via: NodeId): SimNode {
    const node = this.#begin(id)
    this.step(node, { kind: 'contacts', contacts: [{ node: via, address: addressOf(via) }] })
    this.#announce(node)
    return node
  }

  /** An operator removes it, and says so to one member. It need not run. */
  remove(id: NodeId, at: NodeId): void {
    this.removed.add(id)
    this.step(this.node(at), { kind: 'remove', node: id })
    this.tellContacts()
  }

  /** What Raft's directory tells all: everyone, but for who was removed. */
  tellContacts(): void {
    const listed = [...this.nodes.values()].filter((other) => !this.removed.has(other.id))
    const contacts = listed.map((other) => ({ node: other.id, address: addressOf(other.id) }))
    for (const each of this.up) this.step(each, { kind: 'contacts', contacts })
  }

  /** SIGKILL. */
  crash(id: NodeId): void {
    const node = this.node(id)
    this.#end(node)
    if (this.#options.linkHints !== true) return
    for (const other of this.up) {
      const usedMs = this.#linkUsedMs.get(linkName(id, other.id)) ?? -Infinity
      if (this.nowMs - usedMs > 30_000 || this.#isCut(id, other.id)) continue
      this.#at(this.#delay(), () => this.step(other, { kind: 'link-down', peer: id }))
    }
  }

  restart(id: NodeId): SimNode {
    if (this.node(id).isUp) this.crash(id)
    return this.start(id)
  }

  leave(id: NodeId): void {
    this.step(this.node(id), { kind: 'leave' })
  }

  /** SIGSTOP, or an event loop that is blocked: what comes in waits. */
  pause(id: NodeId, forMs: number): void {
    const node = this.node(id)
    node.pausedUntilMs = Math.max(node.pausedUntilMs, this.nowMs + forMs)
  }

  setState(id: NodeId, key: string, value: string | null): void {
    this.step(this.node(id), value === null ? { kind: 'delete-state', key } : { kind: 'set-state', key, value })
  }

  setGauges(id: NodeId, gauges: ReadonlyMap<string, number>): void {
    this.step(this.node(id), { kind: 'set-gauges', gauges })
  }

  /** Nothing gets from one to the other any more. */
  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from}>${to}`)
  }

  partition(groups: readonly (readonly NodeId[])[]): void {
    for (const group of groups) {
      for (const other of groups) {
        if (group !== other) for (const from of group) for (const to of other) this.cut(from, to)
      }
    }
  }

  heal(): void {
    this.#cuts.clear()
  }

  run(forMs: number): void {
    const until = this.nowMs + forMs
    for (let next = this.#queue.pop(until); next !== undefined; next = this.#queue.pop(until)) {
      this.nowMs = next.atMs
      next.run()
    }
    this.nowMs = until
    this.claims.checkAll(this.up)
  }

  /** Milliseconds until the probe is true, asked after every tick's length; null: not within the deadline. */
  runUntil(probe: () => boolean, deadlineMs: number): number | null {
    const started = this.nowMs
    while (!probe()) {
      if (this.nowMs - started >= deadlineMs) return null
      this.run(this.tickMs)
    }
    return this.nowMs - started
  }

  /** Null when all live processes see each other, as they are, with all that they say of themselves, and nobody else as live. */
  divergence(): string | null {
    for (const viewer of this.up) {
      for (const [id, owner] of this.nodes) {
        if (id === viewer.id) continue
        const member = viewer.gossip.member(id)
        const seen = `${viewer.id} sees ${id} as ${member?.status ?? 'unknown'} of ${member?.generation ?? 0}`
        const isSeen = member?.status === 'alive' && member.generation === owner.generation
        if (owner.isUp && !isSeen) return `${seen}, which lives in ${owner.generation}`
        if (!owner.isUp && (member?.status === 'alive' || member?.status === 'suspect')) return `${seen}, which is gone`
        if (!owner.isUp) continue
        const theirs = owner.gossip.versions(id)
        const mine = viewer.gossip.versions(id)
        if (mine.state !== theirs.state) return `${viewer.id} has ${id}'s state up to ${mine.state} of ${theirs.state}`
        if (this.#options.gaugesMs === undefined && mine.gauges !== theirs.gauges) {
          return `${viewer.id} has ${id}'s gauges of ${mine.gauges}, not ${theirs.gauges}`
        }
      }
    }
    return null
  }

  #begin(id: NodeId): SimNode {
    const before = this.nodes.get(id)
    if (before?.isUp === true) throw new Error(`${id} runs already`)
    const generation = (before?.generation ?? 0) + 1
    const node = new SimNode(id, generation, this.#gossip(id, generation))
    this.nodes.set(id, node)
    this.claims.started(node)
    return node
  }

  #announce(node: SimNode): void {
    this.step(node, { kind: 'set-state', key: 'role', value: `${node.id} of ${node.generation}` })
    this.#at(this.#net.below(this.tickMs), () => this.#tick(node))
  }

  step(node: SimNode, event: GossipEvent): void {
    if (!node.isUp) return
    node.gossip.step(event)
    const { send, members, status } = node.gossip.take()
    this.claims.stepped(node, event, members)
    for (const each of members) this.events.push({ ...each, atMs: this.nowMs, viewer: node.id })
    for (const message of send) this.#send(node, message)
    if (status !== null && status.phase !== 'running' && status.phase !== 'leaving') this.#end(node)
  }

  #end(node: SimNode): void {
    if (!node.isUp) return
    node.isUp = false
    node.inbox = []
    this.claims.ended(node)
  }

  #gossip(id: NodeId, generation: number): Gossip {
    const seed = new Stream(this.#options.seed, `${id}.${generation}`).uint32()
    return new Gossip({ ...this.timing, id, generation, address: addressOf(id), seed })
  }

  #tick(node: SimNode): void {
    if (!node.isUp) return
    if (node.pausedUntilMs > this.nowMs) {
      node.ticksMissed += 1
    } else {
      if (node.ticksMissed > 0) this.step(node, { kind: 'ticks-missed', ticks: node.ticksMissed })
      node.ticksMissed = 0
      const { inbox } = node
      node.inbox = []
      for (const event of inbox) this.step(node, event)
      this.#newGauges(node)
      this.step(node, { kind: 'tick' })
    }
    this.#at(this.tickMs, () => this.#tick(node))
  }

  #newGauges(node: SimNode): void {
    const { gaugesMs } = this.#options
    if (gaugesMs === undefined || this.nowMs < node.nextGaugesMs) return
    node.nextGaugesMs = this.nowMs + gaugesMs
    const names = Array.from({ length: 12 }, (_, at) => `gauge-${at}`)
    this.setGauges(node.id, new Map(names.map((name) => [name, this.#net.below(1000)])))
  }

  #send(from: SimNode, message: GossipMessage): void {
    const { to } = message
    const bytes = messageBytes(message)
    this.claims.sent(from, message, bytes)
    this.bytesSent += bytes
    this.messagesSent += 1
    if (this.#isCut(from.id, to) || this.#net.chance(this.lossPerMille)) return
    if (this.#net.chance(this.deafPerMille.get(to) ?? 0)) return
    this.#linkUsedMs.set(linkName(from.id, to), this.nowMs)
    const copies = this.#net.chance(this.duplicatePerMille) ? 2 : 1
    for (let copy = 0; copy < copies; copy += 1) this.#at(this.#delay(), () => this.#deliver(from, message))
  }

  #deliver(from: SimNode, message: GossipMessage): void {
    const to = this.nodes.get(message.to)
    if (to === undefined) return
    if (to.isUp) this.#hand(to, { kind: 'message', message })
    else if (this.#options.linkHints === true) this.#hand(from, { kind: 'link-down', peer: to.id })
  }

  #hand(to: SimNode, event: GossipEvent): void {
    if (to.pausedUntilMs <= this.nowMs && to.inbox.length === 0) this.step(to, event)
    else if (to.inbox.length < 10_000) to.inbox.push(event)
  }

  #isCut(from: NodeId, to: NodeId): boolean {
    return this.#cuts.has(`${from}>${to}`)
  }

  #delay(): number {
    return 1 + this.#net.around(this.delayMs)
  }

  #at(inMs: number, run: () => void): void {
    this.#queue.push(this.nowMs + inMs, run)
  }
}

/** One process of a node. */
export class SimNode {
  readonly id: NodeId
  readonly generation: number
  readonly gossip: Gossip
  isUp = true
  pausedUntilMs = 0
  ticksMissed = 0
  nextGaugesMs = 0
  inbox: GossipEvent[] = []

  constructor(id: NodeId, generation: number, gossip: Gossip) {
    this.id = id
    this.generation = generation
    this.gossip = gossip
  }
}

export function nodeId(at: number): NodeId {
  return `n${String(at + 1).padStart(3, '0')}` as NodeId
}

export function addressOf(id: NodeId): string {
  return `10.0.0.${Number(id.slice(1))}:6271`
}

function linkName(a: NodeId, b: NodeId): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}

type Planned = { readonly atMs: number; readonly order: number; readonly run: () => void }

/** By time, then in the order in which it was planned. */
class Heap {
  readonly #items: Planned[] = []
  #order = 0

  push(atMs: number, run: () => void): void {
    const items = this.#items
    this.#order += 1
    items.push({ atMs, order: this.#order, run })
    let at = items.length - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(itemAt(items, at), itemAt(items, parent))) return
      this.#swap(at, parent)
      at = parent
    }
  }

  /** The first, unless it is later than `until`. */
  pop(until: number): Planned | undefined {
    const items = this.#items
    const [first] = items
    if (first === undefined || first.atMs > until) return undefined
    const last = items.pop()
    if (last === undefined || items.length === 0) return first
    items[0] = last
    for (let at = 0; ;) {
      const children = [2 * at + 1, 2 * at + 2].filter((child) => child < items.length)
      const least = children.reduce((a, b) => (isBefore(itemAt(items, b), itemAt(items, a)) ? b : a), at)
      if (least === at) return first
      this.#swap(at, least)
      at = least
    }
  }

  #swap(a: number, b: number): void {
    const item = itemAt(this.#items, a)
    this.#items[a] = itemAt(this.#items, b)
    this.#items[b] = item
  }
}

function isBefore(a: Planned, b: Planned): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
