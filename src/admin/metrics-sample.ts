import type { RaftRole, UpstreamState } from './needs.ts'
import type { LifeSample } from './node-needs.ts'
import type { TokenSample } from './token-needs.ts'

/** What /metrics tells beside what is pushed to it (see metrics.ts); taken once a scrape. */
export type MetricsSample = {
  readonly node: string
  readonly version: string
  /** Null before the cluster has formed. */
  readonly raft: {
    readonly role: RaftRole
    readonly hasLeader: boolean
    readonly term: number
    readonly commitIndex: number
    readonly appliedIndex: number
    readonly lastIndex: number
    readonly snapshotIndex: number
    readonly logBytes: number
    readonly voters: number
    readonly learners: number
    /** Whether a change of the configuration is under way. */
    readonly isChanging: boolean
  } | null
  /** Monotone since the start of the process, except where the name says otherwise. */
  readonly consensus: {
    readonly elections: number
    readonly proposals: number
    readonly refusals: number
    readonly appendedEntries: number
    readonly persistBatches: number
    readonly persistSyncs: number
    readonly persistMs: number
    readonly oldestWriteMsNow: number
    /** Of the last few seconds. */
    readonly syncP99MsNow: number
    readonly stalls: number
    readonly stallHandovers: number
    readonly snapshotsSaved: number
    readonly snapshotBytesSaved: number
    readonly snapshotsSent: number
    readonly snapshotBytesSent: number
    readonly snapshotsReceived: number
    readonly snapshotBytesReceived: number
    readonly scrubbedBytes: number
    readonly scrubRounds: number
    readonly damageFound: number
    readonly damageMended: number
    /** Null: not known. */
    readonly diskFreeBytesNow: number | null
    readonly isDiskFullNow: boolean
    readonly isQuarantinedNow: boolean
    readonly framesIn: number
    readonly framesOut: number
    readonly framesRejected: number
    readonly connectedPeersNow: number
    readonly loopDelayMsNow: number
  }
  /** Of this process's times as a leader; monotone since its start, except where the name says otherwise. */
  readonly autopilot: {
    readonly isActiveNow: boolean
    readonly voterTargetNow: number
    readonly failureToleranceNow: number
    readonly holdsNow: number
    readonly promotions: number
    readonly removals: number
    readonly refusals: number
  }
  /** Of the peer listener and the links of the main thread; monotone since the start of the process. */
  readonly peers: {
    readonly framesIn: number
    readonly framesOut: number
    readonly framesRejected: number
    readonly notificationsDropped: number
    /** How often a peer had to fetch what it did not take as fast as it arose. */
    readonly peersBehind: number
  }
  /** For clients that come back. Monotone since the start of the process, except where the name says otherwise. */
  readonly kept: {
    readonly calls: {
      readonly unattendedNow: number
      readonly endedNow: number
      readonly bytesNow: number
      readonly resumed: number
      readonly givenUp: number
      readonly eventsLost: number
    }
    readonly mail: { readonly mailsNow: number; readonly bytesNow: number; readonly lost: number }
  }
  /** Monotone since the start of the process, except where the name says otherwise. */
  readonly gossip: {
    /** Other nodes by status. */
    readonly membersNow: Readonly<Record<'alive' | 'suspect' | 'dead' | 'left', number>>
    readonly localHealthNow: number
    readonly lanesNow: number
    readonly probes: number
    readonly probesFailed: number
    readonly indirectProbes: number
    readonly refutations: number
    readonly messagesIn: number
    readonly messagesOut: number
    readonly messagesRefused: number
    readonly bytesIn: number
    readonly bytesOut: number
  }
  /** Monotone since the start of the process, except where the name says otherwise. */
  readonly cluster: {
    readonly reads: number
    readonly readsFailed: number
    readonly readRequests: number
    readonly snapshotsTaken: number
    readonly snapshotsRestored: number
    readonly snapshotMs: number
    readonly snapshotBytesLast: number
    readonly snapshotSliceMsLongest: number
    readonly transfers: number
    readonly changes: number
    readonly idempotencyKeysNow: number
    readonly kvWatchesNow: number
    readonly stateCheckedIndexNow: number
    readonly stateDivergedNow: number
  }
  readonly tokens: TokenSample
  readonly life: LifeSample
  /** Monotone since the start of the process, except where the name says otherwise. */
  readonly sessions: {
    /** Of the whole cluster. */
    readonly now: number
    readonly opened: number
    readonly seeks: number
    readonly touched: number
  }
  readonly upstreams: {
    /** This node's, as many as its configuration names. */
    readonly servers: readonly {
      readonly server: string
      readonly status: UpstreamState
      /** Those that have an upstream of it to themselves. */
      readonly sessionsNow: number
    }[]
    readonly questionsNow: number
  }
}
