import { assert, unreachable } from '../std/assert.ts'
import { Core } from './core.ts'
import type { RaftEffects, RaftEvent, RaftOptions, RaftStatus } from './effects.ts'
import {
  countOwnVote,
  onLeaderUnreachable,
  onPreVoteRequest,
  onVoteRequest,
  onVoteResponse,
  tickElection,
} from './election.ts'
import type { Entry, Index } from './entry.ts'
import { onAppendRequest, onHeartbeatRequest } from './follower.ts'
import {
  advanceCommit,
  onAppendAccepted,
  onAppendRejected,
  onHeartbeatResponse,
  onUnreachable,
  replicate,
  tickLeader,
} from './leader.ts'
import type { Message } from './messages.ts'
import { onPropose, onProposeRefused, onProposeUnsent, propose, tickProposals } from './proposals.ts'
import { isWellFormed } from './well-formed.ts'

/**
 * One node of Raft, as a function of its events: `step` tells it what happened, `take` asks what it wants done. It never
 * waits, reads no clock, and draws random numbers only from its seed: the same events give the same effects. What is wrong
 * with a message is never a reason to throw; a broken invariant is (std/assert), and then the node has to stop. One of them
 * is the cluster's: a leader that would overwrite a committed entry proves that a majority has lost what it acknowledged
 * (follower.ts).
 */
export class Raft {
  readonly #core: Core
  #appliedIndex: Index = 0
  #toldStatus: RaftStatus | null = null

  constructor(options: RaftOptions) {
    this.#core = new Core(options)
  }

  step(event: RaftEvent): void {
    const core = this.#core
    switch (event.kind) {
      case 'tick':
        core.ticks += 1
        if (core.role === 'leader') tickLeader(core)
        else tickElection(core)
        tickProposals(core)
        return
      case 'message':
        this.#receive(event.message)
        return
      case 'propose':
        propose(core, event)
        return
      case 'persisted':
        this.#persisted(event.seq)
        return
      case 'unsent':
        if (event.message.kind === 'propose') onProposeUnsent(core, event.message.id)
        else if (event.message.kind === 'append-request') onUnreachable(core, event.message.to)
        return
      case 'unreachable':
        if (event.peer === core.leader) onLeaderUnreachable(core)
        onUnreachable(core, event.peer)
        return
      default:
        unreachable(event)
    }
  }

  /** What is to be done now. Each effect is handed out once. */
  take(): RaftEffects {
    const core = this.#core
    if (core.role === 'leader') replicate(core)
    const apply = this.#takeCommitted()
    const hardState = { term: core.term, vote: core.vote, commit: core.commitIndex }
    const { persist, send } = core.persistence.take(hardState, core.log)
    const effects = { persist, send: [...send, ...core.send], apply, refused: core.refused, status: this.#takeStatus() }
    core.send = []
    core.refused = []
    return effects
  }

  status(): RaftStatus {
    const { id, role, term, leader, commitIndex, log } = this.#core
    return {
      id,
      role,
      term,
      leader,
      commitIndex,
      lastIndex: log.lastIndex,
      snapshotIndex: 0,
      configuration: log.configuration,
      logBytes: log.bytes,
    }
  }

  #persisted(seq: number): void {
    const core = this.#core
    const hardState = core.persistence.persisted(seq)
    core.log.written(seq)
    countOwnVote(core, hardState)
    if (core.role === 'leader') advanceCommit(core)
  }

  /** Committed and durable here (R7). */
  #takeCommitted(): readonly Entry[] {
    const core = this.#core
    const upTo = Math.min(core.commitIndex, core.log.durableIndex)
    assert(this.#appliedIndex <= upTo, 'what was applied stays committed and durable')
    const entries = core.log.between(this.#appliedIndex + 1, upTo)
    this.#appliedIndex = upTo
    for (const entry of entries) {
      for (const id of core.pending.applied(entry)) core.refuse(id, 'overwritten')
    }
    return entries
  }

  #takeStatus(): RaftStatus | null {
    const { role, term, leader, commitIndex, log } = this.#core
    const told = this.#toldStatus
    const isTold =
      told !== null &&
      told.role === role &&
      told.term === term &&
      told.leader === leader &&
      told.commitIndex === commitIndex &&
      told.lastIndex === log.lastIndex
    if (isTold) return null
    this.#toldStatus = this.status()
    return this.#toldStatus
  }

  /** Brings the node to the message's term where that is due (paper 5.1), then lets its part have it. */
  #receive(message: Message): void {
    const core = this.#core
    if (message.to !== core.id || !core.knows(message.from) || !isWellFormed(message)) return
    if (message.term < core.term) {
      this.#receiveFromThePast(message)
      return
    }
    if (message.term > core.term && raisesTerm(message)) {
      if (message.kind === 'vote-request' && core.isSticky) return
      core.becomeFollower(message.term, null)
    }
    switch (message.kind) {
      case 'pre-vote-request':
        onPreVoteRequest(core, message)
        return
      case 'vote-request':
        onVoteRequest(core, message)
        return
      case 'pre-vote-response':
      case 'vote-response':
        onVoteResponse(core, message)
        return
      case 'append-request':
        onAppendRequest(core, message)
        return
      case 'append-accepted':
        onAppendAccepted(core, message)
        return
      case 'append-rejected':
        onAppendRejected(core, message)
        return
      case 'heartbeat-request':
        onHeartbeatRequest(core, message)
        return
      case 'heartbeat-response':
        onHeartbeatResponse(core, message.from)
        return
      case 'propose':
        onPropose(core, message)
        return
      case 'propose-refused':
        onProposeRefused(core, message)
        return
      case 'propose-accepted':
        return
      default:
        unreachable(message)
    }
  }

  /**
   * A message of a lower term changes nothing, but who asks is told the present term: a leader that was deposed unseen
   * steps down, and so the node that is ahead of it (it may have campaigned alone) can be led again. The refusal of a
   * proposal stays true in any later term.
   */
  #receiveFromThePast(message: Message): void {
    const core = this.#core
    switch (message.kind) {
      case 'append-request':
        core.sendWhenDurable(message.from, {
          kind: 'append-rejected',
          prevIndex: message.prevIndex,
          hintIndex: 0,
          hintTerm: 0,
        })
        return
      case 'heartbeat-request':
        core.sendNow(message.from, { kind: 'heartbeat-response' })
        return
      case 'pre-vote-request':
        onPreVoteRequest(core, message)
        return
      case 'vote-request':
        onVoteRequest(core, message)
        return
      case 'propose':
        onPropose(core, message)
        return
      case 'propose-refused':
        onProposeRefused(core, message)
        return
      case 'pre-vote-response':
      case 'vote-response':
      case 'append-accepted':
      case 'append-rejected':
      case 'heartbeat-response':
      case 'propose-accepted':
        return
      default:
        unreachable(message)
    }
  }
}

/** A pre-vote speaks of a term that nobody has entered yet; all else comes from a node that is in its term. */
function raisesTerm(message: Message): boolean {
  if (message.kind === 'pre-vote-request') return false
  return !(message.kind === 'pre-vote-response' && message.granted)
}
