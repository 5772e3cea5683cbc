import type { PeerHello } from '../vocabulary/handshake.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { LaneConnection } from './lane-connection.ts'

/**
 * Which connection a lane to a peer has, and which of several stays. At most one is open for each lane and peer.
 *
 * A dialler decides before it sends its proof: if the lane is open or another of its own attempts has gone that far, it
 * gives way; else it claims the lane. So a proof that arrives says that its sender has no open connection, and the acceptor
 * takes it, with one exception: when both have claimed, the one dialled by the smaller id stays, and the node with the
 * smaller id is the one that refuses the other. Both follow the same rule on the same facts, so nothing that one side
 * keeps is closed by the other.
 */
export class OpenLanes {
  readonly #options: OpenLanesOptions
  readonly #open = new Map<NodeId, Map<string, Contender>>()
  /** Own attempts whose proof has been sent, by node and lane. */
  readonly #claims = new Map<string, Contender>()

  constructor(options: OpenLanesOptions) {
    this.#options = options
  }

  find(node: NodeId, lane: string): Contender | undefined {
    return this.#open.get(node)?.get(lane)
  }

  isTaken(node: NodeId, lane: string): boolean {
    return this.find(node, lane) !== undefined || this.#claims.has(claimKey(node, lane))
  }

  /** The peer has proven the secret: admits it, refuses it or gives way, now or after older connections were probed. */
  decide(connection: Contender, peer: PeerHello): void {
    if (connection.isClosed) return
    const older = [...(this.#open.get(peer.node)?.values() ?? [])].filter((open) => open.peer?.boot !== peer.boot)
    if (older.length > 0) return this.#probeOlder(connection, peer, older)
    if (this.#givesWay(connection, peer)) return connection.giveWay()
    if (connection.role === 'dialer') this.#claims.set(claimKey(peer.node, connection.lane), connection)
    connection.admit()
  }

  opened(connection: Contender, peer: PeerHello): void {
    this.#releaseClaim(connection, peer.node)
    // The peer has claimed the lane, so to it the older connection is gone already.
    this.find(peer.node, connection.lane)?.terminate()
    const lanes = this.#open.get(peer.node) ?? new Map<string, Contender>()
    this.#open.set(peer.node, lanes.set(connection.lane, connection))
  }

  /** The connection is closed: its lane is free again. */
  release(connection: Contender): void {
    const node = connection.peer?.node
    if (node === undefined) return
    this.#releaseClaim(connection, node)
    const lanes = this.#open.get(node)
    if (lanes?.get(connection.lane) !== connection) return
    lanes.delete(connection.lane)
    if (lanes.size === 0) this.#open.delete(node)
    this.#options.closed(node, connection.lane)
  }

  #givesWay(connection: Contender, peer: PeerHello): boolean {
    const open = this.find(peer.node, connection.lane)
    if (connection.role === 'dialer') return this.isTaken(peer.node, connection.lane)
    if (compareIds(this.#options.node, peer.node) > 0) return false
    if (this.#claims.has(claimKey(peer.node, connection.lane))) return true
    if (open?.role !== 'dialer') return false
    // The peer claimed before it took ours, or ours is dead and nobody told us: the next try finds out.
    open.probe(this.#options.probeTimeoutMs, (alive) => {
      if (!alive) open.terminate()
    })
    return true
  }

  /** Another process with the same id is, or was, connected: if it still answers, the new one must not be. */
  #probeOlder(connection: Contender, peer: PeerHello, older: readonly Contender[]): void {
    let waiting = older.length
    let alive = false
    for (const open of older) {
      open.probe(this.#options.probeTimeoutMs, (answered) => {
        if (!answered) open.terminate()
        alive ||= answered
        waiting -= 1
        if (waiting > 0 || connection.isClosed) return
        if (!alive) return this.decide(connection, peer)
        const message = `a live process with the node id ${peer.node} is connected already; stop it, or give one of both another node.id`
        connection.refuse(new OperatingError('duplicate-node', message))
      })
    }
  }

  #releaseClaim(connection: Contender, node: NodeId): void {
    const key = claimKey(node, connection.lane)
    if (this.#claims.get(key) === connection) this.#claims.delete(key)
  }
}

/** All that is asked of a connection here. */
export type Contender = Pick<
  LaneConnection,
  'lane' | 'role' | 'peer' | 'isClosed' | 'send' | 'probe' | 'terminate' | 'admit' | 'refuse' | 'giveWay'
>

export type OpenLanesOptions = {
  readonly node: NodeId
  readonly probeTimeoutMs: number
  readonly closed: (node: NodeId, lane: string) => void
}

function claimKey(node: NodeId, lane: string): string {
  return `${node} ${lane}`
}
