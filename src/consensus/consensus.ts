import type { Address } from '../vocabulary/addresses.ts'
import type { ClusterId, NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'
import type { Entry, Index } from '../raft/entry.ts'
import type { ProposalContent, RefusalReason } from '../raft/messages.ts'
import type { RaftStatus, SnapshotMeta } from '../raft/effects.ts'

/**
 * What the rest of a node sees of consensus: one asynchronous port, implemented by the thread (consensus/thread) and, for
 * tests in one process, by the loop itself (consensus/loop).
 */
export type Consensus = {
  /** Hands a proposal in. Exactly one of `committed` (an entry with this id) or `refused` follows, or neither: unknown. */
  propose(id: ProposalId, content: ProposalContent): void
  /** Asks for a linearizable read; `readable` or `readRefused` follows with the id, which is unique in the process's life. */
  read(id: number): void
  /** Of the leader: hands leadership to the node, or to the voter that is furthest (null). Elsewhere it does nothing. */
  transfer(to: NodeId | null): void
  /** Tells where a peer's raft listener is; idempotent, the last address counts. */
  learnPeer(node: NodeId, raftAddress: string): void
  /** Up to where the state machine has applied what was committed. */
  applied(index: Index): void
  /** The answer to `snapshotWanted`: the state machine's bytes after it applied `index`. */
  saveSnapshot(snapshot: { readonly index: Index; readonly bytes: Uint8Array }): void
  stop(): Promise<void>
}

export type ConsensusEvents = {
  /** At start and when this node fell too far behind: the state machine begins anew from these bytes, before what follows. */
  restore(snapshot: SnapshotMeta & { readonly bytes: Uint8Array }): void
  /** In index order, each exactly once, at every start from behind the restored snapshot on (from 1 without one). */
  committed(entries: readonly Entry[]): void
  refused(id: ProposalId, why: RefusalReason): void
  /** The read sees everything once `index` is applied. */
  readable(id: number, index: Index): void
  readRefused(id: number): void
  /** The log has grown: `saveSnapshot` is asked for, once; asked again only after it came. */
  snapshotWanted(): void
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
  /** A snapshot is asked for when this many entries, or half of `logBytesMax`, were committed since the last one. */
  readonly snapshotEntries: number
  readonly votersMax: number
  readonly leaseReads: boolean
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
