import { assert } from '../std/assert.ts'
import type { Clock, Timer } from '../std/clock.ts'
import { parseAddress } from '../vocabulary/addresses.ts'
import type { Address } from '../vocabulary/addresses.ts'
import type { AdmitPeer, PeerHello } from '../vocabulary/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { wireVersions } from '../wire/handshake-codec.ts'
import { RefusalReports } from './refusal-reports.ts'
import type { Refusal } from './refusal-reports.ts'
import type { Transport, TransportEvents } from './transport.ts'

/**
 * The network of nodes that live in one process: the same contract as over sockets, without secret or bytes. Everything is
 * delivered later, through the clock and in order, so a simulated clock makes it repeatable. Links can be cut and healed. A
 * link comes and goes with all its lanes, whichever is named.
 */
export class MemoryNetwork {
  readonly clock: Clock
  readonly #delayMs: number
  readonly #listening = new Map<string, MemoryTransport>()
  readonly #cuts = new Set<string>()
  #due: (() => void)[] = []
  #scheduled = false

  constructor(clock: Clock, delayMs = 0) {
    this.clock = clock
    this.#delayMs = delayMs
  }

  transport(options: MemoryTransportOptions): MemoryTransport {
    return new MemoryTransport(this, options)
  }

  /** Breaks the links between both nodes and lets no new one come up until `heal`. */
  cut(a: NodeId, b: NodeId): void {
    this.#cuts.add(pairKey(a, b))
    for (const transport of this.#listening.values()) {
      if (transport.node === a) transport.breakLinks(b)
      if (transport.node === b) transport.breakLinks(a)
    }
  }

  heal(a: NodeId, b: NodeId): void {
    this.#cuts.delete(pairKey(a, b))
  }

  /** Who answers at the address, as seen from the node. */
  reach(from: NodeId, address: string): MemoryTransport | undefined {
    const found = this.#listening.get(address)
    return found === undefined || this.#cuts.has(pairKey(from, found.node)) ? undefined : found
  }

  /** Whether the machine at the address, if the node can reach it, answers that nobody listens there. */
  refuses(from: NodeId, peer: NodeId, address: string): boolean {
    return !this.#cuts.has(pairKey(from, peer)) && !this.#listening.has(address)
  }

  listen(address: string, transport: MemoryTransport): void {
    if (this.#listening.has(address)) throw new OperatingError('listen-failed', `listen on ${address}: taken`)
    this.#listening.set(address, transport)
  }

  leave(address: string): void {
    this.#listening.delete(address)
  }

  /** Runs it after the delay, behind everything that was said before. */
  later(deliver: () => void): void {
    this.#due.push(deliver)
    if (this.#scheduled) return
    this.#scheduled = true
    this.clock.after(this.#delayMs, () => {
      const due = this.#due
      this.#due = []
      this.#scheduled = false
      for (const each of due) each()
    })
  }
}

export type MemoryTransportOptions = {
  readonly address: string
  readonly lanes: readonly string[]
  readonly hello: () => PeerHello
  readonly admit: AdmitPeer
}

export class MemoryTransport implements Transport {
  readonly node: NodeId
  readonly #network: MemoryNetwork
  readonly #options: MemoryTransportOptions
  readonly #dialled = new Map<string, Timer | null>()
  /** One link a peer, with all lanes; the same object at both ends. */
  readonly #links = new Map<NodeId, Link>()
  readonly #refusals = new RefusalReports()
  #events: TransportEvents | null = null

  constructor(network: MemoryNetwork, options: MemoryTransportOptions) {
    this.#network = network
    this.#options = options
    this.node = options.hello().node
  }

