import type { JsonText } from '../std/json-text.ts'
import type { MetricsSample } from './metrics-sample.ts'
import type { NodeNeeds } from './node-needs.ts'
import type { TokenNeeds } from './token-needs.ts'

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
  readonly membership: MembershipNeeds
  readonly nodes: NodeNeeds
  readonly tokens: TokenNeeds
  /** The whole state at one place of the log, as a file to keep; rejects with `overloaded` while another is taken here. */
  snapshot(limits: ReadLimits): Promise<SnapshotView>
  /** Sorted by id. */
  sessions(): readonly SessionView[]
  /** False: there is no such session. */
  closeSession(id: string): Promise<boolean>
  /** From now on. Throws `overloaded` or `stopped`. */
  events(): ClusterEventsView
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
  readonly stateCheck: StateCheckView
  readonly quarantine: QuarantineView | null
  /** This node's disk has no room left but the reserve. */
  readonly diskFull: boolean
  /** Null on every node but the leader: it decides. */
  readonly autopilot: AutopilotView | null
  /** What an operator should mend, as sentences. */
  readonly warnings: readonly string[]
}

/** The leader's rules about who votes: what it wants and what it does about it. */
export type AutopilotView = {
  /** Odd, at most `consensus.maxVoters` and no more than there are nodes to vote, unless more vote already. */
  readonly voterTarget: number
  /** How many of the voters that are well may fail until nothing can be written. */
  readonly failureTolerance: number
  /** What it does now, and why; null: nothing. */
  readonly next: { readonly kind: 'promote' | 'remove'; readonly node: string; readonly why: string } | null
  /** Why it does not do what one might expect, as sentences. */
  readonly holds: readonly string[]
}

/** The newest comparison of the nodes' states. */
export type StateCheckView = {
  /** The entry after which they were compared; 0: not yet. */
  readonly index: number
  /** Voters that make a majority with the same state; empty: there is none. */
  readonly agreed: readonly string[]
  /** Voters with another state than the majority's; without one, all that reported. */
  readonly diverged: readonly string[]
}

/** What became of the damage of this node's log; it stays to be read until the next start. */
export type QuarantineView = {
  /** A sentence: what is damaged. */
  readonly why: string
  /** The last entry that the damaged log is known to have had; 0: not known. */
  readonly lostUpTo: number
  /** Whether the log came to be what it was up to there, as the hash chain says; null: not yet, or not to be told. */
  readonly verified: boolean | null
  /** False: this node does not vote, and counts for no majority. */
  readonly over: boolean
}

/** Before the cluster has formed: follower, no leader, term and indexes 0, no voters. */
export type RaftView = {
  readonly id: string
  /** Null before this node belongs to a cluster. */
  readonly clusterId: string | null
  readonly role: RaftRole
  readonly term: number
  readonly leader: string | null
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly lastIndex: number
  /** The last index that the newest snapshot covers; 0: there is none. */
  readonly snapshotIndex: number
  /** The first index that the log still holds. */
  readonly firstIndex: number
  readonly voters: readonly string[]
  readonly learners: readonly string[]
  /** The learners that become voters by themselves once they have caught up. */
  readonly promotable: readonly string[]
  /** While a change of the voters is under way: those that it replaces, whose majority is needed too; else empty. */
  readonly votersOutgoing: readonly string[]
  /** False while the newest change of the configuration is not committed. */
  readonly configurationCommitted: boolean
  /** This node has lost what it promised, or joins: it does not vote, and counts for no majority. */
  readonly recovering: boolean
  readonly quarantine: QuarantineView | null
  /** Of the leader: what it knows of each other node; else empty. */
  readonly progress: readonly RaftProgressView[]
}

export type RaftProgressView = {
  readonly id: string
  /** Highest index known durable there. */
  readonly matchIndex: number
  /** `probe`: looking for where the logs agree; `snapshot`: it is being sent one. */
  readonly state: 'probe' | 'replicate' | 'snapshot'
  /** Heard from within the last election timeout. */
  readonly active: boolean
  /** It said that it has lost what it promised, or joins: it counts for no majority. */
  readonly recovering: boolean
  /** It said that its disk is full. */
  readonly diskFull: boolean
}

export const raftRoles = ['follower', 'pre-candidate', 'candidate', 'leader'] as const
export type RaftRole = (typeof raftRoles)[number]

export type MemberView = {
  readonly id: string
  readonly addresses: { readonly http: string; readonly peer: string; readonly raft: string }
  /** By gossip; `unknown`: it has not heard of this member. */
  readonly status: 'alive' | 'suspect' | 'dead' | 'left' | 'unknown'
  /** Of its process: how often it has refuted what was said of it. */
  readonly incarnation: number
  /** How often it was started. */
  readonly generation: number
  /** By its own word, else by what operators want of it; `drained`: it takes nothing, and nothing is in flight there. */
  readonly draining: 'no' | 'draining' | 'drained'
  /** Whether and how it counts; `none`: not at all, or the cluster has not formed. */
  readonly raft: 'leader' | 'voter' | 'learner' | 'none'
  /** Where gossip and Raft differ about it, one sentence; null: they do not. */
  readonly disagrees: string | null
  readonly labels: Readonly<Record<string, string>>
  /** What its machine has, as configured; null: nothing of it is. */
  readonly capacity: Readonly<Record<'cpu' | 'gpu' | 'memoryBytes', number | null>> | null
  /** Its gauges, as it said last. */
  readonly metrics: Readonly<Record<string, number>>
  readonly version: string
  /** Wall time of the process start, ms. */
  readonly startedAt: number
}

