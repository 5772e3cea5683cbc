import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { assert } from '../std/assert.ts'
import type { BackoffLimits } from '../std/backoff.ts'
import type { Clock } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { Random } from '../std/random.ts'
import { Handshake, nonceBytes } from '../identity/handshake.ts'
import type { HandshakeRole } from '../identity/handshake.ts'
import type { ClusterSecret } from '../identity/secret.ts'
import type { Log } from '../log/log.ts'
import { parseAddress } from '../vocabulary/addresses.ts'
import type { Address } from '../vocabulary/addresses.ts'
import type { AdmitPeer, ListenerKind, PeerHello } from '../vocabulary/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { encodeHello, wireVersions } from '../wire/handshake-codec.ts'
import { payloadBytesMax } from '../wire/limits.ts'
import type { LaneLimits } from '../wire/limits.ts'
import { Dialer } from './dialer.ts'
import { LaneConnection } from './lane-connection.ts'
import type { FrameCounters, LaneConnectionEvents } from './lane-connection.ts'
import { OpenLanes } from './open-lanes.ts'
import { RefusalReports } from './refusal-reports.ts'
import type { Transport, TransportEvents } from './transport.ts'
import { lanePath, WebSocketListener } from './websocket-listener.ts'
import type { WebSocketListenerOptions } from './websocket-listener.ts'

/**
 * Transport over WebSockets: one connection a lane and peer, listened for and dialled. Which connection stays when two are
 * made is decided by open-lanes, in one place on each side and before the second counts, so that never two ends close
 * different ones.
 */
export class WebSocketTransport implements Transport {
  readonly #options: WebSocketTransportOptions
  readonly #listener: WebSocketListener
  readonly #lanes: OpenLanes
  readonly #refusals = new RefusalReports()
  /** By address and lane. */
  readonly #dialled = new Map<string, Map<string, Dialer>>()
  readonly #connections = new Map<LaneConnection, ConnectionContext>()
  /** Of whom `gone` was said since a lane to them was open. */
  readonly #gone = new Set<NodeId>()
  readonly #counters: FrameCounters = { framesIn: 0, framesOut: 0, framesRejected: 0 }
  #events: TransportEvents | null = null
  #opening: Promise<Address> | null = null
  readonly #allGone = deferred<void>()
  #closed = false

