import { assert } from '../std/assert.ts'
import { Random } from '../std/random.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { RaftEffects, RaftOptions, Role, SnapshotMeta } from './effects.ts'
import type { Index, Term } from './entry.ts'
import { RaftLog } from './log.ts'
import type { Message, MessageBody, RefusalReason } from './messages.ts'
import { PendingProposals } from './pending-proposals.ts'
import { PendingReads } from './pending-reads.ts'
import { Persistence } from './persistence.ts'
import type { Progress } from './progress.ts'
import { isMember, isVoter } from './quorum.ts'
import type { Recovery } from './recovery.ts'

/** A message before it has a sender; `term` is the sender's own unless it is given. */
type Outgoing = MessageBody & { readonly term?: Term }

/** A leader's intention to hand over: see transfer.ts. */
type Transfer = { readonly to: NodeId; readonly untilTick: number; isTold: boolean }

/**
 * What the parts of one Raft node share: its state, its roles' common transitions, and what it has to say. The parts
 * (election, leader, follower, proposals, reads, ...) are functions of it; raft.ts gives them the events. It lives in one
 * thread and is changed by nobody else.
 */
export class Core {
  readonly id: NodeId
  readonly options: RaftOptions
  readonly log: RaftLog
  readonly persistence: Persistence
  readonly pending: PendingProposals
  readonly reads: PendingReads

  /** Never falls. */
  term: Term
  /** Whom this node voted for in `term`; once set, it stays for the term. */
  vote: NodeId | null
  /** It has lost some of what it promised, or never knew it: it gives no vote, and counts for nothing (recovery.ts). */
  isRecovering: boolean
  /** While recovering, and a leader was heard. */
  recovery: Recovery | null = null
  /** Its disk has no room but what the node keeps for itself (full-disk.ts). */
  isDiskFull = false
  /** While its disk is full: so much it still takes as a follower. */
  spareBytes = 0
  /** Its disk is full, and it has not tried yet to hand leadership over for that. */
  isHandOverDue = false
  role: Role = 'follower'
  /** The leader of `term`, as far as known: at most one node ever is. */
  leader: NodeId | null = null
  /** Never falls; at most the last index of the log. */
  commitIndex: Index
  /** Up to where entries were handed out to be applied, or a snapshot in their place. */
  handedOutIndex: Index = 0
  /** What the log began with at the start, until the state machine stands on it. */
  startSnapshot: SnapshotMeta | null
  /** Up to where the state machine says that it has applied them. */
  appliedIndex: Index
  /** The highest wall clock reading that this node was told, ms. */
  now = 0
  /** Ticks since the start. */
  ticks = 0
  /** Ticks since a leader was heard, a vote was given or a campaign began; a leader's: since it checked its quorum. */
  electionElapsed = 0
  /** Ticks since this leader's last heartbeats. */
  heartbeatElapsed = 0
  /** After so many ticks without a leader this node campaigns; drawn anew at every change of role or term. */
  electionTimeout: number
  /** The tick at which a leader, of whatever term, was last heard; the start counts, as nobody knows what came before it. */
  leaderHeardAtTick = 0
  /** Until this tick the leader is taken for dead, and this node is in a hurry to find another (election.ts). */
  hurriedUntilTick = 0
  /** Answers to this campaign; a set per voter, so that a duplicate answer does not count twice. */
  readonly votes = new Map<NodeId, boolean>()
  /** While following: up to where the log is known to be the leader's of this term. */
  matchedIndex: Index = 0
  /** While leader: each other member, and who is just being removed, in the order of ids. */
  readonly progress = new Map<NodeId, Progress>()
  /** While leader: the ids of the proposals appended in this term that the log still holds. */
  readonly ownTermIds = new Set<ProposalId>()
  /** While leader. */
  transfer: Transfer | null = null
  /** While leader: until this tick it needs to ask nobody before it answers a read (leaseReads). */
  leaseUntilTick = 0
  /** While leader: rounds up to this context give no lease. */
  leaseAfterContext = 0

  /** Since the last take. */
  send: Message[] = []
  sendSnapshot: RaftEffects['sendSnapshot'][number][] = []
  readable: RaftEffects['reads'][number][] = []
  readsRefused: number[] = []
  refused: RaftEffects['refused'][number][] = []

  readonly #random: Random

