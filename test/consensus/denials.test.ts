import { describe, expect, it } from 'vitest'
import { Denials } from '../../src/consensus/removals.ts'
import type { RaftStatus } from '../../src/raft/effects.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'

type Told = {
  leader?: string
  voters?: readonly string[]
  learners?: readonly string[]
  recovering?: boolean
  committed?: boolean
}

function status(told: Told): RaftStatus {
  const { leader, voters = ['n1', 'n2', 'n3', 'n4'], learners = [], recovering = false, committed = true } = told
  return {
    id: 'n4',
    leader: leader ?? null,
    configuration: { voters, votersOutgoing: [], learners },
    isConfigurationCommitted: committed,
    isRecovering: recovering,
  } as unknown as RaftStatus
}

/** What n4 makes of it; `removed`: how often it took itself for removed. */
function makeDenials(first: Told = {}): { denials: Denials; deny: (...by: string[]) => void; removed: () => number } {
  let count = 0
  const denials = new Denials(() => (count += 1))
  denials.raftChanged(status(first))
  return {
    denials,
    deny: (...by) => {
      for (const peer of by) denials.denied(peer as NodeId)
    },
    removed: () => count,
  }
}

describe('a node is removed', () => {
  it('when those of the voters that do not deny it can not decide', () => {
    const { deny, removed } = makeDenials()
    deny('n1', 'n1')
    expect(removed()).toBe(0)
    deny('n2')
    expect(removed()).toBe(1)
  })

  it.each<[string, Told]>([
    ['a leader speaks to it', { leader: 'n1' }],
    ['it has no log yet', { voters: [] }],
    ['it has not got all of its log', { recovering: true }],
  ])('but not while %s, whoever denies it', (_, told) => {
    const { deny, removed } = makeDenials(told)
    deny('n1', 'n2', 'n3')
    expect(removed()).toBe(0)
  })

  it('but not by fewer than that of the last configuration that is committed', () => {
    const { denials, deny, removed } = makeDenials({ voters: ['n1', 'n2', 'n3'], learners: ['n4'] })
    // n3 is being removed; n1 has slept since before n4 came.
    denials.raftChanged(status({ voters: ['n1', 'n2'], learners: ['n4'], committed: false }))
    deny('n1')
    expect(removed()).toBe(0)
    deny('n3')
    expect(removed()).toBe(1)
  })

  it('but not while its own coming is not known to be committed', () => {
    const { denials, deny, removed } = makeDenials({ voters: ['n1', 'n2', 'n3'] })
    denials.raftChanged(status({ voters: ['n1', 'n2', 'n3'], learners: ['n4'], committed: false }))
    deny('n1', 'n2', 'n3')
    expect(removed()).toBe(0)
  })

  it('also when it knows that its removal is committed', () => {
    const { denials, deny, removed } = makeDenials()
    denials.raftChanged(status({ voters: ['n1', 'n2', 'n3'] }))
    deny('n1', 'n2')
    expect(removed()).toBe(1)
  })

  it('but not by who admits it since, or denied it before the last leader was heard', () => {
    const { denials, deny, removed } = makeDenials()
    deny('n1')
    denials.admitted('n1' as NodeId)
    deny('n2')
    expect(removed()).toBe(0)
    denials.raftChanged(status({ leader: 'n3' }))
    denials.raftChanged(status({}))
    deny('n3')
    expect(removed()).toBe(0)
    deny('n2')
    expect(removed()).toBe(1)
  })
})
