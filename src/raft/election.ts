import { assert } from '../std/assert.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import type { HardState } from './entry.ts'
import { becomeLeader } from './leader.ts'
import type { Message } from './messages.ts'
import { otherVoters, tallyVotes } from './quorum.ts'

/**
 * How a leader is found: time-out, pre-vote (thesis 9.6), vote. A node campaigns in a new term only after a majority said
 * that it would vote for it, so a node that was cut off disturbs nobody when it comes back; only who was asked to campaign by
 * the leader itself skips that (thesis 3.10). No vote counts before it is durable, the node's own neither.
 */

type PreVoteRequest = Extract<Message, { kind: 'pre-vote-request' }>
type VoteRequest = Extract<Message, { kind: 'vote-request' }>
type VoteResponse = Extract<Message, { kind: 'pre-vote-response' | 'vote-response' }>
type TimeoutNow = Extract<Message, { kind: 'timeout-now' }>

/**
 * A tick of a node that is not the leader. A candidate's time begins when its own vote is durable, as its requests leave
 * only then: on a disk slower than an election timeout it would else start over for ever.
 */
export function tickElection(core: Core): void {
  if (core.role === 'candidate' && !core.votes.has(core.id)) return
  core.electionElapsed += 1
  if (!core.isVoter) {
    // It can not look for another; but who asks it whom it follows must not hear of a leader that is long gone.
    if (core.leader !== null && core.electionElapsed >= core.electionTimeout) core.becomeFollower(core.term, null)
    return
  }
  const isAlone = otherVoters(core.log.configuration, core.id).length === 0
  // Alone, it still heeds a leader that was heard: one that is about to leave may answer reads by a lease.
  if (core.electionElapsed >= core.electionTimeout || (isAlone && !core.isSticky)) preCampaign(core)
}

/**
 * The link to the leader broke, mostly because its process ended: there is no leader to protect any more, and of the
 * election timeout only the random part is left. A leader that lives is heard again soon, and one that a majority still
 * hears is not deposed, since pre-votes find none. A lease that this node has vouched for is kept.
 */
export function onLeaderLost(core: Core): void {
  if (core.isHurried || core.options.leaseReads) return
  core.electionElapsed = Math.max(core.electionElapsed, core.options.electionTicks)
}

/**
 * The leader's process is known to be gone, not only its link: this voter waits no longer, nor minds if others do not. When
 * everybody hears of it at about the same time, the voters' turns come one after the other, two ticks apart, so that they do
 * not split the vote. It is a hint: a message of that leader takes it back, and pre-vote and vote decide as ever. A lease
 * would not outlive a wrong hint, so with leases nobody hurries.
 */
export function onLeaderGone(core: Core): void {
  if (!core.isVoter || core.isHurried || core.options.leaseReads || core.leader === null) return
  core.hurriedUntilTick = core.ticks + core.options.electionTicks
  core.electionElapsed = 0
  core.electionTimeout = 1 + 2 * otherVoters(core.log.configuration, core.leader).indexOf(core.id)
}

function preCampaign(core: Core): void {
  core.enter({ role: 'pre-candidate', term: core.term, leader: null })
  core.votes.set(core.id, true)
  const { lastIndex, lastTerm } = core.log
  for (const voter of otherVoters(core.log.configuration, core.id)) {
    core.sendNow(voter, { kind: 'pre-vote-request', term: core.term + 1, lastIndex, lastTerm })
  }
  count(core)
}

/**
 * The requests wait for the disk like a response: after a crash this node may campaign in the same term once more, with
 * a shorter log, and an answer to requests that went out too early would count for that one.
 */
function campaign(core: Core, transfer: boolean): void {
  core.enter({ role: 'candidate', term: core.term + 1, leader: null })
  core.vote = core.id
  const { lastIndex, lastTerm } = core.log
  for (const voter of otherVoters(core.log.configuration, core.id)) {
    core.sendWhenDurable(voter, { kind: 'vote-request', lastIndex, lastTerm, transfer })
  }
}

/** A hard state has reached the disk: if it holds this candidate's vote for itself, that counts from now on. */
export function countOwnVote(core: Core, durable: HardState): void {
  if (core.role !== 'candidate' || durable.term !== core.term) return
  assert(durable.vote === core.id, 'a candidate has voted for itself')
  core.votes.set(core.id, true)
  count(core)
}

/** The request's term is the one in which the sender would campaign; nothing is promised, nothing changes here. */
export function onPreVoteRequest(core: Core, message: PreVoteRequest): void {
  if (message.term > core.term && core.isSticky) return
  const granted = message.term > core.term && core.log.isUpToDate(message.lastIndex, message.lastTerm)
  core.sendWhenDurable(
    message.from,
    granted ? { kind: 'pre-vote-response', granted, term: message.term } : { kind: 'pre-vote-response', granted },
  )
}

/** The request is of this node's term, or of a lower one, which is told the present one. */
export function onVoteRequest(core: Core, message: VoteRequest): void {
  // The term may have come by another message than this one: that frees from no lease.
  const isFree = core.vote === null && core.leader === null && (message.transfer || !core.isSticky)
  const granted =
    message.term === core.term &&
    (core.vote === message.from || isFree) &&
    core.log.isUpToDate(message.lastIndex, message.lastTerm)
  if (granted) {
    core.vote = message.from
    core.electionElapsed = 0
  }
  core.sendWhenDurable(message.from, { kind: 'vote-response', granted })
}

/** A granted pre-vote bears the term that would be campaigned in; a rejection of this node's term bears that. */
export function onVoteResponse(core: Core, message: VoteResponse): void {
  const role = message.kind === 'vote-response' ? 'candidate' : 'pre-candidate'
  if (core.role !== role) return
  const expected = role === 'pre-candidate' && message.granted ? core.term + 1 : core.term
  if (message.term === expected) countVote(core, message.from, message.granted)
}

/**
 * The leader hands over. Only a voter that follows it, in its term, may take that up: then its log is as long as it knew. Who
 * could take no entries does not.
 */
export function onTimeoutNow(core: Core, message: TimeoutNow): void {
  if (core.isDiskFull || !core.isVoter) return
  if (core.role === 'follower' && core.leader === message.from) campaign(core, true)
}

function countVote(core: Core, voter: NodeId, granted: boolean): void {
  if (!core.votes.has(voter)) core.votes.set(voter, granted)
  count(core)
}

function count(core: Core): void {
  const tally = tallyVotes(core.log.configuration, core.votes)
  if (tally === 'lost') core.becomeFollower(core.term, null)
  if (tally !== 'won') return
  if (core.role === 'pre-candidate') campaign(core, false)
  else becomeLeader(core)
}
