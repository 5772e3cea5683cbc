/**
 * What the parts of `scripts/partition` tell each other: the runner plays a scenario against real nodes while a workload
 * runs, and hands what happened to the checks. All times are microseconds of one monotonic clock, from 0 where the
 * workload started.
 */
import type { ServerPlan } from '../lib/cluster-plan.ts'

/** A node as clients see it; they talk to it directly, no fault stands between. */
export type NodeTarget = {
  readonly id: string
  /** Of the HTTP listener, without a slash at the end. */
  readonly url: string
  readonly mcpUrl: string
}

/** The keys of the workload begin so; the final state of each node is read under it. */
export const keyPrefix = 'partition/'

/** Makes the subject of a check weak, to see that the check fails. */
export const weakenings = {
  'stale-reads': 'the workload reads what the asked node has, and takes it for the newest',
  'mixed-nodes': 'the workload asks any node for a stale read, and notes it as of one',
  'new-identity': 'the workload repeats a write without the Idempotency-Key',
  'ignore-if-match': 'the workload notes an If-Match that it does not send',
  'ok-is-refused': 'the workload now and then takes what was done for refused',
  'all-unknown': 'the workload takes every answer for none',
  'execute-twice': 'the counting server executes every call twice',
  'skip-calls': 'the counting server answers every tenth call without executing it',
  'drop-write': 'of one node the newest acknowledged write is taken out of the final state',
  'no-heal': 'the links stay as the last step left them',
  'leave-process': 'a process is left behind',
  'lost-process': 'a node ends that no step has ended',
} as const
export type Weakening = keyof typeof weakenings

export type WorkloadOptions = {
  readonly seed: number
  readonly now: () => number
  readonly weaken: Weakening | null
}

/** workload.ts exports `createWorkload`. */
export type CreateWorkload = (options: WorkloadOptions) => Workload

export interface Workload {
  /**
   * `targets` is asked again before each operation: every node that has once been ready and has not ended by leaving.
   * A killed, paused or cut off one is listed too: that is for the client to find out.
   */
  start(targets: () => readonly NodeTarget[]): void
  /** So far; what is under way is not in it. */
  history(): History
  /** Starts nothing new, waits for what is under way or gives it up as unknown, leaves no timer and no socket. */
  stop(): Promise<History>
}

/** executions.ts exports `serversFor`: what all nodes have as `mcpServers`, a joining one too. `dir`: where they may write. */
export type ServersFor = (options: {
  dir: string
  nodes: readonly string[]
  weaken: Weakening | null
}) => Readonly<Record<string, ServerPlan>>

/** executions.ts exports `readExecutions`: asked when all nodes have ended. */
export type ReadExecutions = (dir: string) => Promise<readonly Execution[]>

/** A side effect that the server has counted, once for each time that it happened. */
export type Execution = {
  /** Of the call, as in `Operation.key`. */
  readonly key: string
  /** As in `Operation.attempt`. */
  readonly attempt: number
}

/**
 * One request. What is sent again is an operation again: puts of one key and value, and calls of one key, are attempts of
 * one. A put is sent again after an unknown outcome only with its Idempotency-Key, a call only after a refusal.
 */
export type Operation = {
  readonly client: string
  /** That was asked. */
  readonly node: string
  readonly kind: 'kv-put' | 'kv-get' | 'kv-stale-get' | 'call'
  /** The key; of a call, an id of its own that the server counts by. */
  readonly key: string
  /** From 1. */
  readonly attempt: number
  /** Written (no other put writes it), or read; null: nothing was there, or nothing is known. */
  readonly value: string | null
  /** Of the value, as answered: 0 where nothing was there; null when it is not known. */
  readonly revision: number | null
  /** If-Match of a put; null: without. */
  readonly expects: number | null
  readonly calledUs: number
  /** When the outcome was known; null when it never was. */
  readonly answeredUs: number | null
  /** `refused`: it has provably not happened. */
  readonly outcome: 'ok' | 'refused' | 'unknown'
  /** Why not `ok`, short: a status and code. */
  readonly why: string | null
}

export type History = readonly Operation[]

export type Timeline = readonly TimelineEntry[]

