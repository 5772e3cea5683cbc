/**
 * A fault proxy before each peer and raft listener of each node: nodes advertise the proxy's address. The dialer's first
 * bytes tell who it is, so each direction between two nodes has faults of its own, for connections that are there and for
 * those to come. The upgrade is accepted in the listener's name, and the listener is dialled only when the hello gets
 * through: of a dialer that is cut off it hears nothing. Who dials a node that does not run is refused, as its machine
 * would, unless a cut touches the node: then the attempt hangs, as it does when nothing answers.
 */
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Random } from '../../src/std/random.ts'
import { readOpening } from './dialer-hello.ts'
import { Channel, Link, noFaults, type ChannelEnds, type Faults } from './link-channel.ts'

const host = '127.0.0.1'
/** Of all nodes together; one more is refused. */
const connectionsMax = 2000

/** Ports of one listener of a node: the proxy's, which others are told, and where the node itself listens. */
export type Front = { readonly port: number; readonly bound: number }

export class Links {
  readonly #random: Random
  readonly #links = new Map<string, Link>()
  readonly #nodes = new Map<string, NodeFronts>()
  readonly #connections = new Set<Connection>()
  readonly #failures = new Set<string>()
  /** Connections that no node of ours has made. */
  foreign = 0

  constructor(seed: number) {
    this.#random = new Random(seed)
  }

