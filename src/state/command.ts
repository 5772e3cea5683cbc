import type { Addresses } from '../vocabulary/addresses.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import type { Isolation } from '../vocabulary/isolation.ts'
import type { LogLevel } from '../vocabulary/log-level.ts'
import type { Offer } from '../vocabulary/offer.ts'
import type { JsonText } from '../std/json-text.ts'
import type { DigestReport } from './checks.ts'

/** Everything that can change what all nodes agree on: one closed union. */
export type Command =
  | { readonly kind: 'kv-set'; readonly key: string; readonly value: JsonText; readonly expect: Revision | null }
  | { readonly kind: 'kv-delete'; readonly key: string; readonly expect: Revision | null }
  /** Upserts a node's entry in the directory. A newer generation withdraws the replicas of the older ones. */
  | { readonly kind: 'member-set'; readonly member: Member }
  /** Takes a node that has left the configuration out of the directory, and its replicas; a newer generation stays. */
  | { readonly kind: 'member-delete'; readonly node: NodeId; readonly generation: number }
  /** Registers or changes what a node offers of a server. Refused when the generation is not the member's newest. */
  | { readonly kind: 'replica-set'; readonly replica: Replica }
  | { readonly kind: 'replica-delete'; readonly node: NodeId; readonly generation: number; readonly server: ServerName }
  /** What a node's state was at a check index; see checks. */
  | ({ readonly kind: 'state-digest' } & DigestReport)
  /** Makes a join token known that nobody has used. Refused: an id that exists, and what the limits do not allow. */
  | { readonly kind: 'token-set'; readonly token: JoinToken }
  /** A node uses it; a repeat by the same node is done without a further use. Refused with a `TokenRefusal` as reason. */
  | { readonly kind: 'token-use'; readonly id: string; readonly node: NodeId }
  | { readonly kind: 'token-revoke'; readonly id: string }
  /** What an operator wants of a node in the directory: null takes it back. */
  | { readonly kind: 'member-drain'; readonly node: NodeId; readonly drain: Drain | null }

  /** A client's session begins. Refused: an id that exists, and one session more than `clientSessionsMax`. */
  | { readonly kind: 'session-open'; readonly session: SessionOpening }
  | { readonly kind: 'session-close'; readonly id: SessionId }
  /** Sessions that were used since a node said so last: at most `touchesMax` of them. Unknown ones are ignored. */
  | { readonly kind: 'session-touch'; readonly ids: readonly SessionId[] }
  | { readonly kind: 'session-level'; readonly id: SessionId; readonly level: LogLevel }
  /** Refused beyond `subscriptionsMax` of one session. A repeat is done. */
  | ({ readonly kind: 'session-subscribe'; readonly id: SessionId } & Subscription)
  | ({ readonly kind: 'session-unsubscribe'; readonly id: SessionId } & Subscription)
  /** Where the session's own upstream of the server is. The oldest pin goes beyond `pinsMax`. */
  | { readonly kind: 'session-pin'; readonly id: SessionId; readonly server: ServerName; readonly node: NodeId }

/** A command as it is logged. */
export type Envelope = {
  readonly command: Command
  /** Of a write that may be repeated (see answers): applied once, answered alike. Null: none. */
  readonly idempotencyKey: string | null
}

/** The Raft index of the write. `0` in `expect`: the key must not exist. */
export type Revision = number

/** One node in the directory. */
export type Member = {
  readonly node: NodeId
  readonly generation: number
  readonly addresses: Addresses
  readonly labels: Readonly<Record<string, string>>
  readonly version: string
  /** Wall time of the process start, ms. */
  readonly startedAt: number
}

/** One upstream of a server on one node, as its node last published it. */
export type Replica = {
  readonly node: NodeId
  readonly generation: number
  readonly server: ServerName
  readonly transport: 'stdio' | 'http'
  readonly status: 'starting' | 'ready' | 'failed'
  /** Why it is not ready, one sentence; '' when ready. */
  readonly reason: string
  /** Higher wins where two servers offer the same resource URI. */
  readonly priority: number
  /** What it offers, by what its node allows of it; null until it was ready once. */
  readonly offer: Offer | null
  readonly isolation: Isolation
  /** Whether its offer is still shown while no replica is ready. */
  readonly whenUnavailable: 'keep' | 'hide'
  /** The groups that its server is in, sorted. */
  readonly groups: readonly string[]
}

/** A short-lived right to join, as all nodes know it: what its holder has to prove is not in it. */
export type JoinToken = {
  /** 16 hexadecimal digits. */
  readonly id: string
  readonly createdAt: number
  /** Log time, ms: at this time it lets nobody in any more. */
  readonly expiresAt: number
  readonly usesMax: number
  /** Each once, in the order of their coming. */
  readonly usedBy: readonly NodeId[]
  readonly isRevoked: boolean
  /** What its maker wants to remember. */
  readonly note: string
}

/** What is settled when a client's session begins, for its whole life. */
export type SessionOpening = {
  readonly id: SessionId
  /** Path of its endpoint: `/mcp`, `/mcp/{server}`, `/mcp/group/{group}`. */
  readonly path: string
  readonly transport: 'streamable-http' | 'sse'
  readonly protocolVersion: string
  /** The client's own words in initialize: objects of at most `sessionTextBytesMax` bytes. */
  readonly clientInfo: JsonText
  readonly capabilities: JsonText
  /** Unused for so long in log time, ms, it ends. */
  readonly idleMs: number
}

/** A client's session of the legacy era, as all nodes know it. */
export type SessionRecord = SessionOpening & {
  /** Log time, ms. */
  readonly openedAt: number
  readonly usedAt: number
  /** What the client asked for with logging/setLevel; null: it did not. */
  readonly level: LogLevel | null
  readonly subscriptions: readonly Subscription[]
  readonly pins: ReadonlyMap<ServerName, NodeId>
}

export type Subscription = { readonly server: ServerName; readonly uri: string }

/** Why a join token does not let a node in. */
export const tokenRefusals = ['unknown', 'expired', 'used-up', 'revoked'] as const
export type TokenRefusal = (typeof tokenRefusals)[number]

/** What an operator wants of a node. `leave`: drained, then out of the configuration, then its process ends. */
export type Drain = (typeof drains)[number]
/** Their places are numbers on the disk; never used again for another meaning. */
export const drains = ['drain', 'leave'] as const

/** What applying a command answered to its proposer. */
export type CommandResult =
  | { readonly kind: 'done'; readonly revision: Revision }
  | { readonly kind: 'revision-mismatch'; readonly revision: Revision }
  | { readonly kind: 'not-found' }
  | { readonly kind: 'refused'; readonly reason: string }
