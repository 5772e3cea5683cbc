import type { AdmitPeer, PeerHello } from '../../src/vocabulary/handshake.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { lanes, SimConnection } from './sim-connection.ts'
import type { SimProcess } from './sim-process.ts'
import { SimTransport } from './sim-transport.ts'
import type { SendWatch } from './sim-transport.ts'
import { Stream } from './streams.ts'
import type { World } from './world.ts'

/** How the network behaves while no partition is on. Chances are per mille of frames. */
export type NetworkWeather = {
  readonly delayUs: number
  /** Frames that never arrive although the connection holds. */
  readonly lost: number
  /** Frames that arrive a second time, a little later. */
  readonly repeated: number
  /** Frames that arrive a second time up to `staleMs` later. */
  readonly stale: number
  readonly staleMs: number
  /** Connections that break, per mille of frames. */
  readonly broken: number
  /** Of closed links: the other is taken for dead though it lives. */
  readonly falselyGone: number
  /** A dead direction is noticed after this time. */
  readonly livenessMs: number
}

/**
 * The network between simulated processes. Each lane of a pair is a connection of its own, in order and with its own
 * delays, so lanes overtake each other. A direction can be cut: then what is on the way waits, as TCP does, until the cut
 * heals or an end has heard nothing for too long. An end that has not noticed goes on sending into nothing (half-open).
 * What Raft must bear beyond that (frames lost, repeated, long stale) is done to Raft's own messages only, never to a
 * proposal, to forming or to a stream of chunks: those may rely on the connection.
 */
export class SimNetwork {
  readonly world: World
  readonly weather: NetworkWeather
  isCalm = false
  readonly #seed: number
  readonly #streams = new Map<string, Stream>()
  readonly #listening = new Map<NodeId, SimTransport>()
  readonly #connections = new Map<string, SimConnection>()
  readonly #cuts = new Map<string, number>()
  /** Machines that run, but whose process does not: they refuse connections. */
  readonly #refusing = new Set<NodeId>()
  readonly #slow = new Map<string, number>()
  #cutCount = 0

  constructor(world: World, options: { seed: number; weather: NetworkWeather }) {
    this.world = world
    this.#seed = options.seed
    this.weather = options.weather
  }

  transport(process: SimProcess, link: { hello: () => PeerHello; admit: AdmitPeer }, watch: SendWatch): SimTransport {
    return new SimTransport(this, process, { ...link, watch })
  }

  /** Nothing gets from one to the other any more. */
  cut(from: NodeId, to: NodeId): void {
    if (from === to || this.#cuts.has(`${from}>${to}`)) return
    const epoch = (this.#cutCount += 1)
    this.#cuts.set(`${from}>${to}`, epoch)
    const noticeUs = this.weather.livenessMs * 1000 + this.stream(`cut ${from} ${to}`).around(100_000)
    this.world.after(noticeUs, `silence ${from}>${to}`, () => {
      if (this.#cuts.get(`${from}>${to}`) !== epoch) return
      for (const connection of this.#between(from, to)) connection.silent(from)
    })
  }

  heal(from: NodeId, to: NodeId): void {
    if (!this.#cuts.delete(`${from}>${to}`)) return
    for (const connection of this.#between(from, to)) connection.thaw(from)
  }

  healAll(): void {
    for (const key of this.#cuts.keys()) {
      const [from, to] = key.split('>') as [NodeId, NodeId]
      this.heal(from, to)
    }
    this.#slow.clear()
    for (const connection of this.#connections.values()) if (connection.isLate) connection.break()
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cuts.size > 0 && this.#cuts.has(`${from}>${to}`)
  }

  slowDown(from: NodeId, to: NodeId, factor: number): void {
    this.#slow.set(`${from}>${to}`, factor)
  }

  breakLink(a: NodeId, b: NodeId): void {
    for (const connection of this.#between(a, b)) connection.break()
  }

  /** The process is gone. Killed: its machine says so to the others. Without power: nobody says anything. */
  gone(node: NodeId, how: 'kill' | 'power'): void {
    this.#listening.delete(node)
    if (how === 'kill') this.#refusing.add(node)
    for (const connection of this.#connections.values()) if (connection.has(node)) connection.abandon(node, how)
  }

  listen(transport: SimTransport): void {
    this.#listening.set(transport.node, transport)
    this.#refusing.delete(transport.node)
  }

  reach(from: NodeId, to: NodeId): SimTransport | undefined {
    if (this.isCut(from, to) || this.isCut(to, from)) return undefined
    return this.#listening.get(to)
  }

  /** Whether the other's machine answers that nobody listens. Now and then one says so that is only busy. */
  refuses(from: NodeId, to: NodeId): boolean {
    if (this.isCut(from, to) || this.isCut(to, from)) return false
    if (this.#refusing.has(to)) return true
    return !this.isCalm && this.stream(`refusal ${from} ${to}`).chance(this.weather.falselyGone)
  }

  connection(a: NodeId, b: NodeId, lane: string): SimConnection | undefined {
    return this.#connections.get(connectionKey(a, b, lane))
  }

  connect(dialer: SimTransport, other: SimTransport, lane: string): void {
    const key = connectionKey(dialer.node, other.node, lane)
    this.#connections.get(key)?.replace()
    const connection = new SimConnection(this, lane, [dialer, other], () => {
      if (this.#connections.get(key) === connection) this.#connections.delete(key)
    })
    this.#connections.set(key, connection)
    connection.start()
  }

  delayUs(from: NodeId, to: NodeId, lane: string): number {
    const us = 30 + this.stream(`delay ${from} ${to} ${lane}`).around(this.weather.delayUs)
    return this.isCalm ? Math.min(us, 2_000) : Math.min(3_000_000, us * (this.#slow.get(`${from}>${to}`) ?? 1))
  }

  stream(purpose: string): Stream {
    let stream = this.#streams.get(purpose)
    if (stream === undefined) {
      stream = new Stream(this.#seed, `network ${purpose}`)
      this.#streams.set(purpose, stream)
    }
    return stream
  }

  #between(a: NodeId, b: NodeId): SimConnection[] {
    return lanes.flatMap((lane) => this.connection(a, b, lane) ?? [])
  }
}

function connectionKey(a: NodeId, b: NodeId, lane: string): string {
  return a < b ? `${a} ${b} ${lane}` : `${b} ${a} ${lane}`
}
