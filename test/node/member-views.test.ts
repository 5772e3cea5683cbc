import { describe, expect, it } from 'vitest'
import type { MemberView } from '../../src/admin/needs.ts'
import type { MemberStatus } from '../../src/gossip/messages.ts'
import { memberViews } from '../../src/node/member-views.ts'
import type { MemberSources } from '../../src/node/member-views.ts'
import type { Member } from '../../src/state/command.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'

type Gossiped = Record<string, { status: MemberStatus; generation?: number; state?: Record<string, string> }>

/** n1's view. */
function sources(options: {
  gossiped?: Gossiped
  directory?: readonly string[]
  voters?: readonly string[]
  learners?: readonly string[]
  silent?: string
  isFormed?: boolean
  drains?: MemberSources['drains']
}): MemberSources {
  const {
    gossiped = {},
    directory = [],
    voters = ['n1'],
    learners = [],
    silent,
    isFormed = true,
    drains = new Map(),
  } = options
  const raft = {
    leader: 'n1',
    configuration: { voters, votersOutgoing: [], learners },
    progress: silent === undefined ? [] : [{ node: silent, isActive: false }],
  }
  return {
    self: 'n1' as NodeId,
    generation: 4,
    directory: directory.map((node): Member => {
      const addresses = { http: 'old:1', peer: 'old:2', raft: 'old:3' }
      return { node: node as NodeId, generation: 1, addresses, labels: { zone: 'old' }, version: '1', startedAt: 1 }
    }),
    drains,
    raft: isFormed ? (raft as unknown as MemberSources['raft']) : null,
    gossip: {
      members: () =>
        Object.entries(gossiped).map(([node, { status, generation = 2 }]) => ({
          node: node as NodeId,
          generation,
          incarnation: 3,
          status,
          address: 'gossiped:2',
          sinceTick: 0,
        })),
      said: (node) => ({
        state: new Map(Object.entries(gossiped[node]?.state ?? {})),
        gauges: new Map(node === 'n2' ? [['cpu', 0.5]] : []),
      }),
      status: () => ({ incarnation: 9 }) as ReturnType<MemberSources['gossip']['status']>,
    },
  }
}

const disagreements = (options: Parameters<typeof sources>[0]): Record<string, string | null> =>
  Object.fromEntries(memberViews(sources(options)).map(({ id, disagrees }) => [id, disagrees]))

describe('the view of members', () => {
  it('holds everyone whom gossip, Raft or the directory know, in the order of ids, but who has left for good', () => {
    const views = memberViews(
      sources({
        gossiped: { n4: { status: 'suspect' }, n6: { status: 'left' } },
        directory: ['n2'],
        voters: ['n1', 'n3'],
        learners: ['n5'],
      }),
    )
    expect(views.map(({ id, status, raft }) => [id, status, raft])).toEqual([
      ['n1', 'alive', 'leader'],
      ['n2', 'unknown', 'none'],
      ['n3', 'unknown', 'voter'],
      ['n4', 'suspect', 'none'],
      ['n5', 'unknown', 'learner'],
    ])
  })

  it('says who drains: by its own word, else by what operators want', () => {
    const views = memberViews(
      sources({
        gossiped: {
          n2: { status: 'alive', state: { draining: 'drained' } },
          n3: { status: 'alive', state: { draining: 'false' } },
          n4: { status: 'alive', state: { draining: 'whatever' } },
        },
        drains: new Map([
          ['n2' as NodeId, 'leave' as const],
          ['n3' as NodeId, 'drain' as const],
        ]),
      }),
    )
    expect(views.map(({ id, draining }) => [id, draining])).toEqual([
      ['n1', 'no'],
      ['n2', 'drained'],
      ['n3', 'draining'],
      ['n4', 'no'],
    ])
  })

  it("tells a node's own word before the directory's", () => {
    const state = { 'address.http': 'new:1', 'label.zone': 'new', version: '2', startedAt: '5', role: 'voter' }
    const [, n2, n3] = memberViews(
      sources({
        gossiped: { n2: { status: 'alive', state }, n3: { status: 'left' } },
        directory: ['n2', 'n3'],
        voters: ['n1', 'n2'],
      }),
    )
    expect(n2).toEqual({
      id: 'n2',
      draining: 'no',
      addresses: { http: 'new:1', peer: 'gossiped:2', raft: 'old:3' },
      status: 'alive',
      raft: 'voter',
      disagrees: null,
      incarnation: 3,
      generation: 2,
      labels: { zone: 'new' },
      capacity: null,
      metrics: { cpu: 0.5 },
      version: '2',
      startedAt: 5,
    })
    expect(n3).toMatchObject({ labels: { zone: 'old' }, version: '1', startedAt: 1 })
  })

  it.each<[string, Record<string, string>, MemberView['capacity']]>([
    ['nothing', {}, null],
    [
      'all',
      { 'capacity.cpu': '4', 'capacity.gpu': '0', 'capacity.memoryBytes': '17179869184' },
      { cpu: 4, gpu: 0, memoryBytes: 2 ** 34 },
    ],
    ['one amount', { 'capacity.cpu': '4' }, { cpu: 4, gpu: null, memoryBytes: null }],
    ['what is no amount', { 'capacity.cpu': '-1', 'capacity.gpu': '', 'capacity.memoryBytes': '16GiB' }, null],
  ])('tells what a node says that it has: %s', (_, state, capacity) => {
    const [, n2] = memberViews(sources({ gossiped: { n2: { status: 'alive', state } } }))
    expect(n2?.capacity).toEqual(capacity)
  })

  it.each<[string, Parameters<typeof sources>[0], string | null]>([
    [
      'dead and a voter',
      { gossiped: { n2: { status: 'dead' } }, voters: ['n1', 'n2'] },
      'Raft counts it as a voter, and it is dead',
    ],
    [
      'gone and a learner',
      { gossiped: { n2: { status: 'left' } }, learners: ['n2'] },
      'Raft counts it as a learner, and it has left',
    ],
    [
      'a voter that gossip never heard of',
      { voters: ['n1', 'n2'] },
      'Raft counts it as a voter, and gossip does not know it',
    ],
    [
      'alive, and silent to the leader',
      { gossiped: { n2: { status: 'alive' } }, voters: ['n1', 'n2'], silent: 'n2' },
      'it is alive by gossip, and the leader of Raft hears nothing from it',
    ],
    [
      'alive, and a voter by its own word only',
      { gossiped: { n2: { status: 'alive', state: { role: 'voter' } } } },
      'it says that it is a voter, and Raft does not count it',
    ],
    ['alive beside the log', { gossiped: { n2: { status: 'alive', state: { role: 'gossip' } } } }, null],
    ['dead and removed', { gossiped: { n2: { status: 'dead' } } }, null],
    ['alive and a voter', { gossiped: { n2: { status: 'alive' } }, voters: ['n1', 'n2'] }, null],
    ['alive before the cluster forms', { gossiped: { n2: { status: 'dead' } }, isFormed: false }, null],
  ])('says where gossip and Raft differ: %s', (_, options, sentence) => {
    expect(disagreements(options)).toEqual({ n1: null, n2: sentence })
  })
})
