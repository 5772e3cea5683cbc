import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import type { Clock, Timer } from '../std/clock.ts'
import type { Handshake, HandshakeEnd, HandshakeRole, HandshakeStep } from '../identity/handshake.ts'
import type { HandshakeMessage, PeerHello } from '../vocabulary/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'
import { decodeFrame, encodeFrame, nextSeq } from '../wire/frame.ts'
import { decodeHandshakeMessage, encodeHandshakeMessage } from '../wire/handshake-codec.ts'
import type { LaneLimits } from '../wire/limits.ts'

/**
 * One WebSocket of one lane, from its first byte to its last: carries the handshake, then frames, checks their order, and
 * notices a peer that has fallen silent. `closed` is said exactly once, `gone` when nothing of the socket is left. Which
 * of several connections stays is the transport's decision.
 */
export class LaneConnection {
  readonly lane: string
  readonly role: HandshakeRole
  readonly address: string
  readonly #options: LaneConnectionOptions
  readonly #socket: WebSocket
  #raw: Socket | null
  #state: 'handshake' | 'open' | 'closed' = 'handshake'
  #peer: PeerHello | null = null
  #end: HandshakeEnd | null = null
  #failure: Error | null = null
  #seqIn = 0
  #seqOut = 0
  #timer: Timer | null
  #bytesRead = 0
  #silentMs = 0
  #probes = 0
  readonly #probing = new Map<string, { timer: Timer; done: (alive: boolean) => void }>()

