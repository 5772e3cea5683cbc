import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeCommand, encodeCommand } from '../../src/state/command-codec.ts'
import type { Command, CommandResult, Member, Replica } from '../../src/state/command.ts'
import { compareBytewise } from '../../src/state/sorted-keys.ts'
import { ClusterState, membersMax } from '../../src/state/state.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { NodeId, ServerName } from '../../src/vocabulary/ids.ts'
import type { Offer } from '../../src/vocabulary/offer.ts'
import { anyLog } from './arbitrary.ts'
import { noChange } from './no-change.ts'

type Fed = ClusterState & { feed(command: Command | null): CommandResult }

function makeState(): Fed {
  const state = new ClusterState()
  return Object.assign(state, {
    feed: (command: Command | null) =>
      state.apply({
        index: state.appliedIndex + 1,
        time: state.appliedIndex + 1,
        command: command && { command, idempotencyKey: null },
      }),
  })
}

const set = (key: string, value: string, expect: number | null = null): Command => ({
  kind: 'kv-set',
  key,
  value: asJsonText(value),
  expect,
})
const remove = (key: string, expect: number | null = null): Command => ({ kind: 'kv-delete', key, expect })
const offer = (tools: string): Offer => ({
  initialize: asJsonText('{}'),
  tools: asJsonText(tools),
  resources: asJsonText('[]'),
  resourceTemplates: asJsonText('[]'),
  prompts: asJsonText('[]'),
})
const member = (node: string, generation: number, more: Partial<Member> = {}): Member => ({
  node: node as NodeId,
  generation,
  addresses: { http: 'h:1', peer: 'h:2', raft: 'h:3' },
  labels: { zone: 'a', node },
  version: '0.1.0',
  startedAt: 1,
  ...more,
})
const replica = (node: string, generation: number, server: string, more: Partial<Replica> = {}): Replica => ({
  node: node as NodeId,
  generation,
  server: server as ServerName,
  transport: 'stdio',
  status: 'ready',
  reason: '',
  priority: 0,
  offer: offer('[]'),
  isolation: 'shared',
  whenUnavailable: 'keep',
  groups: [],
  ...more,
})
const memberSet = (...of: Parameters<typeof member>): Command => ({ kind: 'member-set', member: member(...of) })
const replicaSet = (...of: Parameters<typeof replica>): Command => ({ kind: 'replica-set', replica: replica(...of) })
const replicaDelete = (node: string, generation: number, server: string): Command => ({
  kind: 'replica-delete',
  node: node as NodeId,
  generation,
  server: server as ServerName,
})
const places = (state: ClusterState): string[] =>
  state.replicas().map((it) => `${it.server}@${it.node}.${it.generation}`)

