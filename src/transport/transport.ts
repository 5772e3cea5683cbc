import type { Address } from '../vocabulary/addresses.ts'
import type { PeerHello } from '../vocabulary/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'

export type { AdmitPeer, PeerHello } from '../vocabulary/handshake.ts'

/**
 * The port that moves frames between nodes. A link to a peer consists of lanes; each lane is one ordered connection whose
 * two ends have proven the cluster's secret to each other. Frames are delivered at most once, in order within a lane, and
 * may be lost when a connection breaks (then `closed` is said). Nothing here looks inside a payload.
 */
export type Transport = {
  /** Starts to listen; resolves to the bound address. Error: `listen-failed`. */
  open(events: TransportEvents): Promise<Address>
  /**
   * Keeps the lanes, or this one of them, to whoever answers at `HOST:PORT` connected, with jittered back-off, until `undial`
   * or `close`. An address that turns out to be this process is dropped silently. Both sides may dial: a lane has one
   * connection; of two that are made at the same time, the one dialled by the smaller id stays.
   */
  dial(address: string, lane?: string): void
  /** Dials the lanes, or this one of them, no more; a lane that is open stays so. */
  undial(address: string, lane?: string): void
  /** False: the frame provably did not leave this node (lane closed, or its send buffer is at the limit). */
  send(peer: NodeId, lane: string, type: number, payload: Uint8Array): boolean
  /** Ends every open lane to the peer, or this one; whoever dials asks for admission anew. */
  disconnect(peer: NodeId, lane?: string): void
  /** Whether the lane to the peer is open now. */
  isOpen(peer: NodeId, lane: string): boolean
  /** Ends every connection and timer, and the listener. */
  close(): Promise<void>
}

export type TransportEvents = {
  /** `version`: of the wire, agreed with this peer; nothing that only a newer one can read may be sent to it. */
  opened(peer: PeerHello, lane: string, version: number): void
  closed(peer: NodeId, lane: string): void
  frame(peer: NodeId, lane: string, type: number, payload: Uint8Array): void
  /**
   * The lanes to the peer are closed, and where it was dialled at once its machine refused the connection: its process is
   * gone. A hint, said once until a lane to it opens again; never said when nothing answers.
   */
  gone?(peer: NodeId): void
  /** The peer, which has proven the secret, let this node not in (`denied`). Said each time, beside `refused`. */
  denied?(peer: NodeId): void
  /**
   * A handshake was refused, by us or by the other side. `peer`: who that is, when it has proven the secret. `fatal`: this node
   * must not go on (wiped, duplicate).
   */
  refused(refusal: { address: string; peer: NodeId | null; error: OperatingError; fatal: boolean }): void
}
