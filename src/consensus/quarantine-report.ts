import type { RaftStatus } from '../raft/effects.ts'
import { otherVoters, tallyVotes } from '../raft/quorum.ts'
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
  /** Why it does not end by itself, and what to do; null: the others can end it. */
  #wayOut: string | null = null
  #peers: ReadonlySet<NodeId> = new Set()

  constructor(options: QuarantineReportOptions) {
    const { store, isRecovering, log } = options
    this.#store = store
    this.#log = log
    this.#isRecovering = isRecovering
  }

  get status(): QuarantineStatus | null {
    const quarantine = this.#found ?? this.#store.lastQuarantine
    if (quarantine === null) return null
    const why = this.#wayOut === null ? quarantine.why : `${quarantine.why}; ${this.#wayOut}`
    return { ...quarantine, why, isOver: !this.#isRecovering }
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
    this.#lookForWayOut(status)
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

  /** Without a majority of others nobody can tell what this node had: be it one voter, or two (raft/recovery.ts). */
  #lookForWayOut({ id, configuration }: RaftStatus): void {
    const others = new Map(otherVoters(configuration, id).map((voter) => [voter, true]))
    const isEndless =
      this.#isRecovering && configuration.voters.length > 0 && tallyVotes(configuration, others) !== 'won'
    const before = this.#wayOut
    this.#wayOut = isEndless
      ? `without ${id} the voters that it knows (${configuration.voters.join(', ')}) have no majority, so it does not end by itself: stop them, run "quorate raft recover" on each to see what it has, and recover one`
      : null
    if (before === null && this.status !== null && this.#wayOut !== null)
      this.#log('error', 'quarantine-lasts', { wayOut: this.#wayOut })
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
