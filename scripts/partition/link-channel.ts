/**
 * One direction of one connection on a link with faults. What TCP makes of a bad network is modelled, as nodes see it:
 *
 * - cut: nothing arrives, neither bytes nor the end of a connection; the sender's buffer fills up to a limit, behind which
 *   the sender is not read. What waits arrives when the link is whole again, as retransmitted segments do, unless the
 *   connection was given up. The other direction goes on: real TCP would stall it after a window for want of
 *   acknowledgements, so a one-way cut is harder here than there.
 * - delay: each chunk arrives after delay and jitter, never before an earlier one.
 * - loss: a lost chunk arrives a retransmission timeout later, twice that when the retransmission is lost too, and so on,
 *   and everything behind it waits; after too many in a row the connection breaks.
 * - bandwidth: all connections of the link share it, a piece in turn.
 */
import type { Random } from '../../src/std/random.ts'

export type Faults = {
  readonly isCut: boolean
  readonly delayMs: number
  /** Up to this much more or less. */
  readonly jitterMs: number
  /** Of each chunk, 0 to 1. */
  readonly loss: number
  readonly bytesPerSecond: number | null
}

export const noFaults: Faults = { isCut: false, delayMs: 0, jitterMs: 0, loss: 0, bytesPerSecond: null }

/** Where a sender's buffer is full, and where it takes more again. */
const bufferBytesMax = 256 * 1024
const bufferBytesLow = 64 * 1024
/** Sent at once where bandwidth is scarce; a chunk is what one read gives otherwise. */
const pieceBytes = 4 * 1024
const retransmitMs = 200
const retransmitsMax = 6

/** One direction between two nodes. */
export class Link {
  readonly channels = new Set<Channel>()
  readonly random: Random
  #faults: Faults = noFaults
  /** When the last piece is out, monotonic ms. */
  freeAtMs = 0

  constructor(random: Random) {
    this.random = random
  }

  get faults(): Faults {
    return this.#faults
  }

  change(faults: Partial<Faults>): void {
    this.#faults = { ...this.#faults, ...faults }
    this.freeAtMs = 0
    for (const channel of this.channels) channel.linkChanged()
  }
}

/** `end`: no more will be sent. `reset`: the connection is gone. */
type Ending = 'end' | 'reset'
type Chunk = Buffer | Ending

export type ChannelEnds = {
  /** False: no more until `drained`. */
  deliver(bytes: Buffer): boolean
  deliverEnding(how: Ending): void
  pauseSource(): void
  resumeSource(): void
  /** Too much was lost. */
  broke(): void
}

export class Channel {
  readonly #link: Link
  readonly #ends: ChannelEnds
  readonly #waiting: Chunk[] = []
  /** In the order of sending: what is due earlier waits for what was sent before it. */
  readonly #flying: { readonly chunk: Chunk; readonly dueMs: number }[] = []
  #bytes = 0
  #isSourcePaused = false
  #isBlocked = false
  #hasEnded = false
  /** When this connection may send its next piece. */
  #nextMs = 0
  #timer: NodeJS.Timeout | null = null

  constructor(link: Link, ends: ChannelEnds) {
    this.#link = link
    this.#ends = ends
    link.channels.add(this)
  }

  push(bytes: Buffer): void {
    if (this.#hasEnded) return
    this.#waiting.push(bytes)
    this.#bytes += bytes.length
    this.#pump()
    if (this.#bytes > bufferBytesMax && !this.#isSourcePaused) {
      this.#isSourcePaused = true
      this.#ends.pauseSource()
    }
  }

  /** Nothing follows. */
  end(how: Ending): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#waiting.push(how)
    this.#pump()
  }

  drained(): void {
    this.#isBlocked = false
    this.#pump()
  }

  linkChanged(): void {
    this.#nextMs = 0
    this.#pump()
  }

  close(): void {
    this.#hasEnded = true
    this.#waiting.length = 0
    this.#flying.length = 0
    this.#link.channels.delete(this)
    this.#setTimer(null)
  }

  #pump(): void {
    this.#setTimer(null)
    if (this.#link.faults.isCut) return
    const now = performance.now()
    while (this.#waiting.length > 0 && this.#nextMs <= now) if (!this.#send(now)) return this.#ends.broke()
    while (!this.#isBlocked && (this.#flying[0]?.dueMs ?? Infinity) <= now) this.#deliver()
    const sendMs = this.#waiting.length > 0 ? this.#nextMs : Infinity
    const deliverMs = this.#isBlocked ? Infinity : (this.#flying[0]?.dueMs ?? Infinity)
    const next = Math.min(sendMs, deliverMs)
    if (next !== Infinity) this.#setTimer(next - now)
  }

  /** Puts the next piece on its way; false when it never arrives. */
  #send(now: number): boolean {
    const { bytesPerSecond, delayMs, jitterMs } = this.#link.faults
    const chunk = this.#takePiece(bytesPerSecond !== null)
    let sentMs = now
    if (bytesPerSecond !== null && typeof chunk !== 'string') {
      sentMs = Math.max(now, this.#link.freeAtMs) + (chunk.length / bytesPerSecond) * 1000
      this.#link.freeAtMs = sentMs
      this.#nextMs = sentMs
    }
    const lostMs = this.#lostMs()
    if (lostMs === null) return false
    const dueMs = sentMs + Math.max(0, delayMs + jitterMs * this.#draw(-1, 1)) + lostMs
    this.#flying.push({ chunk, dueMs })
    return true
  }

  #takePiece(isScarce: boolean): Chunk {
    const chunk = this.#waiting.shift() ?? 'reset'
    if (typeof chunk === 'string' || !isScarce || chunk.length <= pieceBytes) return chunk
    this.#waiting.unshift(chunk.subarray(pieceBytes))
    return chunk.subarray(0, pieceBytes)
  }

  /** How much later a chunk arrives because it, and its retransmissions, were lost; null: given up. */
  #lostMs(): number | null {
    let lostMs = 0
    for (let times = 0; this.#draw(0, 1) < this.#link.faults.loss; times += 1) {
      if (times === retransmitsMax) return null
      lostMs += retransmitMs * 2 ** times
    }
    return lostMs
  }

  #deliver(): void {
    const chunk = this.#flying.shift()?.chunk
    if (chunk === undefined) return
    if (typeof chunk === 'string') return this.#ends.deliverEnding(chunk)
    this.#bytes -= chunk.length
    if (!this.#ends.deliver(chunk)) this.#isBlocked = true
    if (!this.#isSourcePaused || this.#bytes > bufferBytesLow) return
    this.#isSourcePaused = false
    this.#ends.resumeSource()
  }

  #draw(from: number, to: number): number {
    return from + ((to - from) * this.#link.random.uint32()) / 2 ** 32
  }

  #setTimer(ms: number | null): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = ms === null ? null : setTimeout(() => this.#pump(), ms)
  }
}