  /** The node is taken for running. */
  async add(node: string, fronts: readonly Front[]): Promise<void> {
    const listeners = fronts.map(({ port, bound }) => new Listener(port, (socket) => this.#accept(node, bound, socket)))
    this.#nodes.set(node, { listeners, isRunning: true })
    await Promise.all(listeners.map((listener) => listener.set(true)))
  }

  change(from: string, to: string, faults: Partial<Faults>): void {
    this.#link(from, to).change(faults)
    void this.#adjustListeners()
  }

  heal(): void {
    for (const link of this.#links.values()) link.change(noFaults)
    void this.#adjustListeners()
  }

  /** Ends every connection at both ends, as a proxy does that starts anew; new ones come as ever. */
  reset(): void {
    for (const connection of this.#connections) connection.reset()
  }

  get isWhole(): boolean {
    return [...this.#links.values()].every(
      ({ faults }) => !faults.isCut && faults.delayMs === 0 && faults.loss === 0 && faults.bytesPerSecond === null,
    )
  }

  /** Ports that somebody else had when their node was to be reached there: what a run shows then says nothing. */
  get failures(): readonly string[] {
    return [...this.#failures]
  }

  /** To be told before the node starts and when it has ended. */
  async setRunning(node: string, isRunning: boolean): Promise<void> {
    const fronts = this.#nodes.get(node)
    if (fronts === undefined) throw new Error(`links: there is no node ${node}`)
    fronts.isRunning = isRunning
    await this.#adjustListeners()
  }

  async close(): Promise<void> {
    await Promise.all([...this.#nodes.values()].flatMap(({ listeners }) => listeners.map((each) => each.set(false))))
    for (const connection of this.#connections) connection.close()
  }

  /** Never rejects: what can not be done is among the failures, and tried again with the next change. */
  async #adjustListeners(): Promise<void> {
    const all = [...this.#nodes].flatMap(([node, { listeners, isRunning }]) =>
      listeners.map((listener) =>
        listener
          .set(isRunning || this.#isCutOff(node))
          .catch((error: unknown) => void this.#failures.add(`the links of ${node}: ${String(error)}`)),
      ),
    )
    await Promise.all(all)
  }

  #isCutOff(node: string): boolean {
    return [...this.#links].some(([pair, { faults }]) => faults.isCut && pair.split(' ').includes(node))
  }

  #link(from: string, to: string): Link {
    const pair = `${from} ${to}`
    const link = this.#links.get(pair) ?? new Link(this.#random)
    this.#links.set(pair, link)
    return link
  }

  #accept(owner: string, bound: number, socket: Socket): void {
    if (this.#connections.size >= connectionsMax) return void socket.resetAndDestroy()
    const connection: Connection = new Connection(socket, {
      bound,
      ways: (dialer) => ({ there: this.#link(dialer, owner), back: this.#link(owner, dialer) }),
      foreign: () => (this.foreign += 1),
      closed: () => this.#connections.delete(connection),
    })
    this.#connections.add(connection)
  }
}

type NodeFronts = { readonly listeners: readonly Listener[]; isRunning: boolean }

/** Listens or does not, as was last asked for. */
class Listener {
  readonly #port: number
  readonly #accept: (socket: Socket) => void
  #server: Server | null = null
  #isWanted = false
  #hasFailed = false
  #settled: Promise<void> = Promise.resolve()

  constructor(port: number, accept: (socket: Socket) => void) {
    this.#port = port
    this.#accept = accept
  }

  /** Rejects when the port can not be had. */
  set(isWanted: boolean): Promise<void> {
    if (this.#isWanted === isWanted && !this.#hasFailed) return this.#settled
    this.#isWanted = isWanted
    this.#hasFailed = false
    this.#settled = this.#settled.catch(() => undefined).then(() => this.#adjust())
    return this.#settled
  }

  async #adjust(): Promise<void> {
    if (this.#isWanted === (this.#server !== null)) return
    if (!this.#isWanted) {
      // Connections that were accepted stay, so there is nothing to wait for.
      this.#server?.close()
      this.#server = null
      return
    }
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket))
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => {
        this.#server = null
        this.#hasFailed = true
        reject(error)
      })
      server.listen({ port: this.#port, host }, resolve)
    })
  }
}

type ConnectionOptions = {
  readonly bound: number
  readonly ways: (dialer: string) => { there: Link; back: Link }
  readonly foreign: () => void
  readonly closed: () => void
}

/** One connection from a dialer through the proxy to a listener. */
class Connection {
  readonly #options: ConnectionOptions
  readonly #dialer: Socket
  #listener: Socket | null = null
  /** What came before the dialer was known. */
  #opening: Buffer | null = Buffer.alloc(0)
  #hasAnswered = false
  /** The listener's own answer to an upgrade, until it is whole: the dialer has had one. */
  #answer: Buffer | null = null
  #there: Channel | null = null
  #back: Channel | null = null

  constructor(dialer: Socket, options: ConnectionOptions) {
    this.#dialer = dialer
    this.#options = options
    dialer.on('data', (bytes) => (this.#opening === null ? this.#there?.push(bytes) : this.#readOpening(bytes)))
    dialer.on('end', () => this.#there?.end('end'))
    dialer.on('error', () => this.#there?.end('reset'))
    dialer.on('drain', () => this.#back?.drained())
    dialer.on('close', () => {
      this.#there?.end('reset')
      this.#back?.drained()
      if (this.#listener === null || this.#listener.destroyed) this.close()
    })
  }

  reset(): void {
    this.#dialer.resetAndDestroy()
    this.#listener?.resetAndDestroy()
    this.close()
  }

  close(): void {
    this.#there?.close()
    this.#back?.close()
    this.#dialer.destroy()
    this.#listener?.destroy()
    this.#options.closed()
  }

  #readOpening(bytes: Buffer): void {
    const all = Buffer.concat([this.#opening ?? Buffer.alloc(0), bytes])
    this.#opening = all
    const opening = readOpening(all)
    if (opening.kind === 'waiting') {
      if (opening.answer !== null && !this.#hasAnswered) this.#dialer.write(opening.answer)
      this.#hasAnswered ||= opening.answer !== null
      return
    }
    if (opening.kind === 'foreign') {
      this.#options.foreign()
      return this.close()
    }
    this.#opening = null
    const { there, back } = this.#options.ways(opening.node)
    if (opening.isUpgrade) this.#answer = Buffer.alloc(0)
    this.#back = new Channel(
      back,
      this.#endsAt(
        () => this.#dialer,
        () => this.#listener,
      ),
    )
    this.#there = new Channel(
      there,
      this.#endsAt(
        () => this.#openListener(),
        () => this.#dialer,
      ),
    )
    this.#there.push(all)
  }

  #endsAt(to: () => Socket, from: () => Socket | null): ChannelEnds {
    return {
      deliver: (bytes) => {
        const socket = to()
        // To whom has hung up it is delivered in vain, not held.
        return socket.destroyed || socket.writableEnded || socket.write(bytes)
      },
      deliverEnding(how) {
        if (how === 'end') to().end()
        else to().resetAndDestroy()
      },
      pauseSource: () => void from()?.pause(),
      resumeSource: () => void from()?.resume(),
      broke: () => this.reset(),
    }
  }

  #openListener(): Socket {
    if (this.#listener !== null) return this.#listener
    const listener = connect({ port: this.#options.bound, host, allowHalfOpen: true, noDelay: true })
    this.#listener = listener
    listener.on('data', (bytes) => this.#fromListener(bytes))
    listener.on('end', () => this.#back?.end('end'))
    listener.on('error', () => this.#back?.end('reset'))
    listener.on('drain', () => this.#there?.drained())
    listener.on('close', () => {
      this.#back?.end('reset')
      this.#there?.drained()
      if (this.#dialer.destroyed) this.close()
    })
    return listener
  }

  #fromListener(bytes: Buffer): void {
    if (this.#answer === null) return this.#back?.push(bytes)
    this.#answer = Buffer.concat([this.#answer, bytes])
    const end = this.#answer.indexOf('\r\n\r\n')
    if (end === -1) return
    const rest = this.#answer.subarray(end + 4)
    const isAccepted = this.#answer.toString('latin1', 0, 12) === 'HTTP/1.1 101'
    this.#answer = null
    // The dialer believes that it was accepted; it learns better by a reset.
    if (!isAccepted) this.#back?.end('reset')
    else if (rest.length > 0) this.#back?.push(rest)
  }
}
