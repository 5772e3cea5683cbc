import type { Log } from '../log/log.ts'
import type { Address } from '../vocabulary/addresses.ts'
import type { PeerHello } from '../vocabulary/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { ErrorCode, OperatingError } from '../vocabulary/operating-error.ts'
import type { Transport } from '../transport/transport.ts'
import type { CallsLane } from './calls-lane.ts'
import type { GossipDriver } from './gossip-driver.ts'
import { gossipLane } from './gossip-links.ts'
import { callsLane } from './lane-sender.ts'

/**
 * The main thread's links to the other nodes: keeps dialling the lane `calls` of the addresses of the configuration and of
 * the member directory, hands frames to the calls and to gossip, which dials its lane itself, and tells who comes and goes.
 * Who belongs to the cluster is not decided here.
 */
export class PeerLinks {
  readonly #options: PeerLinksOptions
  readonly #join: ReadonlySet<string>
  #directory: ReadonlySet<string> = new Set()
  #open = false

  constructor(options: PeerLinksOptions) {
    this.#options = options
    this.#join = new Set(options.join)
  }

  /** Listens and starts to dial; resolves to the bound address. Error: `listen-failed`. */
  async open(events: PeerLinksEvents): Promise<Address> {
    const { transport, calls, log } = this.#options
    const bound = await transport.open({
      opened: (hello, lane, wire) => {
        if (lane === gossipLane) return events.gossip.opened(hello)
        const { node, generation, version, addresses } = hello
        log.info('peer-connected', { peer: node, generation, version, wire, address: addresses.peer })
        calls.peerOpened(node)
        events.opened(hello)
      },
      closed: (node, lane) => {
        if (lane === gossipLane) return events.gossip.closed(node)
        log.info('peer-disconnected', { peer: node })
        calls.peerClosed(node)
        events.closed(node)
      },
      frame(node, lane, type, payload) {
        if (lane === gossipLane) events.gossip.frame(node, type, payload)
        else calls.receive(node, type, payload)
      },
      gone: (node) => events.gossip.gone(node),
      refused: ({ address, peer, error, fatal }) => {
        log[fatal ? 'error' : 'warn']('peer-refused', {
          address,
          peer,
          code: error.code,
          error,
          advice: advice[error.code],
        })
        if (fatal) events.failed(error)
        else if (error.code === 'incompatible-version' && peer !== null) events.incompatible(peer, error)
      },
    })
    this.#open = true
    for (const address of new Set([...this.#join, ...this.#directory])) transport.dial(address, callsLane)
    return bound
  }

  /** The peer addresses of all members. An address that is listed no more is not dialled again; its link stays. */
  setDirectory(addresses: readonly string[]): void {
    const before = this.#directory
    this.#directory = new Set(addresses)
    if (!this.#open) return
    for (const address of this.#directory) this.#options.transport.dial(address, callsLane)
    for (const address of before) {
      if (!this.#directory.has(address) && !this.#join.has(address)) this.#options.transport.undial(address, callsLane)
    }
  }

  /** Whether a call to the node could leave now. */
  reachable(node: NodeId): boolean {
    return this.#options.transport.isOpen(node, callsLane)
  }

  close(): Promise<void> {
    this.#open = false
    this.#options.calls.stop()
    return this.#options.transport.close()
  }
}

export type PeerLinksOptions = {
  /** With the lanes of the peer listener (wire/limits, peerLanes). */
  readonly transport: Transport
  readonly calls: CallsLane
  /** HOST:PORT of peer listeners, from the configuration. */
  readonly join: readonly string[]
  readonly log: Log
}

export type PeerLinksEvents = {
  readonly gossip: Pick<GossipDriver, 'opened' | 'closed' | 'frame' | 'gone'>
  /** The lane `calls`, as `closed` too. `hello.addresses.raft` is what consensus wants to know. */
  opened(hello: PeerHello): void
  closed(node: NodeId): void
  /** The peer has proven the secret but speaks no common version of the wire. */
  incompatible(peer: NodeId, error: OperatingError): void
  /** This node must not go on: another live process has its id, or it came back without its data. */
  failed(error: OperatingError): void
}

/** What to do about a refusal, for the log. */
const advice: Partial<Record<ErrorCode, string>> = {
  'wrong-secret': 'give every node the same cluster.secret',
  'wrong-cluster': 'check cluster.name and cluster.join; a data directory belongs to one cluster only',
  'incompatible-version': 'upgrade every node to the release in between first, one after the other',
  'duplicate-node': 'stop one of the two processes, or give it another node.id and an empty node.dataDir',
  'wiped-node': 'restore the data directory, or start the node with a new node.id',
  'bad-request': 'cluster.join names peer addresses (listen.peer), no raft or http addresses',
}