  constructor(options: WebSocketTransportOptions) {
    this.#options = options
    const turnedAway = (): void => {
      if (this.#refusals.isNews(strangers, 'too many'))
        options.log.warn('strangers-turned-away', { limit: unprovenMax })
    }
    this.#listener = new WebSocketListener({ ...options, unprovenMax, unprovenBytesMax, turnedAway })
    this.#lanes = new OpenLanes({
      node: options.hello().node,
      probeTimeoutMs: Math.min(options.livenessMs, probeTimeoutMsMax),
      closed: (peer, lane) => this.#events?.closed(peer, lane),
    })
  }

  get counters(): Readonly<FrameCounters> {
    return this.#counters
  }

  open(events: TransportEvents): Promise<Address> {
    assert(this.#events === null, 'a transport opens once')
    this.#events = events
    this.#opening = this.#listener.open(({ socket, raw, lane, address }) => {
      if (this.#closed) return socket.terminate()
      this.#connect({ role: 'acceptor', socket, raw, lane, address, dialer: null })
    })
    return this.#opening
  }

  dial(address: string, lane?: string): void {
    if (this.#closed) return
    const parsed = parseAddress(address)
    if (parsed === undefined || parsed.port === 0) {
      this.#options.log.warn('dial-address-invalid', { address })
      return
    }
    const { clock, random, backoff, refusedRetryMs } = this.#options
    const attempt = (dialer: Dialer): void => this.#attempt(dialer)
    const dialers = this.#dialled.get(address) ?? new Map<string, Dialer>()
    this.#dialled.set(address, dialers)
    for (const each of this.#lanesOr(lane)) {
      if (dialers.has(each)) continue
      const dialer = new Dialer(address, each, { clock, random, backoff, refusedRetryMs, attempt })
      dialers.set(each, dialer)
      dialer.dialNow()
    }
  }

  undial(address: string, lane?: string): void {
    const dialers = this.#dialled.get(address)
    const lanes = this.#lanesOr(lane)
    for (const each of lanes) {
      dialers?.get(each)?.stop()
      dialers?.delete(each)
    }
    for (const connection of this.#connections.keys()) {
      if (connection.role !== 'dialer' || connection.address !== address || connection.isOpen) continue
      if (lanes.includes(connection.lane)) connection.terminate()
    }
    if (dialers?.size !== 0) return
    this.#dialled.delete(address)
    this.#refusals.forget(address)
  }

  send(peer: NodeId, lane: string, type: number, payload: Uint8Array): boolean {
    const limits = this.#options.lanes[lane]
    const connection = this.#lanes.find(peer, lane)
    if (connection === undefined || limits === undefined) return false
    if (payload.length > payloadBytesMax(limits)) {
      this.#options.log.error('frame-too-large', { peer, lane, type, bytes: payload.length })
      return false
    }
    return connection.send(type, payload)
  }

  disconnect(peer: NodeId, lane?: string): void {
    for (const each of this.#lanesOr(lane)) this.#lanes.find(peer, each)?.terminate()
  }

  isOpen(peer: NodeId, lane: string): boolean {
    return this.#lanes.find(peer, lane) !== undefined
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const address of this.#dialled.keys()) this.undial(address)
    await this.#opening?.catch(() => undefined)
    for (const connection of this.#connections.keys()) connection.terminate()
    await this.#listener.close()
    if (this.#connections.size > 0) await this.#allGone.promise
  }

  #lanesOr(lane: string | undefined): readonly string[] {
    return lane === undefined ? Object.keys(this.#options.lanes) : [lane]
  }

  #attempt(dialer: Dialer): void {
    const limits = this.#options.lanes[dialer.lane]
    assert(limits !== undefined, 'only known lanes are dialled')
    const socket = new WebSocket(`ws://${dialer.address}${lanePath(this.#options.kind, dialer.lane)}`, {
      perMessageDeflate: false,
      maxPayload: limits.frameBytesMax,
      // Masking is for caches between browser and server that read along; a mask of zeros is none, and costs nothing.
      generateMask: (mask) => mask.fill(0),
    })
    const { address, lane } = dialer
    this.#connect({ role: 'dialer', socket, raw: null, lane, address, dialer })
  }

  #connect(made: MadeConnection): void {
    const { kind, secret, admit, clock, handshakeTimeoutMs, heartbeatMs, livenessMs } = this.#options
    const { socket, raw, role, lane, address } = made
    const limits = this.#options.lanes[lane]
    assert(limits !== undefined, 'only known lanes connect')
    const nonce = new Uint8Array(randomBytes(nonceBytes))
    const said = this.#options.hello()
    const own = encodeHello({ versions: wireVersions, nonce, kind, lane, peer: said })
    const isOutgrown = (): boolean => {
      const { clusterId, promised } = this.#options.hello()
      return clusterId !== said.clusterId || promised !== said.promised
    }
    const handshake = new Handshake({ role, own, secret, admit, isOutgrown })
    const connection = new LaneConnection({
      socket,
      raw,
      role,
      address,
      lane,
      limits,
      handshake,
      clock,
      handshakeTimeoutMs,
      heartbeatMs,
      livenessMs: this.#options.livenessMsOf ?? (() => livenessMs),
      counters: this.#counters,
      events: this.#connectionEvents,
    })
    this.#connections.set(connection, { dialer: made.dialer, raw, openedAt: null })
  }

  readonly #connectionEvents: LaneConnectionEvents = {
    proven: (connection, peer) => {
      const raw = this.#connections.get(connection)?.raw
      if (raw) this.#listener.proven(raw)
      this.#lanes.decide(connection, peer)
    },
    opened: (connection, peer, version) => this.#opened(connection, peer, version),
    frame: (connection, type, payload) => {
      if (connection.peer !== null) this.#events?.frame(connection.peer.node, connection.lane, type, payload)
    },
    rejected: (connection, why) => {
      this.#counters.framesRejected += 1
      this.#options.frameRejected?.()
      const { address, lane, peer } = connection
      this.#options.log.warn('frame-rejected', { address, lane, peer: peer?.node ?? null, why })
    },
    closed: (connection) => this.#ended(connection),
    gone: (connection) => {
      this.#connections.delete(connection)
      if (this.#closed && this.#connections.size === 0) this.#allGone.resolve()
    },
  }

  #opened(connection: LaneConnection, peer: PeerHello, version: number): void {
    const context = this.#connections.get(connection)
    if (context !== undefined) context.openedAt = this.#options.clock.monotonic()
    this.#refusals.forget(connection.role === 'dialer' ? connection.address : peer.node)
    this.#refusals.forget(`${connection.address} ${connection.lane}`)
    this.#refusals.forget(strangers)
    this.#gone.delete(peer.node)
    this.#lanes.opened(connection, peer)
    this.#events?.opened(peer, connection.lane, version)
  }

  #ended(connection: LaneConnection): void {
    const { end } = connection
    const context = this.#connections.get(connection)
    if (end?.why === 'refused') this.#refused(connection, end)
    this.#lanes.release(connection)
    if (connection.peer !== null) this.#wake(connection.peer.node, connection.lane)
    const dialer = context?.dialer
    if (!dialer || dialer.isStopped) return
    if (end?.why === 'self') {
      // The address stays listed, so that dialling it again does nothing.
      for (const each of this.#dialled.get(dialer.address)?.values() ?? []) each.stop()
      return
    }
    const peer = connection.peer?.node
    if (peer !== undefined && this.#lanes.isTaken(peer, connection.lane)) return dialer.park(peer)
    if (end === null && connection.failure !== null) this.#failed(connection, connection.failure)
    const openedAt = context?.openedAt ?? null
    if (peer !== undefined && openedAt !== null) return dialer.closed(peer, this.#options.clock.monotonic() - openedAt)
    if (dialer.lost !== null && isRefusal(connection.failure)) this.#sayGone(dialer.lost)
    dialer.ended(end)
  }

  #sayGone(peer: NodeId): void {
    const isLinked = Object.keys(this.#options.lanes).some((lane) => this.#lanes.isTaken(peer, lane))
    if (isLinked || this.#gone.has(peer)) return
    this.#gone.add(peer)
    this.#events?.gone?.(peer)
  }

  /** A lane to the node is free again: whoever waited for that may dial. */
  #wake(node: NodeId, lane: string): void {
    if (this.#lanes.isTaken(node, lane)) return
    for (const dialers of this.#dialled.values()) {
      dialers.get(lane)?.wake(node)
    }
  }

  #refused(connection: LaneConnection, end: NonNullable<LaneConnection['end']> & { why: 'refused' }): void {
    const { address, role } = connection
    const peer = end.node
    if (end.by === 'peer' && peer !== null && end.error.code === 'denied') this.#events?.denied?.(peer)
    // A dialler's port differs at each try, its address does not.
    const from = role === 'dialer' ? address : (peer ?? address.slice(0, address.lastIndexOf(':')))
    const report = this.#refusals.report({ from, address, role, peer, error: end.error, fatal: end.fatal })
    if (report !== null) this.#events?.refused(report)
  }

  /** Said once until it changes, not at every try. */
  #failed(connection: LaneConnection, failure: Error): void {
    const { address, lane } = connection
    if (this.#refusals.isNews(`${address} ${lane}`, `${failure.name} ${failure.message}`)) {
      this.#options.log.info('connection-failed', { address, lane, error: failure })
    }
  }
}

export type WebSocketTransportOptions = {
  readonly listen: Address
  readonly kind: ListenerKind
  readonly lanes: Readonly<Record<string, LaneLimits>>
  /** What this node says of itself now; its node and boot never change. */
  readonly hello: () => PeerHello
  readonly secret: ClusterSecret
  readonly admit: AdmitPeer
  /** What the listener answers to a plain POST; nothing when left out. */
  readonly posts?: NonNullable<WebSocketListenerOptions['posts']>
  /** A frame never got to `TransportEvents.frame`, because it breaks the protocol; it is logged already. */
  readonly frameRejected?: () => void
  readonly log: Log
  readonly clock: Clock
  readonly random: Random
  readonly backoff: BackoffLimits
  /** Wait after a refusal that no quick retry can change: another cluster, a wrong secret, no common version. */
  readonly refusedRetryMs: number
  /** From the connection to the welcome; longer than `livenessMs`, which a second process may cost. */
  readonly handshakeTimeoutMs: number
  /** Each open connection is pinged this often. */
  readonly heartbeatMs: number
  /** A connection on which nothing came for this long is ended. */
  readonly livenessMs: number
  /** The same for each peer, by what else is known of it; left out: for all alike. */
  readonly livenessMsOf?: (peer: NodeId) => number
}

/** What both listeners use unless a test wants it faster. */
export const transportDefaults = {
  backoff: { minMs: 50, maxMs: 3000 },
  refusedRetryMs: 30_000,
  handshakeTimeoutMs: 5000,
} as const

type ConnectionContext = {
  readonly dialer: Dialer | null
  readonly raw: Socket | null
  /** Monotonic ms; null until it opened. */
  openedAt: number | null
}

type MadeConnection = {
  readonly role: HandshakeRole
  readonly socket: WebSocket
  readonly raw: Socket | null
  readonly lane: string
  readonly address: string
  readonly dialer: Dialer | null
}

/** The machine answered that nobody listens there (any more): what a firewall or a dead machine never says. */
function isRefusal(failure: Error | null): boolean {
  const code = failure !== null && 'code' in failure ? failure.code : undefined
  return code === 'ECONNREFUSED' || code === 'ECONNRESET'
}

/** Who is meant in reports by nobody in particular. */
const strangers = 'strangers'

/**
 * Accepted connections that have not proven the secret, and what each of them may send. A hundred nodes that start at once
 * come with three lanes each.
 */
const unprovenMax = 320
const unprovenBytesMax = 64 * 1024

/** How long an older process with the same id may take to show that it lives. */
const probeTimeoutMsMax = 2000
