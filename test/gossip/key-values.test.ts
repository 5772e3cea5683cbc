import { describe, expect, it } from 'vitest'
import {
  gaugeBytesMax,
  messageBytesMax,
  stateBytesMax,
  stateKeysMax,
  stateOwnerBytesMax,
} from '../../src/gossip/limits.ts'
import { gaugeDeltaBytes, messageBytes, stateDeltaBytes } from '../../src/gossip/messages.ts'
import type { Delta, StateDelta } from '../../src/gossip/messages.ts'
import { OwnValues } from '../../src/gossip/own-values.ts'
import { OwnerValues } from '../../src/gossip/owner-values.ts'
import { Lab, claim, n } from './lab.ts'

function copyOf(values: OwnerValues): OwnerValues {
  const copy = new OwnerValues(values.generation)
  copy.applyState(values.stateAfter(0))
  return copy
}

function text({ state }: OwnerValues): string {
  return [...state]
    .map(([key, { value }]) => `${key}=${value ?? '-'}`)
    .sort()
    .join(' ')
}

function delta(node: number, state: Partial<StateDelta>, generation = 1): Delta {
  const whole = { since: 0, upTo: 0, forgottenUpTo: 0, entries: [], ...state }
  return { owner: n(node), generation, state: whole, gauges: null }
}

describe('a copy of state', () => {
  it('is brought up to date by what it lacks, deletions too', () => {
    const own = new OwnValues(1)
    own.set('a', '1')
    own.set('b', '2')
    const copy = copyOf(own.values)
    own.delete('a', 0)
    own.set('c', '3')
    const late = own.values.stateAfter(copy.stateVersion)
    expect(late.entries.map(({ key }) => key)).toEqual(['a', 'c'])
    expect(copy.applyState(late)).toEqual([
      { key: 'a', value: null },
      { key: 'c', value: '3' },
    ])
    expect(text(copy)).toBe('a=- b=2 c=3')
  })

  it('from before a tombstone that is forgotten gets the whole, and the deleted key does not live on', () => {
    const own = new OwnValues(1)
    own.set('a', '1')
    own.set('b', '2')
    const copy = copyOf(own.values)
    own.delete('a', 0)
    own.forgetBefore(1)
    expect(own.values.stateAfter(copy.stateVersion).since).toBe(0)
    expect(copy.applyState(own.values.stateAfter(copy.stateVersion))).toEqual([{ key: 'a', value: null }])
    expect(text(copy)).toBe('b=2')
    expect(copy.stateVersion).toBe(3)
  })

  it('never goes back, neither by an older whole nor by an older part', () => {
    const own = new OwnValues(1)
    own.set('a', '1')
    const oldWhole = own.values.stateAfter(0)
    own.set('b', '1')
    own.delete('b', 0)
    own.forgetBefore(1)
    const old = copyOf(own.values).stateAfter(0)
    own.set('a', '2')
    const copy = copyOf(own.values)
    for (const each of [oldWhole, old, { ...old, since: 1 }]) {
      expect(copy.applyState(each)).toEqual([])
      expect(copy.stateVersion).toBe(4)
      expect(text(copy)).toBe('a=2')
    }
  })

  it('takes nothing that begins behind a gap', () => {
    const own = new OwnValues(1)
    own.set('a', '1')
    const copy = copyOf(own.values)
    own.set('b', '1')
    own.set('c', '1')
    expect(copy.applyState(own.values.stateAfter(2))).toEqual([])
    expect(copy.stateVersion).toBe(1)
  })

  it('belongs to one generation: a later one replaces it at once, an earlier one is not taken', () => {
    const lab = new Lab()
    lab.know(3)
    const entries = [{ key: 'role', value: 'voter', version: 1 }]
    lab.receive(2, { kind: 'deltas', deltas: [delta(3, { upTo: 1, entries })] })
    expect([...lab.gossip.state(n(3))]).toEqual([['role', 'voter']])
    const { changed } = lab.hear(claim(3, 'alive', { generation: 2 }))
    expect(changed).toMatchObject([{ owner: n(3), generation: 1, key: 'role', value: null }])
    lab.receive(2, { kind: 'deltas', deltas: [delta(3, { upTo: 5, entries })] })
    expect(lab.gossip.versions(n(3))).toEqual({ generation: 0, state: 0, gauges: 0 })
  })

  it('never becomes more than an owner may say, however many deltas it comes in', () => {
    const copy = new OwnerValues(1)
    const entries = (from: number, count: number, value: string) =>
      Array.from({ length: count }, (_, at) => ({ key: `k${from + at}`, value, version: from + at + 1 }))
    copy.applyState({ since: 0, upTo: 100, forgottenUpTo: 0, entries: entries(0, 100, 'x') })
    const tooMany = { since: 100, upTo: 200, forgottenUpTo: 0, entries: entries(100, 100, 'x') }
    expect([copy.applyState(tooMany), copy.state.size, copy.stateVersion]).toEqual([[], 100, 100])
    const tooLong = { since: 100, upTo: 110, forgottenUpTo: 0, entries: entries(100, 8, 'x'.repeat(1000)) }
    expect([copy.applyState(tooLong), copy.state.size, copy.stateVersion]).toEqual([[], 100, 100])
    const whole = { since: 0, upTo: 200, forgottenUpTo: 0, entries: entries(100, 100, 'x') }
    expect(copy.applyState(whole)).toHaveLength(200)
  })

  it('of nobody who is not a member, and of this node itself, is taken from nobody', () => {
    const lab = new Lab()
    lab.know(2)
    const entries = [{ key: 'role', value: 'x', version: 1 }]
    lab.receive(2, { kind: 'deltas', deltas: [delta(9, { upTo: 1, entries }), delta(1, { upTo: 1, entries })] })
    expect(lab.effects.changed).toEqual([])
    expect([...lab.gossip.state(n(1))]).toEqual([])
  })
})

