import { assert } from '../std/assert.ts'
import type { ProposalId } from '../vocabulary/ids.ts'
import { promoteCaughtUp, settleConfiguration } from './configuration-change.ts'
import type { Core } from './core.ts'
import { handOverForRoom } from './full-disk.ts'
import { otherVoters, tallyVotes } from './quorum.ts'
import { renewLease } from './reads.ts'
import { remind } from './recovery.ts'
import { appendOwn, followConfiguration, isActive, replicate, sendHeartbeat } from './replication.ts'
import { continueTransfer, furthestVoter, startTransfer, tickTransfer } from './transfer.ts'

/**
 * What a leader does by itself: begin its term, keep the others from campaigning, and stay leader only while a majority
 * answers and its own disk works.
 */

/**
 * The noop lets what earlier terms left behind be committed without waiting for a proposal (thesis 6.4). Everybody is to hear
 * of that at once: it decides about proposals that were made to earlier leaders.
 */
export function becomeLeader(core: Core): void {
  assert(core.role === 'candidate' && core.vote === core.id, 'a leader was a candidate')
  core.enter({ role: 'leader', term: core.term, leader: core.id })
  followConfiguration(core)
  const noop = appendOwn(core, { kind: 'noop', id: '' as ProposalId, data: new Uint8Array() })
  for (const progress of core.progress.values()) progress.awaitedCommit = noop.index
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
  tickTransfer(core)
  if (!isServedByItsDisk(core)) {
    core.becomeFollower(core.term, null)
    return
  }
  if (core.heartbeatElapsed < core.options.heartbeatTicks) return
  core.heartbeatElapsed = 0
  renewLease(core)
  for (const [member, progress] of core.progress) {
    sendHeartbeat(core, member, progress)
    remind(core, member, progress)
  }
  promoteCaughtUp(core)
}

/** Whether a majority answered within an election timeout (thesis 6.2). */
function hasQuorum(core: Core): boolean {
  const answers = new Map([[core.id, true]])
  for (const [member, progress] of core.progress) if (isActive(core, progress)) answers.set(member, true)
  return tallyVotes(core.log.configuration, answers) === 'won'
}

/**
 * A leader whose disk stands still for half an election timeout hands over to the furthest voter, if its log is known (it
 * takes no proposals meanwhile, so that one can catch up); for a whole one, it gives up: heartbeats alone would keep the
 * others from electing one that works (R12).
 */
function isServedByItsDisk(core: Core): boolean {
  const { options, persistence, progress, log } = core
  if (persistence.underWaySinceTick === null || otherVoters(log.configuration, core.id).length === 0) return true
  const waitedTicks = core.ticks - persistence.underWaySinceTick
  if (waitedTicks >= options.electionTicks) return false
  const heir = furthestVoter(core)
  const hasHeir = heir !== null && progress.get(heir)?.state === 'replicate'
  if (2 * waitedTicks >= options.electionTicks && core.transfer === null && hasHeir) startTransfer(core, heir)
  return true
}

/** At every take: what follows from all that came in since the last one. */
export function lead(core: Core): void {
  settleConfiguration(core)
  if (core.role !== 'leader') return
  handOverForRoom(core)
  continueTransfer(core)
  replicate(core)
}
