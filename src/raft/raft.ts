import { assert, unreachable } from '../std/assert.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { Core } from './core.ts'
import type { RaftEffects, RaftEvent, RaftOptions, RaftStatus, SnapshotMeta } from './effects.ts'
import {
  countOwnVote,
  onLeaderGone,
  onLeaderLost,
  onPreVoteRequest,
  onTimeoutNow,
  onVoteRequest,
  onVoteResponse,
  tickElection,
} from './election.ts'
import type { Entry, Index } from './entry.ts'
import { onAppendRequest, onHeartbeatRequest } from './follower.ts'
import { lead, tickLeader } from './leader.ts'
import type { Message } from './messages.ts'
import { onPropose, onProposeRefused, onProposeUnsent, propose, tickProposals } from './proposals.ts'
import {
  beginReads,
  confirmReads,
  failForwarded,
  onReadRefused,
  onReadRequest,
  onReadResponse,
  read,
  refuseForwarded,
  tickReads,
} from './reads.ts'
import { onRecoveryRequest, onRecoveryResponse } from './recovery.ts'
import {
  acknowledged,
  advanceCommit,
  memberProgress,
  onAppendAccepted,
  onAppendRejected,
  onHeartbeatResponse,
  onSnapshotFailed,
  onUnreachable,
} from './replication.ts'
import { compactFromStart, onSnapshotReceived, onSnapshotted, snapshotMeta } from './snapshots.ts'
import { onTargetUnreachable, startTransfer } from './transfer.ts'
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
  #toldStatus: RaftStatus | null = null

  constructor(options: RaftOptions) {
    this.#core = new Core(options)
  }

  step(event: RaftEvent): void {
    const core = this.#core
    switch (event.kind) {
      case 'tick':
        this.#tick(event.now)
        return
      case 'ticks-missed':
        core.endLease(core.reads.context)
        return
      case 'message':
        this.#receive(event.message)
        return
      case 'propose':
        propose(core, event)
        return
      case 'read':
        read(core, event.id)
        return
      case 'transfer':
        startTransfer(core, event.to)
        return
      case 'persisted':
        this.#persisted(event.seq)
        return
      case 'applied':
        assert(event.index <= core.handedOutIndex, 'only what was handed out can have been applied')
        core.appliedIndex = Math.max(core.appliedIndex, event.index)
        compactFromStart(core)
        return
      case 'snapshotted':
        onSnapshotted(core, event.snapshot)
        return
      case 'snapshot-received':
        onSnapshotReceived(core, event)
        return
      case 'snapshot-failed':
        onSnapshotFailed(core, event.peer)
        return
      case 'unsent':
        this.#unsent(event.message)
        return
      case 'disk-full':
        core.isHandOverDue = event.isFull && (core.isHandOverDue || !core.isDiskFull)
        core.isDiskFull = event.isFull
        return
      case 'unreachable':
        this.#unreachable(event.peer)
        if (core.leader === event.peer) onLeaderLost(core)
        return
      case 'peer-gone':
        this.#unreachable(event.peer)
        if (core.leader === event.peer) onLeaderGone(core)
        return
      default:
        unreachable(event)
    }
  }

  /** What is to be done now. Each effect is handed out once. */
  take(): RaftEffects {
    const core = this.#core
    beginReads(core)
    if (core.role === 'leader') lead(core)
    const restore = this.#takeRestore()
    const apply = this.#takeCommitted()
    const { term, vote, commitIndex: commit, isRecovering } = core
    const hardState = { term, vote, commit, isRecovering }
    const { persist, send } = core.persistence.take(hardState, core.log, core.ticks)
    const effects = {
      persist,
      send: [...send, ...core.send],
      sendSnapshot: core.sendSnapshot,
      restore,
      apply,
      reads: core.readable,
      readsRefused: core.readsRefused,
      refused: core.refused,
      status: this.#takeStatus(),
    }
    core.send = []
    core.sendSnapshot = []
    core.readable = []
    core.readsRefused = []
    core.refused = []
    return effects
  }

  status(): RaftStatus {
    const core = this.#core
    const { id, role, term, leader, commitIndex, log } = core
    return {
      id,
      role,
      term,
      leader,
      commitIndex,
      lastIndex: log.lastIndex,
      snapshotIndex: log.snapshotIndex,
      firstIndex: log.baseIndex + 1,
      configuration: log.configuration,
      isConfigurationCommitted: log.configurationIndex <= commitIndex,
      logBytes: log.bytes,
      isRecovering: core.isRecovering,
      progress: memberProgress(core),
    }
  }

  /**
   * What a snapshot that the state machine takes after it applied `index` stands for; null when it is not newer than the
   * one that there is (or is not applied): then none is needed.
   */
  snapshotMeta(index: Index): SnapshotMeta | null {
    return snapshotMeta(this.#core, index)
  }

  /** The entries of [first, last] that the log holds in memory. */
  entries(first: Index, last: Index): readonly Entry[] {
    const { log } = this.#core
    return log.between(Math.max(first, log.baseIndex + 1), Math.min(last, log.lastIndex))
  }

  #tick(now: number): void {
    const core = this.#core
    assert(Number.isSafeInteger(now) && now >= 0, 'the clock shows whole milliseconds')
    core.ticks += 1
    core.now = Math.max(core.now, now)
    if (core.role === 'leader') tickLeader(core)
    else tickElection(core)
    tickProposals(core)
    tickReads(core)
  }

  #persisted(seq: number): void {
    const core = this.#core
    const hardState = core.persistence.persisted(seq)
    core.log.written(seq)
    countOwnVote(core, hardState)
    if (core.role === 'leader') advanceCommit(core)
  }

  #unreachable(peer: NodeId): void {
    onUnreachable(this.#core, peer)
    onTargetUnreachable(this.#core, peer)
    failForwarded(this.#core, peer)
  }

  #unsent(message: Message): void {
    const core = this.#core
    if (message.kind === 'propose') onProposeUnsent(core, message.id)
    else if (message.kind === 'append-request') onUnreachable(core, message.to)
    else if (message.kind === 'read-request') refuseForwarded(core, message.id)
    else if (message.kind === 'timeout-now') onTargetUnreachable(core, message.to)
  }

  /** A snapshot that is durable here, and in the place of entries that were not handed out. */
  #takeRestore(): SnapshotMeta | null {
    const core = this.#core
    const { snapshot, durableIndex } = core.log
    if (snapshot === null || snapshot.index <= core.handedOutIndex || snapshot.index > durableIndex) return null
    core.handedOutIndex = snapshot.index
    return snapshot
  }

  /**
   * Committed and durable here (R7); nothing while a snapshot that takes the place of entries is not durable, and no more than
   * the state machine may have before it: the rest waits in the log.
   */
  #takeCommitted(): readonly Entry[] {
    const core = this.#core
    const { snapshotIndex, durableIndex } = core.log
    if (core.handedOutIndex < snapshotIndex) return []
    const roomUpTo = Math.max(core.appliedIndex, snapshotIndex) + core.options.unappliedEntriesMax
    const upTo = Math.min(core.commitIndex, durableIndex, Math.max(core.handedOutIndex, roomUpTo))
    assert(core.handedOutIndex <= upTo, 'what was handed out stays committed and durable')
    const entries = core.log.between(core.handedOutIndex + 1, upTo)
    core.handedOutIndex = upTo
    for (const entry of entries) {
      for (const id of core.pending.applied(entry)) core.refuse(id, 'overwritten')
    }
    return entries
  }

  #takeStatus(): RaftStatus | null {
    const { role, term, leader, commitIndex, isRecovering, log } = this.#core
    const told = this.#toldStatus
    const isTold =
      told !== null &&
      told.role === role &&
      told.term === term &&
      told.leader === leader &&
      told.commitIndex === commitIndex &&
      told.isRecovering === isRecovering &&
      told.configuration === log.configuration &&
      told.firstIndex === log.baseIndex + 1 &&
      told.snapshotIndex === log.snapshotIndex &&
      told.lastIndex === log.lastIndex
    if (isTold) return null
    this.#toldStatus = this.status()
    return this.#toldStatus
  }

  /** Brings the node to the message's term where that is due (paper 5.1), then lets its part have it. */
  #receive(message: Message): void {
    const core = this.#core
    if (message.to !== core.id || !isWellFormed(message) || !isHeard(core, message)) return
    if (message.term < core.term) {
      this.#receiveFromThePast(message)
      return
    }
    if (message.term > core.term && raisesTerm(message)) {
      if (message.kind === 'vote-request' && core.isSticky && !message.transfer) return
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
      case 'snapshot-installed':
        acknowledged(core, message.from, message.index)
        return
      case 'heartbeat-request':
        onHeartbeatRequest(core, message)
        return
      case 'heartbeat-response':
        onHeartbeatResponse(core, message)
        if (core.role === 'leader') confirmReads(core)
        return
      case 'timeout-now':
        onTimeoutNow(core, message)
        return
      case 'read-request':
        onReadRequest(core, message)
        return
      case 'read-response':
        onReadResponse(core, message)
        return
      case 'read-refused':
        onReadRefused(core, message)
        return
      case 'propose':
        onPropose(core, message)
        return
      case 'propose-refused':
        onProposeRefused(core, message)
        return
      case 'propose-accepted':
        return
      case 'recovery-request':
        onRecoveryRequest(core, message)
        return
      case 'recovery-response':
        onRecoveryResponse(core, message)
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
        core.sendNow(message.from, { kind: 'heartbeat-response', read: 0 })
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
      case 'read-request':
        onReadRequest(core, message)
        return
      case 'pre-vote-response':
      case 'vote-response':
      case 'append-accepted':
      case 'append-rejected':
      case 'snapshot-installed':
      case 'heartbeat-response':
      case 'timeout-now':
      case 'read-response':
      case 'read-refused':
      case 'propose-accepted':
      case 'recovery-request':
      case 'recovery-response':
        return
      default:
        unreachable(message)
    }
  }
}

/**
 * Members are heard. Others only as far as they may be members of a newer configuration, that this node has not got yet
 * (thesis 4.1): who leads its term or a later one, and a candidate whose log goes beyond this node's; and as far as they answer
 * the leader that is just removing them. Nobody else can make it change its term, and nobody becomes a member by speaking.
 */
function isHeard(core: Core, message: Message): boolean {
  if (message.from === core.id) return false
  const isCandidate = message.kind === 'pre-vote-request' || message.kind === 'vote-request'
  if (isCandidate && core.isRecovering) return false
  if (core.knows(message.from) || core.leader === message.from) return true
  if (message.kind === 'append-request' || message.kind === 'heartbeat-request') return message.term >= core.term
  if (message.kind === 'append-accepted' || message.kind === 'append-rejected') {
    return message.term === core.term && core.progress.has(message.from)
  }
  return isCandidate && !core.log.reaches(message.lastIndex, message.lastTerm)
}

/** A pre-vote speaks of a term that nobody has entered yet; all else comes from a node that is in its term. */
function raisesTerm(message: Message): boolean {
  if (message.kind === 'pre-vote-request') return false
  return !(message.kind === 'pre-vote-response' && message.granted)
}
