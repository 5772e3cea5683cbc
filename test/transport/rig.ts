import { Random } from '../../src/std/random.ts'
import { realClock } from '../../src/std/clock.ts'
import { ClusterSecret } from '../../src/identity/secret.ts'
import type { Log } from '../../src/log/log.ts'
import type { Transport, TransportEvents } from '../../src/transport/transport.ts'
import { WebSocketTransport } from '../../src/transport/websocket-transport.ts'
import type { WebSocketTransportOptions } from '../../src/transport/websocket-transport.ts'
import type { Address } from '../../src/vocabulary/addresses.ts'
import type { PeerHello } from '../../src/vocabulary/handshake.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { waitFor } from '../wait.ts'

/** What a transport said, in order, and what it logged. */
export class Recorder implements TransportEvents {
  readonly opens: { node: NodeId; lane: string; boot: string; version: number }[] = []
  readonly closes: { node: NodeId; lane: string }[] = []
  readonly gones: NodeId[] = []
  readonly frames: { node: NodeId; lane: string; type: number; text: string }[] = []
  readonly refusals: { address: string; peer: NodeId | null; code: string; message: string; fatal: boolean }[] = []

  opened(peer: PeerHello, lane: string, version: number): void {
    this.opens.push({ node: peer.node, lane, boot: peer.boot, version })
  }

  closed(node: NodeId, lane: string): void {
    this.closes.push({ node, lane })
  }

  gone(node: NodeId): void {
    this.gones.push(node)
  }

  frame(node: NodeId, lane: string, type: number, payload: Uint8Array): void {
    this.frames.push({ node, lane, type, text: Buffer.from(payload).toString('utf8') })
  }

  refused(refusal: Parameters<TransportEvents['refused']>[0]): void {
    const { address, peer, error, fatal } = refusal
    this.refusals.push({ address, peer, code: error.code, message: error.message, fatal })
  }
}

export function recordingLog(lines: { event: string; fields: Record<string, unknown> }[]): Log {
  const write = (event: string, fields = {}): void => void lines.push({ event, fields })
  return { debug: write, info: write, warn: write, error: write, child: () => recordingLog(lines) }
}

export const testSecret = ClusterSecret.from('the secret of all test clusters: no secret')
export const testLanes = {
  ctl: { frameBytesMax: 1024 * 1024, sendBufferBytesMax: 256 * 1024 },
  log: { frameBytesMax: 1024 * 1024, sendBufferBytesMax: 256 * 1024 },
}

let boots = 0

export function helloOf(node: string, more: Partial<PeerHello> = {}): PeerHello {
  return {
    node: node as NodeId,
    generation: 1,
    boot: `boot-${(boots += 1)}`,
    clusterName: 'test',
    clusterId: null,
    promised: null,
    addresses: { http: '127.0.0.1:1', peer: '127.0.0.1:2', raft: '127.0.0.1:3' },
    version: '0.0.0',
    ...more,
  }
}

export type Station = {
  node: NodeId
  address: string
  transport: WebSocketTransport
  said: Recorder
  logged: { event: string; fields: Record<string, unknown> }[]
}

const stations: Transport[] = []

/** A WebSocket transport that listens on a free loopback port, with short waits; closed by `closeStations`. */
export async function station(
  node: string,
  hello: Partial<PeerHello> = {},
  options: Partial<WebSocketTransportOptions> = {},
): Promise<Station> {
  const own = helloOf(node, hello)
  const logged: Station['logged'] = []
  const transport = new WebSocketTransport({
    listen: { host: '127.0.0.1', port: 0 },
    kind: 'raft',
    lanes: testLanes,
    hello: () => own,
    secret: testSecret,
    admit: () => null,
    log: recordingLog(logged),
    clock: realClock,
    random: new Random(boots),
    backoff: { minMs: 5, maxMs: 50 },
    refusedRetryMs: 100,
    handshakeTimeoutMs: 3000,
    heartbeatMs: 100,
    livenessMs: 1000,
    ...options,
  })
  stations.push(transport)
  const said = new Recorder()
  const bound: Address = await transport.open(said)
  return { node: own.node, address: `${bound.host}:${bound.port}`, transport, said, logged }
}

export async function closeStations(): Promise<void> {
  await Promise.all(stations.splice(0).map((transport) => transport.close()))
}

export async function linked(a: Station, b: Station, lanes: readonly string[] = Object.keys(testLanes)): Promise<void> {
  await waitFor(`${a.node} and ${b.node} to be linked`, () =>
    lanes.every((lane) => a.transport.isOpen(b.node, lane) && b.transport.isOpen(a.node, lane)),
  )
}
