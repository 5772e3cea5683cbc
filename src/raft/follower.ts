import { assert } from '../std/assert.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import type { Entry, Index, Term } from './entry.ts'
import { isRoomFor, spend } from './full-disk.ts'
import type { Message } from './messages.ts'
import { endRecovery, isHeldBack, noticeLoss } from './recovery.ts'

/**
 * What a node does with what the leader of its term says: it lets its log become the leader's, and answers when that is
 * durable. The committed part of the log never changes again. Called with messages of the node's own term.
 */

/** A follower's log may be so many times as long as a leader's. */
const overfullShare = 2

type AppendRequest = Extract<Message, { kind: 'append-request' }>
type HeartbeatRequest = Extract<Message, { kind: 'heartbeat-request' }>

export function onAppendRequest(core: Core, message: AppendRequest): void {
  if (!follow(core, message) || isHeldBack(core)) return
  const { prevIndex, prevTerm, entries, commit } = message
  const { log } = core
  if (!log.matches(prevIndex, prevTerm)) {
    const hintIndex = Math.max(log.baseIndex, log.lastIndexWithTermAtMost(prevTerm, prevIndex))
    const hintTerm = log.term(hintIndex)
    core.sendWhenDurable(message.from, { kind: 'append-rejected', prevIndex, hintIndex, hintTerm })
    return
  }
  // What the log has already is passed over: a late or short request takes nothing away (R5).
  const at = entries.findIndex((entry) => !log.matches(entry.index, entry.term))
  const news = at < 0 ? [] : entries.slice(at)
  if (isOverfull(core) || !isRoomFor(core, news)) return
  takeOver(core, message, news)
  // What is compacted here is every leader's.
  const match = Math.max(prevIndex + entries.length, log.baseIndex)
  core.matchedIndex = Math.max(core.matchedIndex, match)
  // The log is known to be the leader's up to `match`, not to its end.
  core.commitTo(Math.min(commit, match))
  endRecovery(core)
  core.sendWhenDurable(message.from, { kind: 'append-accepted', match })
}

/**
 * The commit index of a heartbeat is at most what this node has acknowledged to the leader in this term: who is recovering may
 * not have that any more.
 */
export function onHeartbeatRequest(core: Core, message: HeartbeatRequest): void {
  if (!follow(core, message)) return
  noticeLoss(core, message.match)
  if (isHeldBack(core)) return
  const commit = core.isRecovering ? Math.min(message.commit, core.matchedIndex) : message.commit
  if (commit <= core.log.lastIndex) core.commitTo(commit)
  endRecovery(core)
  core.sendNow(message.from, { kind: 'heartbeat-response', read: message.read, isDiskFull: core.isDiskFull })
}

/**
 * The log in memory is as long as no leader's grows by itself, so it is this node's state machine that lags, and with it the
 * snapshots that would let the log go. A request that finds no room counts as lost: the leader sends it again after a
 * heartbeat.
 */
function isOverfull({ log, options }: Core): boolean {
  return log.bytes > overfullShare * options.logBytesMax
}

/** False when the sender can not be the leader of this term, because another node is. */
export function follow(core: Core, leader: { readonly from: NodeId; readonly term: Term }): boolean {
  if (core.leader !== null && core.leader !== leader.from) return false
  const wasHurried = core.isHurried
  core.hurriedUntilTick = 0
  core.leaderHeardAtTick = core.ticks
  if (core.role !== 'follower' || core.leader !== leader.from) {
    core.becomeFollower(leader.term, leader.from)
    return true
  }
  core.electionElapsed = 0
  if (wasHurried) core.electionTimeout = core.drawElectionTimeout()
  return true
}

/**
 * A leader whose log contradicts what is committed here was elected by nodes that lost it, as by data directories restored
 * from old copies. To obey would lose acknowledged writes, and to go on beside it would serve two truths: this node stops and
 * says so.
 */
function takeOver(core: Core, { from, term }: AppendRequest, news: readonly Entry[]): void {
  const first: Index | undefined = news[0]?.index
  if (first === undefined) return
  if (first <= core.log.lastIndex) {
    const isOpen = first > core.commitIndex
    assert(isOpen, `leader ${from} of term ${term} would overwrite entry ${first}, which is committed: its log lost it`)
    core.log.truncateFrom(first)
  }
  core.log.append(news)
  spend(core, news)
}
