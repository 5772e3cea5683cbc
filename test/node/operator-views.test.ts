import { describe, expect, it } from 'vitest'
import type { ConsensusStatus } from '../../src/consensus/consensus.ts'
import { OperatorViews } from '../../src/node/operator-views.ts'
import type { OperatorParts } from '../../src/node/operator-views.ts'
import { buildCatalog } from '../../src/routing/catalog.ts'
import type { Command, CommandResult, SessionRecord } from '../../src/state/command.ts'
import { ClusterState } from '../../src/state/state.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { NodeId, ServerName } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import type { Offer } from '../../src/vocabulary/offer.ts'
import { member, offer, replica } from '../routing/replicas.ts'
import { sessionIdOf } from '../state/arbitrary.ts'

type Raft = NonNullable<ConsensusStatus['raft']>

/** Node n1's views; what a test does not give must not be asked. */
function makeViews(parts: Partial<OperatorParts>): OperatorViews {
  const given: Partial<OperatorParts> = {
    node: 'n1' as NodeId,
    consensus: consensusWith({ raft: raftOf('n2', 'n1') }),
    caughtUp: () => true,
    isStopping: () => false,
    draining: { phase: 'serving', takes: 'everything', reason: null },
    ...parts,
  }
  return new OperatorViews(given as OperatorParts)
}

function clusterOf(state: ClusterState, answer?: CommandResult): OperatorParts['cluster'] {
  return { state, proposeOnce: () => Promise.resolve(answer) } as unknown as OperatorParts['cluster']
}

const isN3 = (node: NodeId): boolean => node === 'n3'

function raftOf(leader: string | null, ...voters: readonly string[]): Raft {
  const configuration = { voters, votersOutgoing: [], learners: [] }
  return { leader, configuration } as unknown as Raft
}

const consensusWith = (status: Partial<ConsensusStatus>) => (): ConsensusStatus => status as ConsensusStatus

describe('a node is ready', () => {
  it('once its cluster has formed, a leader is known and its own entry is applied', () => {
    expect(makeViews({}).readiness()).toEqual({ ready: true, reasons: [] })
  })

  it.each<[string, Partial<OperatorParts>]>([
    ['2 of 3 nodes are there', { consensus: consensusWith({ raft: null, waitingFor: '2 of 3 nodes are there' }) }],
    ['no leader is known', { consensus: consensusWith({ raft: raftOf(null, 'n1') }) }],
    [
      "node n1 is not in the cluster's configuration: it was removed, or is not added yet",
      { consensus: consensusWith({ raft: raftOf('n2', 'n2') }) },
    ],
    ["the log is not applied up to the leader's commit yet", { caughtUp: () => false }],
    ['this node is stopping', { isStopping: () => true }],
    ['it drains', { draining: { phase: 'draining', takes: 'known-sessions', reason: 'it drains' } }],
    ['no leader is known', { consensus: consensusWith({ raft: raftOf(null, 'n1', 'n2', 'n3') }), reachable: isN3 }],
    [
      'no leader is known, and no other voter that this node knows can be reached (n2, n4): start them, and check the network; if the cluster goes on without them, this node was taken out: start it with an empty node.dataDir and a join token ("quorate token create" on a member)',
      { consensus: consensusWith({ raft: raftOf(null, 'n1', 'n2', 'n4') }), reachable: isN3 },
    ],
  ])('and not while: %s', (reason, parts) => {
    expect(makeViews(parts).readiness()).toEqual({ ready: false, reasons: [reason] })
  })
})

describe('what an operator sees of a damaged node', () => {
  const quarantine = { why: 'entry 7 is damaged', lostUpTo: 9, verified: null, isOver: false }
  const counters = { oldestWriteMs: 3, diskFreeBytes: null }
  const progress = [{ node: 'n2', match: 0, state: 'probe', isActive: true, isRecovering: true, isDiskFull: true }]
  const raft = { ...raftOf('n2', 'n1'), isRecovering: true, progress } as unknown as Raft
  const status = { raft, quarantine, isDiskFull: true, counters, connected: [] } as unknown as ConsensusStatus
  const checks = { outcome: { index: 0, agreed: 0, diverged: [] } } as unknown as OperatorParts['checks']
  const autopilot = { verdict: null } as OperatorParts['autopilot']
  const cluster = clusterOf(new ClusterState())
  const namingWarnings = (): readonly string[] => ['named otherwise']
  const views = makeViews({ consensus: consensusWith(status), cluster, checks, autopilot, namingWarnings })

  it('is that it does not count, and why', () => {
    const told = { why: 'entry 7 is damaged', lostUpTo: 9, verified: null, over: false }
    expect(views.status()).toMatchObject({ quarantine: told, diskFull: true, warnings: ['named otherwise'] })
    expect(views.raft()).toMatchObject({
      quarantine: told,
      recovering: true,
      progress: [{ id: 'n2', recovering: true, diskFull: true }],
    })
  })

  it('is no reason to take it for not ready: it serves calls all the same', () => {
    expect(views.readiness().ready).toBe(true)
  })
})

