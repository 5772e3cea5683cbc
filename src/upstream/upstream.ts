import type { Offer } from '../vocabulary/offer.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import type { Isolation } from '../vocabulary/isolation.ts'
import type { LogLevel } from '../vocabulary/log-level.ts'
import type { JsonText } from '../std/json-text.ts'

/** One server as this node's configuration describes it (`mcpServers.<name>`), ready to be run. */
export type UpstreamServer = {
  readonly name: ServerName
  readonly priority: number
  /** Default time from a call's start to its result, ms. */
  readonly timeoutMs: number
  /** What reports of progress may extend it to, ms; never less. */
  readonly timeoutMaxMs: number
  readonly isolation: 'auto' | 'shared' | 'session'
  /** Upstreams of single sessions at once. */
  readonly isolatedMax: number
  /** What clients see of it: names, or patterns with `*`. Of `allow` an empty list means all; `deny` wins. */
  readonly allow: OfferedNames
  readonly deny: OfferedNames
  /** Sorted, each once. */
  readonly groups: readonly string[]
  readonly whenUnavailable: 'keep' | 'hide'
  readonly link:
    | {
        readonly kind: 'stdio'
        readonly command: string
        readonly args: readonly string[]
        /** Added to the minimal environment (PATH, HOME, USER, LANG, TMPDIR, ...). */
        readonly env: Readonly<Record<string, string>>
        readonly cwd: string | null
      }
    | {
        readonly kind: 'http'
        readonly url: string
        readonly headers: Readonly<Record<string, string>>
        /** `sse`: the HTTP+SSE of revision 2024-11-05. `inferred`: found out when it is first connected. */
        readonly transport: 'streamable-http' | 'sse' | 'inferred'
      }
}

/** Resources by URI, resource templates by the text of theirs. */
export type OfferedNames = Readonly<Record<'tools' | 'resources' | 'prompts', readonly string[]>>

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
  readonly protocolVersion: string
  /** The client's own words in initialize. */
  readonly clientInfo: JsonText
  readonly capabilities: JsonText
  readonly idleMs: number
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