  constructor(options: RaftOptions) {
    const { id, hardState, snapshot, entries, seed, electionTicks, heartbeatTicks } = options
    assert(heartbeatTicks >= 1 && electionTicks > heartbeatTicks, 'an election timeout is longer than a heartbeat')
    this.id = id
    this.options = options
    this.startSnapshot = options.snapshot
    this.log = new RaftLog({ snapshot, entries })
    this.persistence = new Persistence(hardState)
    this.pending = new PendingProposals()
    this.term = hardState.term
    this.vote = hardState.vote
    // Who begins with nothing may have had its id before, and be a voter in configurations that counted on what it has forgotten.
    this.isRecovering = hardState.isRecovering || this.log.lastIndex === 0
    // The first entry is the founders' common promise: nothing can take its place.
    this.commitIndex = Math.max(Math.min(1, this.log.lastIndex), this.log.snapshotIndex, hardState.commit)
    this.appliedIndex = this.log.snapshotIndex
    assert(this.term >= this.log.lastTerm, 'the stored term is not below the log')
    assert(this.commitIndex <= this.log.lastIndex, 'the stored commit index is not above the log')
    this.#random = new Random(seed)
    this.electionTimeout = this.drawElectionTimeout()
    // Random, so that an answer to a request of an earlier life is not taken for one to a request of this life (R9).
    this.reads = new PendingReads(1 + this.#random.below(2 ** 32) * 2 ** 20)
  }

  /**
   * True for a node that may campaign. Also one that its newest configuration removes, while that is not committed: it may be
   * the only one whose log a leader can be made of (thesis 4.2.2). Its own vote counts only where it is a voter.
   */
  get isVoter(): boolean {
    const { log } = this
    if (this.isRecovering) return false
    if (isVoter(log.configuration, this.id)) return true
    const isOpen = log.configurationIndex > this.commitIndex
    return isOpen && isVoter(log.configurationAt(log.configurationIndex - 1), this.id)
  }

  knows(id: NodeId): boolean {
    return id !== this.id && isMember(this.log.configuration, id)
  }

  /** Whether an entry of the present term is committed: only then does a leader know what is (thesis 6.4). */
  get hasCommittedOwnTerm(): boolean {
    return this.log.term(this.commitIndex) === this.term
  }

  get isHurried(): boolean {
    return this.ticks < this.hurriedUntilTick
  }

  /**
   * True while a leader was heard recently: then a campaign is none of this node's business (thesis 4.2.3). A lease rests on
   * that: with leases it holds whatever happened since, also after a restart.
   */
  get isSticky(): boolean {
    const { leaseReads, electionTicks } = this.options
    if (leaseReads && this.role !== 'leader') return this.ticks - this.leaderHeardAtTick < electionTicks
    return this.leader !== null && this.electionElapsed < electionTicks && !this.isHurried
  }

  becomeFollower(term: Term, leader: NodeId | null): void {
    this.enter({ role: 'follower', term, leader })
  }

  /** Changes role. A higher term comes with a free vote; a lower one is never entered. */
  enter(place: { role: Role; term: Term; leader: NodeId | null }): void {
    assert(place.term >= this.term, 'the term does not fall')
    this.#endReads()
    if (place.term > this.term) {
      this.term = place.term
      this.vote = null
      this.hurriedUntilTick = 0
    }
    this.role = place.role
    this.leader = place.leader
    this.electionElapsed = 0
    this.heartbeatElapsed = 0
    this.electionTimeout = this.drawElectionTimeout()
    this.votes.clear()
    this.matchedIndex = 0
    this.recovery = null
    this.progress.clear()
    this.ownTermIds.clear()
    this.transfer = null
    this.leaseUntilTick = 0
    this.leaseAfterContext = 0
  }

  /** No lease holds, nor will one from the rounds up to `context`. */
  endLease(context: number): void {
    this.leaseUntilTick = 0
    this.leaseAfterContext = Math.max(this.leaseAfterContext, context)
  }

  /** In a hurry, soon: to ask again while others come to see that the leader is gone. */
  drawElectionTimeout(): number {
    if (this.isHurried) return 2 + this.#random.below(4)
    return this.options.electionTicks + this.#random.below(this.options.electionTicks)
  }

  /** No other request of this node's, in whatever process, has it. */
  drawNonce(): number {
    return this.#random.below(2 ** 32) * 2 ** 20 + this.#random.below(2 ** 20)
  }

  /** May leave at once: for what promises nothing that is not durable yet. */
  sendNow(to: NodeId, body: Outgoing): void {
    this.send.push(this.#message(to, body))
  }

  /** Leaves when everything decided so far is durable (R1). */
  sendWhenDurable(to: NodeId, body: Outgoing): void {
    this.persistence.sendWhenDurable(this.#message(to, body))
  }

  refuse(id: ProposalId, why: RefusalReason): void {
    this.refused.push({ id, why })
  }

  commitTo(index: Index): void {
    if (index <= this.commitIndex) return
    assert(index <= this.log.lastIndex, `commit index ${index} is in the log`)
    this.commitIndex = index
  }

  /** No read outlives the role and the term that it came in (R9). */
  #endReads(): void {
    const { own, remote } = this.reads.endAll()
    this.readsRefused.push(...own)
    for (const { from, id } of remote) this.sendNow(from, { kind: 'read-refused', id })
  }

  #message(to: NodeId, body: Outgoing): Message {
    return { from: this.id, to, term: this.term, ...body }
  }
}
