import { assert } from '../std/assert.ts'
import type { ProposalId } from '../vocabulary/ids.ts'
import { appendConfiguration, planChange } from './configuration-change.ts'
import type { Core } from './core.ts'
import { entryOverheadBytes } from './entry.ts'
import type { Entry } from './entry.ts'
import { isRoomForCommands } from './full-disk.ts'
import type { Message, ProposalContent, RefusalReason } from './messages.ts'
import { appendOwn } from './replication.ts'

/**
 * How a proposal gets into the log, or is refused: at the leader at once, elsewhere by being forwarded once. A refusal
 * says that the proposal never entered a log and never will. That rests on two things: a message is delivered at most
 * once (transport), and a leader appends only what was proposed in its own term.
 */

/** A proposal that neither was applied nor refused for so many election timeouts is forgotten: its outcome is unknown. */
const pendingElectionTimeouts = 20

type Proposal = { readonly id: ProposalId; readonly content: ProposalContent }

export function propose(core: Core, proposal: Proposal): void {
  const { id, content } = proposal
  assert(id !== '', 'a proposal has an id')
  assert(!core.pending.has(id), `proposal ${id} is made once`)
  const why = reasonToRefuseHere(core, content) ?? handIn(core, proposal)
  if (why !== null) core.refuse(id, why)
  else if (core.leader !== null) core.pending.add(id, { term: core.term, leader: core.leader, tick: core.ticks })
}

function reasonToRefuseHere(core: Core, content: ProposalContent): RefusalReason | null {
  if (isTooLarge(core, content)) return 'too-large'
  if (core.leader === null) return 'no-leader'
  return core.pending.size >= core.options.pendingProposalsMax ? 'overloaded' : null
}

function handIn(core: Core, { id, content }: Proposal): RefusalReason | null {
  if (core.role === 'leader') {
    const appended = append(core, { id, content })
    return typeof appended === 'string' ? appended : null
  }
  assert(core.leader !== null, 'a proposal without a leader is refused')
  core.sendNow(core.leader, { kind: 'propose', id, content })
  return null
}

/** Appends what the proposal asks for, or says why this leader does not. */
function append(core: Core, { id, content }: Proposal): Entry | RefusalReason {
  if (core.transfer !== null) return 'transferring'
  if (content.kind === 'change') {
    const configuration = planChange(core, content.change)
    return typeof configuration === 'string' ? configuration : appendConfiguration(core, id, configuration)
  }
  return reasonToRefuseCommand(core, content) ?? appendOwn(core, { kind: 'command', id, data: content.data })
}

/** One proposal is always taken when nothing waits, however small the limit. */
function reasonToRefuseCommand(
  core: Core,
  command: Extract<ProposalContent, { kind: 'command' }>,
): RefusalReason | null {
  const { uncommittedBytesMax, unappliedEntriesMax, logBytesMax } = core.options
  if (isTooLarge(core, command)) return 'too-large'
  if (!isRoomForCommands(core)) return 'disk-full'
  const bytes = command.data.length + entryOverheadBytes
  const uncommittedBytes = core.log.bytesAfter(core.commitIndex)
  if (uncommittedBytes > 0 && uncommittedBytes + bytes > uncommittedBytesMax) return 'overloaded'
  if (core.commitIndex - core.appliedIndex > unappliedEntriesMax) return 'overloaded'
  return core.log.bytes + bytes > logBytesMax ? 'overloaded' : null
}

function isTooLarge(core: Core, content: ProposalContent): boolean {
  return content.kind === 'command' && content.data.length > core.options.proposalBytesMax
}

/** A proposal that another node forwarded; it waits to hear that it is committed. */
export function onPropose(core: Core, message: Extract<Message, { kind: 'propose' }>): void {
  const { id, from } = message
  const isLeaderOfItsTerm = core.role === 'leader' && message.term === core.term
  if (isLeaderOfItsTerm && core.ownTermIds.has(id)) return
  const appended = isLeaderOfItsTerm ? append(core, message) : 'not-leader'
  if (typeof appended === 'string') {
    core.sendNow(from, { kind: 'propose-refused', id, why: appended })
    return
  }
  const progress = core.progress.get(from)
  if (progress !== undefined) progress.awaitedCommit = appended.index
  core.sendNow(from, { kind: 'propose-accepted', id, index: appended.index })
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
