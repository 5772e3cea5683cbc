import { assert } from '../std/assert.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import type { MemberProgress } from './effects.ts'
import { entryBytes } from './entry.ts'
import type { Entry, EntryKind, Index } from './entry.ts'
import type { Message } from './messages.ts'
import { counts, newProgress } from './progress.ts'
import type { Progress } from './progress.ts'
import { otherMembers, quorumIndex } from './quorum.ts'

/**
 * How the leader's log gets to the other members, and what of it is committed. What is to be sent is decided when effects are
 * taken (`replicate`), so that everything appended in between goes in one request. A lost message holds nothing up for long:
 * a member that answers heartbeats but not the rest is asked again.
 */

type AppendAccepted = Extract<Message, { kind: 'append-accepted' }>
type AppendRejected = Extract<Message, { kind: 'append-rejected' }>
type HeartbeatResponse = Extract<Message, { kind: 'heartbeat-response' }>

/** Appends an entry of the leader's own term, stamped with log time, which follows the clock but never falls. */
export function appendOwn(core: Core, content: { kind: EntryKind; id: ProposalId; data: Uint8Array }): Entry {
  const { log, term, now } = core
  const entry: Entry = { index: log.lastIndex + 1, term, time: Math.max(now, log.lastTime), ...content }
  log.append([entry])
  if (entry.id !== '') core.ownTermIds.add(entry.id)
  if (entry.kind === 'configuration') followConfiguration(core)
  return entry
}

/**
 * Makes the newest configuration's members those that get the log. Who is removed still gets it for an election timeout, or
 * until it was told that this is committed: a node that knows that it is out asks for no votes.
 */
export function followConfiguration(core: Core): void {
  const { log, progress, ticks, options } = core
  const before = new Map(progress)
  const members = new Set(otherMembers(log.configuration, core.id))
  progress.clear()
  for (const node of [...new Set([...members, ...before.keys()])].sort(compareIds)) {
    const known = before.get(node)
    if (!members.has(node) && known !== undefined) {
      known.leaving ??= { index: log.lastIndex, untilTick: ticks + options.electionTicks }
      known.awaitedCommit = known.leaving.index
      progress.set(node, known)
    } else {
      // Who comes back may have lost what it had.
      progress.set(node, known?.leaving === null ? known : newProgress(log.lastIndex))
    }
  }
}

/**
 * Sends each member what it lacks and may get now: entries, the question where its log ends (after a broken link, too), or
 * the news that what it waits for is committed.
 */
export function replicate(core: Core): void {
  for (const [member, progress] of core.progress) {
    const { leaving } = progress
    if (leaving !== null && (progress.toldCommit >= leaving.index || core.ticks >= leaving.untilTick)) {
      core.progress.delete(member)
      continue
    }
    sendMissing(core, member, progress)
    const { toldCommit, awaitedCommit, match } = progress
    if (awaitedCommit > toldCommit && Math.min(match, core.commitIndex) > toldCommit)
      sendHeartbeat(core, member, progress)
  }
}

function sendMissing(core: Core, member: NodeId, progress: Progress): void {
  const { log, options } = core
  if (progress.awaiting !== 'nothing') return
  if (progress.next <= log.baseIndex) {
    sendSnapshot(core, member, progress)
    return
  }
  if (progress.state === 'probe') {
    sendAppend(core, member, progress)
    progress.awaiting = 'answer'
    return
  }
  while (progress.next <= log.lastIndex && !progress.inflights.isFull(options.inflightMax, options.inflightBytesMax)) {
    sendAppend(core, member, progress)
  }
}

/** Sends from `next` on: one entry as a probe, as much as a request may carry to a member whose log is known. */
function sendAppend(core: Core, member: NodeId, progress: Progress): void {
  const isProbe = progress.state === 'probe'
  const entries = core.log.batch(progress.next, isProbe ? 0 : core.options.appendBytesMax)
  const last = entries.at(-1)
  sendEntries(core, { member, progress, prevIndex: progress.next - 1, entries })
  if (isProbe || last === undefined) return
  if (progress.inflights.isEmpty) progress.sentAtTick = core.ticks
  progress.inflights.add(
    last.index,
    entries.reduce((sum, entry) => sum + entryBytes(entry), 0),
  )
  progress.next = last.index + 1
}

