import type { GossipMessage } from '../gossip/messages.ts'
import type { Clock } from '../std/clock.ts'
import type { Transport } from '../transport/transport.ts'
import type { PeerHello } from '../vocabulary/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { encodeGossipMessage } from '../wire/gossip-codec.ts'

/**
 * The lane `gossip` to each peer: opened when there is something to say, closed when long nothing was said either way, and
 * kept open to and from voters, so that their probes wait for no handshake. What is said meanwhile waits a moment; what
 * could not leave in it is handed back.
 */
export class GossipLinks {
  readonly #options: GossipLinksOptions
  readonly #open = new Map<NodeId, OpenLink>()
  readonly #dialled = new Map<NodeId, Dialled>()
  #kept: ReadonlySet<NodeId> = new Set()
  readonly #counters = { messagesOut: 0, bytesOut: 0 }

  constructor(options: GossipLinksOptions) {
    this.#options = options
  }

  get counters(): Readonly<{ messagesOut: number; bytesOut: number }> {
    return this.#counters
  }

  /** Lanes that are open now. */
  get openCount(): number {
    return this.#open.size
  }

  /** The nodes to which the lane is to stay open, instead of the earlier ones. */
  keep(nodes: ReadonlySet<NodeId>): void {
    this.#kept = nodes
  }

  /** False: the message did not leave this node, and will not. */
  send(message: GossipMessage): boolean {
    const { to } = message
    if (this.#open.has(to)) return this.#write(message)
    const dialled = this.#dialled.get(to) ?? this.#dial(to)
    if (dialled === null || dialled.waiting.length >= waitingMax) return false
    dialled.waiting.push({ message, atMs: this.#now() })
    return true
  }

  opened({ node, generation }: PeerHello): void {
    this.#open.set(node, { generation, usedAtMs: this.#now() })
    const dialled = this.#dialled.get(node)
    for (const { message } of dialled?.waiting.splice(0) ?? []) this.#write(message)
  }

  /** True: it broke, rather than being closed because nobody used it. */
  closed(node: NodeId): boolean {
    const link = this.#open.get(node)
    this.#open.delete(node)
    if (this.#kept.has(node)) return true
    this.#undial(node)
    return link !== undefined && this.#now() - link.usedAtMs < (idleMs * 4) / 5
  }

  /** Something came; returns the generation with which the peer has proven itself on this connection. */
  heard(node: NodeId): number | undefined {
    const link = this.#open.get(node)
    if (link !== undefined) link.usedAtMs = this.#now()
    return link?.generation
  }

  /** Opens what is to be kept, closes what is idle, and returns what has waited too long for a connection. */
  tick(): GossipMessage[] {
    for (const node of this.#kept) if (!this.#open.has(node)) this.#dial(node)
    const nowMs = this.#now()
    for (const [node, { usedAtMs }] of this.#open) {
      if (this.#kept.has(node) || nowMs - usedAtMs < idleMs) continue
      this.#undial(node)
      this.#options.transport.disconnect(node, gossipLane)
    }
    return [...this.#dialled].flatMap(([node, dialled]) => this.#expired(node, dialled, nowMs))
  }

  #expired(node: NodeId, { sinceMs, waiting }: Dialled, nowMs: number): GossipMessage[] {
    if (this.#open.has(node)) return []
    const { waitMs } = this.#options
    const fresh = waiting.findIndex(({ atMs }) => nowMs - atMs < waitMs)
    const expired = waiting.splice(0, fresh === -1 ? waiting.length : fresh)
    if (waiting.length === 0 && !this.#kept.has(node) && nowMs - sinceMs >= dialMsMax) this.#undial(node)
    return expired.map(({ message }) => message)
  }

  #write(message: GossipMessage): boolean {
    const { type, payload } = encodeGossipMessage(message)
    if (!this.#options.transport.send(message.to, gossipLane, type, payload)) return false
    this.#counters.messagesOut += 1
    this.#counters.bytesOut += payload.length
    const link = this.#open.get(message.to)
    if (link !== undefined) link.usedAtMs = this.#now()
    return true
  }

  /** Null: nobody knows where the node is, or too many are dialled already. */
  #dial(node: NodeId): Dialled | null {
    const address = this.#options.addressOf(node)
    const before = this.#dialled.get(node)
    if (before !== undefined && (address === undefined || address === before.address)) {
      this.#options.transport.dial(before.address, gossipLane)
      return before
    }
    this.#undial(node)
    if (address === undefined || (this.#dialled.size >= dialledMax && !this.#kept.has(node))) return null
    const dialled: Dialled = { address, sinceMs: this.#now(), waiting: before?.waiting ?? [] }
    this.#dialled.set(node, dialled)
    this.#options.transport.dial(address, gossipLane)
    return dialled
  }

  #undial(node: NodeId): void {
    const dialled = this.#dialled.get(node)
    if (dialled === undefined) return
    this.#dialled.delete(node)
    this.#options.transport.undial(dialled.address, gossipLane)
  }

  #now(): number {
    return this.#options.clock.monotonic()
  }
}

export type GossipLinksOptions = {
  readonly transport: Pick<Transport, 'dial' | 'undial' | 'send' | 'disconnect'>
  readonly clock: Pick<Clock, 'monotonic'>
  readonly addressOf: (node: NodeId) => string | undefined
  /** A message waits so long for a connection: an answer that comes later than a probe's time-out is none. */
  readonly waitMs: number
}

export const gossipLane = 'gossip'

type OpenLink = { readonly generation: number; usedAtMs: number }
type Dialled = {
  readonly address: string
  readonly sinceMs: number
  readonly waiting: { readonly message: GossipMessage; readonly atMs: number }[]
}

/** Messages that wait for one connection. */
const waitingMax = 16
/** Dialled at once beside those that are kept. */
const dialledMax = 256
/** A lane on which nothing was said for so long is closed, where it is not to be kept. */
const idleMs = 30_000
/** Who does not answer the dialling for so long is dialled again only when there is something new to say. */
const dialMsMax = 3000
