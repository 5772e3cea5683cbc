import { assert } from '../std/assert.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import type { Index } from './entry.ts'
import type { Message } from './messages.ts'
import type { ReadRound, RemoteRead } from './pending-reads.ts'
import { isVoter, quorumIndex } from './quorum.ts'
import { sendHeartbeat } from './replication.ts'

/**
 * Linearizable reads without the log (thesis 6.4): the leader notes its commit index, makes sure that it still leads by a round
 * of heartbeats that a majority answers, and whoever asked waits until that index is applied. All reads of one take share a
 * round. The leader has to have committed something of its own term first. A follower asks the leader. With `leaseReads` a
 * round's majority vouches for the time in which it will elect nobody else, counted from when it was asked.
 */

type ReadRequest = Extract<Message, { kind: 'read-request' }>
type ReadResponse = Extract<Message, { kind: 'read-response' }>
type ReadRefused = Extract<Message, { kind: 'read-refused' }>

export function read(core: Core, id: number): void {
  if (core.leader === null || core.reads.size >= core.options.pendingReadsMax) core.readsRefused.push(id)
  else core.reads.add(id)
}

/** Begins what is needed for the reads that came in since the last take. */
export function beginReads(core: Core): void {
  if (!core.reads.hasNew) return
  if (core.role !== 'leader') {
    assert(core.leader !== null, 'a read without a leader is refused')
    core.sendNow(core.leader, { kind: 'read-request', id: core.reads.forward(core.ticks) })
  } else if (core.hasCommittedOwnTerm) {
    if (core.ticks < core.leaseUntilTick) answer(core, { ...core.reads.endNew(), index: core.commitIndex })
    else askVoters(core)
  }
}

function askVoters(core: Core): void {
  core.reads.beginRound(core.commitIndex, core.ticks)
  for (const [member, progress] of core.progress) {
    if (isVoter(core.log.configuration, member)) sendHeartbeat(core, member, progress)
  }
  confirmReads(core)
}

/** Before the heartbeats of every interval: with leases, they ask for the next one. */
export function renewLease(core: Core): void {
  if (!core.options.leaseReads || !core.hasCommittedOwnTerm) return
  core.reads.beginRound(core.commitIndex, core.ticks)
  confirmReads(core)
}

/** Answers the rounds that a majority has answered; in a joint configuration, one of each. */
export function confirmReads(core: Core): void {
  const context = quorumIndex(core.log.configuration, (voter) =>
    voter === core.id ? core.reads.context : (core.progress.get(voter)?.ackedRead ?? 0),
  )
  for (const round of core.reads.endRounds(context)) {
    answer(core, round)
    extendLease(core, round)
  }
}

/**
 * The declared bound on how much clocks drift apart is one heartbeat in an election timeout. Besides, a tick may come up to one
 * late, so what is counted as a span of ticks may be one longer here, and two shorter at a voter.
 */
function extendLease(core: Core, round: ReadRound): void {
  const { leaseReads, electionTicks, heartbeatTicks } = core.options
  if (!leaseReads || round.context <= core.leaseAfterContext) return
  core.leaseUntilTick = round.sentAtTick + electionTicks - heartbeatTicks - lateTicks
}

const lateTicks = 3

function answer(
  core: Core,
  batch: { readonly own: readonly number[]; readonly remote: readonly RemoteRead[]; readonly index: Index },
): void {
  const { own, remote, index } = batch
  for (const id of own) core.readable.push({ id, index })
  for (const { from, id } of remote) {
    core.sendNow(from, { kind: 'read-response', id, index })
    const progress = core.progress.get(from)
    if (progress === undefined) continue
    // The answer says that much is committed; if it may not have all of that yet, it waits for more than the answer.
    if (progress.match >= index) progress.toldCommit = Math.max(progress.toldCommit, index)
    else progress.awaitedCommit = Math.max(progress.awaitedCommit, index)
  }
}

export function onReadRequest(core: Core, message: ReadRequest): void {
  const { from, id } = message
  const isLeaderOfItsTerm = core.role === 'leader' && message.term === core.term
  if (isLeaderOfItsTerm && core.reads.size < core.options.pendingReadsMax) core.reads.addRemote({ from, id })
  else core.sendNow(from, { kind: 'read-refused', id })
}

/** The leader's commit index, as far as this log is known to be the leader's, is this node's. */
export function onReadResponse(core: Core, message: ReadResponse): void {
  if (core.leader !== message.from || core.role === 'leader') return
  const { id: request, index } = message
  for (const id of core.reads.endForwarded(request)) core.readable.push({ id, index })
  core.commitTo(Math.min(index, core.matchedIndex))
}

export function onReadRefused(core: Core, message: ReadRefused): void {
  if (core.leader === message.from) refuseForwarded(core, message.id)
}

export function refuseForwarded(core: Core, request: number): void {
  core.readsRefused.push(...core.reads.endForwarded(request))
}

/** The link to the leader broke: what was asked of it may be lost. */
export function failForwarded(core: Core, peer: NodeId): void {
  if (core.leader === peer) core.readsRefused.push(...core.reads.endForwardedUntil(core.ticks))
}

/** What the leader has not answered within an election timeout is taken for lost. */
export function tickReads(core: Core): void {
  core.readsRefused.push(...core.reads.endForwardedUntil(core.ticks - core.options.electionTicks))
}
