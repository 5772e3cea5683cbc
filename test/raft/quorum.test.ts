import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Configuration } from '../../src/raft/configuration.ts'
import { otherMembers, otherVoters, quorumIndex, tallyVotes } from '../../src/raft/quorum.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { nodeIds } from './lab.ts'

const ids = nodeIds(9)
const someIds = fc.subarray(ids, { minLength: 1 })
const configurations = fc.record({
  clusterId: fc.constant('lab' as ClusterId),
  voters: someIds,
  votersOutgoing: fc.oneof(fc.constant([]), someIds),
  learners: fc.constant([]),
  promotable: fc.constant([]),
})

/** By definition: more than half of the voters, and of the outgoing ones if there are any. */
function isQuorum(configuration: Configuration, has: (id: NodeId) => boolean): boolean {
  const isMajority = (voters: readonly NodeId[]): boolean => voters.filter(has).length * 2 > voters.length
  const { voters, votersOutgoing } = configuration
  return isMajority(voters) && (votersOutgoing.length === 0 || isMajority(votersOutgoing))
}

describe('quorums', () => {
  it('the quorum index is the highest that a quorum has reached', () => {
    fc.assert(
      fc.property(configurations, fc.array(fc.nat(12), { minLength: 9, maxLength: 9 }), (configuration, matches) => {
        const matchOf = (id: NodeId): number => matches[ids.indexOf(id)] ?? 0
        const index = quorumIndex(configuration, matchOf)
        expect(index === 0 || isQuorum(configuration, (id) => matchOf(id) >= index)).toBe(true)
        expect(isQuorum(configuration, (id) => matchOf(id) >= index + 1)).toBe(false)
      }),
    )
  })

  it('a vote is won by a quorum, lost when none is possible any more, and open in between', () => {
    const answers = fc.array(fc.constantFrom(true, false, undefined), { minLength: 9, maxLength: 9 })
    fc.assert(
      fc.property(configurations, answers, (configuration, answers) => {
        const votes = new Map<NodeId, boolean>()
        for (const [at, id] of ids.entries()) {
          const answer = answers[at]
          if (answer !== undefined) votes.set(id, answer)
        }
        const isWon = isQuorum(configuration, (id) => votes.get(id) === true)
        const isPossible = isQuorum(configuration, (id) => votes.get(id) !== false)
        expect(tallyVotes(configuration, votes)).toBe(isWon ? 'won' : isPossible ? 'open' : 'lost')
      }),
    )
  })

  it('the others are named once, in the order of ids, learners only as members', () => {
    const [n1, n2, n3, n4] = ids as [NodeId, NodeId, NodeId, NodeId]
    const some = { clusterId: 'lab' as ClusterId, promotable: [] }
    const configuration = { ...some, voters: [n2, n3], votersOutgoing: [n1, n2], learners: [n4] }
    expect(otherVoters(configuration, n3)).toEqual([n1, n2])
    expect(otherMembers(configuration, n3)).toEqual([n1, n2, n4])
  })
})
