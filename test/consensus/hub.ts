import { realClock } from '../../src/std/clock.ts'
import { MemoryNetwork } from '../../src/transport/memory-transport.ts'
import type { AdmitPeer, PeerHello, Transport, TransportEvents } from '../../src/transport/transport.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { raftLanes } from '../../src/wire/limits.ts'

export type HubFrame = { from: NodeId; to: NodeId; lane: string; type: number; payload: Uint8Array }

/** The network of one test: sees every frame that leaves a node, brings forged ones, cuts a node off. */
export class Hub {
  /** Oldest first. */
  readonly sent: HubFrame[] = []
  readonly #network = new MemoryNetwork(realClock)
  readonly #events = new Map<NodeId, TransportEvents>()
  #port = 1

  makeTransport(link: { hello: () => PeerHello; admit: AdmitPeer }): Transport {
    this.#port += 1
    const lanes = Object.keys(raftLanes)
    const transport = this.#network.transport({ ...link, address: `127.0.0.1:${this.#port}`, lanes })
    const { node } = transport
    const open = transport.open.bind(transport)
    transport.open = (events) => {
      this.#events.set(node, events)
      return open(events)
    }
    const send = transport.send.bind(transport)
    transport.send = (to, lane, type, payload) => {
      const left = send(to, lane, type, payload)
      if (left) this.sent.push({ from: node, to, lane, type, payload })
      return left
    }
    return transport
  }

  cut(node: NodeId): void {
    for (const other of this.#events.keys()) if (other !== node) this.#network.cut(node, other)
  }

  heal(node: NodeId): void {
    for (const other of this.#events.keys()) if (other !== node) this.#network.heal(node, other)
  }

  /** Brings a frame to the node as if `from` had sent it. */
  inject({ from, to, lane, type, payload }: HubFrame): void {
    this.#events.get(to)?.frame(from, lane, type, payload)
  }
}
