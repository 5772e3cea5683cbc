import type { AdmitPeer, PeerHello, Transport, TransportEvents } from '../../src/transport/transport.ts'
import type { Address } from '../../src/vocabulary/addresses.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { raftLanes } from '../../src/wire/limits.ts'

export type HubFrame = { from: NodeId; to: NodeId; lane: string; type: number; payload: Uint8Array }

/** The links of a cluster within one test: connects whoever dials, delivers in order, cuts and heals on demand. */
export class Hub {
  /** Every frame that left its node, oldest first. */
  readonly sent: HubFrame[] = []
  readonly #ends = new Map<string, HubEnd>()
  readonly #links = new Set<string>()
  readonly #cut = new Set<string>()
  #ports = 1

  makeTransport(link: { hello: () => PeerHello; admit: AdmitPeer }): Transport {
    return new HubEnd(this, link, `hub:${(this.#ports += 1)}`)
  }

  cut(node: NodeId): void {
    this.#cut.add(node)
    for (const link of this.#links) if (link.split(' ').includes(node)) this.#disconnect(link)
  }

  heal(node: NodeId): void {
    this.#cut.delete(node)
    this.connect()
  }

  /** Brings a frame to the node as if `from` had sent it. */
  inject(frame: HubFrame): void {
    this.#endOf(frame.to)?.events?.frame(frame.from, frame.lane, frame.type, frame.payload)
  }

  add(end: HubEnd): void {
    this.#ends.set(end.address, end)
    this.connect()
  }

  remove(end: HubEnd): void {
    this.#ends.delete(end.address)
    for (const link of this.#links) if (link.split(' ').includes(end.node)) this.#disconnect(link, end)
  }

  /** Connects everyone who dials to whoever is there; a refusal is told and not tried again until someone comes. */
  connect(): void {
    for (const from of this.#ends.values()) {
      for (const address of from.dialled) {
        const to = this.#ends.get(address)
        if (to !== undefined && to !== from) this.#connectTo(from, to)
      }
    }
  }

  isConnected(a: NodeId, b: NodeId): boolean {
    return this.#links.has(linkOf(a, b))
  }

  send(frame: HubFrame): boolean {
    const link = linkOf(frame.from, frame.to)
    if (!this.#links.has(link)) return false
    this.sent.push(frame)
    setImmediate(() => {
      if (this.#links.has(link)) this.inject(frame)
    })
    return true
  }

  #connectTo(from: HubEnd, to: HubEnd): void {
    const link = linkOf(from.node, to.node)
    if (this.#links.has(link) || this.#cut.has(from.node) || this.#cut.has(to.node)) return
    const byTo = to.link.admit(from.link.hello())
    const byFrom = from.link.admit(to.link.hello())
    if (byTo !== null || byFrom !== null) {
      if (byTo !== null) refuse({ by: to, whom: from, error: byTo })
      if (byFrom !== null) refuse({ by: from, whom: to, error: byFrom })
      return
    }
    this.#links.add(link)
    const [helloFrom, helloTo] = [from.link.hello(), to.link.hello()]
    for (const lane of Object.keys(raftLanes)) {
      from.events?.opened(helloTo, lane)
      to.events?.opened(helloFrom, lane)
    }
  }

  #disconnect(link: string, gone?: HubEnd): void {
    this.#links.delete(link)
    const [a, b] = link.split(' ') as [NodeId, NodeId]
    for (const lane of Object.keys(raftLanes)) {
      if (gone?.node !== a) this.#endOf(a)?.events?.closed(b, lane)
      if (gone?.node !== b) this.#endOf(b)?.events?.closed(a, lane)
    }
  }

  #endOf(node: NodeId): HubEnd | undefined {
    return [...this.#ends.values()].find((end) => end.node === node)
  }
}

function refuse({ by, whom, error }: { by: HubEnd; whom: HubEnd; error: OperatingError }): void {
  by.events?.refused({ address: whom.address, peer: whom.node, error, fatal: false })
  const told = new OperatingError(error.code, `refused by ${by.node}: ${error.message}`)
  whom.events?.refused({ address: by.address, peer: by.node, error: told, fatal: error.code === 'wiped-node' })
}

class HubEnd implements Transport {
  readonly address: string
  readonly link: { hello: () => PeerHello; admit: AdmitPeer }
  readonly node: NodeId
  readonly dialled = new Set<string>()
  events: TransportEvents | undefined
  readonly #hub: Hub

  constructor(hub: Hub, link: { hello: () => PeerHello; admit: AdmitPeer }, address: string) {
    this.#hub = hub
    this.link = link
    this.node = link.hello().node
    this.address = address
  }

  async open(events: TransportEvents): Promise<Address> {
    this.events = events
    this.#hub.add(this)
    const [host, port] = this.address.split(':')
    return { host: host ?? '', port: Number(port) }
  }

  dial(address: string): void {
    this.dialled.add(address)
    this.#hub.connect()
  }

  undial(address: string): void {
    this.dialled.delete(address)
  }

  send(peer: NodeId, lane: string, type: number, payload: Uint8Array): boolean {
    return this.#hub.send({ from: this.node, to: peer, lane, type, payload })
  }

  isOpen(peer: NodeId): boolean {
    return this.#hub.isConnected(this.node, peer)
  }

  async close(): Promise<void> {
    this.events = undefined
    this.#hub.remove(this)
  }
}

function linkOf(a: NodeId, b: NodeId): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}