describe('the key-value pairs', () => {
  // Each row: what was applied before, the command, its result. Indexes count from 1.
  it.each<[string, Command[], Command, CommandResult]>([
    ['a set of a new key', [], set('a', '1'), { kind: 'done', revision: 1 }],
    ['a set of a known key', [set('a', '1')], set('a', '2'), { kind: 'done', revision: 2 }],
    ['a set that expects none, of a new key', [], set('a', '1', 0), { kind: 'done', revision: 1 }],
    [
      'a set that expects none, of a known key',
      [set('a', '1')],
      set('a', '2', 0),
      { kind: 'revision-mismatch', revision: 1 },
    ],
    ['a set that expects the revision', [set('a', '1')], set('a', '2', 1), { kind: 'done', revision: 2 }],
    [
      'a set that expects an older revision',
      [set('a', '1'), set('a', '2')],
      set('a', '3', 1),
      { kind: 'revision-mismatch', revision: 2 },
    ],
    [
      'a set that expects a revision, of an absent key',
      [set('b', '1')],
      set('a', '1', 1),
      { kind: 'revision-mismatch', revision: 0 },
    ],
    [
      'a set that expects none, of a deleted key',
      [set('a', '1'), remove('a')],
      set('a', '2', 0),
      { kind: 'done', revision: 3 },
    ],
    [
      'a set that expects the revision before the delete',
      [set('a', '1'), remove('a')],
      set('a', '2', 1),
      { kind: 'revision-mismatch', revision: 0 },
    ],
    ['a delete of a known key', [set('a', '1')], remove('a'), { kind: 'done', revision: 2 }],
    ['a delete of an absent key', [], remove('a'), { kind: 'not-found' }],
    ['a delete of an absent key that expects none', [], remove('a', 0), { kind: 'not-found' }],
    [
      'a delete of an absent key that expects a revision',
      [],
      remove('a', 4),
      { kind: 'revision-mismatch', revision: 0 },
    ],
    ['a delete that expects the revision', [set('a', '1')], remove('a', 1), { kind: 'done', revision: 2 }],
    [
      'a delete that expects another revision',
      [set('a', '1')],
      remove('a', 7),
      { kind: 'revision-mismatch', revision: 1 },
    ],
    [
      'a delete that expects none, of a known key',
      [set('a', '1')],
      remove('a', 0),
      { kind: 'revision-mismatch', revision: 1 },
    ],
  ])('%s', (_, before, command, result) => {
    const state = makeState()
    for (const earlier of before) state.feed(earlier)
    const held = state.kvGet('a')
    expect(state.feed(command)).toEqual(result)
    expect(state.kvGet('a') === held).toBe(result.kind !== 'done')
  })

  it('give a value back as it was put, with the index of its write', () => {
    const state = makeState()
    state.feed(null)
    state.feed(set('a', ' {"z":1.0, "a":1e400 }\n'))
    expect(state.kvGet('a')).toEqual({ key: 'a', value: ' {"z":1.0, "a":1e400 }\n', revision: 2 })
  })

  it('are listed in bytewise order of UTF-8, where UTF-16 differs', () => {
    const state = makeState()
    for (const key of ['\uFF21', '\u{1F600}', 'z', 'é', 'a']) state.feed(set(key, '1'))
    expect(state.kvList({ prefix: '', after: null, limit: 10 }).entries.map((entry) => entry.key)).toEqual([
      'a',
      'z',
      'é',
      '\uFF21',
      '\u{1F600}',
    ])
  })

  it('are paged: next is the last key while more follow, and null at the end', () => {
    const state = makeState()
    for (const key of ['a/1', 'a/2', 'a/3', 'a/4', 'b']) state.feed(set(key, '1'))
    const first = state.kvList({ prefix: 'a/', after: null, limit: 2 })
    expect(first).toMatchObject({ entries: [{ key: 'a/1' }, { key: 'a/2' }], next: 'a/2' })
    const second = state.kvList({ prefix: 'a/', after: first.next, limit: 2 })
    expect(second).toMatchObject({ entries: [{ key: 'a/3' }, { key: 'a/4' }], next: null })
    expect(state.kvList({ prefix: 'a/', after: 'a/25', limit: 1 })).toMatchObject({ entries: [{ key: 'a/3' }] })
    expect(state.kvList({ prefix: 'a/', after: 'zzz', limit: 1 })).toEqual({ entries: [], next: null })
    expect(state.kvList({ prefix: 'a/', after: 'A', limit: 1 })).toMatchObject({ entries: [{ key: 'a/1' }] })
  })

  it('list what a sorted copy would, after any writes with reads between them', () => {
    const keys = fc.constantFrom('a', 'b', 'ab', 'abc', '\u{1F600}', '\uFF21', 'é')
    const step = fc.record({ key: keys, deletes: fc.boolean(), reads: fc.boolean() })
    const question = fc.record({
      prefix: fc.constantFrom('', 'a', 'ab', '\u{1F600}', 'x'),
      after: fc.option(keys),
      limit: fc.integer({ min: 1, max: 4 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), question, (steps, asked) => {
        const state = makeState()
        const model = new Set<string>()
        for (const { key, deletes, reads } of steps) {
          state.feed(deletes ? remove(key) : set(key, '1'))
          if (deletes) model.delete(key)
          else model.add(key)
          if (reads) state.kvList(asked)
        }
        const { prefix, after, limit } = asked
        const matching = [...model]
          .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
          .filter(
            (key) =>
              key.startsWith(prefix) && (after === null || Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0),
          )
        const listed = state.kvList(asked)
        expect(listed.entries.map((entry) => entry.key)).toEqual(matching.slice(0, limit))
        expect(listed.next).toBe(matching.length > limit ? matching[limit - 1] : null)
      }),
      { numRuns: 500 },
    )
  })

  it('compare keys as Buffer.compare does', () => {
    const text = fc.string({ unit: 'binary' })
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareBytewise(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)))
      }),
      { numRuns: 2000 },
    )
  })
})

