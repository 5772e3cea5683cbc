import type { Clock } from '../std/clock.ts'
import { assert } from '../std/assert.ts'
import { parseAddress } from '../vocabulary/addresses.ts'
import type { Address } from '../vocabulary/addresses.ts'
import type { ProposalId } from '../vocabulary/ids.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'
import type { Config } from '../config/schema.ts'
import type { ConsensusStarted, ConsensusStatus } from '../consensus/consensus.ts'
import { startConsensusThread } from '../consensus/thread.ts'
import type { Log } from '../log/log.ts'
import { CatalogSource } from './catalog-source.ts'
import { Cluster } from './cluster.ts'

/**
 * What the cluster agrees on and the thread that makes it agree: starts consensus, feeds what it commits to the cluster's
 * state, and keeps its latest status.
 */
export type Agreement = {
  readonly started: ConsensusStarted
  readonly cluster: Cluster
  readonly catalog: CatalogSource
  status(): ConsensusStatus
  /** Told when a leader is known again, and after each change of the state. */
  onNews(listener: () => void): void
  stop(): Promise<void>
}

export async function startAgreement(options: AgreementOptions): Promise<Agreement> {
  const { config, version, clock, log, failed } = options
  let started: ConsensusStarted | null = null
  let status = startingStatus
  let proposals = 0
  const listeners: (() => void)[] = []
  const news = (): void => {
    for (const listener of listeners) listener()
  }
  const running = (): ConsensusStarted => {
    assert(started !== null, 'nothing is proposed before consensus has started')
    return started
  }

  const cluster = new Cluster({
    submit: (id, data) => running().consensus.propose(id, data),
    nextId: () => `${running().node}.${running().generation}.${(proposals += 1)}` as ProposalId,
    clock,
    log,
  })
  const catalog = new CatalogSource(cluster.state, log)
  cluster.watch((change) => {
    if (change.catalog) catalog.changed()
    if (change.catalog || change.members) news()
  })

  const { cluster: settings, node, consensus } = config
  assert(settings.secret !== null, 'a loaded configuration has a secret')
  started = await startConsensusThread(
    {
      nodeId: node.id,
      dataDir: node.dataDir,
      clusterName: settings.name,
      secret: settings.secret,
      listen: listenAddress(config.listen.raft),
      advertiseRaft: config.advertise.raft,
      bootstrapExpect: settings.bootstrapExpect,
      ...consensus,
      version,
    },
    {
      committed: (entries) => cluster.committed(entries),
      refused: (id, why) => cluster.refused(id, why),
      status(next) {
        const newLeader = next.raft !== null && next.raft.leader !== null && next.raft.leader !== status.raft?.leader
        status = next
        if (newLeader) news()
      },
      log: (level, event, fields) => log[level](event, fields),
      failed,
    },
  )
  const { consensus: thread } = started
  return {
    started,
    cluster,
    catalog,
    status: () => status,
    onNews: (listener) => listeners.push(listener),
    async stop() {
      cluster.stop()
      await thread.stop()
    },
  }
}

export type AgreementOptions = {
  readonly config: Config
  readonly version: string
  readonly clock: Clock
  readonly log: Log
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
  counters: {
    elections: 0,
    proposals: 0,
    refusals: 0,
    appendedEntries: 0,
    persistBatches: 0,
    persistMs: 0,
    framesIn: 0,
    framesOut: 0,
    framesRejected: 0,
    loopDelayMs: 0,
  },
}
