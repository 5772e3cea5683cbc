import type { JsonText } from '../std/json-text.ts'

/**
 * What the admin API needs of a node, as plain data and functions; the node implements it. The views are what the API
 * answers, member for member, so they are a public contract too.
 *
 * A function that fails in an expected way throws an OperatingError; everything else that is thrown is an accident and is
 * masked. None of the synchronous ones waits for anybody: they tell what this node knows.
 */
export type AdminNeeds = {
  status(): StatusView
  raft(): RaftView
  /** Sorted by id. */
  members(): readonly MemberView[]
  /** Sorted by name. */
  servers(): readonly ServerView[]
  /** The catalog of `/mcp`, each in its order there. */
  tools(): readonly CatalogItem[]
  resources(): readonly CatalogItem[]
  resourceTemplates(): readonly CatalogItem[]
  prompts(): readonly CatalogItem[]
  callTool(call: ToolCall): Promise<ToolAnswer>
  readonly kv: KvNeeds
  /** Sorted by id. */
  sessions(): readonly SessionView[]
  /** False: there is no such session. */
  closeSession(id: string): Promise<boolean>
  readiness(): Readiness
  sample(): MetricsSample
}

/** Without the members, which the API adds. Before the cluster has formed: no leader, term and indexes 0. */
export type StatusView = {
  readonly node: string
  readonly leader: string | null
  readonly term: number
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly version: string
}

/** Before the cluster has formed: follower, no leader, term and indexes 0, no voters. */
export type RaftView = {
  readonly id: string
  readonly role: RaftRole
  readonly term: number
  readonly leader: string | null
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly lastIndex: number
  readonly snapshotIndex: number
  readonly voters: readonly string[]
  readonly learners: readonly string[]
}

export const raftRoles = ['follower', 'pre-candidate', 'candidate', 'leader'] as const
export type RaftRole = (typeof raftRoles)[number]

export type MemberView = {
  readonly id: string
  readonly addresses: { readonly http: string; readonly peer: string; readonly raft: string }
  /** `unknown`: nobody watches the liveness of this member. */
  readonly status: 'alive' | 'suspect' | 'dead' | 'left' | 'unknown'
  readonly incarnation: number
  readonly labels: Readonly<Record<string, string>>
  readonly metrics: Readonly<Record<string, number>>
  readonly version: string
  /** Wall time of the process start, ms. */
  readonly startedAt: number
}

export type ServerView = {
  readonly name: string
  /** The best of its replicas': `ready` when one can take a call. */
  readonly status: UpstreamState
  readonly replicas: readonly {
    readonly node: string
    readonly transport: 'stdio' | 'http'
    readonly status: UpstreamState
    /** Why it is not ready, one sentence; '' when ready. One on a node that can not be reached counts as failed. */
    readonly reason: string
    readonly priority: number
  }[]
  /** How many of each it offers. */
  readonly tools: number
  readonly resources: number
  readonly resourceTemplates: number
  readonly prompts: number
}

export const upstreamStates = ['starting', 'ready', 'failed'] as const
export type UpstreamState = (typeof upstreamStates)[number]

export type CatalogItem = {
  readonly server: string
  /** What clients say: the public name, the URI or the URI template. */
  readonly name: string
  /** The server's object as clients see it. */
  readonly definition: JsonText
}

export type ToolCall = {
  /** Public name. */
  readonly name: string
  /** An object, byte for byte as it was sent. */
  readonly arguments: JsonText
  /** Null: the server's own. */
  readonly timeoutMs: number | null
  /** Aborted when the one who asked goes away: the call is to be cancelled then. */
  readonly signal: AbortSignal
}

/** The server's own word, untouched: a result (also one that says `isError`), or its JSON-RPC error object. */
export type ToolAnswer =
  | { readonly kind: 'result'; readonly result: JsonText }
  | { readonly kind: 'error'; readonly error: JsonText }

/**
 * Each settles within `timeoutMs`, and at once when the signal is aborted (whoever asked went away, or time is up).
 * A write rejects with `no-leader`, `no-quorum`, `overloaded` or `stopped` only when it provably never entered a log;
 * with `revision-mismatch` (`details.revision`: today's, 0 when absent) or `not-found` when it was applied to no effect;
 * with `outcome-unknown` in every other case.
 */
export type KvNeeds = {
  get(key: string, limits: ReadLimits): Promise<KvView | undefined>
  /** Keys with the prefix greater than `after`, bytewise; `next`: the last key, when more follow. `revision`: applied. */
  list(
    range: { readonly prefix: string; readonly after: string | null; readonly limit: number },
    limits: ReadLimits,
  ): Promise<{ readonly entries: readonly KvView[]; readonly revision: number; readonly next: string | null }>
  /** `expect` null: whatever the revision; 0: the key must not exist. */
  put(key: string, value: JsonText, limits: WriteLimits): Promise<{ readonly revision: number }>
  delete(key: string, limits: WriteLimits): Promise<{ readonly revision: number }>
}

export type KvView = { readonly key: string; readonly value: JsonText; readonly revision: number }

export type Consistency = 'linearizable' | 'stale'
export type ReadLimits = { readonly consistency: Consistency; readonly timeoutMs: number; readonly signal: AbortSignal }
export type WriteLimits = { readonly expect: number | null; readonly timeoutMs: number; readonly signal: AbortSignal }

export type SessionView = {
  readonly id: string
  readonly node: string
  /** Name and version that the client gave. */
  readonly client: string
  readonly protocolVersion: string
  /** `/mcp` or `/mcp/{server}`. */
  readonly path: string
  /** Wall time, ms. */
  readonly startedAt: number
  readonly lastUsedAt: number
}

export type Readiness = { readonly ready: boolean; readonly reasons: readonly string[] }

/** What /metrics tells beside what is pushed to it (see metrics.ts); taken once a scrape. */
export type MetricsSample = {
  readonly node: string
  readonly version: string
  /** Null before the cluster has formed. */
  readonly raft: {
    readonly role: RaftRole
    readonly hasLeader: boolean
    readonly term: number
    readonly commitIndex: number
    readonly appliedIndex: number
    readonly lastIndex: number
    readonly logBytes: number
  } | null
  /** Monotone since the start of the process, except where the name says otherwise. */
  readonly consensus: {
    readonly elections: number
    readonly proposals: number
    readonly refusals: number
    readonly appendedEntries: number
    readonly persistBatches: number
    readonly persistMs: number
    readonly framesIn: number
    readonly framesOut: number
    readonly framesRejected: number
    readonly connectedPeersNow: number
    readonly loopDelayMsNow: number
  }
  readonly sessions: number
  /** This node's, as many as its configuration names. */
  readonly upstreams: readonly { readonly server: string; readonly status: UpstreamState }[]
}
