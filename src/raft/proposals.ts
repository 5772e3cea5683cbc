import { assert } from '../std/assert.ts'
import type { ProposalId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import { entryOverheadBytes } from './entry.ts'
import { appendOwn } from './leader.ts'
import type { Message, RefusalReason } from './messages.ts'

/**
 * How a proposal gets into the log, or is refused: at the leader at once, elsewhere by being forwarded once. A refusal
 * says that the proposal never entered a log and never will. That rests on two things: a message is delivered at most
 * once (transport), and a leader appends only what was proposed in its own term.
 */

/** A proposal that neither was applied nor refused for so many election timeouts is forgotten: its outcome is unknown. */
const pendingElectionTimeouts = 20

export function propose(core: Core, proposal: { id: ProposalId; data: Uint8Array }): void {
  const { id, data } = proposal
  assert(id !== '', 'a proposal has an id')
  assert(!core.pending.has(id), `proposal ${id} is made once`)
  const why = reasonToRefuseHere(core, data)
  if (why !== null) {
    core.refuse(id, why)
    return
  }
  assert(core.leader !== null, 'a proposal without a leader is refused')
  core.pending.add(id, { term: core.term, leader: core.leader, tick: core.ticks })
  if (core.role === 'leader') appendOwn(core, { kind: 'command', id, data })
  else core.sendNow(core.leader, { kind: 'propose', id, data })
}

function reasonToRefuseHere(core: Core, data: Uint8Array): RefusalReason | null {
  if (core.role === 'leader') {
    const why = reasonToRefuse(core, data)
    if (why !== null) return why
  }
  if (data.length > core.options.proposalBytesMax) return 'too-large'
  if (core.leader === null) return 'no-leader'
  return core.pending.size >= core.options.pendingProposalsMax ? 'overloaded' : null
}

/** Why this leader does not append it. One proposal is always taken when nothing waits, however small the limit. */
function reasonToRefuse(core: Core, data: Uint8Array): RefusalReason | null {
  const { proposalBytesMax, uncommittedBytesMax, logBytesMax } = core.options
  if (data.length > proposalBytesMax) return 'too-large'
  const bytes = data.length + entryOverheadBytes
  const uncommittedBytes = core.log.bytesAfter(core.commitIndex)
  if (uncommittedBytes > 0 && uncommittedBytes + bytes > uncommittedBytesMax) return 'overloaded'
  return core.log.bytes + bytes > logBytesMax ? 'overloaded' : null
}

/** A proposal that another node forwarded. */
export function onPropose(core: Core, message: Extract<Message, { kind: 'propose' }>): void {
  const { id, data, from } = message
  const isLeaderOfItsTerm = core.role === 'leader' && message.term === core.term
  if (isLeaderOfItsTerm && core.ownTermIds.has(id)) return
  const why = isLeaderOfItsTerm ? reasonToRefuse(core, data) : 'not-leader'
  if (why !== null) {
    core.sendNow(from, { kind: 'propose-refused', id, why })
    return
  }
  const entry = appendOwn(core, { kind: 'command', id, data })
  core.sendNow(from, { kind: 'propose-accepted', id, index: entry.index })
}

export function onProposeRefused(core: Core, message: Extract<Message, { kind: 'propose-refused' }>): void {
  if (core.pending.refusedBy(message.id, message)) core.refuse(message.id, message.why)
}

export function onProposeUnsent(core: Core, id: ProposalId): void {
  if (core.pending.unsent(id)) core.refuse(id, 'no-leader')
}

export function tickProposals(core: Core): void {
  core.pending.forgetUntil(core.ticks - pendingElectionTimeouts * core.options.electionTicks)
}