export type TimelineEntry = { readonly atUs: number } & (
  | { readonly kind: 'phase'; readonly phase: Phase }
  /** `text` as in the scenario, `resolved` with the ids that its names stood for then. */
  | { readonly kind: 'step'; readonly line: number; readonly text: string; readonly resolved: string }
  /** As a node tells it in /v1/events. */
  | { readonly kind: 'leader'; readonly seenBy: string; readonly leader: string | null; readonly term: number }
  | {
      readonly kind: 'configuration'
      readonly seenBy: string
      readonly voters: readonly string[]
      readonly learners: readonly string[]
    }
  | { readonly kind: 'member'; readonly seenBy: string; readonly node: string; readonly event: string }
  | {
      readonly kind: 'process'
      readonly node: string
      readonly what: 'started' | 'ready' | 'paused' | 'resumed' | 'ended'
      /** Exit code or signal of `ended`. */
      readonly how: string | null
      /** False of an end that no step has asked for. */
      readonly isExpected: boolean
    }
)

/** `healed`: every link is whole and every node runs again, from here on the cluster has to recover. */
export type Phase = 'workload-started' | 'healed' | 'workload-stopped' | 'converged' | 'not-converged' | 'stopped'

/** What a member says at the end, after all have agreed or the deadline passed; null when it did not answer. */
export type FinalNode = {
  readonly id: string
  readonly status: Readonly<Record<string, unknown>> | null
  /** /v1/raft */
  readonly raft: Readonly<Record<string, unknown>> | null
  /** Of /v1/members, each with id, status, raft, disagrees. */
  readonly members: readonly Readonly<Record<string, unknown>>[] | null
  /** What the node itself has under `keyPrefix` (read stale). */
  readonly entries: Readonly<Record<string, { readonly value: unknown; readonly revision: number }>> | null
  /** All that the node has agreed to, keys and everything else, in one sum (`readState` of final-state.ts). */
  readonly state: { readonly index: number; readonly sum: string } | null
}

/**
 * `expect gap <= 5s`: gap and recovery in ms, availability from 0 to 1 (both of writes), leaders and failed-calls as counts.
 */
export type Expectation = {
  readonly line: number
  readonly text: string
  readonly subject: 'gap' | 'recovery' | 'availability' | 'leaders' | 'failed-calls'
  readonly comparison: '<=' | '>='
  readonly value: number
}

export type Convergence = {
  readonly isReached: boolean
  /** From `healed`. */
  readonly tookMs: number
  /** What was still amiss, one sentence each. */
  readonly amiss: readonly string[]
}

/** All that happened. */
export type Run = {
  readonly scenario: string
  /** The comment at the top of the scenario. */
  readonly about: string
  readonly seed: number
  readonly weaken: Weakening | null
  readonly timeline: Timeline
  readonly history: History
  readonly executions: readonly Execution[]
  readonly convergence: Convergence
  readonly finals: readonly FinalNode[]
  readonly expectations: readonly Expectation[]
  /** Processes that were there after all nodes had ended, and were ended then. */
  readonly leftovers: readonly { readonly pid: number; readonly of: string }[]
}

export type CheckResult = {
  /** Kebab-case: `linearizable`, `no-lost-write`, `no-call-twice`, ... */
  readonly check: string
  readonly isOk: boolean
  /** What was looked at, or what is wrong, a few lines at most. */
  readonly detail: string
}

/** checks.ts exports `checkRun`, all of them together. */
export type Check = (run: Run) => CheckResult[]

/** summary.ts exports `summarize: Summarize` and `printSummary(run, summary): string`, the text for people. */
export type Summarize = (run: Run, checks: readonly CheckResult[]) => Summary

/** What `--json` prints, one line a run. */
export type Summary = {
  readonly scenario: string
  readonly seed: number
  readonly isOk: boolean
  readonly checks: readonly CheckResult[]
  readonly byKind: Readonly<Record<Operation['kind'], Availability>>
  /** From `healed` until every member has acknowledged a write, a read and a call that began after it; null: never. */
  readonly recoveryMs: number | null
  readonly convergenceMs: number | null
  /** Distinct (leader, term) pairs that were seen. */
  readonly leaders: number
  readonly durationMs: number
}

/** What clients got of one kind. Attempts of one count as one, by how it ended. */
export type Availability = Readonly<Record<Operation['outcome'], number>> & {
  /** Refused only because of their If-Match; not among the refused ones. */
  readonly mismatched: number
  /** Of the quarter seconds of the workload, the share with an ok answer; 0 to 1. */
  readonly availability: number
  /** Longest time without an ok answer while the workload ran. */
  readonly longestGapMs: number
}
