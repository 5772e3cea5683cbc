import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkInterval, checksMax } from '../../src/state/checks.ts'
import type { Command, CommandResult, Drain } from '../../src/state/command.ts'
import { encodeSnapshot } from '../../src/state/snapshot.ts'
import type { StateImage } from '../../src/state/snapshot.ts'
import { ClusterState } from '../../src/state/state.ts'
import { SequenceHash } from '../../src/std/hash.ts'
import type { SequenceValue } from '../../src/std/hash.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { NodeId, ServerName } from '../../src/vocabulary/ids.ts'
import { anyLog, sessionIdOf, stateAt } from './arbitrary.ts'
import { noChange } from './no-change.ts'

const [n1, n2] = ['n1', 'n2'] as [NodeId, NodeId]
const [d1, d2] = ['1111111111111111', '2222222222222222']

/** What an encoder finds the records to be, one by one. */
function sumOf(image: StateImage): unknown {
  const encoding = encodeSnapshot(image)
  for (;;) {
    const step = encoding.next()
    if (step.done === true) return step.value
  }
}

function hashed(value: SequenceValue): string {
  const hash = new SequenceHash()
  hash.begin(7)
  hash.add(value)
  hash.end()
  return `${hash.high}:${hash.low}`
}

function feed(state: ClusterState, command: Command | null): CommandResult {
  const index = state.appliedIndex + 1
  return state.apply({ index, time: index, command: command && { command, idempotencyKey: null } })
}

const set = (key: string, value: string): Command => ({
  kind: 'kv-set',
  key,
  value: asJsonText(value),
  expect: null,
})
const report = (node: NodeId, index: number, digest = d1): Command => ({ kind: 'state-digest', node, index, digest })
const member = (node: NodeId): Command => ({
  kind: 'member-set',
  member: { node, generation: 1, addresses: { http: '', peer: '', raft: '' }, labels: {}, version: '', startedAt: 0 },
})

const makeToken = (id: string): Command => ({
  kind: 'token-set',
  token: { id, createdAt: 0, expiresAt: 100_000, usesMax: 1, usedBy: [], isRevoked: false, note: '' },
})
const drain = (wanted: Drain): Command => ({ kind: 'member-drain', node: n1, drain: wanted })

/** With n1 and n2 as members, so many check indexes further than the first. */
function checked(indexes: number): ClusterState {
  const state = new ClusterState()
  for (const node of [n1, n2]) feed(state, member(node))
  while (state.appliedIndex < indexes * checkInterval) feed(state, null)
  return state
}

