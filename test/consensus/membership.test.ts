import { afterEach, describe, expect, it } from 'vitest'
import { admitPeer } from '../../src/consensus/admission.ts'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { helloOf } from '../transport/rig.ts'
import { waitFor } from '../wait.ts'
import { LoopCluster, change, stopClusters } from './loop-cluster.ts'
import { leaderOf, write } from './test-cluster.ts'
import type { LoopNode } from './test-cluster.ts'

const [n1, n2, n3, n4] = ['n1', 'n2', 'n3', 'n4'] as [NodeId, NodeId, NodeId, NodeId]
const c1 = 'c1' as ClusterId

afterEach(stopClusters)

const joins = { bootstrapExpect: null }
const votersOf = (node: LoopNode): readonly NodeId[] | undefined => node.told.last?.raft?.configuration.voters

describe('a node without bootstrapExpect', () => {
  it('is refused until the cluster lists it, says what to do, and then gets everything', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    await write(leader, 'before', nodes)
    const joiner = await cluster.start(n4, joins)
    const line = await waitFor('the refusal', () => joiner.told.lines.find(({ event }) => event === 'peer-refused'))
    expect(line.fields).toMatchObject({ code: 'denied' })
    expect(line.fields['error']).toContain(
      'to take it in, start it with a join token ("quorate token create" on one of them makes one)',
    )
    expect(joiner.told.last?.waitingFor).toContain('run "quorate raft add-learner n4"')
    expect(joiner.told.last).toMatchObject({ clusterId: null, raft: null })
    await change(leader, { kind: 'add-learner', node: n4, promote: false }, ({ configuration }) =>
      configuration.learners.includes(n4),
    )
    await write(leader, 'after', cluster.nodes)
    expect(joiner.told.commands()).toEqual(leader.told.commands())
    await waitFor('its status', () => joiner.told.last?.waitingFor === null)
    expect(joiner.told.last).toMatchObject({ clusterId: leader.told.last?.clusterId, promised: null })
    expect(joiner.told.last?.raft).toMatchObject({ role: 'follower', leader: leader.id })
    expect(cluster.disks.get(n4)).toMatchObject({ joined: leader.told.last?.clusterId, promise: null })
    expect(cluster.nodes.flatMap(({ told }) => told.failures)).toEqual([])
  })

  it('goes on joining after a restart in the middle, and as a member after one later', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    await cluster.start(n4, joins)
    cluster.store(cluster.node(n4)).shut()
    await change(leader, { kind: 'add-learner', node: n4, promote: false }, ({ configuration }) =>
      configuration.learners.includes(n4),
    )
    await waitFor('it to be let in', () => cluster.node(n4).told.last?.clusterId !== null)
    expect(cluster.disks.get(n4)?.joined).toBeNull()
    cluster.kill(cluster.node(n4))
    const again = await cluster.start(n4, joins)
    await write(leader, 'one', [again])
    await cluster.stop(again)
    const third = await cluster.start(n4, joins)
    await write(leader, 'two', [third])
    expect(third.told.commands()).toEqual(leader.told.commands())
  })

  it('keeps to the cluster that it joined', async () => {
    const [one, other] = [new LoopCluster({ bootstrapExpect: 1 }), new LoopCluster({ bootstrapExpect: 1 })]
    const first = await one.start(n1)
    await leaderOf([first])
    const joiner = await one.start(n4, joins)
    await change(first, { kind: 'add-learner', node: n4, promote: false }, ({ configuration }) =>
      configuration.learners.includes(n4),
    )
    await write(first, 'of the one', [joiner])
    await one.stop(joiner)
    const disk = one.disks.get(n4)
    if (disk !== undefined) other.disks.set(n4, disk)
    const second = await other.start(n1)
    await leaderOf([second])
    const lost = await other.start(n4, joins)
    const line = await waitFor('the refusal', () => lost.told.lines.find(({ event }) => event === 'peer-refused'))
    expect(line.fields).toMatchObject({ code: 'wrong-cluster' })
  })

  it('is not taken for a founder by those that form a cluster', async () => {
    const cluster = new LoopCluster()
    await cluster.start(n1, joins)
    const founders = [await cluster.start(n2), await cluster.start(n3), await cluster.start(n4)]
    const leader = await leaderOf(founders)
    expect(votersOf(leader)).toEqual([n2, n3, n4])
    expect(cluster.disks.get(n1)?.promise).toBeNull()
  })
})

