import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import { changeConfiguration, encodeConfiguration, isJoint, leaveJoint } from './configuration.ts'
import type { Configuration, ConfigurationChange } from './configuration.ts'
import type { Core } from './core.ts'
import type { Entry } from './entry.ts'
import type { RefusalReason } from './messages.ts'
import { counts } from './progress.ts'
import { tallyVotes } from './quorum.ts'
import { appendOwn, isActive, sendHeartbeat } from './replication.ts'
import { furthestVoter, tellToCampaign } from './transfer.ts'

/**
 * How who counts is changed (thesis 4): by entries of the log that rule from their append on, one at a time, and only by a
 * leader that has committed something of its own term. What touches the voters goes through a joint configuration, which
 * the leader leaves by itself; whoever leads next does, if need be.
 */

/** A learner that had everything committed at so many rounds of heartbeats in a row has caught up. */
const caughtUpRounds = 3

/** The configuration that the change makes, or why this leader does not make it now. */
export function planChange(core: Core, change: ConfigurationChange): Configuration | RefusalReason {
  const { configuration, configurationIndex } = core.log
  const isSettled = configurationIndex <= core.commitIndex && !isJoint(configuration)
  if (!isSettled || !core.hasCommittedOwnTerm) return 'change-under-way'
  if (change.kind === 'promote' && !isServed(core, change.node)) return 'change-refused'
  const changed = changeConfiguration(configuration, change)
  return changed !== undefined && hasMajority(core, changed) ? changed : 'change-refused'
}

/** Without who is recovering: what they hold up can not be committed, nor can they recover then. */
function hasMajority(core: Core, configuration: Configuration): boolean {
  const counted = [...core.progress].filter(([, progress]) => counts(progress)).map(([member]) => member)
  return tallyVotes(configuration, new Map([core.id, ...counted].map((voter) => [voter, true]))) === 'won'
}

/**
 * A voter that gets nothing would hold up the others, so it is a learner that lives, is well, is served from the log, and has got
 * so far as to know that it is one.
 */
function isServed(core: Core, learner: NodeId): boolean {
  const progress = core.progress.get(learner)
  if (progress?.state !== 'replicate' || !isActive(core, progress) || !counts(progress)) return false
  return progress.match >= core.log.configurationIndex
}

export function appendConfiguration(core: Core, id: ProposalId, configuration: Configuration): Entry {
  return appendOwn(core, { kind: 'configuration', id, data: encodeConfiguration(configuration) })
}

const nobody = '' as ProposalId

/** Goes on with what a committed configuration asks of its leader: to leave a joint one, or to go if it is not in it. */
export function settleConfiguration(core: Core): void {
  const { configuration, configurationIndex } = core.log
  if (configurationIndex > core.commitIndex || !core.hasCommittedOwnTerm) return
  if (isJoint(configuration)) {
    if (core.transfer === null) appendConfiguration(core, nobody, leaveJoint(configuration))
  } else if (!configuration.voters.includes(core.id)) {
    resign(core)
  }
}

/** A removed leader tells the others what is committed, and one of them not to wait for its time-out. */
function resign(core: Core): void {
  for (const [member, progress] of core.progress) sendHeartbeat(core, member, progress)
  const heir = furthestVoter(core)
  if (heir !== null) tellToCampaign(core, heir)
  core.becomeFollower(core.term, null)
}

/** At every round of heartbeats: counts the rounds of learners that want to be voters, and makes one that may be. */
export function promoteCaughtUp(core: Core): void {
  const { promotable, voters } = core.log.configuration
  for (const node of promotable) {
    const progress = core.progress.get(node)
    if (progress === undefined) continue
    const isCaughtUp =
      core.ticks - progress.heardAtTick <= core.options.heartbeatTicks && progress.match >= core.commitIndex
    progress.caughtUpRounds = isCaughtUp ? progress.caughtUpRounds + 1 : 0
    const isDue = progress.caughtUpRounds >= caughtUpRounds && voters.length < core.options.votersMax
    if (!isDue || core.transfer !== null) continue
    const promoted = planChange(core, { kind: 'promote', node })
    if (typeof promoted === 'string') continue
    appendConfiguration(core, nobody, promoted)
    return
  }
}
