import type { CallRef, Caller, Calls, ClientWords, Handing, Mailroom, Outcome } from '../calls/call.ts'
import type { Log } from '../log/log.ts'
import type { Catalog } from '../routing/catalog.ts'
import type { Clock } from '../std/clock.ts'
import type { CallId, NodeId } from '../vocabulary/ids.ts'
import type { GatewayLimits } from './limits.ts'
import type { ClusterSessions } from './sessions-port.ts'

/**
 * What the gateway needs of its node: the cluster's sessions, a catalog to show, a way to perform calls and to go on with
 * those of clients that come back, the mail of servers, and who is let in.
 */
export type GatewayOptions = {
  readonly node: NodeId
  readonly sessions: ClusterSessions
  /** The present catalog; the same object until it changes. */
  catalog(): Catalog
  /** Subscribes to "the catalog is another one now"; answers how to unsubscribe. */
  onCatalogChanged(listener: () => void): () => void
  /** Performs a call anywhere in the cluster. */
  readonly calls: Calls
  /** Goes on with a call that its client left, on the node that performs it; that may be this one. */
  resume(node: NodeId, ref: CallRef, caller: Caller): Promise<Outcome>
  /** What servers say to sessions outside of calls, on whichever node. */
  readonly mailroom: Mailroom
  /** To the nodes that have the streams of clients which speak to this one. */
  readonly handing: Handing
  /** Takes what clients say that is no request. */
  readonly words: ClientWords
  nextCallId(): CallId
  /** Does a client's work for which no request of its stands open: a drain lets that end too. */
  during<Result>(work: () => Promise<Result>): Promise<Result>
  /** What is taken now; the rest is refused as `draining`. */
  takes(): Takes
  readonly version: string
  /** Beside loopback: `HOST` or `HOST:PORT`, and `scheme://host[:port]`. Pages of the origins may read answers (CORS). */
  readonly allowedHosts: readonly string[]
  readonly allowedOrigins: readonly string[]
  readonly clock: Clock
  readonly log: Log
}

/** `known-sessions`: no new ones. `endings`: what can end a call or a session, and nothing that begins something. */
export type Takes = 'everything' | 'known-sessions' | 'endings' | 'nothing'

/** The same, as a protocol era sees it. */
export type EraOptions = GatewayOptions & { readonly limits: GatewayLimits }
