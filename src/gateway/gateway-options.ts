import type { Upstreams } from '../calls/call.ts'
import type { Log } from '../log/log.ts'
import type { Catalog } from '../routing/catalog.ts'
import type { Clock } from '../std/clock.ts'
import type { CallId } from '../vocabulary/ids.ts'
import type { GatewayLimits } from './limits.ts'

/** What the gateway needs of its node: a catalog to show, a way to perform calls, and who is let in. */
export type GatewayOptions = {
  /** The present catalog; the same object until it changes. */
  catalog(): Catalog
  /** Subscribes to "the catalog is another one now"; answers how to unsubscribe. */
  onCatalogChanged(listener: () => void): () => void
  /** Performs a call anywhere in the cluster. */
  readonly calls: Upstreams
  nextCallId(): CallId
  /** What is taken now; the rest is refused as `draining`. */
  takes(): Takes
  readonly version: string
  /** Beside loopback: `HOST` or `HOST:PORT`, and `scheme://host[:port]`. */
  readonly allowedHosts: readonly string[]
  readonly allowedOrigins: readonly string[]
  readonly clock: Clock
  readonly log: Log
}

/** `known-sessions`: no new ones. `endings`: what can end a call or a session, and nothing that begins something. */
export type Takes = 'everything' | 'known-sessions' | 'endings' | 'nothing'

/** The same, as a protocol era sees it. */
export type EraOptions = GatewayOptions & { readonly limits: GatewayLimits }
