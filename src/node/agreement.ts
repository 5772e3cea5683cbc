import type { Clock } from '../std/clock.ts'
import { assert } from '../std/assert.ts'
import { deferred } from '../std/deferred.ts'
import type { Random } from '../std/random.ts'
import { parseAddress } from '../vocabulary/addresses.ts'
import type { Address } from '../vocabulary/addresses.ts'
import type { ProposalId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Config } from '../config/schema.ts'
import type { ConsensusEvents, ConsensusOptions, ConsensusStarted, ConsensusStatus } from '../consensus/consensus.ts'
import { newCounters } from '../consensus/status-report.ts'
import type { Log } from '../log/log.ts'
import { CatalogSource } from './catalog-source.ts'
import { Cluster } from './cluster.ts'
import { refuseUnfinished } from './data-dir.ts'
import { Leadership } from './leadership.ts'
import { Snapshots } from './snapshots.ts'
import { StateChecks } from './state-checks.ts'

/**
 * What the cluster agrees on and the thread that makes it agree: starts consensus, feeds what it commits to the cluster's
 * state, gives it the snapshots that it asks for, and keeps its latest status.
 */
export type Agreement = {
  readonly started: ConsensusStarted
  readonly cluster: Cluster
  readonly catalog: CatalogSource
  readonly leadership: Leadership
  readonly snapshots: Snapshots
  readonly checks: StateChecks
  status(): ConsensusStatus
  /** Told when a leader is known again, and after each change of catalog or members. */
  onNews(listener: () => void): void
  /** Told of each new status. */
  onStatus(listener: () => void): void
  stop(): Promise<void>
}

export async function startAgreement(options: AgreementOptions): Promise<Agreement> {
  const { config, version, clock, random, log, failed } = options
  // What consensus says before it has wholly started is heard; what is said to it waits.
  const starting = deferred<ConsensusStarted>()
  let started: ConsensusStarted | null = null
  let status = startingStatus
  let proposals = 0
  const newsListeners: (() => void)[] = []
  const statusListeners: (() => void)[] = []
  const news = (): void => tell(newsListeners)
  const running = (): ConsensusStarted => {
    assert(started !== null, 'nothing is proposed before consensus has started')
    return started
  }

  const cluster = new Cluster({
    submit: (id, content) => running().consensus.propose(id, content),
    ask: (id) => running().consensus.read(id),
    applied: (index) => started?.consensus.applied(index),
    nextId: () => `${running().node}.${running().generation}.${(proposals += 1)}` as ProposalId,
    failed,
    clock,
    log,
  })
  const lose = (why: OperatingError): void => {
    cluster.lose(why)
    options.lost(why)
  }
  const snapshots = new Snapshots({
    settled: () => cluster.settled(),
    capture: () => cluster.capture(),
    position: () => cluster.position,
    save: (snapshot) => void starting.promise.then(({ consensus }) => consensus.saveSnapshot(snapshot)),
    damaged(why) {
      lose(why)
      failed(why)
    },
    clock,
    log,
  })
  const catalog = new CatalogSource(cluster.state, { naming: config.mcp.naming, log })
  cluster.watch((change) => {
    if (change.catalog) catalog.changed()
    if (change.catalog || change.members) news()
  })

  const { cluster: settings, node, consensus } = config
  await refuseUnfinished(node.dataDir)
  const { maxVoters: votersMax, ...timing } = consensus
  assert(settings.secret !== null, 'a node knows its cluster and the secret before it starts')
  started = await options.startConsensus(
    {
      nodeId: node.id,
      dataDir: node.dataDir,
      clusterName: settings.name,
      secret: settings.secret,
      listen: listenAddress(config.listen.raft),
      advertiseRaft: config.advertise.raft,
      bootstrapExpect: settings.bootstrapExpect,
      ...timing,
      votersMax,
      version,
    },
    {
      restore: (snapshot) => cluster.restore(snapshot),
      committed: (entries) => cluster.committed(entries),
      refused: (id, why) => cluster.refused(id, why),
      readable: (id, index) => cluster.readable(id, index),
      readRefused: (id) => cluster.readRefused(id),
      snapshotWanted: () => snapshots.wanted(),
      status(next) {
        const newLeader = next.raft !== null && next.raft.leader !== null && next.raft.leader !== status.raft?.leader
        status = next
        if (newLeader) news()
        tell(statusListeners)
      },
      log: (level, event, fields) => log[level](event, fields),
      failed,
    },
  )
  starting.resolve(started)
  const { consensus: thread } = started
  thread.applied(cluster.state.appliedIndex)
  const leadership = new Leadership({
    node: started.node,
    electionTimeoutMs: consensus.electionTimeoutMs,
    raft: () => status.raft,
    state: cluster.state,
    handOver: (to) => thread.transfer(to),
    clock,
  })
  const checks = new StateChecks({
    node: started.node,
    raft: () => status.raft,
    state: cluster.state,
    propose: (...proposal) => cluster.propose(...proposal),
    diverged: (why) => lose(new OperatingError('state-diverged', why)),
    condemn: (why) => thread.condemn(why),
    clock,
    random,
    log,
  })
  cluster.watch((change) => {
    if (change.checks) checks.trigger()
  })
  statusListeners.push(
    () => leadership.changed(),
    () => checks.trigger(),
  )
  return {
    started,
    cluster,
    catalog,
    leadership,
    snapshots,
    checks,
    status: () => status,
    onNews: (listener) => newsListeners.push(listener),
    onStatus: (listener) => statusListeners.push(listener),
    async stop() {
      checks.stop()
      leadership.stop()
      cluster.stop()
      await snapshots.stop()
      await thread.stop()
    },
  }
}

function tell(listeners: readonly (() => void)[]): void {
  for (const listener of listeners) listener()
}

export type AgreementOptions = {
  readonly config: Config
  readonly version: string
  /** As consensus/thread does it. */
  readonly startConsensus: (options: ConsensusOptions, events: ConsensusEvents) => Promise<ConsensusStarted>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Nothing is to be served from this node's state any more; it is about to fail. */
  readonly lost: (why: OperatingError) => void
  readonly failed: (error: OperatingError) => void
}

/** A `listen.*` value, which the configuration's schema has checked. */
export function listenAddress(text: string): Address {
  const address = parseAddress(text)
  assert(address !== undefined, `a loaded configuration has addresses, not ${text}`)
  return address
}

/** Until consensus has said the first word. */
const startingStatus: ConsensusStatus = {
  clusterId: null,
  promised: null,
  raft: null,
  waitingFor: 'consensus is starting',
  connected: [],
  reached: [],
  quarantine: null,
  isDiskFull: false,
  counters: { ...newCounters(), loopDelayMs: 0, oldestWriteMs: 0, syncP99Ms: 0, diskFreeBytes: null },
}
