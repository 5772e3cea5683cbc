import type { MetricsSample } from '../admin/metrics-sample.ts'
import { autopilotSample } from './autopilot-views.ts'
import type { OperatorParts } from './operator-views.ts'

/** What a node's metrics tell, as its parts count it. */
export function metricsSample(parts: OperatorParts): MetricsSample {
  const { consensus, node, version, sessions, peerFigures, autopilot, tokens, draining, traffic } = parts
  const { counters, connected, isDiskFull, quarantine } = consensus()
  return {
    node,
    version,
    raft: raftSample(parts),
    cluster: clusterSample(parts),
    consensus: {
      ...counters,
      connectedPeersNow: connected.length,
      loopDelayMsNow: counters.loopDelayMs,
      oldestWriteMsNow: counters.oldestWriteMs,
      syncP99MsNow: counters.syncP99Ms,
      diskFreeBytesNow: counters.diskFreeBytes,
      isDiskFullNow: isDiskFull,
      isQuarantinedNow: quarantine !== null && !quarantine.isOver,
    },
    peers: peerFigures(),
    gossip: gossipSample(parts),
    autopilot: autopilotSample(autopilot),
    tokens: tokens.sample(),
    life: { phase: draining.phase, inFlightNow: traffic.active },
    kept: keptSample(parts),
    sessions: { now: sessions.count, ...sessions.figures },
    upstreams: upstreamSample(parts),
  }
}

function keptSample({ kept, boxes }: OperatorParts): MetricsSample['kept'] {
  const { unattended, ended, bytes, resumed, givenUp, eventsLost } = kept.counters
  const { mails, bytes: mailBytes, lost } = boxes.counters
  return {
    calls: { unattendedNow: unattended, endedNow: ended, bytesNow: bytes, resumed, givenUp, eventsLost },
    mail: { mailsNow: mails, bytesNow: mailBytes, lost },
  }
}

function upstreamSample({ upstreamStatuses, upstreamFigures }: OperatorParts): MetricsSample['upstreams'] {
  const { own, questions } = upstreamFigures()
  const servers = [...upstreamStatuses()].map(([server, { status }]) => ({
    server,
    status,
    sessionsNow: own.get(server) ?? 0,
  }))
  return { servers, questionsNow: questions }
}

function raftSample({ consensus, cluster }: OperatorParts): MetricsSample['raft'] {
  const { raft } = consensus()
  if (raft === null) return null
  const { role, leader, term, commitIndex, lastIndex, snapshotIndex, logBytes, configuration } = raft
  return {
    role,
    hasLeader: leader !== null,
    term,
    commitIndex,
    appliedIndex: cluster.state.appliedIndex,
    lastIndex,
    snapshotIndex,
    logBytes,
    voters: configuration.voters.length,
    learners: configuration.learners.length,
    isChanging: configuration.votersOutgoing.length > 0 || !raft.isConfigurationCommitted,
  }
}

function gossipSample({ gossip }: OperatorParts): MetricsSample['gossip'] {
  const { members, health } = gossip.status()
  const { openNow, ...counters } = gossip.counters
  return { ...counters, membersNow: members, localHealthNow: health, lanesNow: openNow }
}

function clusterSample({ cluster, leadership, snapshots, checks }: OperatorParts): MetricsSample['cluster'] {
  const { reads, readsFailed, readRequests, restores, changes, answers, kvWatches } = cluster.figures
  const { taken, takenMs, lastBytes, longestSliceMs } = snapshots.figures
  const { index, diverged } = checks.outcome
  return {
    reads,
    readsFailed,
    readRequests,
    snapshotsTaken: taken,
    snapshotsRestored: restores,
    snapshotMs: takenMs,
    snapshotBytesLast: lastBytes,
    snapshotSliceMsLongest: longestSliceMs,
    transfers: leadership.transfers,
    changes,
    idempotencyKeysNow: answers,
    kvWatchesNow: kvWatches,
    stateCheckedIndexNow: index,
    stateDivergedNow: diverged.length,
  }
}
