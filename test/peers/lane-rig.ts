import type { Call, CallEvent, Caller, CallOrigin, CallRef, ClientWord, Outcome } from '../../src/calls/call.ts'
import { Mailboxes } from '../../src/calls/mailboxes.ts'
import { CallsLane, callsLaneDefaults } from '../../src/peers/calls-lane.ts'
import type { CallsLaneOptions } from '../../src/peers/calls-lane.ts'
import { PeerLinks } from '../../src/peers/peer-links.ts'
import type { ServeCalls } from '../../src/peers/served-calls.ts'
import { realClock } from '../../src/std/clock.ts'
import { asJsonText, toJsonText } from '../../src/std/json-text.ts'
import { Random } from '../../src/std/random.ts'
import { transportDefaults, WebSocketTransport } from '../../src/transport/websocket-transport.ts'
import type { WebSocketTransportOptions } from '../../src/transport/websocket-transport.ts'
import type { PeerHello } from '../../src/vocabulary/handshake.ts'
import type { CallId, NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import type { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { peerLanes } from '../../src/wire/limits.ts'
import { helloOf, recordingLog, testSecret } from '../transport/rig.ts'
import { waitFor } from '../wait.ts'

/** Nodes that are linked by real sockets, and carry calls, mail and clients' words for a test. */
export type RigNode = Awaited<ReturnType<typeof startNode>>
/** A call, or the resumption of one, that a node performs until the test ends it. */
type Serving = {
  readonly call: Call
  readonly ref: CallRef | null
  readonly caller: Caller
  hear(event: CallEvent): void
  end(outcome: Outcome): void
}

let running: PeerLinks[] = []

export async function stopNodes(): Promise<void> {
  await Promise.all(running.map((links) => links.close()))
  running = []
}

/** Its calls stay open until the test ends them, unless it serves otherwise. */
export async function startNode(
  id: string,
  options: {
    join?: readonly string[]
    serve?: Partial<ServeCalls>
    hello?: Partial<PeerHello>
    limits?: Partial<CallsLaneOptions>
    transport?: Partial<WebSocketTransportOptions>
  } = {},
) {
  const hello = helloOf(id, options.hello)
  const logged: { event: string; fields: Record<string, unknown> }[] = []
  const log = recordingLog(logged)
  const serving: Serving[] = []
  const hold = (call: Call, ref: CallRef | null, caller: Caller): Promise<Outcome> =>
    new Promise((end) => {
      serving.push({ call, ref, caller, hear: (event) => caller.hear(event), end })
    })
  const words: { session: SessionId; word: ClientWord }[] = []
  const boxes = new Mailboxes({ epoch: hello.generation, clock: realClock })
  const limits = options.limits?.limits ?? peerLanes.calls
  const transport = new WebSocketTransport({
    listen: { host: '127.0.0.1', port: 0 },
    kind: 'peer',
    lanes: { calls: limits },
    hello: () => hello,
    secret: testSecret,
    admit: () => null,
    log,
    clock: realClock,
    random: new Random(3),
    ...transportDefaults,
    backoff: { minMs: 5, maxMs: 50 },
    heartbeatMs: 200,
    livenessMs: 2000,
    ...options.transport,
  })
  /** While it is shut the send buffer takes nothing. */
  const valve = { isShut: false }
  const lane = new CallsLane({
    node: hello.node,
    transport: {
      send: (...frame) => !valve.isShut && transport.send(...frame),
      isOpen: (...which) => transport.isOpen(...which),
    },
    serve: {
      call: (call, caller) => options.serve?.call?.(call, caller) ?? hold(call, null, caller),
      resume: (ref, caller) => options.serve?.resume?.(ref, caller) ?? hold(makeCall(), ref, caller),
    },
    boxes,
    words: { say: (session, word) => words.push({ session, word }) },
    log,
    clock: realClock,
    limits,
    ...callsLaneDefaults,
    linkWaitMs: () => 1000,
    ...options.limits,
  })
  const links = new PeerLinks({ transport, calls: lane, join: options.join ?? [], log })
  const said = {
    opened: [] as PeerHello[],
    closed: [] as NodeId[],
    incompatible: [] as NodeId[],
    failed: [] as OperatingError[],
  }
  const bound = await links.open({
    gossip: { opened: () => undefined, closed: () => undefined, frame: () => undefined, gone: () => undefined },
    opened: (peer) => said.opened.push(peer),
    closed: (node) => said.closed.push(node),
    incompatible: (peer) => said.incompatible.push(peer),
    failed: (error) => said.failed.push(error),
  })
  running.push(links)
  const address = `127.0.0.1:${bound.port}`
  return { node: hello.node, address, transport, valve, lane, links, serving, words, boxes, said, logged }
}

let ids = 0

export const session = '11111111-1111-4111-8111-111111111111' as SessionId
export const origin: CallOrigin = { session, requestId: asJsonText('1'), isKept: false }

export function makeCall(params: unknown = {}, given: Partial<Call> = {}): Call {
  const id = `a.1.${(ids += 1)}` as CallId
  const call = { id, server: 'files' as ServerName, method: 'tools/call', params: toJsonText(params), timeoutMs: null }
  return { ...call, origin: null, ...given }
}

export async function linked(...nodes: RigNode[]): Promise<void> {
  await waitFor('all links', () => nodes.every((a) => nodes.every((b) => a === b || a.links.reachable(b.node))))
}

export async function pair(
  limits: Partial<CallsLaneOptions> = {},
  serve?: Partial<ServeCalls>,
): Promise<[RigNode, RigNode]> {
  const b = await startNode('b', { limits, ...(serve === undefined ? {} : { serve }) })
  const a = await startNode('a', { join: [b.address], limits })
  await linked(a, b)
  return [a, b]
}

/** Whoever waits, and what comes. */
export class Asker implements Caller {
  readonly came: string[] = []
  readonly seqs: number[] = []
  readonly promise: Promise<Outcome>
  readonly #cancelled = new AbortController()
  readonly #left = new AbortController()
  readonly cancelled = this.#cancelled.signal
  readonly left = this.#left.signal
  outcome: Outcome | null = null

  constructor(begin: (asker: Asker) => Promise<Outcome>) {
    this.promise = begin(this).then((outcome) => (this.outcome = outcome))
  }

  hear({ seq, message }: CallEvent): void {
    this.seqs.push(seq)
    this.came.push(message)
  }

  cancel(): void {
    this.#cancelled.abort()
  }

  leave(): void {
    this.#left.abort()
  }
}

export type Asked = Asker & { readonly call: Call }

export function ask(from: RigNode, to: RigNode, call = makeCall()): Asked {
  return Object.assign(new Asker((asker) => from.lane.calls.call(to.node, call, asker)), { call })
}

export function resume(from: RigNode, to: RigNode, id: CallId, after = 0): Asker {
  return new Asker((asker) => from.lane.calls.resume(to.node, { id, session, after }, asker))
}

export const result = (text: string): Outcome => ({ kind: 'result', result: asJsonText(text) })
export const progress = (seq: number): CallEvent => ({ seq, message: asJsonText(`{"progress":${seq}}`) })
