import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import { assert } from '../std/assert.ts'
import type { Core } from './core.ts'
import type { Index } from './entry.ts'
import type { Message } from './messages.ts'
import { counts } from './progress.ts'
import type { Progress } from './progress.ts'
import { advanceCommit, appendOwn, beginProbing, hear } from './replication.ts'
import { onTargetUnreachable } from './transfer.ts'

/**
 * How a node M that lost some of what it promised, or never knew it, comes to count again. It gives no vote, and the leader L
 * of its term T hears of it only that. L then appends a noop X, and counts M for nothing until X is committed and M has it; M
 * ends recovering when it hears from L, in T, that X is committed, and has it. Why that is safe, whatever M lost, its terms and
 * votes too: X is committed by a majority Q (in a joint configuration, of both), each of which acknowledged X after M's loss,
 * in T, and none of which is M, or was recovering at L then. By induction over all elections and recoveries, in time:
 * 1. Who elects a leader of a term above T holds X: its majority shares a node with Q, which is not M; had that one voted
 *    before it acknowledged X, it would have been in a later term than T. So before M's loss there was no such leader.
 * 2. No vote that M gave in a term U and forgot helps two leaders. If U <= T, M votes in U no more: who asks has no entry of
 *    T, and M, having X, refuses it. If U > T, the log of the C that M voted for is from before X, and by 1 without entries of
 *    a term in ]T, U[: who is in Q refuses it, having X; who granted it before is not in Q: C is not elected. (If C is M, it
 *    may ask in U again. Late grants of the request that it forgot are of nodes outside Q, whose logs had nothing of a
 *    term above T, by 1, nor anything committed that is not before X, by 3: the log that M has now is no worse.)
 * 3. Every entry that was committed with M's help, or that M had, and is committed, is before X in L's log. One of a term
 *    below T L has since its election, as ever: M kept all that it promised until its last vote. One of T L appended before M
 *    had it. One of a term above T there was not, by 1.
 * 4. So M is, from its end on, as good as if it had lost nothing; and before, it gives no vote, so that no majority of voters
 *    is without what is committed. That L, or a leader that was not told, counts what M acknowledged before its loss (also
 *    when it comes late, which is below X) is right for the same reason: M tells nothing new before it was answered.
 * Where Q needs M (of one voter, or of two) it stays recovering: only an operator can say that nothing was lost.
 * The nonce keeps answers to an earlier process of M, which may since have acknowledged more, from ending anything. A request
 * that comes late or twice would hold up L for no reason: L repeats its answer with its heartbeats, and M, being well, sends
 * it back. It names the X, so M was well after L came to doubt it, and L has heard of no loss since.
 */

type RecoveryRequest = Extract<Message, { kind: 'recovery-request' }>
type RecoveryResponse = Extract<Message, { kind: 'recovery-response' }>

/** Of a node that is recovering: what it has asked the leader of its term. Ends with the term, the leader and the process. */
export type Recovery = {
  /** Which request, of all that this node ever made. */
  readonly nonce: number
  /** The leader's answer: where X is; null: it has not answered. */
  index: Index | null
}

/** True while this node may not take part yet; its request is all that the leader hears of it. */
export function isHeldBack(core: Core): boolean {
  if (!core.isRecovering) return false
  core.recovery ??= { nonce: core.drawNonce(), index: null }
  if (core.recovery.index !== null) return false
  assert(core.leader !== null, 'only a leader is asked')
  core.sendWhenDurable(core.leader, { kind: 'recovery-request', nonce: core.recovery.nonce })
  return true
}

/** `match`: what this node has acknowledged to the leader of its term. A log that ends before it has lost what was durable. */
export function noticeLoss(core: Core, match: Index): void {
  if (match > core.log.lastIndex) core.isRecovering = true
}

/** Whenever this node has got on in its leader's log, or heard what is committed of it. */
export function endRecovery(core: Core): void {
  const index = core.recovery?.index ?? Infinity
  if (core.matchedIndex < index || core.commitIndex < index) return
  core.isRecovering = false
  core.recovery = null
}

/** What a leader does when a member has lost something: a request that is repeated is answered alike. */
export function onRecoveryRequest(core: Core, { from, nonce }: RecoveryRequest): void {
  const progress = hear(core, from)
  if (core.role !== 'leader' || progress === undefined) return
  if (progress.recovery?.nonce !== nonce) {
    forget(core, from, progress)
    const { index } = appendOwn(core, { kind: 'noop', id: '' as ProposalId, data: new Uint8Array() })
    progress.recovery = { nonce, index }
    progress.awaitedCommit = index
  }
  remind(core, from, progress)
}

/** Nothing holds any more that the member has said. */
function forget(core: Core, member: NodeId, progress: Progress): void {
  progress.match = 0
  progress.toldCommit = 0
  progress.ackedRead = 0
  progress.caughtUpRounds = 0
  beginProbing(progress, core.log.lastIndex + 1)
  core.endLease(core.reads.context)
  onTargetUnreachable(core, member)
}

/** Tells a member that does not count from where on it will. */
export function remind(core: Core, member: NodeId, { recovery }: Progress): void {
  if (recovery !== null) core.sendNow(member, { kind: 'recovery-response', ...recovery })
}

export function onRecoveryResponse(core: Core, message: RecoveryResponse): void {
  if (core.role === 'leader') onUnawaited(core, message)
  if (core.leader !== message.from) return
  const { from, nonce, index } = message
  if (!core.isRecovering) core.sendWhenDurable(from, { kind: 'recovery-response', nonce, index })
  else if (core.recovery?.nonce === nonce) core.recovery.index ??= index
}

/** The member is well: the request that made this leader doubt it came late, or twice. */
function onUnawaited(core: Core, { from, nonce, index }: RecoveryResponse): void {
  const progress = core.progress.get(from)
  if (progress === undefined || counts(progress)) return
  if (progress.recovery?.nonce !== nonce || progress.recovery.index !== index) return
  progress.recovery = null
  advanceCommit(core)
}
