import { describe, expect, it } from 'vitest'
import type { KeyChange } from '../../src/gossip/effects.ts'
import { DrainingMembers } from '../../src/node/draining-members.ts'
import type { Drain } from '../../src/state/command.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'

const n2 = 'n2' as NodeId
const says = (value: string | null, more: Partial<KeyChange> = {}): KeyChange => ({
  owner: n2,
  generation: 1,
  class: 'state',
  key: 'draining',
  value,
  ...more,
})

describe('who drains', () => {
  it('is who is to, and who says so', () => {
    const wanted = new Map<NodeId, Drain>([['n3' as NodeId, 'leave']])
    const members = new DrainingMembers(() => wanted)
    expect([members.has(n2), members.has('n3' as NodeId)]).toEqual([false, true])
    members.told(says('drained'))
    expect(members.has(n2)).toBe(true)
    members.told(says('false'))
    expect(members.has(n2)).toBe(false)
  })

  it('is told once a change, and not at all of who is gone', () => {
    const members = new DrainingMembers(() => new Map())
    const told = ['false', 'draining', 'draining', 'drained', 'false', 'draining', null, 'false'].map((value) =>
      members.told(says(value)),
    )
    expect(told).toEqual([null, 'draining', null, 'drained', 'serving', 'draining', null, null])
    expect(members.has(n2)).toBe(false)
  })

  it('is not told by another word of a node', () => {
    const members = new DrainingMembers(() => new Map())
    expect(members.told(says('draining', { key: 'role' }))).toBe(null)
    expect(members.told(says('draining', { class: 'gauge' }))).toBe(null)
    expect(members.has(n2)).toBe(false)
  })
})
