import { assert, unreachable } from '../std/assert.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { Core } from './core.ts'
import type { RaftEffects, RaftEvent, RaftOptions, RaftStatus, SnapshotMeta } from './effects.ts'
import { countOwnVote, onLeaderGone, onLeaderLost, tickElection } from './election.ts'
import type { Entry, Index } from './entry.ts'
import { onDiskFull } from './full-disk.ts'
import { lead, tickLeader } from './leader.ts'
import type { Message } from './messages.ts'
import { onProposeUnsent, propose, tickProposals } from './proposals.ts'
import { beginReads, failForwarded, read, refuseForwarded, tickReads } from './reads.ts'
import { receive } from './receive.ts'
import { counts } from './progress.ts'
import { advanceCommit, memberProgress, onSnapshotFailed, onUnreachable } from './replication.ts'
import { compactFromStart, onSnapshotReceived, onSnapshotted, snapshotMeta } from './snapshots.ts'
import { onTargetUnreachable, startTransfer } from './transfer.ts'

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
        receive(core, event.message)
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
        onDiskFull(core, event)
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
    const { role, term, leader, commitIndex, isRecovering, log, progress } = this.#core
    const told = this.#toldStatus
    const isTold =
      told !== null &&
      told.role === role &&
      told.term === term &&
      told.leader === leader &&
      told.isRecovering === isRecovering &&
      told.configuration === log.configuration &&
      told.isConfigurationCommitted === log.configurationIndex <= commitIndex &&
      told.firstIndex === log.baseIndex + 1 &&
      told.snapshotIndex === log.snapshotIndex &&
      // That a member counts again may be all the news there is.
      told.progress.every(({ node, isRecovering: wasRecovering }) => {
        const member = progress.get(node)
        return member === undefined || counts(member) !== wasRecovering
      })
    if (isTold) return null
    this.#toldStatus = this.status()
    return this.#toldStatus
  }
}
