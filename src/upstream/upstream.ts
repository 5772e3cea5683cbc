import type { Offer } from '../vocabulary/offer.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import type { Isolation } from '../vocabulary/isolation.ts'
import type { LogLevel } from '../vocabulary/log-level.ts'
import type { JsonText } from '../std/json-text.ts'

/** What an upstream tells its node whenever it changes; the node publishes it. */
export type UpstreamStatus = {
  readonly status: 'starting' | 'ready' | 'failed'
  /** One sentence; '' when ready. */
  readonly reason: string
  readonly offer: Offer | null
  /** Who shares its upstreams. */
  readonly isolation: Isolation
}

/** What an upstream needs to know of a client's session; the replicated record has it. */
export type ClientSession = {
  /** Where it began: the URL's path. */
  readonly path: string
  readonly protocolVersion: string
  /** The client's own words in initialize. */
  readonly clientInfo: JsonText
  readonly capabilities: JsonText
  readonly idleMs: number
  /** When a request, call or open stream of it was last known, on any node; wall-clock ms. */
  readonly usedAt: number
  /** What the client asked for; null: nothing. */
  readonly level: LogLevel | null
  readonly subscriptions: readonly { readonly server: ServerName; readonly uri: string }[]
  /** Where what a server keeps for the session is. */
  readonly pins: ReadonlyMap<ServerName, NodeId>
}

export type ClientSessions = {
  /** All that this node knows. */
  all(): readonly (ClientSession & { readonly id: SessionId })[]
  /** As this node knows it. */
  find(id: SessionId): ClientSession | undefined
  /** As `find`, but what is not here is looked for again after this node has caught up with the leader once. */
  seek(id: SessionId): Promise<ClientSession | undefined>
}