describe('the directory and the replicas', () => {
  it('a newer generation of a node withdraws the replicas of the older one, and no other node its own', () => {
    const state = makeState()
    state.feed(memberSet('n1', 1))
    state.feed(memberSet('n2', 1))
    for (const [node, server] of [
      ['n1', 'files'],
      ['n1', 'sql'],
      ['n2', 'files'],
    ] as const)
      state.feed(replicaSet(node, 1, server))
    expect(places(state)).toEqual(['files@n1.1', 'files@n2.1', 'sql@n1.1'])
    state.takeChange()
    expect(state.feed(memberSet('n1', 2))).toEqual({ kind: 'done', revision: 6 })
    expect(places(state)).toEqual(['files@n2.1'])
    expect(state.takeChange()).toEqual({ ...noChange, catalog: true, members: true })
  })

  it('refuse an older generation of a member', () => {
    const state = makeState()
    state.feed(memberSet('n1', 2))
    expect(state.feed(memberSet('n1', 1))).toEqual({
      kind: 'refused',
      reason: 'generation 1 of node n1 is older than 2',
    })
    expect(state.members()).toEqual([member('n1', 2)])
  })

  it('take a change within the same generation and keep its replicas', () => {
    const state = makeState()
    state.feed(memberSet('n1', 1))
    state.feed(replicaSet('n1', 1, 'files'))
    state.feed(memberSet('n1', 1, { labels: { zone: 'b' } }))
    expect(state.members()).toEqual([member('n1', 1, { labels: { zone: 'b' } })])
    expect(places(state)).toEqual(['files@n1.1'])
  })

  it.each([
    ['an unknown member', [], 'node n1 is not in the directory'],
    ['an older generation', [memberSet('n1', 3)], 'generation 2 of node n1 is not its newest, which is 3'],
    [
      'a generation that nobody announced',
      [memberSet('n1', 1)],
      'generation 2 of node n1 is not its newest, which is 1',
    ],
  ])('refuse a replica of %s', (_, before, reason) => {
    const state = makeState()
    for (const command of before) state.feed(command)
    expect(state.feed(replicaSet('n1', 2, 'files'))).toEqual({ kind: 'refused', reason })
    expect(state.replicas()).toEqual([])
  })

  it('withdraw a replica only of the generation that asks', () => {
    const state = makeState()
    state.feed(memberSet('n1', 2))
    state.feed(replicaSet('n1', 2, 'files'))
    expect(state.feed(replicaDelete('n1', 1, 'files'))).toEqual({ kind: 'not-found' })
    expect(state.feed(replicaDelete('n1', 2, 'sql'))).toEqual({ kind: 'not-found' })
    expect(places(state)).toEqual(['files@n1.2'])
    expect(state.feed(replicaDelete('n1', 2, 'files'))).toEqual({ kind: 'done', revision: 5 })
    expect(places(state)).toEqual([])
  })

  it('take a member out with its replicas, unless it is there in a newer generation', () => {
    const state = makeState()
    const gone = (generation: number): Command => ({ kind: 'member-delete', node: 'n1' as NodeId, generation })
    state.feed(memberSet('n1', 2))
    state.feed(memberSet('n2', 1))
    state.feed(replicaSet('n1', 2, 'files'))
    state.feed(replicaSet('n2', 1, 'files'))
    expect(state.feed(gone(1))).toEqual({ kind: 'not-found' })
    expect(places(state)).toEqual(['files@n1.2', 'files@n2.1'])
    expect(state.feed(gone(2))).toEqual({ kind: 'done', revision: 6 })
    expect(state.members()).toEqual([member('n2', 1)])
    expect(places(state)).toEqual(['files@n2.1'])
    expect(state.feed(gone(2))).toEqual({ kind: 'not-found' })
    expect(state.takeChange()).toMatchObject({ catalog: true, members: true })
  })

  it('refuse one member more than the directory holds', () => {
    const state = makeState()
    for (let at = 0; at < membersMax; at += 1) state.feed(memberSet(`n${at}`, 1))
    expect(state.feed(memberSet('one-more', 1)).kind).toBe('refused')
    expect(state.feed(memberSet('n7', 2)).kind).toBe('done')
    expect(state.members()).toHaveLength(membersMax)
  })

  it.each<[string, Partial<Replica>]>([
    ['the status', { status: 'failed' }],
    ['the reason', { reason: 'gone' }],
    ['the priority', { priority: 1 }],
    ['the transport', { transport: 'http' }],
    ['the offer', { offer: offer('[{}]') }],
    ['that there is no offer', { offer: null }],
  ])('raise the version of the catalog when a replica changes: %s', (_, more) => {
    const state = makeState()
    state.feed(memberSet('n1', 1))
    state.feed(replicaSet('n1', 1, 'files'))
    const before = state.catalogVersion
    state.takeChange()
    state.feed(replicaSet('n1', 1, 'files', more))
    expect(state.catalogVersion).toBe(before + 1)
    expect(state.takeChange().catalog).toBe(true)
    expect(state.replicas()).toEqual([replica('n1', 1, 'files', more)])
  })

  it('keep their version, and the lists that were read, when the same is published again', () => {
    const state = makeState()
    state.feed(memberSet('n1', 1))
    state.feed(replicaSet('n1', 1, 'files'))
    const [version, members, replicas] = [state.catalogVersion, state.members(), state.replicas()]
    state.takeChange()
    state.feed(memberSet('n1', 1, { labels: { node: 'n1', zone: 'a' } }))
    state.feed(replicaSet('n1', 1, 'files'))
    expect(state.catalogVersion).toBe(version)
    expect(state.takeChange()).toEqual(noChange)
    expect(state.members()).toBe(members)
    expect(state.replicas()).toBe(replicas)
  })

  it('leave a list that was read before as it was', () => {
    const state = makeState()
    state.feed(memberSet('n1', 1))
    const before = state.members()
    state.feed(memberSet('n2', 1))
    expect(before).toHaveLength(1)
    expect(state.members()).toHaveLength(2)
  })
})