describe('the digest of the state', () => {
  it('is brought up to date as if all records were hashed anew, after any entries and any reads of it between', () => {
    fc.assert(
      fc.property(anyLog(100), fc.func(fc.boolean()), (log, isRead) => {
        const state = stateAt(4060)
        let time = 0
        log.forEach(({ envelope, laterMs }, at) => {
          time += laterMs
          state.apply({ index: state.appliedIndex + 1, time, command: envelope })
          if (isRead(at)) state.digest()
        })
        const image = state.capture()
        expect(sumOf(image)).toEqual(image.sum)
        const again = new ClusterState()
        again.restore(image)
        expect(again.digest()).toBe(state.digest())
      }),
      { numRuns: 400 },
    )
  })

  it('is the same when much changes between two reads of it as when little does', () => {
    const [often, seldom] = [new ClusterState(), new ClusterState()]
    for (let n = 0; n < 10_000; n += 1) {
      const command =
        n % 7 === 0 ? ({ kind: 'kv-delete', key: `${n % 7000}`, expect: null } as const) : set(`${n % 2999}`, `${n}`)
      for (const state of [often, seldom]) feed(state, command)
      if (n % 10 === 0) often.digest()
    }
    expect(often.digest()).toBe(seldom.digest())
  })

  type Change = (state: ClusterState) => void
  const nothing: Change = (state) => feed(state, null)
  const reported: Change = (state) => feed(state, report(n1, 4096))
  const openSession: Change = (state) =>
    feed(state, {
      kind: 'session-open',
      session: {
        id: sessionIdOf(1),
        path: '/mcp',
        transport: 'sse',
        protocolVersion: '',
        clientInfo: asJsonText('{}'),
        capabilities: asJsonText('{}'),
        idleMs: 1000,
      },
    })
  it.each<[string, Change, Change]>([
    ['one more entry', nothing, () => undefined],
    ['another value', (state) => feed(state, set('a', '2')), (state) => feed(state, set('a', '1'))],
    ['another key', (state) => feed(state, set('b', '1')), (state) => feed(state, set('c', '1'))],
    ['no such key', (state) => feed(state, { kind: 'kv-delete', key: 'a', expect: null }), nothing],
    ['another member', (state) => feed(state, member(n2)), nothing],
    ['another log time', (state) => state.apply({ index: 4097, time: 9999, command: null }), nothing],
    ['a join token', (state) => feed(state, makeToken('0'.repeat(16))), nothing],
    [
      'another join token',
      (state) => feed(state, makeToken('1'.repeat(16))),
      (state) => feed(state, makeToken('0'.repeat(16))),
    ],
    ['a drain', (state) => feed(state, drain('drain')), nothing],
    ['another drain', (state) => feed(state, drain('leave')), (state) => feed(state, drain('drain'))],
    ['a session', openSession, nothing],
    [
      'a session that was used',
      (state) => {
        openSession(state)
        feed(state, { kind: 'session-touch', ids: [sessionIdOf(1)] })
      },
      (state) => {
        openSession(state)
        nothing(state)
      },
    ],
    [
      'a session that is pinned',
      (state) => {
        openSession(state)
        feed(state, { kind: 'session-pin', id: sessionIdOf(1), server: 'files' as ServerName, node: n1 })
      },
      (state) => {
        openSession(state)
        nothing(state)
      },
    ],
    ['a report', reported, nothing],
    ['another report', (state) => feed(state, report(n1, 4096, d2)), reported],
  ])('is another with %s', (_, ...changes) => {
    const digests = changes.map((change) => {
      const state = stateAt(4089)
      for (const node of [n1, n2]) feed(state, member(node))
      feed(state, { kind: 'member-delete', node: n2, generation: 1 })
      for (let n = 0; n < 4; n += 1) feed(state, set('a', '1'))
      expect(state.appliedIndex).toBe(4096)
      change(state)
      return state.digest()
    })
    expect(new Set(digests).size).toBe(2)
  })

  it('tells of a record that was damaged in memory, though it has been overwritten since', () => {
    const damaged = new ClusterState()
    const sound = new ClusterState()
    for (const state of [damaged, sound]) {
      feed(state, set('a', '1'))
      state.digest()
    }
    Object.assign(damaged.kvGet('a') ?? {}, { value: '3' })
    expect(sumOf(damaged.capture())).not.toEqual(damaged.capture().sum)
    for (const state of [damaged, sound]) feed(state, set('a', '2'))
    expect(damaged.digest()).not.toBe(sound.digest())
  })

  it('is taken at each check index, applied to or restored at, and kept for the newest few', () => {
    const state = stateAt(4095)
    feed(state, set('a', '1'))
    const atIndex = state.digest()
    const image = state.capture()
    feed(state, set('a', '2'))
    expect(state.checks()).toEqual([{ index: 4096, own: atIndex, reports: new Map() }])
    const restored = new ClusterState()
    restored.restore(image)
    expect(restored.checks()).toEqual(state.checks())
    for (let n = 0; n < checksMax * checkInterval; n += 1) feed(state, null)
    expect(state.checks().map(({ index }) => index / checkInterval)).toEqual([9, 8, 7, 6, 5, 4, 3, 2])
  })

  it('is not known of an index before that of the snapshot', () => {
    const state = checked(1)
    feed(state, report(n1, 4096))
    const restored = new ClusterState()
    restored.restore(state.capture())
    expect(restored.checks()).toEqual([{ index: 4096, own: null, reports: new Map([[n1, d1]]) }])
    state.restore(state.capture())
    expect(state.checks()).toEqual(restored.checks())
  })
})

