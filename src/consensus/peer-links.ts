import type { Clock } from '../std/clock.ts'
import { Paced } from '../std/paced.ts'
import type { Message, MessageKind } from '../raft/messages.ts'
import type { PeerHello, Transport, TransportEvents } from '../transport/transport.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { describeError } from '../vocabulary/operating-error.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'
import { decodeFormingMessage, encodeFormingMessage } from '../wire/forming-codec.ts'
import type { FormingMessage } from '../wire/forming.ts'
import { isFormingFrame, isSnapshotFrame } from '../wire/frame-types.ts'
import { raftLanes } from '../wire/limits.ts'
import { decodeMessage, encodeMessage } from '../wire/raft-codec.ts'
import { decodeSnapshotMessage, encodeSnapshotMessage } from '../wire/snapshot-codec.ts'
import type { SnapshotMessage } from '../wire/snapshot-codec.ts'
import type { ConsensusEvents } from './consensus.ts'
import { learnedPeersMax } from './limits.ts'
import type { MutableCounters } from './status-report.ts'

/**
 * The links to the other nodes: which are open, which frame is which message, which message takes which lane. Foreign
 * bytes end here: what does not decode is counted, logged at most once a second, and goes no further.
 */
export class PeerLinks implements TransportEvents {
  readonly #options: PeerLinksOptions
  readonly #transport: Transport
  /** Of whom a lane is open. `clusterId`: as its handshakes said. */
  readonly #peers = new Map<NodeId, { readonly lanes: Set<string>; readonly clusterId: ClusterId | null }>()
  readonly #addresses = new Map<NodeId, string>()
  #lastAppend: { readonly message: AppendRequest; readonly encoded: EncodedMessage } | null = null
  readonly #rejections: Paced

  constructor(transport: Transport, options: PeerLinksOptions) {
    this.#transport = transport
    this.#options = options
    this.#rejections = new Paced(options.clock)
  }

