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
 * How a node that has lost some of what it promised (M), or never knew it, comes to count again. It gives no vote, and tells
 * the leader L of its term T so in the place of any answer. L then appends a noop X, and counts M for nothing until X is
 * committed and M has it; M ends recovering when it hears from L, in T, that X is committed. That is safe whatever M lost,
 * its terms and votes too, and whoever else recovers. Let X be committed by the majority Q: M is not in it, nor is anyone
 * who had not acknowledged X itself, in T, after M's loss.
 *
 * 1. No leader of a term above T was elected by a majority before it acknowledged X: one of them is in Q (so it is not M),
 *    and who is in a later term acknowledges nothing in T.
 * 2. No candidate C of any term U that M voted in before its loss is elected afterwards. If U <= T, T has its leader, and C's
 *    log has no entry of T, while M's has X when it votes again: M refuses C. If U > T, C asked before X was there, so
 *    C's log lacks X; it has no entry of a term in ]T, U[ by 1; so everybody in Q, having X, refuses it, and any who had
 *    granted it before is in term U and not in Q.
 * 3. Every entry E that was committed with M's help before its loss is before X in L's log. If E is of a term below T,
 *    L has it since its election, as ever: M remembered E in all votes that it gave, and gives none now. If of T, L itself
 *    appended it before M acknowledged it. It is of no term above T, by 1.
 * 4. Until then M gives no vote, so no majority is without E that would not be without it, had M kept E. From then on M
 *    has X and all before it, and is as good as if it had never lost anything: 2 and 3 hold for who recovers next.
 * 5. An acknowledgement from before the loss that comes late names an index below X (it is L's log that grew): so L believes
 *    M's from X on only. To count M for less until it is asked harms nobody, by 4: also a leader that does not know, as M
 *    answers it nothing, in its term, before it knows. In a joint configuration Q is a majority of both.
 * Who needs M for Q (of one voter, or two) stays as it is: only an operator can say that nothing was lost.
 *
 * A request that is repeated or late would let L count M for nothing for no reason; so L repeats its answer at every
 * heartbeat, and M, being well, sends back the answer that it does not wait for. It names an X of which M knew when it was
 * well: L has heard of no loss since, or it would name another.
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
