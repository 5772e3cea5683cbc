import type { Addresses } from './addresses.ts'
import type { ClusterId, NodeId } from './ids.ts'
import type { ErrorCode, OperatingError } from './operating-error.ts'

/**
 * What two nodes say to each other before their connection counts: a hello from each side, a proof of the cluster's
 * secret from each side over both hellos, and a welcome or a refusal. The rules are in identity/handshake, the bytes in
 * wire/handshake-codec.
 */

/** What a node says of itself in the handshake; covered by both proofs. */
export type PeerHello = {
  readonly node: NodeId
  /** Boot counter of the data directory. */
  readonly generation: number
  /** Random id of the process, so that two live processes with one id are told apart. */
  readonly boot: string
  readonly clusterName: string
  readonly clusterId: ClusterId | null
  /** The cluster id that an unformed node has promised to form, if any. */
  readonly promised: ClusterId | null
  readonly addresses: Addresses
  /** The product's version, for display. */
  readonly version: string
}

/**
 * Asked on both sides once the other has proven the secret; an error refuses the connection and is told to the other side.
 * The transport itself checks wire version, cluster name, differing cluster ids, and second live processes.
 */
export type AdmitPeer = (hello: PeerHello) => OperatingError | null

/** The two listeners that nodes have for each other. */
export type ListenerKind = 'raft' | 'peer'

/** Both ends included. The highest version that both sides speak is spoken. */
export type WireVersions = { readonly min: number; readonly max: number }

/** The hello of one connection: who the node is, and what this connection is for. */
export type ConnectionHello = {
  readonly versions: WireVersions
  /** 32 random bytes, new for each connection. */
  readonly nonce: Uint8Array
  readonly kind: ListenerKind
  readonly lane: string
  readonly peer: PeerHello
}

/**
 * A hello together with the bytes that were sent: the proofs cover the bytes, so that fields which only a newer node
 * knows are covered too. `hello` is null when no common version lets us read more than the range and the id.
 */
export type SentHello = {
  readonly versions: WireVersions
  /** Null when it can not be read. */
  readonly node: NodeId | null
  readonly hello: ConnectionHello | null
  readonly bytes: Uint8Array
}

/** `already-connected` is no error: another connection of this lane won, or is about to. */
export type HandshakeRefusalCode = ErrorCode | 'already-connected'

export type HandshakeMessage =
  | { readonly kind: 'dialer-hello'; readonly hello: SentHello }
  | { readonly kind: 'acceptor-hello'; readonly hello: SentHello; readonly proof: Uint8Array }
  | { readonly kind: 'dialer-proof'; readonly proof: Uint8Array }
  | { readonly kind: 'welcome' }
  | {
      readonly kind: 'refuse'
      readonly code: HandshakeRefusalCode
      readonly message: string
      /** Proves the secret over both hellos, code and message; empty when the refuser has not seen both hellos. */
      readonly proof: Uint8Array
    }

/** Of the cluster's secret, in UTF-8: fewer could be guessed. */
export const secretBytesMin = 32