describe('the members of a cluster', () => {
  it('change one by one: a learner joins, is promoted, and a voter is removed and told so', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    const joiner = await cluster.start(n4, joins)
    await change(leader, { kind: 'add-learner', node: n4, promote: false }, ({ configuration }) =>
      configuration.learners.includes(n4),
    )
    await write(leader, 'with a learner', cluster.nodes)
    await change(leader, { kind: 'promote', node: n4 }, ({ configuration }) => configuration.voters.includes(n4))
    const [removed] = nodes.filter((node) => node !== leader)
    if (removed === undefined) throw new Error('there are three')
    await change(
      leader,
      { kind: 'remove', node: removed.id },
      ({ configuration }) => !configuration.voters.includes(removed.id),
    )
    const rest = cluster.nodes.filter((node) => node !== removed)
    await write(leader, 'without one', rest)
    await waitFor('that it is told', () =>
      removed.told.lines.some(
        ({ event, fields }) =>
          event === 'peer-refused' &&
          fields['code'] === 'denied' &&
          String(fields['error']).includes(`node ${removed.id} is not part of cluster "test" any more: it was removed`),
      ),
    )
    await waitFor('its links to end', () => leader.told.last?.connected.length === 2)
    expect(leader.told.last?.raft).toMatchObject({ role: 'leader' })
    // It is one of a majority now: the leader and the new one alone.
    const [third] = rest.filter((node) => node !== leader && node !== joiner)
    if (third === undefined) throw new Error('there are three')
    await cluster.stop(third)
    await write(leader, 'by two', [leader, joiner])
    expect(cluster.nodes.flatMap(({ told }) => told.failures)).toEqual([])
  })

  it('promote a learner by themselves when it has caught up', async () => {
    const cluster = new LoopCluster({ snapshotEntries: 20 })
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    for (let at = 0; at < 60; at += 1) await write(leader, `w${at}`, [leader])
    const joiner = await cluster.start(n4, joins)
    await change(leader, { kind: 'add-learner', node: n4, promote: true }, ({ configuration }) =>
      configuration.voters.includes(n4),
    )
    await write(leader, 'after', cluster.nodes)
    expect(joiner.told.restores.length).toBeGreaterThan(0)
    expect(joiner.told.commands()).toEqual(leader.told.commands())
    // It came with nothing, so it has lost nothing.
    expect(joiner.told.lines.filter(({ level }) => level === 'error')).toEqual([])
    expect(joiner.told.last?.quarantine).toBe(null)
  })

  it('hear a leader that one of them does not know yet, because it lagged', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    const [lagging] = nodes.filter((node) => node !== leader)
    if (lagging === undefined) throw new Error('there are three')
    await cluster.stop(lagging)
    const joiner = await cluster.start(n4, joins)
    await change(leader, { kind: 'add-learner', node: n4, promote: true }, ({ configuration }) =>
      configuration.voters.includes(n4),
    )
    const rest = cluster.nodes
    await waitFor('the new one to lead', async () => {
      const present = await leaderOf(rest)
      if (present !== joiner) present.started.consensus.transfer(n4)
      return present === joiner
    })
    for (const node of rest.filter((each) => each !== joiner)) await cluster.stop(node)
    // Two of four: they need a third that knows them both.
    const back = await cluster.start(lagging.id)
    const [third] = rest.filter((each) => each !== joiner)
    if (third === undefined) throw new Error('there are two')
    const again = await cluster.start(third.id)
    const next = await leaderOf([joiner, back, again])
    await write(next, 'together', [joiner, back, again])
    await waitFor('all four', () => votersOf(back)?.join() === 'n1,n2,n3,n4')
  })

  it('do not let a voter in that comes back without its data, though it once joined', async () => {
    const cluster = new LoopCluster()
    const nodes = await cluster.startAll([n1, n2, n3])
    const leader = await leaderOf(nodes)
    const joiner = await cluster.start(n4, joins)
    await change(leader, { kind: 'add-learner', node: n4, promote: true }, ({ configuration }) =>
      configuration.voters.includes(n4),
    )
    await write(leader, 'with four', cluster.nodes)
    await cluster.stop(joiner)
    cluster.disks.delete(n4)
    cluster.files.delete(n4)
    const wiped = await cluster.start(n4, joins)
    const failure = await waitFor('the refusal', () => wiped.told.failures[0])
    expect(failure.code).toBe('wiped-node')
  })
})

describe('admission', () => {
  const configuration = { ...makeConfiguration(c1, [n1, n2]), learners: [n3] }
  const admit = (hello: ReturnType<typeof helloOf>, change_: Partial<Parameters<typeof admitPeer>[0]> = {}) =>
    admitPeer({
      hello,
      configuration,
      joined: null,
      neverForms: false,
      leader: n1,
      isCommitted: true,
      clusterName: 'test',
      ...change_,
    })?.code ?? 'welcome'

  it.each([
    ['a voter with its data', helloOf('n2', { clusterId: c1 }), {}, 'welcome'],
    ['a founder that has only promised', helloOf('n2', { promised: c1 }), {}, 'welcome'],
    ['a voter without data', helloOf('n2'), {}, 'wiped-node'],
    ['a voter that promised something else', helloOf('n2', { promised: 'c2' as ClusterId }), {}, 'wiped-node'],
    ['a learner without data', helloOf('n3'), {}, 'welcome'],
    ['a stranger', helloOf('n4'), {}, 'denied'],
    ['a stranger while no leader is heard', helloOf('n4'), { leader: null }, 'denied'],
    ['who was removed', helloOf('n4', { clusterId: c1 }), {}, 'denied'],
    ['who is being removed', helloOf('n4', { clusterId: c1 }), { isCommitted: false }, 'welcome'],
    [
      'an unknown one of the cluster, while no leader is heard',
      helloOf('n4', { clusterId: c1 }),
      { leader: null },
      'welcome',
    ],
    ['a leader that is not known as a member', helloOf('n4', { clusterId: c1 }), { leader: n4 }, 'welcome'],
    ['anyone, before there is a cluster', helloOf('n4'), { configuration: null }, 'welcome'],
    ['a founder, by one that never forms', helloOf('n4'), { configuration: null, neverForms: true }, 'denied'],
    [
      'a member, by one that never forms',
      helloOf('n4', { clusterId: c1 }),
      { configuration: null, neverForms: true },
      'welcome',
    ],
    [
      'a member of another cluster than the joined one',
      helloOf('n4', { clusterId: c1 }),
      { configuration: null, joined: 'c2' as ClusterId },
      'wrong-cluster',
    ],
  ] as const)('meets %s', (_, hello, given, answer) => {
    expect(admit(hello, given)).toBe(answer)
  })
})