describe('the view of a server', () => {
  it('shows a replica as failed whose node can not be reached, whatever that node said last', () => {
    const state = new ClusterState()
    for (const node of ['n1', 'n2'] as NodeId[]) {
      const addresses = { http: 'h:1', peer: 'h:2', raft: 'h:3' }
      const common = { node, generation: 1 }
      const commands: Command[] = [
        { kind: 'member-set', member: { ...common, addresses, labels: {}, version: '1', startedAt: 1 } },
        {
          kind: 'replica-set',
          replica: {
            ...common,
            server: `on-${node}` as ServerName,
            transport: 'stdio',
            status: 'ready',
            reason: '',
            priority: 0,
            offer: null,
            isolation: 'shared',
            whenUnavailable: 'keep',
            groups: [],
          },
        },
      ]
      for (const command of commands) {
        state.apply({ index: state.appliedIndex + 1, time: 1, command: { command, idempotencyKey: null } })
      }
    }
    let reached = true
    const views = makeViews({ cluster: clusterOf(state), catalog: () => buildCatalog([]), reachable: () => reached })
    const states = (): unknown =>
      views.servers().map(({ name, status, replicas }) => [name, status, replicas[0]?.reason])
    expect(states()).toEqual([
      ['on-n1', 'ready', ''],
      ['on-n2', 'ready', ''],
    ])
    reached = false
    expect(states()).toEqual([
      ['on-n1', 'ready', ''],
      ['on-n2', 'failed', 'its node can not be reached from node n1'],
    ])
  })

  it('say what of them no URL shows, since another has the name there', () => {
    const resources = (...uris: string[]): Offer => offer({ resources: JSON.stringify(uris.map((uri) => ({ uri }))) })
    const replicas = [
      replica({ server: 'a', node: 'n1', groups: ['g'], offer: resources('x://1') }),
      replica({ server: 'b', node: 'n1', groups: ['g'], offer: resources('x://1', 'x://2') }),
    ]
    const state = new ClusterState()
    const commands: Command[] = [
      { kind: 'member-set', member: member('n1') },
      ...replicas.map((each) => ({ kind: 'replica-set', replica: each }) as const),
    ]
    for (const command of commands)
      state.apply({ index: state.appliedIndex + 1, time: 1, command: { command, idempotencyKey: null } })
    const views = makeViews({ cluster: clusterOf(state), catalog: () => buildCatalog(replicas), reachable: () => true })
    const clash = { list: 'resources', name: 'x://1', own: 'x://1', shown: 'a' }
    expect(views.servers().map(({ name, hidden }) => [name, hidden])).toEqual([
      ['a', []],
      [
        'b',
        [
          { path: '/mcp', ...clash },
          { path: '/mcp/group/g', ...clash },
        ],
      ],
    ])
  })
})

describe('the sessions of clients', () => {
  const make = (n: number, given: Partial<SessionRecord>): SessionRecord => ({
    id: sessionIdOf(n),
    path: '/mcp',
    transport: 'sse',
    protocolVersion: '2024-11-05',
    clientInfo: asJsonText('{"name":"c","version":"1","title":"C"}'),
    capabilities: asJsonText('{}'),
    idleMs: 1000,
    openedAt: 5,
    usedAt: 7,
    level: null,
    subscriptions: [],
    pins: new Map(),
    ...given,
  })

  it('are shown with what their clients say of themselves, oldest first', () => {
    const clientInfo = asJsonText('{"version":2,"name":"d"}')
    const records = [make(3, {}), make(1, { openedAt: 6, clientInfo }), make(2, { clientInfo: asJsonText('[]') })]
    const sessions = { all: () => records } as unknown as OperatorParts['sessions']
    const common = { protocolVersion: '2024-11-05', path: '/mcp', lastUsedAt: 7 }
    expect(makeViews({ sessions }).sessions()).toEqual([
      { id: sessionIdOf(2), client: '', startedAt: 5, ...common },
      { id: sessionIdOf(3), client: 'c 1', startedAt: 5, ...common },
      { id: sessionIdOf(1), client: 'd', startedAt: 6, ...common },
    ])
  })

  it('are closed by their id; what is no id is no session', async () => {
    const closed: string[] = []
    const close = (id: string): Promise<boolean> => Promise.resolve(closed.push(id) > 0)
    const views = makeViews({ sessions: { close } as unknown as OperatorParts['sessions'] })
    expect(await views.closeSession(sessionIdOf(1))).toBe(true)
    expect(await views.closeSession('1')).toBe(false)
    expect(closed).toEqual([sessionIdOf(1)])
  })
})

describe('a learner that is added with its address', () => {
  it('is introduced also when nobody learns whether it was added', async () => {
    const introduced: unknown[] = []
    const unknown = new OperatingError('outcome-unknown', 'add learner n4: no outcome')
    const cluster = { change: () => Promise.reject(unknown) } as unknown as OperatorParts['cluster']
    const { membership } = makeViews({ cluster, introduce: (...told) => void introduced.push(told) })
    const limits = { timeoutMs: 1000, signal: new AbortController().signal }
    const added = membership.addLearner({ id: 'n4', address: '10.0.0.4:6272', promote: false }, limits)
    await expect(added).rejects.toBe(unknown)
    expect(introduced).toEqual([['n4', '10.0.0.4:6272']])
  })
})

describe('a write that was applied to no effect', () => {
  it.each<[CommandResult, string, string]>([
    [{ kind: 'revision-mismatch', revision: 7 }, 'revision-mismatch', 'the key "k" has revision 7 now'],
    [{ kind: 'revision-mismatch', revision: 0 }, 'revision-mismatch', 'the key "k" does not exist'],
    [{ kind: 'not-found' }, 'not-found', 'there is no key "k"'],
    [{ kind: 'refused', reason: 'it is so' }, 'bad-request', 'the key "k": it is so'],
  ])('%j is told as %s: %s', async (answer, code, message) => {
    const { kv } = makeViews({ cluster: clusterOf(new ClusterState(), answer) })
    const limits = { expect: null, idempotencyKey: null, timeoutMs: 1000, signal: new AbortController().signal }
    const thrown = await kv.put('k', asJsonText('1'), limits).catch((error: unknown) => error)
    expect(thrown).toBeInstanceOf(OperatingError)
    expect(thrown).toMatchObject({ code, message })
  })
})
