import { describe, expect, it } from 'vitest'
import type { MemberEvent } from '../../src/gossip/effects.ts'
import { ClusterEvents } from '../../src/node/cluster-events.ts'
import type { RaftStatus } from '../../src/raft/effects.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'

const event = (kind: MemberEvent['kind'], node = 'n2'): MemberEvent => ({
  kind,
  node: node as NodeId,
  generation: 1,
  incarnation: 0,
  address: 'h:1',
  by: 'n3' as NodeId,
})

type Members = { voters?: string[]; outgoing?: string[]; learners?: string[]; committed?: boolean }

function raft(leader: string | null, more: Members = {}): RaftStatus {
  const { voters = ['n1'], outgoing: votersOutgoing = [], learners = [] } = more
  const configuration = { voters, votersOutgoing, learners }
  return { leader, term: 4, configuration, isConfigurationCommitted: more.committed ?? true } as unknown as RaftStatus
}

describe('the events of the cluster', () => {
  it('are told from when one listens on, in order, to each who listens', async () => {
    const events = new ClusterEvents(() => 7)
    events.memberChanged(event('joined'))
    const [a, b] = [events.open(), events.open()]
    const early = a.take()
    events.memberChanged(event('suspect'))
    events.memberChanged(event('refuted'))
    expect((await early).map(({ kind }) => kind)).toEqual(['suspect', 'alive'])
    expect(await b.take()).toEqual([
      { kind: 'suspect', time: 7, node: 'n2', generation: 1, incarnation: 0, by: 'n3' },
      { kind: 'alive', time: 7, node: 'n2', generation: 1, incarnation: 0, by: 'n3' },
    ])
  })

  it('say how far the drain of a node is', async () => {
    const events = new ClusterEvents(() => 7)
    const feed = events.open()
    for (const how of ['draining', 'drained', 'serving'] as const) events.drainingChanged('n2' as NodeId, how)
    expect(await feed.take()).toEqual([
      { kind: 'draining', time: 7, node: 'n2' },
      { kind: 'drained', time: 7, node: 'n2' },
      { kind: 'serving', time: 7, node: 'n2' },
    ])
  })

  it('say when the leader is another, and when a configuration is committed', async () => {
    const events = new ClusterEvents(() => 7)
    events.raftChanged(null)
    events.raftChanged(raft('n1'))
    const feed = events.open()
    events.raftChanged(raft('n1'))
    events.raftChanged(raft(null, { voters: ['n1', 'n9'], committed: false }))
    events.raftChanged(raft(null, { voters: ['n1', 'n2'] }))
    events.raftChanged(raft(null, { voters: ['n1', 'n2'] }))
    expect(await feed.take()).toEqual([
      { kind: 'leader-changed', time: 7, leader: null, term: 4 },
      { kind: 'configuration-changed', time: 7, voters: ['n1', 'n2'], votersOutgoing: [], learners: [] },
      { kind: 'promoted', time: 7, node: 'n2', reason: null },
    ])
  })

  it('say who was promoted or removed when the change is complete, and why where that is known', async () => {
    const events = new ClusterEvents(() => 7)
    events.raftChanged(raft('n1', { voters: ['n1', 'n2'], learners: ['n3', 'n4'] }))
    const feed = events.open()
    events.explain('n3' as NodeId, 'it is time')
    events.raftChanged(raft('n1', { voters: ['n1', 'n2', 'n3'], outgoing: ['n1', 'n2'], learners: ['n4'] }))
    events.raftChanged(raft('n1', { voters: ['n1', 'n2', 'n3'], learners: ['n4'] }))
    events.raftChanged(raft('n1', { voters: ['n1', 'n3'], outgoing: ['n1', 'n2', 'n3'], learners: ['n4'] }))
    events.raftChanged(raft('n1', { voters: ['n1', 'n3'], learners: ['n4'] }))
    events.raftChanged(raft('n1', { voters: ['n1', 'n3'] }))
    expect((await feed.take()).filter(({ kind }) => kind !== 'configuration-changed')).toEqual([
      { kind: 'promoted', time: 7, node: 'n3', reason: 'it is time' },
      { kind: 'removed', time: 7, node: 'n2', reason: null },
      { kind: 'removed', time: 7, node: 'n4', reason: null },
    ])
  })

  it('give a reason once: what an operator does with the node later has another', async () => {
    const events = new ClusterEvents(() => 7)
    events.raftChanged(raft('n1', { voters: ['n1', 'n2'], learners: ['n3'] }))
    const feed = events.open()
    events.explain('n3' as NodeId, 'it is time')
    events.raftChanged(raft('n1', { voters: ['n1', 'n2', 'n3'] }))
    events.raftChanged(raft('n1', { voters: ['n1', 'n2'] }))
    expect((await feed.take()).filter(({ kind }) => kind !== 'configuration-changed')).toEqual([
      { kind: 'promoted', time: 7, node: 'n3', reason: 'it is time' },
      { kind: 'removed', time: 7, node: 'n3', reason: null },
    ])
  })

  it('end for who does not take them, and for no one else', async () => {
    const events = new ClusterEvents(() => 7)
    const [slow, quick] = [events.open(), events.open()]
    for (let count = 0; count < 257; count += 1) {
      events.memberChanged(event('suspect'))
      expect((await quick.take()).length).toBe(1)
    }
    await expect(slow.take()).rejects.toMatchObject({ code: 'overloaded' })
  })

  it('are told to 64 at a time, to nobody behind close, and end with the node', async () => {
    const events = new ClusterEvents(() => 7)
    const all = Array.from({ length: 64 }, () => events.open())
    expect(() => events.open()).toThrow('64 already')
    const closed = all[0]?.take()
    all[0]?.close()
    expect(await closed).toEqual([])
    const last = events.open()
    const waits = last.take()
    events.stop()
    await expect(waits).rejects.toMatchObject({ code: 'stopped' })
    expect(() => events.open()).toThrow('is stopping')
  })
})
