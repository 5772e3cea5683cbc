import { parseAddress } from '../../src/vocabulary/addresses.ts'
import type { Address } from '../../src/vocabulary/addresses.ts'
import type { AdmitPeer, PeerHello } from '../../src/vocabulary/handshake.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import type { Transport, TransportEvents } from '../../src/transport/transport.ts'
import { lanes } from './sim-connection.ts'
import type { SimNetwork } from './sim-network.ts'
import type { SimProcess } from './sim-process.ts'

/** How long a dialler rests. */
const retryUs = 60_000

export type SendWatch = {
  sent(to: NodeId, lane: string, type: number, payload: Uint8Array): void
}

/** The network as one process has it. */
export class SimTransport implements Transport {
  readonly node: NodeId
  readonly process: SimProcess
  readonly hello: () => PeerHello
  readonly admit: AdmitPeer
  events: TransportEvents | null = null
  readonly #network: SimNetwork
  readonly #watch: SendWatch
  readonly #dialled = new Map<string, { cancel(): void }>()
  /** Of whom it was said that they are gone. */
  readonly #gone = new Set<NodeId>()

  constructor(
    network: SimNetwork,
    process: SimProcess,
    link: { hello: () => PeerHello; admit: AdmitPeer; watch: SendWatch },
  ) {
    this.#network = network
    this.process = process
    this.node = process.node
    this.hello = link.hello
    this.admit = link.admit
    this.#watch = link.watch
  }

  open(events: TransportEvents): Promise<Address> {
    this.process.world.promised()
    this.events = events
    this.#network.listen(this)
    return Promise.resolve({ host: this.node, port: 7000 })
  }

  dial(address: string): void {
    if (!this.#dialled.has(address)) this.#dialAfter(address, 0)
  }

  undial(address: string): void {
    this.#dialled.get(address)?.cancel()
    this.#dialled.delete(address)
  }

  send(peer: NodeId, lane: string, type: number, payload: Uint8Array): boolean {
    if (!this.process.reach('send')) return false
    const connection = this.#network.connection(this.node, peer, lane)
    if (connection === undefined || !connection.isOpenAt(this)) return false
    if (!connection.take(this, { type, payload: new Uint8Array(payload) })) return false
    this.#watch.sent(peer, lane, type, payload)
    return true
  }

  disconnect(peer: NodeId): void {
    if (!this.process.reach('send')) return
    for (const lane of lanes) this.#network.connection(this.node, peer, lane)?.break()
  }

  /** Dials again at once; a refusal right then says that the other's process is gone. */
  closed(peer: NodeId): void {
    const address = `${peer}:7000`
    if (!this.#dialled.has(address) || lanes.some((lane) => this.isOpen(peer, lane))) return
    this.process.later(2 * this.#network.delayUs(this.node, peer, 'ctl'), 'input', `dials ${peer} again`, () => {
      if (!this.#dialled.has(address) || lanes.some((lane) => this.isOpen(peer, lane))) return
      if (!this.#network.refuses(this.node, peer)) {
        for (const lane of lanes) this.#attempt(address, peer, lane)
      } else if (!this.#gone.has(peer)) {
        this.#gone.add(peer)
        this.events?.gone?.(peer)
      }
    })
  }

  opened(peer: NodeId): void {
    this.#gone.delete(peer)
  }

  isOpen(peer: NodeId, lane: string): boolean {
    return this.#network.connection(this.node, peer, lane)?.isOpenAt(this) ?? false
  }

  close(): Promise<void> {
    this.process.world.promised()
    for (const address of this.#dialled.keys()) this.undial(address)
    this.#network.gone(this.node, 'kill')
    return Promise.resolve()
  }

  #isTaken(peer: NodeId, lane: string): boolean {
    return this.#network.connection(this.node, peer, lane)?.isTakenAt(this) ?? false
  }

  #dialAfter(address: string, us: number): void {
    const timer = this.process.later(us, 'timer', `dials ${address}`, () => {
      this.#dialAfter(address, retryUs + this.#network.stream(`dial ${this.node}`).around(20_000))
      const host = parseAddress(address)?.host as NodeId
      for (const lane of lanes) {
        if (this.#isTaken(host, lane)) continue
        const us = 2 * this.#network.delayUs(this.node, host, lane)
        this.process.later(us, 'input', `connects ${host} ${lane}`, () => this.#attempt(address, host, lane))
      }
    })
    this.#dialled.set(address, timer)
  }

  #attempt(address: string, host: NodeId, lane: string): void {
    const other = this.#network.reach(this.node, host)
    if (this.#isTaken(host, lane) || other === undefined || host === this.node || other.process.isPaused) return
    const own = this.hello()
    const peer = other.hello()
    const differs = own.clusterId !== null && peer.clusterId !== null && own.clusterId !== peer.clusterId
    const byUs = differs ? new OperatingError('wrong-cluster', 'another cluster') : this.admit(peer)
    const error = byUs ?? other.admit(own)
    if (error === null) {
      this.#network.connect(this, other, lane)
      return
    }
    const isFatal = error.code === 'wiped-node' || error.code === 'duplicate-node'
    const [denier, denied] = byUs === null ? [other, this] : [this, other]
    if (error.code === 'denied') denied.process.later(50, 'input', 'denied', () => denied.events?.denied?.(denier.node))
    this.events?.refused({ address, peer: host, error, fatal: isFatal && byUs === null })
    other.refuse({ address: `${this.node}:7000`, peer: this.node, error, fatal: isFatal && byUs !== null })
  }

  refuse(refusal: Parameters<TransportEvents['refused']>[0]): void {
    this.process.later(50, 'input', 'refused', () => this.events?.refused(refusal))
  }
}