describe('own key-values', () => {
  it('are refused beyond the limits, and nothing changes', () => {
    const own = new OwnValues(1)
    expect(own.set('k'.repeat(129), 'x')?.why).toBe('key-too-long')
    expect(own.set('k', 'ü'.repeat(513))?.why).toBe('value-too-long')
    expect(own.setGauges(new Map([['k', Number.NaN]]))?.why).toBe('not-a-number')
    expect(own.setGauges(new Map(Array.from({ length: 300 }, (_, at) => [`k${at}`, at])))?.why).toBe('too-much')
    for (let at = 0; at < stateKeysMax; at += 1) expect(own.set(`k${at}`, 'x')).toBeNull()
    expect(own.set('one-more', 'x')?.why).toBe('too-much')
    expect(own.values.stateVersion).toBe(stateKeysMax)
  })

  it('fit one message always: tombstones give way to values', () => {
    const own = new OwnValues(1)
    for (let at = 0; at < 500; at += 1) {
      own.set(`key-${at}`, 'x'.repeat(900))
      if (at >= 3) own.delete(`key-${at - 3}`, 0)
      expect(stateDeltaBytes(own.values.stateAfter(0))).toBeLessThanOrEqual(stateOwnerBytesMax)
    }
    expect(own.values.forgottenUpTo).toBeGreaterThan(0)
    expect([...own.values.state.values()].filter(({ value }) => value !== null)).toHaveLength(3)
  })

  it('may take the place of the oldest tombstone, also of their own', () => {
    const own = new OwnValues(1)
    for (let at = 0; at < stateKeysMax; at += 1) own.set(`k${at}`, 'x')
    own.delete('k0', 0)
    expect(own.set('other', 'x')).toBeNull()
    own.delete('k1', 0)
    expect(own.set('k1', 'y')).toBeNull()
    expect(own.set('one-more', 'x')?.why).toBe('too-much')
  })

  it('have a later version for each change, and none for what is the same', () => {
    const own = new OwnValues(1)
    own.set('a', '1')
    own.set('a', '1')
    own.delete('b', 0)
    own.setGauges(new Map([['g', 1]]))
    own.setGauges(new Map([['g', 1]]))
    expect([own.values.stateVersion, own.values.gaugesVersion]).toEqual([1, 1])
  })
})

describe('one message', () => {
  /** n2 to n41 with as much as they may have each; n1 knows all of it and is asked by n50, who knows nothing. */
  const answer = (): { deltas: readonly Delta[]; bytes: number } => {
    const lab = new Lab()
    lab.know(41)
    const entries = Array.from({ length: 7 }, (_, at) => ({ key: `k${at}`, value: 'x'.repeat(1000), version: at + 1 }))
    const gauges = {
      version: 1,
      entries: Array.from({ length: 200 }, (_, at) => ({ key: `gauge-number-${at}`, value: at })),
    }
    for (let node = 2; node <= 41; node += 1) {
      lab.receive(2, { kind: 'deltas', deltas: [{ ...delta(node, { upTo: 7, entries }), gauges }] })
    }
    const digest = Array.from({ length: 40 }, (_, at) => ({ owner: n(at + 2), generation: 1, state: 0, gauges: 0 }))
    const [message] = lab.receive(50, { kind: 'digest-request', digest }).send
    if (message?.kind !== 'digest-response') throw new Error('no answer')
    return { deltas: message.deltas, bytes: messageBytes(message) }
  }

  it('holds state and gauges within budgets of their own, so that neither crowds out the other', () => {
    const { deltas, bytes } = answer()
    const states = deltas.flatMap(({ state }) => (state === null ? [] : [stateDeltaBytes(state)]))
    const gauges = deltas.flatMap(({ gauges: numbers }) => (numbers === null ? [] : [gaugeDeltaBytes(numbers)]))
    const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0)
    expect(states.length).toBeGreaterThan(0)
    expect(gauges.length).toBeGreaterThan(0)
    expect(sum(states)).toBeLessThanOrEqual(stateBytesMax)
    expect(sum(gauges)).toBeLessThanOrEqual(gaugeBytesMax)
    expect(bytes).toBeLessThanOrEqual(messageBytesMax)
  })

  it('answers whom the sender is behind by asking, and says nothing when both have the same', () => {
    const lab = new Lab()
    lab.know(2)
    const entry = { owner: n(2), generation: 1, state: 3, gauges: 2 }
    expect(lab.receive(2, { kind: 'digest-request', digest: [entry] }).send).toMatchObject([
      { kind: 'digest-response', digest: [{ owner: n(2), state: 0, gauges: 0 }], deltas: [] },
    ])
    expect(lab.receive(2, { kind: 'digest-request', digest: [{ ...entry, state: 0, gauges: 0 }] }).send).toEqual([])
  })
})