function sendEntries(
  core: Core,
  request: { member: NodeId; progress: Progress; prevIndex: Index; entries: readonly Entry[] },
): void {
  const { member, progress, prevIndex, entries } = request
  assert(progress.match < progress.next, 'what is acknowledged is not sent again')
  if (progress.state === 'probe') progress.sentAtTick = core.ticks
  const upTo = prevIndex + entries.length
  progress.toldCommit = Math.max(progress.toldCommit, Math.min(core.commitIndex, upTo))
  core.sendNow(member, {
    kind: 'append-request',
    prevIndex,
    prevTerm: core.log.term(prevIndex),
    entries,
    commit: core.commitIndex,
  })
}

/** What the member lacks is compacted here: it gets this node's newest snapshot, and meanwhile nothing else. */
function sendSnapshot(core: Core, member: NodeId, progress: Progress): void {
  const { snapshot } = core.log
  assert(snapshot !== null, 'a snapshot stands for what is compacted')
  progress.state = 'snapshot'
  progress.awaiting = 'answer'
  progress.snapshot = snapshot
  progress.sentAtTick = core.ticks
  progress.inflights.clear()
  core.sendSnapshot.push({ peer: member, term: core.term, snapshot })
}

/** A heartbeat. Its commit index covers only what the member has acknowledged: the rest of its log may be another's. */
export function sendHeartbeat(core: Core, member: NodeId, progress: Progress): void {
  const commit = Math.min(progress.match, core.commitIndex)
  progress.toldCommit = Math.max(progress.toldCommit, commit)
  core.sendNow(member, { kind: 'heartbeat-request', commit, read: core.reads.awaitedContext, match: progress.match })
}

export function onAppendAccepted(core: Core, message: AppendAccepted): void {
  acknowledged(core, message.from, message.match)
}

/** The member has everything up to `match` durable, by entries or by a snapshot, as this leader has it. */
export function acknowledged(core: Core, member: NodeId, match: Index): void {
  const progress = hear(core, member)
  if (progress === undefined || match > core.log.lastIndex) return
  const isNews = match > progress.match
  if (isNews) progress.sentAtTick = core.ticks
  progress.match = Math.max(progress.match, match)
  progress.inflights.freeUpTo(progress.match)
  if (progress.state === 'probe' && (isNews || match >= progress.next - 1)) beginReplicating(progress)
  if (progress.state === 'snapshot' && match >= Math.min(progress.snapshot?.index ?? 0, core.log.baseIndex)) {
    beginReplicating(progress)
  }
  progress.next = Math.max(progress.next, progress.match + 1)
  advanceCommit(core)
}

function beginReplicating(progress: Progress): void {
  progress.state = 'replicate'
  progress.awaiting = 'nothing'
  progress.snapshot = null
  progress.next = progress.match + 1
}

/**
 * Goes back to where the logs may agree. The follower names the last of its entries whose term is not above the one that
 * was asked for; of this leader's entries up to there, those of a higher term than that entry's can not match either.
 * So every probe leaves at least one term behind, and not one entry.
 */
export function onAppendRejected(core: Core, message: AppendRejected): void {
  const { from, prevIndex, hintIndex, hintTerm } = message
  const progress = hear(core, from)
  if (progress === undefined || progress.state === 'snapshot' || prevIndex >= progress.next) return
  const isAnswerToProbe = progress.awaiting === 'answer' && prevIndex === progress.next - 1
  if (progress.state === 'probe' && !isAnswerToProbe) return
  if (prevIndex <= progress.match) {
    if (counts(progress)) return
    // What it acknowledged is from before its loss.
    progress.match = 0
    progress.toldCommit = 0
  }
  const agree = core.log.lastIndexWithTermAtMost(hintTerm, Math.min(hintIndex, prevIndex - 1))
  beginProbing(progress, Math.max(progress.match, agree) + 1)
}

export function beginProbing(progress: Progress, next: Index): void {
  progress.state = 'probe'
  progress.awaiting = 'nothing'
  progress.snapshot = null
  progress.next = next
  progress.inflights.clear()
}