  constructor(options: LaneConnectionOptions) {
    this.lane = options.lane
    this.role = options.role
    this.address = options.address
    this.#options = options
    this.#socket = options.socket
    this.#raw = options.raw
    this.#timer = options.clock.after(options.handshakeTimeoutMs, () => this.#fail('handshake takes too long'))
    if (options.role === 'dialer') {
      this.#socket.on('upgrade', (response) => (this.#raw = response.socket))
      this.#socket.on('open', () => this.#take(options.handshake.start()))
    }
    this.#socket.on('message', (data, isBinary) => this.#receive(data as Buffer, isBinary))
    this.#socket.on('pong', (data) => this.#settleProbe(data.toString('latin1'), true))
    this.#socket.on('error', (error) => this.#socketFailed(error))
    this.#socket.on('close', () => {
      this.#leave()
      this.#timer?.cancel()
      options.events.gone(this)
    })
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  get isClosed(): boolean {
    return this.#state === 'closed'
  }

  /** The peer, once it has proven the secret. */
  get peer(): PeerHello | null {
    return this.#peer
  }

  /** Why the handshake ended, if it did not open. */
  get end(): HandshakeEnd | null {
    return this.#end
  }

  /** Why the socket failed, if it did. */
  get failure(): Error | null {
    return this.#failure
  }

  admit(): void {
    this.#take(this.#options.handshake.admit())
  }

  refuse(error: OperatingError): void {
    this.#take(this.#options.handshake.refuse(error))
  }

  giveWay(): void {
    this.#take(this.#options.handshake.giveWay())
  }

  /** False: the frame did not leave. */
  send(type: number, payload: Uint8Array): boolean {
    if (this.#state !== 'open' || this.#socket.bufferedAmount > this.#options.limits.sendBufferBytesMax) return false
    return this.#write(type, payload)
  }

  /** Asks for a sign of life by ping; `done` is called exactly once. */
  probe(timeoutMs: number, done: (alive: boolean) => void): void {
    if (this.#state === 'closed') return done(false)
    const token = `probe ${(this.#probes += 1)}`
    const timer = this.#options.clock.after(timeoutMs, () => this.#settleProbe(token, false))
    this.#probing.set(token, { timer, done })
    this.#socket.ping(Buffer.from(token, 'latin1'))
  }

  /** Ends it at once, without a closing handshake. */
  terminate(): void {
    this.#leave()
    this.#socket.terminate()
  }

  /** Says why, gives the peer a moment to answer, then ends it. */
  #close(code: number, reason: string): void {
    this.#leave()
    this.#socket.close(code, reason)
    this.#timer = this.#options.clock.after(closeGraceMs, () => this.#socket.terminate())
  }

  #leave(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#timer?.cancel()
    this.#timer = null
    // First said, so that whoever probed finds the lane free.
    this.#options.events.closed(this)
    for (const token of this.#probing.keys()) this.#settleProbe(token, false)
  }

  #fail(why: string): void {
    this.#failure ??= new Error(why)
    this.terminate()
  }

  /** `ws` closes by itself after these; what the peer did wrong by the protocol has a code of its own. */
  #socketFailed(error: Error): void {
    this.#failure ??= error
    if ('code' in error && String(error.code).startsWith('WS_ERR_')) this.#options.events.rejected(this, error.message)
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (this.#state === 'closed') return
    if (!isBinary) return this.#reject(1003, 'text frame')
    const frame = decodeFrame(data)
    if ('malformed' in frame) return this.#reject(1002, frame.malformed)
    if (frame.seq !== this.#seqIn) return this.#reject(1002, `frame ${frame.seq} instead of ${this.#seqIn}`)
    this.#seqIn = nextSeq(this.#seqIn)
    this.#options.counters.framesIn += 1
    if (this.#state === 'open') return this.#options.events.frame(this, frame.type, frame.payload)
    const message = decodeHandshakeMessage(frame.type, frame.payload)
    if ('malformed' in message) return this.#reject(1002, message.malformed)
    this.#take(this.#options.handshake.receive(message))
  }

  #reject(code: number, why: string): void {
    this.#failure ??= new Error(why)
    this.#options.events.rejected(this, why)
    this.#close(code, why)
  }

  #take(step: HandshakeStep): void {
    if (this.#state !== 'handshake') return
    if (step.kind === 'proven') {
      this.#peer = step.peer
      return this.#options.events.proven(this, step.peer)
    }
    for (const message of step.send) this.#say(message)
    if (step.kind === 'open') return this.#opened(step.peer, step.version)
    if (step.kind === 'ended') {
      this.#end = step.end
      if (step.end.why === 'malformed') return this.#reject(1002, step.end.detail)
      this.#close(1000, '')
    }
  }

  #opened(peer: PeerHello, version: number): void {
    this.#state = 'open'
    this.#timer?.cancel()
    this.#listen(peer.node)
    this.#options.events.opened(this, peer, version)
  }

  /**
   * One beat: ping, and count how long nothing came. Beats are counted, not wall time, so that a pause of this process
   * makes it look at its sockets before it takes a peer for dead.
   */
  #listen(peer: NodeId): void {
    const { clock, heartbeatMs } = this.#options
    const bytesRead = this.#raw?.bytesRead ?? 0
    this.#silentMs = bytesRead === this.#bytesRead ? this.#silentMs + heartbeatMs : 0
    this.#bytesRead = bytesRead
    const livenessMs = this.#options.livenessMs(peer)
    if (this.#silentMs > livenessMs) return this.#fail(`nothing came for ${livenessMs} ms`)
    this.#socket.ping()
    this.#timer = clock.after(heartbeatMs, () => this.#listen(peer))
  }

  #settleProbe(token: string, alive: boolean): void {
    const probe = this.#probing.get(token)
    if (probe === undefined) return
    this.#probing.delete(token)
    probe.timer.cancel()
    probe.done(alive)
  }

  #say(message: HandshakeMessage): void {
    const { type, payload } = encodeHandshakeMessage(message)
    this.#write(type, payload)
  }

  #write(type: number, payload: Uint8Array): boolean {
    if (this.#socket.readyState !== WebSocket.OPEN) return false
    this.#socket.send(encodeFrame({ type, seq: this.#seqOut, payload }), { binary: true, compress: false })
    this.#seqOut = nextSeq(this.#seqOut)
    this.#options.counters.framesOut += 1
    return true
  }
}

export type LaneConnectionOptions = {
  readonly socket: WebSocket
  /** The TCP socket; null for a dialled connection, which gets it with its upgrade. */
  readonly raw: Socket | null
  readonly role: HandshakeRole
  /** HOST:PORT that was dialled, or that the connection comes from. */
  readonly address: string
  readonly lane: string
  readonly limits: LaneLimits
  readonly handshake: Handshake
  readonly clock: Clock
  readonly handshakeTimeoutMs: number
  readonly heartbeatMs: number
  /** A connection on which nothing came for this long is ended; asked at each beat. */
  readonly livenessMs: (peer: NodeId) => number
  readonly counters: FrameCounters
  readonly events: LaneConnectionEvents
}

export type LaneConnectionEvents = {
  /** Answer with `admit`, `refuse` or `giveWay`, now or later. */
  proven(connection: LaneConnection, peer: PeerHello): void
  opened(connection: LaneConnection, peer: PeerHello, version: number): void
  frame(connection: LaneConnection, type: number, payload: Uint8Array): void
  /** The peer sent what is no frame; the connection closes. */
  rejected(connection: LaneConnection, why: string): void
  closed(connection: LaneConnection): void
  gone(connection: LaneConnection): void
}

/** Monotone since the transport was made. */
export type FrameCounters = { framesIn: number; framesOut: number; framesRejected: number }

const closeGraceMs = 1000
