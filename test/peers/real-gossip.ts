import { GossipDriver } from '../../src/peers/gossip-driver.ts'
import { gossipLane } from '../../src/peers/gossip-links.ts'
import { Random } from '../../src/std/random.ts'
import { realClock } from '../../src/std/clock.ts'
import type { Clock } from '../../src/std/clock.ts'
import { transportDefaults, WebSocketTransport } from '../../src/transport/websocket-transport.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { peerLanes } from '../../src/wire/limits.ts'
import { helloOf, recordingLog, testSecret } from '../transport/rig.ts'

/**
 * Gossip drivers over real sockets, as many as one process takes, on clocks that run faster than the machine's: all times of
 * gossip are so much shorter, those of sockets are not. The first `voters` keep their lanes to all; the others open theirs
 * when they have something to say.
 */
export class RealGossip {
  readonly nodes: RealNode[] = []
  readonly #options: RealGossipOptions
  #started = 0

  constructor(options: RealGossipOptions) {
    this.#options = options
  }

  /** Starts so many nodes at once; each knows the first node's address, or that of all. */
  async start(count: number, { seeds = 'first' }: { seeds?: 'first' | 'all' } = {}): Promise<RealNode[]> {
    const started = await Promise.all(Array.from({ length: count }, () => this.#start()))
    const contacts = (seeds === 'all' ? this.nodes : this.nodes.slice(0, 1)).map(({ id, address }) => ({
      node: id,
      address,
    }))
    for (const { driver, id } of started) driver.setContacts(contacts.filter(({ node }) => node !== id))
    this.#keep()
    return started
  }

  /** SIGKILL, for sockets: all end at once, nobody is told. */
  async kill(node: RealNode): Promise<void> {
    this.nodes.splice(this.nodes.indexOf(node), 1)
    node.driver.stop()
    await node.transport.close()
  }

  async stop(): Promise<void> {
    await Promise.all([...this.nodes].map((node) => this.kill(node)))
  }

  #keep(): void {
    const voters = this.nodes.slice(0, this.#options.voters).map(({ id }) => id)
    for (const { id, driver } of this.nodes) {
      const kept = new Set(voters.includes(id) ? this.nodes.map((node) => node.id) : voters)
      kept.delete(id)
      driver.keepOpen(kept)
    }
  }

  async #start(): Promise<RealNode> {
    const { speed, probeIntervalMs = 1000 } = this.#options
    const number = (this.#started += 1)
    const id = `n${String(number).padStart(3, '0')}` as NodeId
    const logged: RealNode['logged'] = []
    const spoken = helloOf(id)
    // The port is known once it listens, and nobody can say hello before.
    let address = ''
    let driver: GossipDriver | null = null
    const transport = new WebSocketTransport({
      ...transportDefaults,
      heartbeatMs: 500,
      livenessMs: 3000,
      listen: { host: '127.0.0.1', port: 0 },
      kind: 'peer',
      lanes: { [gossipLane]: peerLanes.gossip },
      hello: () => ({ ...spoken, addresses: { http: '', peer: address, raft: '' } }),
      secret: testSecret,
      admit: () => null,
      log: recordingLog(logged),
      clock: realClock,
      random: new Random(number),
    })
    const bound = await transport.open({
      opened: (hello) => driver?.opened(hello),
      closed: (peer) => driver?.closed(peer),
      frame: (peer, _, type, payload) => driver?.frame(peer, type, payload),
      gone: (peer) => driver?.gone(peer),
      refused: () => undefined,
    })
    address = `${bound.host}:${bound.port}`
    driver = new GossipDriver({
      node: id,
      generation: spoken.generation,
      address,
      seed: number,
      probeIntervalMs,
      probeTimeoutMs: probeIntervalMs / 2,
      transport,
      clock: fasterClock(speed),
      afterIo: (run) => void setImmediate(run),
      log: recordingLog(logged),
    })
    driver.start()
    const node: RealNode = { id, address, driver, transport, logged }
    this.nodes.push(node)
    this.nodes.sort((a, b) => (a.id < b.id ? -1 : 1))
    return node
  }
}

export type RealNode = {
  readonly id: NodeId
  readonly address: string
  readonly driver: GossipDriver
  readonly transport: WebSocketTransport
  readonly logged: { event: string; fields: Record<string, unknown> }[]
}

export type RealGossipOptions = { readonly voters: number; readonly speed: number; readonly probeIntervalMs?: number }

function fasterClock(speed: number): Clock {
  return {
    now: () => realClock.now(),
    monotonic: () => realClock.monotonic() * speed,
    after: (ms, fire) => realClock.after(ms / speed, fire),
  }
}
