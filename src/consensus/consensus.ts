import type { Address } from '../vocabulary/addresses.ts'
import type { ClusterId, NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'
import type { Entry, Index } from '../raft/entry.ts'
import type { ProposalContent, RefusalReason } from '../raft/messages.ts'
import type { RaftStatus, SnapshotMeta } from '../raft/effects.ts'
import type { Quarantine } from '../storage/log-store.ts'

/**
 * What the rest of a node sees of consensus: one asynchronous port, implemented by the thread (consensus/thread) and, for
 * tests in one process, by the loop itself (consensus/start).
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
  /**
   * This node's state is another than the cluster's: makes durable that nothing here is to be trusted at the next start, then
   * fails with `state-diverged`. `why` is a sentence for the operator.
   */
  condemn(why: string): void
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
  /** Free space on the disk of the data directory below which no more is taken in; 0: never. */
  readonly reserveBytes: number
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
  /** Peers whose lanes are all open. */
  readonly connected: readonly NodeId[]
  /** Peers any of whose lanes is open: their processes live. */
  readonly reached: readonly NodeId[]
  /** What became of the damage of this node's log, since this process started or earlier while it lasts; null: none. */
  readonly quarantine: QuarantineStatus | null
  /** The disk has no room left but the reserve. */
  readonly isDiskFull: boolean
  readonly counters: ConsensusCounters
}

/** `isOver`: it counts again; until then this node neither votes nor acknowledges for a majority. */
export type QuarantineStatus = Quarantine & { readonly isOver: boolean }

/** Monotone since the start of the process, except the gauges that say so. */
export type ConsensusCounters = {
  readonly elections: number
  readonly proposals: number
  readonly refusals: number
  readonly appendedEntries: number
  readonly persistBatches: number
  /** Of the batches, those that were synced. */
  readonly persistSyncs: number
  /** Sum of the durations of synced writes, ms. */
  readonly persistMs: number
  /** Times that a write took longer than half an election timeout. */
  readonly stalls: number
  /** Of these, those in which this node ceased to lead. */
  readonly stallHandovers: number
  /** Of the state machine here: made durable. */
  readonly snapshotsSaved: number
  readonly snapshotBytesSaved: number
  /** To other nodes, and from them: delivered whole. */
  readonly snapshotsSent: number
  readonly snapshotBytesSent: number
  readonly snapshotsReceived: number
  readonly snapshotBytesReceived: number
  /** Read once more from the disk and verified while the node runs; a round is all of log and snapshot. */
  readonly scrubbedBytes: number
  readonly scrubRounds: number
  readonly damageFound: number
  readonly damageMended: number
  readonly framesIn: number
  readonly framesOut: number
  /** Of all kinds: no frame, out of order, not to be decoded, from a stranger, no room for it. */
  readonly framesRejected: number
  /** Gauge: the event loop delay of the consensus thread since the last status, ms, largest. */
  readonly loopDelayMs: number
  /** Gauge: for how long the oldest write that has not ended waits, ms; 0: none does. */
  readonly oldestWriteMs: number
  /** Gauge: of the synced writes of the last 5 s, the newest 1024 at most, 99 of 100 took no longer, ms; 0: there were none. */
  readonly syncP99Ms: number
  /** Gauge: what is free on the disk of the data directory; null: not known. */
  readonly diskFreeBytes: number | null
}