/** What happened as this node sees it. `time`: wall time here, ms; `by`: who said so. */
export type ClusterEventView =
  | {
      /** `alive`: it refuted that it is suspect or dead. `forgotten`: long dead or gone, and not listed any more. */
      readonly kind: 'joined' | 'alive' | 'suspect' | 'dead' | 'left' | 'forgotten'
      readonly time: number
      readonly node: string
      readonly generation: number
      readonly incarnation: number
      readonly by: string
    }
  | {
      /** How the node counts is another, and that is committed. */
      readonly kind: 'promoted' | 'removed'
      readonly time: number
      readonly node: string
      /** Why, where this node's autopilot has decided it; null: an operator has, or it was decided elsewhere. */
      readonly reason: string | null
    }
  /** By its own word: it takes nothing new; it takes nothing; it takes everything again. */
  | { readonly kind: 'draining' | 'drained' | 'serving'; readonly time: number; readonly node: string }
  | { readonly kind: 'leader-changed'; readonly time: number; readonly leader: string | null; readonly term: number }
  | {
      readonly kind: 'configuration-changed'
      readonly time: number
      readonly voters: readonly string[]
      readonly votersOutgoing: readonly string[]
      readonly learners: readonly string[]
    }

export type ClusterEventsView = {
  /** The next ones, at least one, unless it was closed; rejects with `overloaded` when too many wait, or `stopped`. */
  take(): Promise<readonly ClusterEventView[]>
  close(): void
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
  /** What of it a URL does not show, because another server has the name there; a hundred at most. */
  readonly hidden: readonly {
    readonly path: string
    readonly list: string
    /** There, and the server's own. */
    readonly name: string
    readonly own: string
    /** The server that is shown instead. */
    readonly shown: string
  }[]
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
  /**
   * Changes of the keys that match, from the revision `from` on; null: from now on. Throws `bad-request`, `compacted`
   * (`details.revision`: the oldest that is kept) or `overloaded`.
   */
  watch(options: { readonly pattern: string; readonly from: number | null }): KvWatchView
}

export type KvWatchView = {
  /** Everything before this revision has been told. */
  readonly next: number
  /** The next changes in the order of revisions, at least one, unless it was closed; rejects as `watch` throws, or `stopped`. */
  take(): Promise<readonly KvEventView[]>
  close(): void
}

export type KvEventView =
  | { readonly kind: 'put'; readonly key: string; readonly value: JsonText; readonly revision: number }
  | { readonly kind: 'delete'; readonly key: string; readonly revision: number }

/**
 * Who counts in the cluster. A change rejects with `change-under-way`, `change-refused`, `no-leader` or `overloaded` only
 * when it provably was not made; with `outcome-unknown` in every other case.
 */
export type MembershipNeeds = {
  /** Null: the voter that is furthest. Resolves to the new leader; rejects with `not-leader` on any other node, or `timeout`. */
  transfer(to: string | null, limits: ChangeLimits): Promise<{ readonly leader: string }>
  /** `address`: HOST:PORT of its raft listener, where no node is linked to it; `promote`: a voter once it has caught up. */
  addLearner(
    learner: { readonly id: string; readonly address: string | null; readonly promote: boolean },
    limits: ChangeLimits,
  ): Promise<void>
  promote(id: string, limits: ChangeLimits): Promise<void>
  /**
   * Voter or learner, also one that lives: NodeNeeds has the removal that refuses that. Rejects with `no-quorum` or
   * `change-refused` where the others could decide nothing without it. Its entry in the directory and its replicas go with it.
   */
  remove(id: string, limits: ChangeLimits): Promise<void>
}

export type ChangeLimits = { readonly timeoutMs: number; readonly signal: AbortSignal }

/** `close` is owed once there is one. `parts` reject when the node stops, or the signal of the request is aborted. */
export type SnapshotView = {
  /** Of all parts together. */
  readonly bytes: number
  readonly parts: AsyncIterable<Uint8Array>
  close(): void
}

export type KvView = { readonly key: string; readonly value: JsonText; readonly revision: number }

export type Consistency = 'linearizable' | 'stale'
export type ReadLimits = { readonly consistency: Consistency; readonly timeoutMs: number; readonly signal: AbortSignal }
export type WriteLimits = {
  readonly expect: number | null
  /** Of writes under one key only the first is applied, and all are answered alike; null: none. */
  readonly idempotencyKey: string | null
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** A session of the cluster: every node serves it. */
export type SessionView = {
  readonly id: string
  /** Name and version that the client gave. */
  readonly client: string
  readonly protocolVersion: string
  /** `/mcp`, `/mcp/{server}` or `/mcp/group/{group}`. */
  readonly path: string
  /** Wall time, ms. */
  readonly startedAt: number
  /** As the cluster knows it: at most a quarter of the time too early that it may be unused. */
  readonly lastUsedAt: number
}

export type Readiness = { readonly ready: boolean; readonly reasons: readonly string[] }
