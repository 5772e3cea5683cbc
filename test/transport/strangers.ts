import { connect, createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { WebSocket } from 'ws'
import { Handshake } from '../../src/identity/handshake.ts'
import type { ClusterSecret } from '../../src/identity/secret.ts'
import type { PeerHello, WireVersions } from '../../src/vocabulary/handshake.ts'
import { decodeFrame, encodeFrame, nextSeq } from '../../src/wire/frame.ts'
import {
  decodeHandshakeMessage,
  encodeHandshakeMessage,
  encodeHello,
  wireVersions,
} from '../../src/wire/handshake-codec.ts'
import { waitFor } from '../wait.ts'
import { testSecret } from './rig.ts'

/** Clients of a listener that are no transport: what they send is up to the test. */

/** A WebSocket whose end is kept. */
export class RawClient {
  readonly socket: WebSocket
  readonly received: Buffer[] = []
  closedWith: number | null = null

  constructor(address: string, path = '/raft/ctl', autoPong = true) {
    this.socket = new WebSocket(`ws://${address}${path}`, { perMessageDeflate: false, autoPong })
    this.socket.on('message', (data) => this.received.push(data as Buffer))
    this.socket.on('close', (code) => (this.closedWith = code))
    this.socket.on('error', () => undefined)
  }

  async open(): Promise<this> {
    await waitFor('the upgrade', () => this.socket.readyState === WebSocket.OPEN)
    return this
  }

  async closed(): Promise<number> {
    await waitFor('the listener to close the connection', () => this.closedWith !== null)
    return this.closedWith ?? 0
  }
}

/** One that knows the secret and shakes hands, as a node would, and then does what the test wants. */
export class RawPeer extends RawClient {
  seq = 0
  readonly handshake: Handshake

  constructor(
    address: string,
    peer: PeerHello,
    options: { secret?: ClusterSecret; versions?: WireVersions; autoPong?: boolean; lane?: string } = {},
  ) {
    super(address, `/raft/${options.lane ?? 'ctl'}`, options.autoPong ?? true)
    const own = encodeHello({
      versions: options.versions ?? wireVersions,
      nonce: crypto.getRandomValues(new Uint8Array(32)),
      kind: 'raft',
      lane: options.lane ?? 'ctl',
      peer,
    })
    this.handshake = new Handshake({
      role: 'dialer',
      own,
      secret: options.secret ?? testSecret,
      admit: () => null,
      isOutgrown: () => false,
    })
  }

  sendFrame(type: number, payload: Uint8Array): void {
    this.socket.send(encodeFrame({ type, seq: this.seq, payload }))
    this.seq = nextSeq(this.seq)
  }

  /** Resolves to `open`, or to how else the handshake ended. */
  async shakeHands(): Promise<string> {
    await this.open()
    let step = this.handshake.start()
    for (let at = 0; ;) {
      if (step.kind === 'proven') {
        step = this.handshake.admit()
        continue
      }
      for (const message of step.send) {
        const { type, payload } = encodeHandshakeMessage(message)
        this.sendFrame(type, payload)
      }
      if (step.kind === 'open') return 'open'
      if (step.kind === 'ended') return step.end.why === 'refused' ? step.end.error.code : step.end.why
      const bytes = await waitFor('an answer', () => this.received[at] ?? (this.closedWith !== null && Buffer.alloc(0)))
      at += 1
      const frame = decodeFrame(bytes)
      if ('malformed' in frame) return 'closed'
      const message = decodeHandshakeMessage(frame.type, frame.payload)
      if ('malformed' in message) throw new Error(message.malformed)
      step = this.handshake.receive(message)
    }
  }
}

/** Resolves to all that the listener answered, when it has closed. */
export async function rawTcp(address: string, bytes: Uint8Array | string, end = false): Promise<string> {
  const [host, port] = address.split(':')
  let answer = ''
  let closed = false
  const socket = connect({ host: host ?? '', port: Number(port) })
  socket.on('data', (data) => (answer += data.toString('latin1')))
  socket.on('error', () => undefined)
  socket.on('close', () => (closed = true))
  socket.write(bytes)
  if (end) socket.end()
  await waitFor('the listener to close the connection', () => closed)
  return answer
}

/** A TCP relay on loopback that can be told to swallow what passes, without closing anything. */
export class Relay {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #swallow = false

  private constructor(target: string) {
    const [host, port] = target.split(':')
    this.#server = createServer((near) => {
      const far = connect({ host: host ?? '', port: Number(port) })
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from)
        from.on('data', (data) => this.#swallow || to.write(data))
        from.on('error', () => undefined)
        from.on('close', () => {
          this.#sockets.delete(from)
          if (!this.#swallow) to.destroy()
        })
      }
    })
  }

  static async to(target: string): Promise<{ relay: Relay; address: string }> {
    const relay = new Relay(target)
    await new Promise<void>((resolve) => relay.#server.listen(0, '127.0.0.1', resolve))
    const bound = relay.#server.address()
    if (typeof bound !== 'object' || bound === null) throw new Error('no address')
    return { relay, address: `127.0.0.1:${bound.port}` }
  }

  swallow(on: boolean): void {
    this.#swallow = on
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }
}
