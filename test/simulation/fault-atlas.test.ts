import { describe, expect, it } from 'vitest'
import type { Configuration } from '../../src/raft/configuration.ts'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { FaultAtlas } from './fault-atlas.ts'
import type { Condition } from './fault-atlas.ts'

const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'] as unknown as [NodeId, NodeId, NodeId, NodeId, NodeId]
const three = makeConfiguration('cluster' as ClusterId, [a, b, c])

function atlasOf(
  ruling: readonly Configuration[],
  conditions: Readonly<Record<string, Partial<Condition>>> = {},
): FaultAtlas {
  const sound: Condition = { damaged: new Set(), isRecovering: false, isWiped: false }
  return new FaultAtlas({ ruling: () => ruling, condition: (node) => ({ ...sound, ...conditions[node] }) })
}

describe('the fault atlas', () => {
  it('allows damage of one of three, and of two of five', () => {
    expect(atlasOf([three]).mayDamage(a, 'records')).toBe(true)
    const five = { ...three, voters: [a, b, c, d, e] }
    expect(atlasOf([five], { a: { isWiped: true } }).mayDamage(b, 'all')).toBe(true)
  })

  it('allows none of a sole voter, of one of two, or before a cluster has formed', () => {
    expect(atlasOf([{ ...three, voters: [a] }]).mayDamage(a, 'snapshots')).toBe(false)
    expect(atlasOf([{ ...three, voters: [a, b] }]).mayDamage(a, 'records')).toBe(false)
    expect(atlasOf([]).mayDamage(a, 'records')).toBe(false)
  })

  it('allows none of a second of three while the first is damaged, recovering or wiped', () => {
    for (const condition of [{ damaged: new Set(['votes' as const]) }, { isRecovering: true }, { isWiped: true }])
      expect(atlasOf([three], { a: condition }).mayDamage(b, 'snapshots')).toBe(false)
  })

  it('allows more damage of a home that is damaged, and of its snapshots, never of log and vote together', () => {
    const atlas = atlasOf([three], { a: { damaged: new Set(['records']) } })
    expect(atlas.mayDamage(a, 'records')).toBe(true)
    expect(atlas.mayDamage(a, 'snapshots')).toBe(true)
    expect(atlas.mayDamage(a, 'all')).toBe(true)
    expect(atlas.mayDamage(a, 'votes')).toBe(false)
    expect(atlasOf([three], { a: { damaged: new Set(['votes']) } }).mayDamage(a, 'records')).toBe(false)
  })

  it('asks for a sound majority of both sides of a joint configuration, and of one that is open beside the committed', () => {
    const joint = { ...three, voters: [a, b, c, d, e], votersOutgoing: [a, b] }
    expect(atlasOf([joint]).mayDamage(c, 'records')).toBe(true)
    expect(atlasOf([joint]).mayDamage(a, 'records')).toBe(false)
    expect(atlasOf([three, { ...three, voters: [a, b] }]).mayDamage(a, 'records')).toBe(false)
  })

  it('counts a learner as one that may be promoted, unless it is known not to count', () => {
    const learning = { ...three, learners: [d] }
    expect(atlasOf([learning], { c: { isRecovering: true } }).mayDamage(d, 'records')).toBe(false)
    expect(atlasOf([learning], { d: { damaged: new Set(['records']) } }).mayDamage(c, 'records')).toBe(false)
    expect(atlasOf([learning], { d: { isRecovering: true } }).mayDamage(c, 'records')).toBe(true)
  })

  it('does not count on other learners to be promoted before one whose damage nobody knows of', () => {
    const learning = { ...three, voters: [a], learners: [b, c] }
    expect(atlasOf([three], { b: { damaged: new Set(['records']) } }).mayChange(learning)).toBe(false)
    expect(atlasOf([learning]).mayDamage(b, 'records')).toBe(false)
  })

  it('refuses a change to a configuration without a sound majority', () => {
    const atlas = atlasOf([three], { c: { isRecovering: true } })
    expect(atlas.mayChange({ ...three, voters: [b, c] })).toBe(false)
    expect(atlas.mayChange({ ...three, voters: [a, b] })).toBe(true)
  })

  it('tells whether the sound among some nodes are enough', () => {
    const atlas = atlasOf([three], { c: { isRecovering: true } })
    expect(atlas.isEnough((node) => node !== b)).toBe(false)
    expect(atlas.isEnough((node) => node !== c)).toBe(true)
  })
})