/** A member that lives, but has not answered for too long what else it was sent, is asked: one of the two was lost. */
export function onHeartbeatResponse(core: Core, message: HeartbeatResponse): void {
  const progress = hear(core, message.from)
  if (progress === undefined) return
  progress.isDiskFull = message.isDiskFull
  if (counts(progress) && message.read <= core.reads.context)
    progress.ackedRead = Math.max(progress.ackedRead, message.read)
  const { heartbeatTicks, electionTicks } = core.options
  const waitedTicks = core.ticks - progress.sentAtTick
  if (progress.state === 'snapshot') {
    if (progress.awaiting === 'answer' && waitedTicks >= electionTicks) askAboutSnapshot(core, message.from, progress)
  } else if (waitedTicks >= heartbeatTicks) {
    if (progress.state === 'probe') progress.awaiting = 'nothing'
    else if (!progress.inflights.isEmpty) askAboutEntries(core, message.from, progress)
  }
}

/** An empty request behind everything that was sent: it is accepted if that arrived, else rejected. */
function askAboutEntries(core: Core, member: NodeId, progress: Progress): void {
  progress.sentAtTick = core.ticks
  const prevIndex = progress.next - 1
  if (prevIndex >= core.log.baseIndex) sendEntries(core, { member, progress, prevIndex, entries: [] })
  else beginProbing(progress, progress.match + 1)
}

/** Accepted if the snapshot is there, and only the news of it was lost. */
function askAboutSnapshot(core: Core, member: NodeId, progress: Progress): void {
  const { snapshot } = progress
  assert(snapshot !== null, 'a snapshot is on its way')
  progress.sentAtTick = core.ticks
  const { index: prevIndex, term: prevTerm } = snapshot
  core.sendNow(member, { kind: 'append-request', prevIndex, prevTerm, entries: [], commit: prevIndex })
}

/** The link to the member broke: what was out is taken for lost, and nothing more is sent until it is heard again. */
export function onUnreachable(core: Core, peer: NodeId): void {
  const progress = core.progress.get(peer)
  // How a snapshot fares, its own lane tells.
  if (progress === undefined || progress.state === 'snapshot') return
  beginProbing(progress, progress.state === 'probe' ? progress.next : progress.match + 1)
  progress.awaiting = 'sign-of-life'
}

/** The snapshot goes again when the member is heard again, if it is still needed. */
export function onSnapshotFailed(core: Core, peer: NodeId): void {
  const progress = core.progress.get(peer)
  if (progress?.state !== 'snapshot') return
  beginProbing(progress, progress.match + 1)
  progress.awaiting = 'sign-of-life'
}

export function hear(core: Core, from: NodeId): Progress | undefined {
  const progress = core.progress.get(from)
  if (progress === undefined) return undefined
  progress.heardAtTick = core.ticks
  if (progress.awaiting === 'sign-of-life') progress.awaiting = 'nothing'
  return progress
}

/**
 * Commits what a majority has durable, this leader counted by its own disk like any other (R2). Only an entry of its own
 * term is committed by counting; those before it are then committed with it (paper 5.4.2).
 */
export function advanceCommit(core: Core): void {
  const index = quorumIndex(core.log.configuration, (voter) =>
    voter === core.id ? core.log.durableIndex : countedMatch(core, voter),
  )
  if (index > core.commitIndex && core.log.term(index) === core.term) core.commitTo(index)
  let isAnyoneBack = false
  for (const progress of core.progress.values()) isAnyoneBack = countAgain(core, progress) || isAnyoneBack
  if (isAnyoneBack) advanceCommit(core)
}

function countedMatch(core: Core, voter: NodeId): Index {
  const progress = core.progress.get(voter)
  return progress !== undefined && counts(progress) ? progress.match : 0
}

/** A member that is recovering counts again when what it waits for is committed without it, and it has that. */
function countAgain(core: Core, progress: Progress): boolean {
  const { recovery, match } = progress
  if (recovery === null || core.commitIndex < recovery.index || match < recovery.index) return false
  progress.recovery = null
  return true
}

/** Whether the member was heard within the last election timeout. */
export function isActive(core: Core, progress: Progress): boolean {
  return core.ticks - progress.heardAtTick <= core.options.electionTicks
}

export function memberProgress(core: Core): readonly MemberProgress[] {
  const members = [...core.progress].filter(([, { leaving }]) => leaving === null)
  return members.map(([node, progress]) => {
    const { match, state } = progress
    const isDiskFull = progress.isDiskFull === true
    return { node, match, state, isActive: isActive(core, progress), isRecovering: !counts(progress), isDiskFull }
  })
}
