import type { RaftStatus } from '../raft/effects.ts'
import type { LogStore, Quarantine } from '../storage/log-store.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { ConsensusEvents, QuarantineStatus } from './consensus.ts'

/**
 * Says loudly, and once each, what must never pass in silence: that this node lost what it had promised, that it counts again,
 * and, of the leader, that a voter says so of itself.
 */
export class QuarantineReport {
  readonly #store: Pick<LogStore, 'lastQuarantine'>
  readonly #log: ConsensusEvents['log']
  #isRecovering: boolean
  /** Of a loss that no file shows: Raft found it. */
  #found: Quarantine | null = null
  #peers: ReadonlySet<NodeId> = new Set()

  constructor(options: QuarantineReportOptions) {
    const { store, isRecovering, log } = options
    this.#store = store
    this.#log = log
    this.#isRecovering = isRecovering
  }

  get status(): QuarantineStatus | null {
    const quarantine = this.#found ?? this.#store.lastQuarantine
    return quarantine === null ? null : { ...quarantine, isOver: !this.#isRecovering }
  }

  start(): void {
    const quarantine = this.#store.lastQuarantine
    if (quarantine !== null && this.#isRecovering) this.#log('error', 'quarantined', { ...quarantine })
  }

  /** This node joins with nothing: it recovers too, and has lost nothing by that. */
  joins(): void {
    this.#isRecovering = true
  }

  raftChanged(status: RaftStatus): void {
    if (status.isRecovering && !this.#isRecovering) this.#lost(status)
    else if (!status.isRecovering && this.#isRecovering) this.#recovered(status)
    this.#lookAtPeers(status)
  }

  #lost({ term, leader, lastIndex }: RaftStatus): void {
    this.#isRecovering = true
    const why = `the log ends at ${lastIndex}, before what leader ${leader} of term ${term} has from this node as durable`
    this.#found = { why, lostUpTo: 0, verified: null }
    this.#log('error', 'entries-lost', { why, term, leader, lastIndex })
  }

  #recovered({ term, leader, lastIndex }: RaftStatus): void {
    this.#isRecovering = false
    const { status } = this
    if (status === null) return
    const { why, lostUpTo, verified } = status
    this.#log('info', 'quarantine-ended', { why, lostUpTo, verified, term, leader, lastIndex })
  }

  /** Learners that join recover too, without having lost anything. */
  #lookAtPeers({ role, term, configuration, progress }: RaftStatus): void {
    const voters = [...configuration.voters, ...configuration.votersOutgoing]
    const recovering = progress.flatMap(({ node, isRecovering }) => (isRecovering ? [node] : []))
    const peers = new Set(role === 'leader' ? recovering.filter((peer) => voters.includes(peer)) : [])
    for (const peer of peers) if (!this.#peers.has(peer)) this.#log('error', 'peer-recovering', { peer, term })
    for (const { node: peer } of progress)
      if (this.#peers.has(peer) && !peers.has(peer)) this.#log('info', 'peer-recovered', { peer, term })
    this.#peers = peers
  }
}

export type QuarantineReportOptions = {
  readonly store: Pick<LogStore, 'lastQuarantine'>
  readonly isRecovering: boolean
  readonly log: ConsensusEvents['log']
}
