import type { NodeId } from '../../src/vocabulary/ids.ts'
import { frameTypes } from '../../src/wire/frame-types.ts'
import { wireVersions } from '../../src/wire/handshake-codec.ts'
import { raftLanes } from '../../src/wire/limits.ts'
import type { SimNetwork } from './sim-network.ts'
import type { SimTransport } from './sim-transport.ts'
import { mixBytes } from './streams.ts'

export type Lane = keyof typeof raftLanes
export const lanes = Object.keys(raftLanes) as Lane[]

type SimFrame = { readonly type: number; readonly payload: Uint8Array }
type Direction = { readonly fifo: SimFrame[]; lastUs: number; frozen: number; bytes: number }

/** One lane between two processes. Index 0 is the dialer's end. */
export class SimConnection {
  readonly #network: SimNetwork
  readonly #lane: Lane
  readonly #ends: readonly [SimTransport, SimTransport]
  readonly #open: [boolean, boolean] = [true, true]
  readonly #told: [boolean, boolean] = [false, false]
  readonly #directions: readonly [Direction, Direction] = [
    { fifo: [], lastUs: 0, frozen: 0, bytes: 0 },
    { fifo: [], lastUs: 0, frozen: 0, bytes: 0 },
  ]
  readonly #over: () => void
  #isBroken = false

  constructor(network: SimNetwork, lane: string, ends: readonly [SimTransport, SimTransport], over: () => void) {
    this.#network = network
    this.#lane = lane as Lane
    this.#ends = ends
    this.#over = over
  }

  /** What is sent now arrives much later, behind what was slow. */
  get isLate(): boolean {
    return this.#directions.some(({ lastUs }) => lastUs > this.#network.world.nowUs + 100_000)
  }

  has(node: NodeId): boolean {
    return this.#ends[0].node === node || this.#ends[1].node === node
  }

  isOpenAt(transport: SimTransport): boolean {
    const at = this.#endOf(transport)
    return at !== -1 && this.#open[at as 0 | 1] && this.#told[at as 0 | 1]
  }

  /** Open, or about to be. */
  isTakenAt(transport: SimTransport): boolean {
    const at = this.#endOf(transport)
    return at !== -1 && this.#open[at as 0 | 1]
  }

  start(): void {
    for (const at of [0, 1] as const) {
      const us = this.#network.delayUs(this.#ends[(1 - at) as 0 | 1].node, this.#ends[at].node, this.#lane)
      this.#directions[(1 - at) as 0 | 1].lastUs = this.#network.world.nowUs + us
      this.#ends[at].process.later(us, 'input', `opened ${this.#lane}`, () => {
        if (!this.#open[at]) return
        this.#told[at] = true
        this.#ends[at].opened(this.#ends[(1 - at) as 0 | 1].node)
        this.#ends[at].events?.opened(this.#ends[(1 - at) as 0 | 1].hello(), this.#lane, wireVersions.max)
      })
    }
  }

  /** False: the send buffer is full. */
  take(from: SimTransport, frame: SimFrame): boolean {
    const at = this.#endOf(from) as 0 | 1
    const direction = this.#directions[at]
    if (direction.bytes + frame.payload.length > raftLanes[this.#lane].sendBufferBytesMax) return false
    if (this.#isBroken) return true
    direction.fifo.push(frame)
    direction.bytes += frame.payload.length
    this.#schedule(at)
    return true
  }

  /** Nothing has come from that node for too long. */
  silent(from: NodeId): void {
    const at = this.#ends[0].node === from ? 1 : 0
    this.#isBroken = true
    this.#close(at, 0)
    const other = (1 - at) as 0 | 1
    if (!this.#network.isCut(this.#ends[at].node, this.#ends[other].node)) this.#close(other, this.#delay(at))
    else this.#close(other, this.#network.weather.livenessMs * 1000)
  }

  thaw(from: NodeId): void {
    const at = this.#ends[0].node === from ? 0 : 1
    const direction = this.#directions[at]
    const { frozen } = direction
    direction.frozen = 0
    for (let count = 0; count < frozen; count += 1) this.#schedule(at)
  }

  break(): void {
    this.#isBroken = true
    this.#close(0, this.#delay(1))
    this.#close(1, this.#delay(0))
  }

  /** A new connection of the lane takes its place. */
  replace(): void {
    this.#isBroken = true
    for (const at of [0, 1] as const) this.#close(at, 0)
  }

  abandon(node: NodeId, how: 'kill' | 'power'): void {
    const at = this.#ends[0].node === node ? 0 : 1
    const other = (1 - at) as 0 | 1
    this.#open[at] = false
    const isCut = this.#network.isCut(node, this.#ends[other].node)
    if (how === 'power' || isCut) {
      this.#isBroken = true
      this.#close(other, this.#network.weather.livenessMs * 1000)
      return
    }
    // What had left arrives, then the end of the stream; or a reset overtakes it.
    const isReset = this.#network.stream('reset').chance(500)
    if (isReset) this.#isBroken = true
    const us = Math.max(this.#delay(at), this.#directions[at].lastUs - this.#network.world.nowUs + 1)
    this.#network.world.after(us, 'end of stream', () => {
      this.#isBroken = true
      this.#close(other, 0)
    })
  }

  #schedule(at: 0 | 1): void {
    const direction = this.#directions[at]
    const { world } = this.#network
    direction.lastUs = Math.max(direction.lastUs, world.nowUs + this.#delay(at))
    world.at(direction.lastUs, `frame ${this.#ends[at].node}>${this.#ends[(1 - at) as 0 | 1].node}`, () =>
      this.#arrive(at),
    )
  }

  #arrive(at: 0 | 1): void {
    const direction = this.#directions[at]
    const from = this.#ends[at]
    const to = this.#ends[(1 - at) as 0 | 1]
    if (this.#isBroken) return
    if (this.#network.isCut(from.node, to.node)) {
      direction.frozen += 1
      return
    }
    const frame = direction.fifo.shift()
    if (frame === undefined) return
    const stream = this.#network.stream(`fate ${from.node} ${to.node}`)
    const fate = this.#network.isCalm ? 1_000_000 : stream.below(1_000_000)
    const { lost, repeated, stale, staleMs, broken } = this.#network.weather
    if (fate < broken * 1000) {
      this.break()
      return
    }
    const isRaftOnly = mayRepeat(frame.type)
    if (!isRaftOnly || fate >= (broken + lost) * 1000) this.#hand(at, frame, direction)
    else direction.bytes -= frame.payload.length
    if (!isRaftOnly || this.#network.isCalm) return
    const again = stream.below(1000)
    if (again < repeated) this.#repeat(at, frame, this.#delay(at))
    else if (again < repeated + stale) this.#repeat(at, frame, stream.around(staleMs * 500))
  }

  #hand(at: 0 | 1, frame: SimFrame, direction: Direction): void {
    const to = (1 - at) as 0 | 1
    const { world } = this.#network
    this.#ends[to].process.later(0, 'input', 'reads', () => {
      direction.bytes -= frame.payload.length
      if (!this.#open[to] || !this.#told[to]) return
      world.mix(mixBytes(frame.type, frame.payload))
      this.#ends[to].events?.frame(this.#ends[at].node, this.#lane, frame.type, frame.payload)
    })
  }

  /** To the same process only: what a dead one was told, its successor is not. */
  #repeat(at: 0 | 1, frame: SimFrame, us: number): void {
    const to = this.#ends[(1 - at) as 0 | 1]
    const from = this.#ends[at].node
    to.process.later(us, 'input', 'reads again', () => {
      if (to.isOpen(from, this.#lane) && !this.#network.isCalm)
        to.events?.frame(from, this.#lane, frame.type, frame.payload)
    })
  }

  #close(at: 0 | 1, us: number): void {
    this.#ends[at].process.later(us, 'input', `closed ${this.#lane}`, () => {
      if (!this.#open[at]) return
      this.#open[at] = false
      const peer = this.#ends[(1 - at) as 0 | 1].node
      if (this.#told[at]) {
        this.#ends[at].events?.closed(peer, this.#lane)
        this.#ends[at].closed(peer)
      }
      if (!this.#open[0] && !this.#open[1]) this.#over()
    })
  }

  #delay(at: 0 | 1): number {
    return this.#network.delayUs(this.#ends[at].node, this.#ends[(1 - at) as 0 | 1].node, this.#lane)
  }

  #endOf(transport: SimTransport): number {
    return this.#ends.indexOf(transport)
  }
}

/** Raft's messages may come twice or never, all but a proposal. */
function mayRepeat(type: number): boolean {
  return type >= frameTypes['pre-vote-request'] && type < 40 && type !== frameTypes.propose
}
