import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { AutopilotMetrics } from './autopilot-metrics.ts'
import { DiskMetrics } from './disk-metrics.ts'
import { GossipMetrics } from './gossip-metrics.ts'
import { KeptMetrics } from './kept-metrics.ts'
import type { MetricsSample } from './metrics-sample.ts'
import { raftRoles } from './needs.ts'
import { lifePhases } from './node-needs.ts'
import { ProcessMetrics } from './process-metrics.ts'
import { setTotal } from './set-total.ts'
import { SessionMetrics } from './session-metrics.ts'
import { UpstreamMetrics } from './upstream-metrics.ts'
import { TokenMetrics } from './token-metrics.ts'

/**
 * `/metrics` in a registry of its own: calls are pushed as they end, all else is taken from one sample a scrape. Every
 * label's values are bounded: by closed unions, by the configuration, or by a limit past which they count as `other`.
 */
export class Metrics {
  readonly #registry = new Registry()
  readonly #process = new ProcessMetrics(this.#registry)
  readonly #servers = new Set<string>()

  readonly #calls = new Counter({
    name: 'quorate_calls_total',
    help: 'Calls that ended, by server and outcome.',
    labelNames: ['server', 'outcome'] as const,
    registers: [this.#registry],
  })
  readonly #callSeconds = new Histogram({
    name: 'quorate_call_duration_seconds',
    help: 'Time from the start of a call to its end.',
    labelNames: ['server'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    registers: [this.#registry],
  })
  readonly #node = this.#gauge('quorate_node', 'Always 1; says who and which version this is.', ['node', 'version'])
  readonly #role = this.#gauge('quorate_raft_role', '1 for the role that this node has.', ['role'])
  readonly #hasLeader = this.#gauge('quorate_raft_has_leader', '1 while a leader is known.')
  readonly #term = this.#gauge('quorate_raft_term', 'Current term.')
  readonly #commitIndex = this.#gauge('quorate_raft_commit_index', 'Highest index known committed.')
  readonly #appliedIndex = this.#gauge('quorate_raft_applied_index', 'Highest index applied.')
  readonly #lastIndex = this.#gauge('quorate_raft_last_index', 'Highest index in the log.')
  readonly #logBytes = this.#gauge('quorate_raft_log_bytes', 'Bytes of the log held in memory.')
  readonly #peers = this.#gauge('quorate_raft_connected_peers', 'Peers whose lanes are open.')
  readonly #loopDelay = this.#gauge(
    'quorate_raft_loop_delay_seconds',
    'Largest event loop delay of the consensus thread since its last status.',
  )
  readonly #elections = this.#counter('quorate_raft_elections_total', 'Elections that this node started.')
  readonly #proposals = this.#counter('quorate_raft_proposals_total', 'Proposals that this node made.')
  readonly #refusals = this.#counter('quorate_raft_refusals_total', 'Proposals that were refused.')
  readonly #appended = this.#counter('quorate_raft_appended_entries_total', 'Entries appended to the log.')
  readonly #batches = this.#counter('quorate_raft_persist_batches_total', 'Writes of the log.')
  readonly #syncs = this.#counter('quorate_raft_persist_syncs_total', 'Synced writes of the log.')
  readonly #persistSeconds = this.#counter('quorate_raft_persist_seconds_total', 'Time spent in synced writes.')
  readonly #disk = new DiskMetrics(this.#registry)
  readonly #gossip = new GossipMetrics(this.#registry)
  readonly #autopilot = new AutopilotMetrics(this.#registry)
  readonly #tokens = new TokenMetrics(this.#registry)
  readonly #frames = this.#counter('quorate_raft_frames_total', 'Frames on the consensus lanes.', ['direction'])
  readonly #peerFrames = this.#counter(
    'quorate_peer_frames_total',
    'Frames between the peer listeners: forwarded calls and gossip.',
    ['direction'],
  )
  readonly #dropped = this.#counter(
    'quorate_peer_notifications_dropped_total',
    "Events of forwarded calls, mail and clients' words that found no room on their way.",
  )
  readonly #behind = this.#counter(
    'quorate_peer_behind_total',
    'Times that another node had to fetch events or mail, because it did not take them as fast as they arose.',
  )
  readonly #snapshotIndex = this.#gauge('quorate_raft_snapshot_index', 'Last index that the newest snapshot covers.')
  readonly #voters = this.#gauge('quorate_raft_voters', 'Voters of the newest configuration.')
  readonly #learners = this.#gauge('quorate_raft_learners', 'Learners of the newest configuration.')
  readonly #changing = this.#gauge('quorate_raft_configuration_changing', '1 while a change of it is under way.')
  readonly #changes = this.#counter(
    'quorate_raft_changes_total',
    'Changes of the configuration asked for on this node.',
  )
  readonly #transfers = this.#counter('quorate_raft_transfers_total', 'Transfers of leadership asked for on this node.')
  readonly #reads = this.#counter('quorate_reads_total', 'Linearizable reads, failed ones too.')
  readonly #readsFailed = this.#counter('quorate_reads_failed_total', 'Linearizable reads that nobody confirmed.')
  readonly #readRequests = this.#counter('quorate_read_requests_total', 'Read indexes asked for; reads share them.')
  readonly #snapshots = this.#counter('quorate_snapshots_total', 'Snapshots of the state.', ['direction'])
  readonly #snapshotSeconds = this.#counter(
    'quorate_snapshot_seconds_total',
    'Time from the start of snapshots to their end.',
  )
  readonly #snapshotBytes = this.#gauge('quorate_snapshot_bytes', 'Bytes of the last snapshot that was taken.')
  readonly #snapshotSlice = this.#gauge(
    'quorate_snapshot_longest_slice_seconds',
    'Longest time for which a snapshot held up the event loop.',
  )
  readonly #idempotencyKeys = this.#gauge('quorate_idempotency_keys', 'Writes whose answer is kept for a retry.')
  readonly #kvWatches = this.#gauge('quorate_kv_watches', 'Watches of keys on this node.')
  readonly #stateChecked = this.#gauge(
    'quorate_state_checked_index',
    "Entry after which the nodes' states were last compared.",
  )
  readonly #stateDiverged = this.#gauge(
    'quorate_state_diverged',
    "Voters whose state was found to be another than the majority's; without one, all that differ.",
  )
  readonly #phase = this.#gauge('quorate_node_phase', '1 for the phase of its life that this node is in.', ['phase'])
  readonly #inFlight = this.#gauge(
    'quorate_in_flight',
    'Requests of clients and calls of other nodes under way here: what a drain waits for.',
  )
  readonly #sessions = new SessionMetrics(this.#registry)
  readonly #kept = new KeptMetrics(this.#registry)
  readonly #upstreams = new UpstreamMetrics(this.#registry)

  get contentType(): string {
    return this.#registry.contentType
  }

  /** Once for each call that this node performed or forwarded for its own clients. */
  callEnded(call: { readonly server: string; readonly outcome: CallOutcome; readonly seconds: number }): void {
    const server = this.#boundedServer(call.server)
    this.#calls.inc({ server, outcome: call.outcome })
    this.#callSeconds.observe({ server }, call.seconds)
  }

  text(sample: MetricsSample): Promise<string> {
    this.#setRaft(sample.raft)
    this.#setConsensus(sample.consensus)
    this.#setPeers(sample.peers)
    this.#gossip.set(sample.gossip)
    this.#autopilot.set(sample.autopilot)
    this.#tokens.set(sample.tokens)
    this.#setCluster(sample.cluster)
    this.#node.set({ node: sample.node, version: sample.version }, 1)
    for (const each of lifePhases) this.#phase.set({ phase: each }, each === sample.life.phase ? 1 : 0)
    this.#inFlight.set(sample.life.inFlightNow)
    this.#sessions.set(sample.sessions)
    this.#kept.set(sample.kept)
    this.#upstreams.set(sample.upstreams)
    this.#process.sample()
    return this.#registry.metrics()
  }

  stop(): void {
    this.#process.stop()
    this.#registry.clear()
  }

  #setRaft(raft: MetricsSample['raft']): void {
    for (const role of raftRoles) this.#role.set({ role }, role === raft?.role ? 1 : 0)
    this.#hasLeader.set(raft?.hasLeader === true ? 1 : 0)
    this.#term.set(raft?.term ?? 0)
    this.#commitIndex.set(raft?.commitIndex ?? 0)
    this.#appliedIndex.set(raft?.appliedIndex ?? 0)
    this.#lastIndex.set(raft?.lastIndex ?? 0)
    this.#logBytes.set(raft?.logBytes ?? 0)
    this.#snapshotIndex.set(raft?.snapshotIndex ?? 0)
    this.#voters.set(raft?.voters ?? 0)
    this.#learners.set(raft?.learners ?? 0)
    this.#changing.set(raft?.isChanging === true ? 1 : 0)
  }

  #setConsensus(consensus: MetricsSample['consensus']): void {
    setTotal(this.#elections, consensus.elections)
    setTotal(this.#proposals, consensus.proposals)
    setTotal(this.#refusals, consensus.refusals)
    setTotal(this.#appended, consensus.appendedEntries)
    setTotal(this.#batches, consensus.persistBatches)
    setTotal(this.#syncs, consensus.persistSyncs)
    setTotal(this.#persistSeconds, consensus.persistMs / 1000)
    this.#disk.set(consensus)
    this.#frames.reset()
    this.#frames.inc({ direction: 'in' }, consensus.framesIn)
    this.#frames.inc({ direction: 'out' }, consensus.framesOut)
    this.#frames.inc({ direction: 'rejected' }, consensus.framesRejected)
    this.#peers.set(consensus.connectedPeersNow)
    this.#loopDelay.set(consensus.loopDelayMsNow / 1000)
  }

  #setPeers(peers: MetricsSample['peers']): void {
    this.#peerFrames.reset()
    this.#peerFrames.inc({ direction: 'in' }, peers.framesIn)
    this.#peerFrames.inc({ direction: 'out' }, peers.framesOut)
    this.#peerFrames.inc({ direction: 'rejected' }, peers.framesRejected)
    setTotal(this.#dropped, peers.notificationsDropped)
    setTotal(this.#behind, peers.peersBehind)
  }

  #setCluster(cluster: MetricsSample['cluster']): void {
    setTotal(this.#changes, cluster.changes)
    setTotal(this.#transfers, cluster.transfers)
    setTotal(this.#reads, cluster.reads)
    setTotal(this.#readsFailed, cluster.readsFailed)
    setTotal(this.#readRequests, cluster.readRequests)
    this.#snapshots.reset()
    this.#snapshots.inc({ direction: 'taken' }, cluster.snapshotsTaken)
    this.#snapshots.inc({ direction: 'restored' }, cluster.snapshotsRestored)
    setTotal(this.#snapshotSeconds, cluster.snapshotMs / 1000)
    this.#snapshotBytes.set(cluster.snapshotBytesLast)
    this.#snapshotSlice.set(cluster.snapshotSliceMsLongest / 1000)
    this.#idempotencyKeys.set(cluster.idempotencyKeysNow)
    this.#kvWatches.set(cluster.kvWatchesNow)
    this.#stateChecked.set(cluster.stateCheckedIndexNow)
    this.#stateDiverged.set(cluster.stateDivergedNow)
  }

  #boundedServer(server: string): string {
    if (this.#servers.has(server)) return server
    if (this.#servers.size >= labelledServersMax) return 'other'
    this.#servers.add(server)
    return server
  }

  #gauge<Label extends string = never>(name: string, help: string, labelNames: readonly Label[] = []): Gauge<Label> {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] })
  }

  #counter<Label extends string = never>(
    name: string,
    help: string,
    labelNames: readonly Label[] = [],
  ): Counter<Label> {
    return new Counter({ name, help, labelNames, registers: [this.#registry] })
  }
}

/** How a call ended, in the words of calls/. */
export type CallOutcome = 'result' | 'error' | 'not-sent' | 'rejected' | 'unknown' | 'cancelled' | 'left'

/** Servers that have a label of their own in a process's life. */
const labelledServersMax = 256
