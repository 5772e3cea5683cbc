import { createServer } from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { WebSocketServer } from 'ws'
import type { Clock, Timer } from '../std/clock.ts'
import { formatAddress } from '../vocabulary/addresses.ts'
import type { Address } from '../vocabulary/addresses.ts'
import type { ListenerKind } from '../vocabulary/handshake.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { LaneLimits } from '../wire/limits.ts'
import { PlainPosts } from './plain-posts.ts'
import type { PlainPostsOptions } from './plain-posts.ts'

/**
 * The listening side: takes WebSocket upgrades on `/{kind}/{lane}`, the one plain POST that there may be, and answers
 * everything else at once. Whoever has not proven the secret yet is limited in number, time and bytes, so that strangers
 * can not fill the memory.
 */
export class WebSocketListener {
  readonly #options: WebSocketListenerOptions
  readonly #server: Server
  readonly #lanes = new Map<string, { lane: string; upgrades: WebSocketServer }>()
  readonly #sockets = new Set<Socket>()
  readonly #unproven = new Map<Socket, Unproven>()
  readonly #posts: PlainPosts | null

  constructor(options: WebSocketListenerOptions) {
    this.#options = options
    const { clock, posts } = options
    this.#posts = posts === undefined ? null : new PlainPosts({ ...posts, clock })
    for (const [lane, limits] of Object.entries(options.lanes)) {
      const upgrades = new WebSocketServer({
        noServer: true,
        clientTracking: false,
        perMessageDeflate: false,
        maxPayload: limits.frameBytesMax,
      })
      this.#lanes.set(lanePath(options.kind, lane), { lane, upgrades })
    }
    // `ws` sets TCP_NODELAY on every socket that it takes.
    this.#server = createServer({ maxHeaderSize: 8192 }, (request, response) => {
      if (this.#posts?.isFor(request) === true) {
        return this.#posts.take(request, response, () => this.proven(request.socket))
      }
      response.writeHead(426, { upgrade: 'websocket', connection: 'close', 'content-type': 'text/plain' })
      response.end('this port is for other nodes of the cluster, by WebSocket\n')
    })
    this.#server.on('connection', (socket) => this.#connected(socket))
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head))
    this.#server.on('clientError', (_, socket) => socket.destroy())
  }

  async open(accept: AcceptSocket): Promise<Address> {
    this.#accept = accept
    const { listen } = this.#options
    await new Promise<void>((resolve, reject) => {
      const refuse = (cause: Error): void =>
        reject(new OperatingError('listen-failed', `listen on ${formatAddress(listen)}`, { cause }))
      this.#server.once('error', refuse)
      this.#server.listen({ host: listen.host, port: listen.port }, () => {
        this.#server.off('error', refuse)
        resolve()
      })
    })
    const bound = this.#server.address()
    return { host: listen.host, port: typeof bound === 'object' && bound !== null ? bound.port : listen.port }
  }

  /** The peer behind the socket has proven the secret, or what it asks is under way: its limits are its lane's from now on. */
  proven(socket: Socket): void {
    const unproven = this.#unproven.get(socket)
    if (unproven === undefined) return
    this.#unproven.delete(socket)
    unproven.timer.cancel()
    socket.off('data', unproven.count)
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #accept: AcceptSocket = (accepted) => accepted.socket.terminate()

  #connected(socket: Socket): void {
    const { clock, handshakeTimeoutMs, unprovenMax, unprovenBytesMax } = this.#options
    socket.on('error', () => socket.destroy())
    if (this.#unproven.size >= unprovenMax) {
      this.#options.turnedAway()
      return void socket.destroy()
    }
    this.#sockets.add(socket)
    const timer = clock.after(handshakeTimeoutMs, () => socket.destroy())
    const count = (): void => void (socket.bytesRead > unprovenBytesMax && socket.destroy())
    this.#unproven.set(socket, { timer, count })
    socket.once('close', () => {
      this.#sockets.delete(socket)
      this.proven(socket)
    })
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const lane = this.#lanes.get(request.url ?? '')
    if (lane === undefined) return void socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n')
    lane.upgrades.handleUpgrade(request, socket, head, (webSocket) => {
      const unproven = this.#unproven.get(socket)
      if (unproven !== undefined) socket.on('data', unproven.count)
      const address = formatAddress({ host: socket.remoteAddress ?? 'unknown', port: socket.remotePort ?? 0 })
      this.#accept({ socket: webSocket, raw: socket, lane: lane.lane, address })
    })
  }
}

type Unproven = { timer: Timer; count: () => void }

export type AcceptSocket = (accepted: { socket: WebSocket; raw: Socket; lane: string; address: string }) => void

export type WebSocketListenerOptions = {
  readonly listen: Address
  readonly kind: ListenerKind
  readonly lanes: Readonly<Record<string, LaneLimits>>
  readonly clock: Clock
  /** From the TCP connection to the proof. */
  readonly handshakeTimeoutMs: number
  /** Connections that have not proven the secret; a further one is closed at once. */
  readonly unprovenMax: number
  /** Told of each that is. */
  readonly turnedAway: () => void
  /** What such a connection may send. */
  readonly unprovenBytesMax: number
  /** What is answered to a plain POST; nothing when left out. */
  readonly posts?: Pick<PlainPostsOptions, 'path' | 'answer' | 'answerMs'>
}

export function lanePath(kind: ListenerKind, lane: string): string {
  return `/${kind}/${lane}`
}