describe('the state', () => {
  it('is equal on two nodes that applied the same entries, one of them from bytes, read at different times', () => {
    fc.assert(
      fc.property(anyLog(), (log) => {
        const [direct, decoded] = [makeState(), makeState()]
        let time = 0
        log.forEach(({ envelope, laterMs }, at) => {
          time += laterMs
          const again = envelope && decodeCommand(encodeCommand(envelope))
          const result = direct.apply({ index: at + 1, time, command: envelope })
          expect(decoded.apply({ index: at + 1, time, command: again })).toEqual(result)
          if (at % 3 === 0) {
            decoded.members()
            decoded.replicas()
            decoded.kvList({ prefix: '', after: null, limit: 1 })
          }
        })
        expect(everything(decoded)).toEqual(everything(direct))
        expect(decoded.takeChange()).toEqual(direct.takeChange())
      }),
      { numRuns: 300 },
    )
  })

  it('gathers changes until they are taken, in the order of their application', () => {
    const state = makeState()
    state.feed(set('a', '1'))
    state.feed(set('b', '1'))
    state.feed(set('a', '2'))
    state.feed(remove('c'))
    state.feed(set('d', '1', 9))
    expect(state.takeChange()).toEqual({
      ...noChange,
      kv: [
        { kind: 'put', key: 'a', value: '1', revision: 1 },
        { kind: 'put', key: 'b', value: '1', revision: 2 },
        { kind: 'put', key: 'a', value: '2', revision: 3 },
      ],
    })
    expect(state.takeChange()).toEqual(noChange)
    state.feed(remove('a'))
    state.feed(memberSet('n1', 1))
    expect(state.takeChange()).toEqual({ ...noChange, kv: [{ kind: 'delete', key: 'a', revision: 6 }], members: true })
  })

  it('counts a malformed command as applied, changes nothing and refuses its proposer', () => {
    const state = makeState()
    expect(state.apply({ index: 1, time: 1, command: { malformed: 'format 3 is not known, only 2' } })).toEqual({
      kind: 'refused',
      reason: 'malformed command: format 3 is not known, only 2',
    })
    expect(state.appliedIndex).toBe(1)
    expect(state.takeChange()).toEqual(noChange)
  })

  it.each([0, 1, 3])('stops on an entry that does not follow the last (index %i after 1)', (index) => {
    const state = makeState()
    state.feed(null)
    expect(() => state.apply({ index, time: 1, command: null })).toThrow(`state: entry ${index} does not follow 1`)
    expect(state.appliedIndex).toBe(1)
  })
})

function everything(state: ClusterState): unknown {
  return {
    applied: state.appliedIndex,
    version: state.catalogVersion,
    kv: state.kvList({ prefix: '', after: null, limit: 1000 }),
    members: state.members(),
    replicas: state.replicas(),
    image: state.capture(),
  }
}
