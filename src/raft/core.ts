import { assert } from '../std/assert.ts'
import { Random } from '../std/random.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { RaftOptions, Role } from './effects.ts'
import type { Index, Term } from './entry.ts'
import { RaftLog } from './log.ts'
import type { Message, MessageBody, RefusalReason } from './messages.ts'
import { PendingProposals } from './pending-proposals.ts'
import { Persistence } from './persistence.ts'
import type { Progress } from './progress.ts'
import { isMember, isVoter } from './quorum.ts'

/** A message before it has a sender; `term` is the sender's own unless it is given. */
type Outgoing = MessageBody & { readonly term?: Term }

/**
 * What the parts of one Raft node share: its state, its roles' common transitions, and what it has to say. The parts
 * (election, leader, follower, proposals) are functions of it; raft.ts gives them the events. It lives in one thread and
 * is changed by nobody else.
 */
export class Core {
  readonly id: NodeId
  readonly options: RaftOptions
  readonly log: RaftLog
  readonly persistence: Persistence
  readonly pending: PendingProposals

  /** Never falls. */
  term: Term
  /** Whom this node voted for in `term`; once set, it stays for the term. */
  vote: NodeId | null
  role: Role = 'follower'
  /** The leader of `term`, as far as known: at most one node ever is. */
  leader: NodeId | null = null
  /** Never falls; at most the last index of the log. */
  commitIndex: Index
  /** Ticks since the start. */
  ticks = 0
  /** Ticks since a leader was heard, a vote was given or a campaign began; a leader's: since it checked its quorum. */
  electionElapsed = 0
  /** Ticks since this leader's last heartbeats. */
  heartbeatElapsed = 0
  /** After so many ticks without a leader this node campaigns; drawn anew at every change of role or term. */
  electionTimeout: number
  /** Answers to this campaign; a set per voter, so that a duplicate answer does not count twice. */
  readonly votes = new Map<NodeId, boolean>()
  /** While leader: each other member. Filled in the order of ids. */
  readonly progress = new Map<NodeId, Progress>()
  /** While leader: the ids of the proposals appended in this term. Bounded by the log. */
  readonly ownTermIds = new Set<ProposalId>()

  /** Since the last take. */
  send: Message[] = []
  refused: { readonly id: ProposalId; readonly why: RefusalReason }[] = []

  readonly #random: Random

  constructor(options: RaftOptions) {
    const { id, hardState, entries, seed, electionTicks, heartbeatTicks } = options
    assert(heartbeatTicks >= 1 && electionTicks > heartbeatTicks, 'an election timeout is longer than a heartbeat')
    this.id = id
    this.options = options
    this.log = new RaftLog(entries)
    this.persistence = new Persistence(hardState)
    this.pending = new PendingProposals()
    this.term = hardState.term
    this.vote = hardState.vote
    // The first entry is the founders' common promise: nothing can take its place.
    this.commitIndex = Math.max(1, hardState.commit)
    assert(this.term >= this.log.lastTerm, 'the stored term is not below the log')
    assert(this.commitIndex <= this.log.lastIndex, 'the stored commit index is not above the log')
    this.#random = new Random(seed)
    this.electionTimeout = this.#drawElectionTimeout()
  }

  /** True for a node that may campaign. */
  get isVoter(): boolean {
    return isVoter(this.log.configuration, this.id)
  }

  knows(id: NodeId): boolean {
    return id !== this.id && isMember(this.log.configuration, id)
  }

  /** True while a leader was heard recently: then a campaign is none of this node's business (thesis 4.2.3). */
  get isSticky(): boolean {
    return this.leader !== null && this.electionElapsed < this.options.electionTicks
  }

  becomeFollower(term: Term, leader: NodeId | null): void {
    this.enter({ role: 'follower', term, leader })
  }

  /** Changes role. A higher term comes with a free vote; a lower one is never entered. */
  enter(place: { role: Role; term: Term; leader: NodeId | null }): void {
    assert(place.term >= this.term, 'the term does not fall')
    if (place.term > this.term) {
      this.term = place.term
      this.vote = null
    }
    this.role = place.role
    this.leader = place.leader
    this.electionElapsed = 0
    this.heartbeatElapsed = 0
    this.electionTimeout = this.#drawElectionTimeout()
    this.votes.clear()
    this.progress.clear()
    this.ownTermIds.clear()
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

  #message(to: NodeId, body: Outgoing): Message {
    return { from: this.id, to, term: this.term, ...body }
  }

  #drawElectionTimeout(): number {
    return this.options.electionTicks + this.#random.below(this.options.electionTicks)
  }
}