  /** Peers whose every lane is open, sorted. */
  connected(): NodeId[] {
    const all = Object.keys(raftLanes).length
    return [...this.#peers].flatMap(([peer, { lanes }]) => (lanes.size === all ? [peer] : [])).sort()
  }

  /** Peers any of whose lanes is open, sorted. */
  reached(): NodeId[] {
    return [...this.#peers.keys()].sort()
  }

  /** Peers that are of another cluster. */
  strangersTo(own: ClusterId): NodeId[] {
    return [...this.#peers].flatMap(([peer, { clusterId }]) => (clusterId !== null && clusterId !== own ? [peer] : []))
  }

  /** False: the message provably did not leave. */
  send(message: Message): boolean {
    return this.#send(message.to, laneOf[message.kind], this.#encode(message))
  }

  sendForming(to: NodeId, message: FormingMessage): void {
    this.#send(to, 'ctl', encodeFormingMessage(message))
  }

  sendSnapshot(to: NodeId, message: SnapshotMessage): void {
    this.#send(to, 'bulk', encodeSnapshotMessage(message))
  }

  /**
   * Dials where the peer is now, and no longer where it was. Of too many the one learned longest ago gives way to whom there
   * is no link: nodes come and go under ever new ids.
   */
  learn(peer: NodeId, address: string): void {
    const before = this.#addresses.get(peer)
    if (before === address || peer === this.#options.self) return
    if (before === undefined && this.#addresses.size >= learnedPeersMax && !this.#forgetOne()) {
      this.#options.log('warn', 'peer-not-dialled', { peer, address, limit: learnedPeersMax })
      return
    }
    const dialled = new Set(this.#addresses.values())
    this.#addresses.set(peer, address)
    if (before !== undefined) this.#undial(before)
    if (!dialled.has(address)) this.#transport.dial(address)
  }

  /** Counts a frame that nobody takes, and logs one of them a second. */
  reject(peer: NodeId, why: string): void {
    this.#options.counters.framesRejected += 1
    const count = this.#rejections.count()
    if (count !== null) this.#options.log('warn', 'frame-rejected', { peer, why, count })
  }

  opened(peer: PeerHello, lane: string, wire: number): void {
    const { lanes } = this.#peers.get(peer.node) ?? { lanes: new Set() }
    this.#peers.set(peer.node, { lanes: lanes.add(lane), clusterId: peer.clusterId })
    this.#options.log('debug', 'lane-opened', { peer: peer.node, lane, wire })
    this.#options.opened(peer, lane)
  }

  closed(peer: NodeId, lane: string): void {
    const lanes = this.#peers.get(peer)?.lanes
    lanes?.delete(lane)
    if (lanes?.size === 0) this.#peers.delete(peer)
    this.#options.log('debug', 'lane-closed', { peer, lane })
    this.#options.closed(peer, lane)
  }

  gone(peer: NodeId): void {
    this.#options.log('info', 'peer-gone', { peer })
    this.#options.gone(peer)
  }

  frame(peer: NodeId, lane: string, type: number, payload: Uint8Array): void {
    this.#options.counters.framesIn += 1
    if (isFormingFrame(type)) {
      const message = decodeFormingMessage(type, payload)
      if ('malformed' in message) this.reject(peer, message.malformed)
      else this.#options.formingMessage(peer, message)
      return
    }
    if (isSnapshotFrame(type)) {
      const message = decodeSnapshotMessage(type, payload)
      if ('malformed' in message) this.reject(peer, message.malformed)
      else this.#options.snapshotMessage(peer, message)
      return
    }
    const message = decodeMessage(type, payload, { from: peer, to: this.#options.self })
    if ('malformed' in message) this.reject(peer, message.malformed)
    else this.#options.message(message, { lane, bytes: payload.length })
  }

  denied(peer: NodeId): void {
    this.#options.denied(peer)
  }

  refused(refusal: Parameters<TransportEvents['refused']>[0]): void {
    const { address, peer, error, fatal } = refusal
    this.#options.log('warn', 'peer-refused', { address, peer, code: error.code, error: describeError(error) })
    if (fatal) this.#options.fatal(error)
  }

  #forgetOne(): boolean {
    const away = [...this.#addresses].find(([peer]) => !this.#peers.has(peer))
    if (away === undefined) return false
    const [peer, address] = away
    this.#addresses.delete(peer)
    this.#undial(address)
    return true
  }

  /** Unless another peer is there, too. */
  #undial(address: string): void {
    if (![...this.#addresses.values()].includes(address)) this.#transport.undial(address)
  }

  /** What goes to several members alike is encoded once. */
  #encode(message: Message): EncodedMessage {
    if (message.kind !== 'append-request') return encodeMessage(message)
    if (this.#lastAppend === null || !isSameAppend(this.#lastAppend.message, message))
      this.#lastAppend = { message, encoded: encodeMessage(message) }
    return this.#lastAppend.encoded
  }

  #send(to: NodeId, lane: string, frame: { type: number; payload: Uint8Array }): boolean {
    const left = this.#transport.send(to, lane, frame.type, frame.payload)
    if (left) this.#options.counters.framesOut += 1
    return left
  }
}

export type PeerLinksOptions = {
  readonly self: NodeId
  readonly clock: Clock
  readonly counters: MutableCounters
  readonly log: ConsensusEvents['log']
  readonly opened: (peer: PeerHello, lane: string) => void
  readonly closed: (peer: NodeId, lane: string) => void
  readonly message: (message: Message, frame: { lane: string; bytes: number }) => void
  readonly formingMessage: (from: NodeId, message: FormingMessage) => void
  /** A chunk's bytes are a view of its frame, which nobody else has. */
  readonly snapshotMessage: (from: NodeId, message: SnapshotMessage) => void
  /** Its process is gone, as its machine says. */
  readonly gone: (peer: NodeId) => void
  /** The peer lets this node in no more, or not yet. */
  readonly denied: (peer: NodeId) => void
  /** This node must not go on. */
  readonly fatal: (error: OperatingError) => void
}

type AppendRequest = Extract<Message, { kind: 'append-request' }>
type EncodedMessage = ReturnType<typeof encodeMessage>

/** Entries are immutable and follow each other, so the ends tell what is between them. */
function isSameAppend(a: AppendRequest, b: AppendRequest): boolean {
  return (
    a.term === b.term &&
    a.prevIndex === b.prevIndex &&
    a.prevTerm === b.prevTerm &&
    a.commit === b.commit &&
    a.entries.length === b.entries.length &&
    a.entries[0] === b.entries[0] &&
    a.entries.at(-1) === b.entries.at(-1)
  )
}

/** What carries entries or proposals must not stand before a heartbeat. */
const laneOf: Record<MessageKind, keyof typeof raftLanes> = {
  'pre-vote-request': 'ctl',
  'pre-vote-response': 'ctl',
  'vote-request': 'ctl',
  'vote-response': 'ctl',
  'append-request': 'log',
  'append-accepted': 'ctl',
  'append-rejected': 'ctl',
  'heartbeat-request': 'ctl',
  'heartbeat-response': 'ctl',
  propose: 'log',
  'propose-accepted': 'ctl',
  'propose-refused': 'ctl',
  'read-request': 'ctl',
  'read-response': 'ctl',
  'read-refused': 'ctl',
  'snapshot-installed': 'ctl',
  'timeout-now': 'ctl',
  'recovery-request': 'ctl',
  'recovery-response': 'ctl',
}
