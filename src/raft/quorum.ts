import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { Configuration } from './configuration.ts'
import type { Index } from './entry.ts'

/**
 * What a majority is. While a joint change is under way (`votersOutgoing` not empty) everything needs a majority of both
 * sets of voters (thesis 4.3). Functions of their arguments; nobody's role or log is known here.
 */

export type Tally = 'won' | 'lost' | 'open'

/** The highest index that a majority has reached, by what `matchOf` says of each voter. */
export function quorumIndex(configuration: Configuration, matchOf: (voter: NodeId) => Index): Index {
  const { voters, votersOutgoing } = configuration
  const index = majorityIndex(voters, matchOf)
  return votersOutgoing.length === 0 ? index : Math.min(index, majorityIndex(votersOutgoing, matchOf))
}

/** Who is not in `votes` has not answered yet; votes of others than voters do not count. */
export function tallyVotes(configuration: Configuration, votes: ReadonlyMap<NodeId, boolean>): Tally {
  const tallies = majorities(configuration).map((voters) => tallyMajority(voters, votes))
  if (tallies.includes('lost')) return 'lost'
  return tallies.includes('open') ? 'open' : 'won'
}

export function isVoter(configuration: Configuration, id: NodeId): boolean {
  return configuration.voters.includes(id) || configuration.votersOutgoing.includes(id)
}

export function isMember(configuration: Configuration, id: NodeId): boolean {
  return isVoter(configuration, id) || configuration.learners.includes(id)
}

/** Every voter but `self`, each once, in the order of ids. */
export function otherVoters(configuration: Configuration, self: NodeId): readonly NodeId[] {
  return sortedOthers([...configuration.voters, ...configuration.votersOutgoing], self)
}

/** Every node that gets the log, but `self`, each once, in the order of ids. */
export function otherMembers(configuration: Configuration, self: NodeId): readonly NodeId[] {
  const { voters, votersOutgoing, learners } = configuration
  return sortedOthers([...voters, ...votersOutgoing, ...learners], self)
}

function sortedOthers(ids: readonly NodeId[], self: NodeId): readonly NodeId[] {
  return [...new Set(ids)].filter((id) => id !== self).sort(compareIds)
}

function majorities(configuration: Configuration): readonly (readonly NodeId[])[] {
  const { voters, votersOutgoing } = configuration
  return votersOutgoing.length === 0 ? [voters] : [voters, votersOutgoing]
}

/** Counted, not sorted: it is asked for at every acknowledgement, of a few voters. */
function majorityIndex(voters: readonly NodeId[], matchOf: (voter: NodeId) => Index): Index {
  const majority = Math.floor(voters.length / 2) + 1
  let best = 0
  for (const candidate of voters) {
    const index = matchOf(candidate)
    if (index <= best) continue
    let reached = 0
    for (const voter of voters) if (matchOf(voter) >= index) reached += 1
    if (reached >= majority) best = index
  }
  return best
}

function tallyMajority(voters: readonly NodeId[], votes: ReadonlyMap<NodeId, boolean>): Tally {
  const majority = Math.floor(voters.length / 2) + 1
  const granted = voters.filter((voter) => votes.get(voter) === true).length
  const rejected = voters.filter((voter) => votes.get(voter) === false).length
  if (granted >= majority) return 'won'
  return voters.length - rejected < majority ? 'lost' : 'open'
}