describe('reports of the state', () => {
  it('are kept by index and node, the last of a node at an index counts, and the change is told', () => {
    const state = checked(2)
    state.takeChange()
    const results = [report(n2, 8192), report(n1, 4096), report(n1, 8192), report(n2, 8192, d2)].map((command) =>
      feed(state, command),
    )
    expect(new Set(results.map(({ kind }) => kind))).toEqual(new Set(['done']))
    expect(state.checks().map(({ index, reports }) => [index, Object.fromEntries(reports)])).toEqual([
      [8192, { n1: d1, n2: d2 }],
      [4096, { n1: d1 }],
    ])
    expect(state.takeChange()).toEqual({ ...noChange, checks: true })
  })

  it.each<[string, Command, string]>([
    ['an index at which states are not compared', report(n1, 4095), 'no index at which states are compared'],
    ['no index', report(n1, 0), 'no index at which states are compared'],
    ['an index that is not before it', report(n1, 8192), 'not before the report'],
    ['an unknown node', report('n9' as NodeId, 4096), 'not in the directory'],
  ])('are refused for %s', (_, command, reason) => {
    const state = checked(1)
    expect(feed(state, command)).toEqual({ kind: 'refused', reason: expect.stringContaining(reason) })
    expect(state.capture().checks).toEqual([])
  })

  it('are kept of the newest few indexes only; what comes too late finds nothing', () => {
    const state = checked(checksMax + 2)
    for (let n = 2; n <= checksMax + 2; n += 1) feed(state, report(n1, n * checkInterval))
    expect(state.capture().checks.map(({ index }) => index / checkInterval)).toEqual([3, 4, 5, 6, 7, 8, 9, 10])
    expect(feed(state, report(n2, 2 * checkInterval))).toEqual({ kind: 'not-found' })
    expect(feed(state, report(n2, 3 * checkInterval))).toMatchObject({ kind: 'done' })
  })

  it('go with the member that made them', () => {
    const state = checked(1)
    for (const node of [n1, n2]) feed(state, report(node, 4096))
    feed(state, { kind: 'member-delete', node: n1, generation: 1 })
    expect(state.capture().checks).toEqual([{ index: 4096, reports: [{ node: n2, digest: d1 }] }])
    feed(state, { kind: 'member-delete', node: n2, generation: 1 })
    expect(state.capture().checks).toEqual([])
  })
})

describe('the hash of a sequence', () => {
  it('is another for every text with one or two bits flipped, short or long', () => {
    for (const length of [1, 2, 9, 40, 513]) {
      const text = 'abcdefghij'.repeat(60).slice(0, length)
      const seen = new Set([hashed(text)])
      let flips = 0
      const flip = (from: string, bit: number): string => {
        const at = (bit / 16) | 0
        return from.slice(0, at) + String.fromCharCode(from.charCodeAt(at) ^ (1 << (bit % 16))) + from.slice(at + 1)
      }
      const step = length > 100 ? 97 : 1
      for (let one = 0; one < length * 16; one += step) {
        seen.add(hashed(flip(text, one)))
        flips += 1
        for (let two = one + step; two < Math.min(length, 40) * 16; two += step) {
          seen.add(hashed(flip(flip(text, one), two)))
          flips += 1
        }
      }
      expect(seen.size).toBe(flips + 1)
    }
  })

  it('tells apart where texts end, texts from numbers, numbers of any size, and lists', () => {
    const values: SequenceValue[] = [
      ['ab', 'c'],
      ['a', 'bc'],
      ['abc'],
      ['a\u0001b', 'c'],
      ['a', 'b\u0001c'],
      [['abc']],
      [['a'], 'bc'],
      [[], 'abc'],
      ['1'],
      [1],
      [-1],
      [2 ** 32 + 1],
      [2 ** 32],
      [0],
      [2 ** 53 - 1],
      [2 ** 52 - 1],
      [null],
      [],
      [[]],
      [''],
    ]
    expect(new Set(values.map(hashed)).size).toBe(values.length)
    expect(hashed([-0])).toBe(hashed([0]))
  })
})