  open(events: TransportEvents): Promise<Address> {
    const address = parseAddress(this.#options.address)
    assert(address !== undefined && this.#events === null, 'a transport opens once, at an address')
    return new Promise((resolve) => {
      this.#network.listen(this.#options.address, this)
      this.#events = events
      resolve(address)
    })
  }

  dial(address: string): void {
    if (!this.#dialled.has(address)) this.#dialAfter(address, 0)
  }

  undial(address: string): void {
    this.#dialled.get(address)?.cancel()
    this.#dialled.delete(address)
  }

  send(peer: NodeId, lane: string, type: number, payload: Uint8Array): boolean {
    const link = this.#links.get(peer)
    if (link === undefined || !this.#options.lanes.includes(lane)) return false
    const copy = new Uint8Array(payload)
    this.#network.later(() => {
      if (link.open) link.other(this).#events?.frame(this.node, lane, type, copy)
    })
    return true
  }

  disconnect(peer: NodeId): void {
    this.breakLinks(peer)
  }

  isOpen(peer: NodeId, lane: string): boolean {
    return this.#links.has(peer) && this.#options.lanes.includes(lane)
  }

  close(): Promise<void> {
    for (const address of this.#dialled.keys()) this.undial(address)
    this.#network.leave(this.#options.address)
    for (const peer of this.#links.keys()) this.breakLinks(peer)
    return Promise.resolve()
  }

  /** Both ends hear of it. */
  breakLinks(peer: NodeId): void {
    const link = this.#links.get(peer)
    if (link === undefined) return
    const other = link.other(this)
    link.open = false
    this.#forget(peer)
    other.#forget(this.node)
    this.#network.later(() => this.#dialAgain(peer, other.#options.address))
    this.#network.later(() => other.#dialAgain(this.node, this.#options.address))
  }

  #forget(peer: NodeId): void {
    this.#links.delete(peer)
    for (const lane of this.#options.lanes) this.#network.later(() => this.#events?.closed(peer, lane))
  }

  /** At once after a link broke, as over sockets. */
  #dialAgain(peer: NodeId, address: string): void {
    if (!this.#dialled.has(address) || this.#links.has(peer)) return
    if (this.#network.refuses(this.node, peer, address)) this.#events?.gone?.(peer)
    else this.#attempt(address)
  }

  #dialAfter(address: string, ms: number): void {
    const timer = this.#network.clock.after(ms, () => {
      this.#dialAfter(address, retryMs)
      this.#attempt(address)
    })
    this.#dialled.set(address, timer)
  }

  #attempt(address: string): void {
    const other = this.#network.reach(this.node, address)
    if (other === undefined || this.#links.has(other.node)) return
    const own = this.#options.hello()
    const peer = other.#options.hello()
    if (own.boot === peer.boot) return
    const byUs = clusterError(own, peer) ?? this.#options.admit(peer)
    const error = byUs ?? other.#options.admit(own)
    if (error !== null) {
      const isFatal = error.code === 'wiped-node' || error.code === 'duplicate-node'
      const here = { from: address, address, peer: peer.node, error, role: 'dialer' as const }
      const there = { from: own.node, address: this.#options.address, peer: own.node, error, role: 'acceptor' as const }
      const [denier, denied] = byUs === null ? [other, this] : [this, other]
      if (error.code === 'denied') this.#network.later(() => denied.#events?.denied?.(denier.node))
      this.#refused({ ...here, fatal: isFatal && byUs === null })
      other.#refused({ ...there, fatal: isFatal && byUs !== null })
      return
    }
    const link: Link = { open: true, other: (end) => (end === this ? other : this) }
    this.#opened(peer, link)
    other.#opened(own, link)
  }

  #opened(peer: PeerHello, link: Link): void {
    this.#links.set(peer.node, link)
    for (const lane of this.#options.lanes)
      this.#network.later(() => this.#events?.opened(peer, lane, wireVersions.max))
  }

  #refused(refusal: Refusal): void {
    const report = this.#refusals.report(refusal)
    if (report !== null) this.#network.later(() => this.#events?.refused(report))
  }
}

type Link = { open: boolean; other: (end: MemoryTransport) => MemoryTransport }

const retryMs = 50

function clusterError(own: PeerHello, peer: PeerHello): OperatingError | null {
  if (own.clusterId === null || peer.clusterId === null || own.clusterId === peer.clusterId) return null
  return new OperatingError(
    'wrong-cluster',
    `${own.node} is of cluster ${own.clusterId}, ${peer.node} of ${peer.clusterId}`,
  )
}

function pairKey(a: NodeId, b: NodeId): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}
