import type { Address } from '../vocabulary/addresses.ts'
import type { ClusterId, NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'
import type { Entry } from '../raft/entry.ts'
import type { RefusalReason } from '../raft/messages.ts'
import type { RaftStatus } from '../raft/effects.ts'

/**
 * What the rest of a node sees of consensus: one asynchronous port, implemented by the thread (consensus/thread) and, for
 * tests in one process, by the loop itself (consensus/loop).
 */
export type Consensus = {
  /** Hands a proposal in. Exactly one of `committed` (an entry with this id) or `refused` follows, or neither: unknown. */
  propose(id: ProposalId, data: Uint8Array): void
  /** Tells where a peer's raft listener is; idempotent, the last address counts. */
  learnPeer(node: NodeId, raftAddress: string): void
  stop(): Promise<void>
}

export type ConsensusEvents = {
  /** In index order, each exactly once, from index 1 on at every start. */
  committed(entries: readonly Entry[]): void
  refused(id: ProposalId, why: RefusalReason): void
  status(status: ConsensusStatus): void
  /** Something worth a log line: `event` is a fixed kebab-case name. */
  log(level: 'debug' | 'info' | 'warn' | 'error', event: string, fields: Record<string, unknown>): void
  /** The node must stop: storage failed, an invariant broke, the node is wiped or a duplicate. Said at most once. */
  failed(error: OperatingError): void
}

export type ConsensusOptions = {
  /** Null: the one stored in the data directory, or a new one. */
  readonly nodeId: NodeId | null
  readonly dataDir: string
  readonly clusterName: string
  readonly secret: string
  readonly listen: Address
  /** HOST:PORT of the raft listener for others; null: the bound address. */
  readonly advertiseRaft: string | null
  /** How many nodes form the cluster together; 1: alone; null: never forms, only joins. */
  readonly bootstrapExpect: number | null
  readonly heartbeatMs: number
  readonly electionTimeoutMs: number
  readonly logBytesMax: number
  readonly version: string
}

export type ConsensusStarted = {
  readonly consensus: Consensus
  readonly node: NodeId
  readonly generation: number
  readonly boot: string
  readonly raftAddress: string
}

/** Raft's status once formed, else what forming waits for; plus counters for /metrics. */
export type ConsensusStatus = {
  readonly clusterId: ClusterId | null
  readonly promised: ClusterId | null
  /** Null until the cluster has formed. */
  readonly raft: RaftStatus | null
  /** Sentence for /readyz and the log, while not formed. */
  readonly waitingFor: string | null
  /** Peers whose lanes are open. */
  readonly connected: readonly NodeId[]
  readonly counters: ConsensusCounters
}

/** Monotone since the start of the process, except the gauges that say so. */
export type ConsensusCounters = {
  readonly elections: number
  readonly proposals: number
  readonly refusals: number
  readonly appendedEntries: number
  readonly persistBatches: number
  /** Sum of the durations of synced writes, ms. */
  readonly persistMs: number
  readonly framesIn: number
  readonly framesOut: number
  /** Of all kinds: no frame, out of order, not to be decoded, from a stranger, no room for it. */
  readonly framesRejected: number
  /** Gauge: the event loop delay of the consensus thread since the last status, ms, largest. */
  readonly loopDelayMs: number
}
