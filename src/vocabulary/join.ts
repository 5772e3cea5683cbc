import type { WireVersions } from './handshake.ts'
import type { ClusterId, NodeId } from './ids.ts'
import type { ErrorCode } from './operating-error.ts'

/**
 * What a node that has a join token and a node of the cluster say to each other: one request and one answer. The rules are in
 * identity/join-exchange, the texts in wire/join-codec.
 */

/** Where the peer listener takes it, as a plain HTTP POST. */
export const joinPath = '/join'

/** Bytes of an answer, which has room for the longest secret that a file may hold; larger ones are not read. */
export const joinBytesMax = 64 * 1024

/** Clocks that are further apart refuse each other: tokens end, and idempotency is remembered, by time. */
export const clockSkewMaxMs = 60_000

/** Covered, as it was sent, by the request's proof. */
export type JoinRequest = {
  readonly versions: WireVersions
  readonly tokenId: string
  /** The one that the token names. */
  readonly clusterId: ClusterId
  /** The name that the joiner's configuration gives the cluster; null: none. */
  readonly clusterName: string | null
  readonly node: NodeId
  /** Wall time of the joiner, ms. */
  readonly clock: number
  /** The product's version, for display. */
  readonly version: string
  /** X25519, made for this request alone. */
  readonly key: Uint8Array
  /** 32 random bytes, new for each request. */
  readonly nonce: Uint8Array
}

/** A request together with the bytes that the proof covers, so that fields which only a newer node knows are covered too. */
export type SentJoinRequest = {
  readonly versions: WireVersions
  readonly tokenId: string
  readonly clusterId: ClusterId
  /** Null when no common version lets us read the rest. */
  readonly request: JoinRequest | null
  readonly bytes: Uint8Array
  readonly proof: Uint8Array
}

export type JoinAnswer =
  | {
      readonly kind: 'welcome'
      /** X25519 of the node that answers. */
      readonly key: Uint8Array
      /** A JoinGrant, readable by the joiner alone. */
      readonly sealed: Uint8Array
      /** Over the request's bytes, key and sealed. */
      readonly proof: Uint8Array
    }
  | {
      readonly kind: 'refuse'
      readonly code: ErrorCode
      readonly message: string
      /** Over the request's bytes, code and message; empty towards who has not proven the token. */
      readonly proof: Uint8Array
    }

/** What a joiner needs to be a node of the cluster. */
export type JoinGrant = {
  readonly clusterId: ClusterId
  readonly clusterName: string
  readonly secret: string
  /** HOST:PORT of the peer listeners of the cluster's nodes. */
  readonly peers: readonly string[]
}
