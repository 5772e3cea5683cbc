import { assert } from '../std/assert.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import type { Entry, EntryKind } from './entry.ts'
import type { Message } from './messages.ts'
import { newProgress } from './progress.ts'
import type { Progress } from './progress.ts'
import { otherMembers, quorumIndex, tallyVotes } from './quorum.ts'

/**
 * What a leader does: append, replicate, commit what a majority has durable, stay leader only while a majority answers.
 * What is to be sent is decided when effects are taken (`replicate`), so that everything appended in between goes in one
 * request.
 */

type AppendAccepted = Extract<Message, { kind: 'append-accepted' }>
type AppendRejected = Extract<Message, { kind: 'append-rejected' }>

/** The noop lets what earlier terms left behind be committed without waiting for a proposal (thesis 6.4). */
export function becomeLeader(core: Core): void {
  assert(core.role === 'candidate' && core.vote === core.id, 'a leader was a candidate')
  core.enter({ role: 'leader', term: core.term, leader: core.id })
  for (const member of otherMembers(core.log.configuration, core.id)) {
    core.progress.set(member, newProgress(core.log.lastIndex))
  }
  appendOwn(core, { kind: 'noop', id: '' as ProposalId, data: new Uint8Array() })
}

/** Appends an entry of the leader's own term. */
export function appendOwn(core: Core, content: { kind: EntryKind; id: ProposalId; data: Uint8Array }): Entry {
  const entry: Entry = { index: core.log.lastIndex + 1, term: core.term, ...content }
  core.log.append([entry])
  if (entry.id !== '') core.ownTermIds.add(entry.id)
  return entry
}

export function tickLeader(core: Core): void {
  core.electionElapsed += 1
  core.heartbeatElapsed += 1
  if (core.electionElapsed >= core.options.electionTicks) {
    core.electionElapsed = 0
    if (!hasQuorum(core)) {
      core.becomeFollower(core.term, null)
      return
    }
  }
  if (core.heartbeatElapsed < core.options.heartbeatTicks) return
  core.heartbeatElapsed = 0
  for (const [member, progress] of core.progress) tellCommit(core, member, progress)
}

/** Whether a majority answered since the last check (thesis 6.2). */
function hasQuorum(core: Core): boolean {
  const answers = new Map([[core.id, true]])
  for (const [member, progress] of core.progress) {
    if (progress.isActive) answers.set(member, true)
    progress.isActive = false
  }
  return tallyVotes(core.log.configuration, answers) === 'won'
}

/** Sends each member what it lacks and may get now: entries, or the news that entries it has are committed. */
export function replicate(core: Core): void {
  for (const [member, progress] of core.progress) {
    if (progress.awaiting !== 'nothing') {
      if (Math.min(progress.match, core.commitIndex) > progress.toldCommit) tellCommit(core, member, progress)
    } else if (progress.match < core.log.lastIndex) {
      sendAppend(core, member, progress)
    } else if (core.commitIndex > progress.toldCommit) {
      tellCommit(core, member, progress)
    }
  }
}

function sendAppend(core: Core, member: NodeId, progress: Progress): void {
  assert(progress.match < progress.next, 'what is acknowledged is not sent again')
  const prevIndex = progress.next - 1
  const entries = core.log.batch(progress.next, progress.probing ? 0 : core.options.appendBytesMax)
  progress.awaiting = 'answer'
  progress.sentUpTo = prevIndex + entries.length
  progress.sentAtTick = core.ticks
  progress.toldCommit = Math.max(progress.toldCommit, Math.min(core.commitIndex, progress.sentUpTo))
  core.sendNow(member, {
    kind: 'append-request',
    prevIndex,
    prevTerm: core.log.term(prevIndex),
    entries,
    commit: core.commitIndex,
  })
}

/** A heartbeat. Its commit index covers only what the member has acknowledged: the rest of its log may be another's. */
function tellCommit(core: Core, member: NodeId, progress: Progress): void {
  const commit = Math.min(progress.match, core.commitIndex)
  progress.toldCommit = Math.max(progress.toldCommit, commit)
  core.sendNow(member, { kind: 'heartbeat-request', commit })
}

export function onAppendAccepted(core: Core, message: AppendAccepted): void {
  const progress = hear(core, message.from)
  if (progress === undefined || message.match > core.log.lastIndex) return
  if (message.match >= progress.sentUpTo) progress.awaiting = 'nothing'
  if (message.match < progress.match) return
  progress.match = message.match
  progress.next = Math.max(progress.next, message.match + 1)
  progress.probing = progress.match + 1 < progress.next
  advanceCommit(core)
}

/**
 * Goes back to where the logs may agree. The follower names the last of its entries whose term is not above the one that
 * was asked for; of this leader's entries up to there, those of a higher term than that entry's can not match either.
 * So every probe leaves at least one term behind, and not one entry.
 */
export function onAppendRejected(core: Core, message: AppendRejected): void {
  const progress = hear(core, message.from)
  if (progress === undefined || progress.awaiting !== 'answer') return
  const isAnswerToLast = message.prevIndex === progress.next - 1
  if (!isAnswerToLast || message.prevIndex <= progress.match) return
  const agree = core.log.lastIndexWithTermAtMost(message.hintTerm, Math.min(message.hintIndex, message.prevIndex - 1))
  progress.next = Math.max(progress.match, agree) + 1
  progress.probing = true
  progress.awaiting = 'nothing'
}

/** A member that lives, but did not answer an append for a heartbeat's time, gets it again: one of the two was lost. */
export function onHeartbeatResponse(core: Core, from: NodeId): void {
  const progress = hear(core, from)
  if (progress === undefined || progress.awaiting !== 'answer') return
  if (core.ticks - progress.sentAtTick < core.options.heartbeatTicks) return
  progress.probing = true
  progress.awaiting = 'nothing'
}

/** The link to the member broke: what was out is taken for lost, and nothing more is sent until it is heard. */
export function onUnreachable(core: Core, peer: NodeId): void {
  const progress = core.progress.get(peer)
  if (progress === undefined) return
  progress.probing = true
  progress.awaiting = 'sign-of-life'
}

function hear(core: Core, from: NodeId): Progress | undefined {
  const progress = core.progress.get(from)
  if (progress === undefined) return undefined
  progress.isActive = true
  if (progress.awaiting === 'sign-of-life') progress.awaiting = 'nothing'
  return progress
}

/**
 * Commits what a majority has durable, this leader counted by its own disk like any other (R2). Only an entry of its own
 * term is committed by counting; those before it are then committed with it (paper 5.4.2).
 */
export function advanceCommit(core: Core): void {
  const index = quorumIndex(core.log.configuration, (voter) =>
    voter === core.id ? core.log.durableIndex : (core.progress.get(voter)?.match ?? 0),
  )
  if (index > core.commitIndex && core.log.term(index) === core.term) core.commitTo(index)
}
