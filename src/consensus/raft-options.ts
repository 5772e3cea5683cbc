import type { RaftOptions } from '../raft/effects.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { ConsensusOptions } from './consensus.ts'
import * as limits from './limits.ts'
import type { Recovered } from './recovery.ts'

/** How this node's Raft is made: what was recovered, the operator's settings in ticks, and the limits. */
export function raftOptions(given: {
  readonly id: NodeId
  readonly seed: number
  readonly recovered: Recovered
  readonly options: ConsensusOptions
}): RaftOptions {
  const { heartbeatMs, electionTimeoutMs, logBytesMax, snapshotEntries, votersMax, leaseReads } = given.options
  const { heartbeatTicks, trailingEntriesMax } = limits
  const ticks = Math.round((electionTimeoutMs * heartbeatTicks) / heartbeatMs)
  return {
    id: given.id,
    seed: given.seed,
    ...given.recovered,
    heartbeatTicks,
    electionTicks: Math.max(ticks, heartbeatTicks + 1),
    appendBytesMax: limits.appendBytesMax,
    inflightMax: limits.inflightMax,
    inflightBytesMax: limits.inflightBytesMax,
    proposalBytesMax: limits.proposalBytesMax,
    uncommittedBytesMax: limits.uncommittedBytesMax,
    unappliedEntriesMax: limits.unappliedEntriesMax,
    logBytesMax,
    trailingEntries: Math.min(trailingEntriesMax, Math.floor(snapshotEntries / 2)),
    pendingProposalsMax: limits.pendingProposalsMax,
    pendingReadsMax: limits.pendingReadsMax,
    votersMax,
    leaseReads,
  }
}
