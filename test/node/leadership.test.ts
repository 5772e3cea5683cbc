import { describe, expect, it } from 'vitest'
import { Leadership } from '../../src/node/leadership.ts'
import type { RaftStatus } from '../../src/raft/effects.ts'
import { ClusterState } from '../../src/state/state.ts'
import { realClock } from '../../src/std/clock.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'

const n1 = 'n1' as NodeId
const n2 = 'n2' as NodeId

function statusOf(leader: NodeId | null, voters: NodeId[] = [n1, n2]): RaftStatus {
  const configuration = { clusterId: 'c' as ClusterId, voters, votersOutgoing: [], learners: [], promotable: [] }
  return { leader, configuration } as unknown as RaftStatus
}

function makeLeadership(first: RaftStatus | null): {
  leadership: Leadership
  handed: (NodeId | null)[]
  become: (next: RaftStatus) => void
} {
  const state = new ClusterState()
  const addresses = { http: 'h:1', peer: 'h:2', raft: 'h:3' }
  const member = { node: n2, generation: 1, addresses, labels: {}, version: '1', startedAt: 0 }
  state.apply({ index: 1, time: 1, command: { command: { kind: 'member-set', member }, idempotencyKey: null } })
  const handed: (NodeId | null)[] = []
  let status = first
  const leadership = new Leadership({
    node: n1,
    electionTimeoutMs: 20,
    raft: () => status,
    state,
    handOver: (to) => handed.push(to),
    clock: realClock,
  })
  return {
    leadership,
    handed,
    become: (next) => {
      status = next
      leadership.changed()
    },
  }
}

describe('a transfer of leadership', () => {
  it.each([n2, null])('to %s ends with the new leader', async (to) => {
    const { leadership, handed, become } = makeLeadership(statusOf(n1))
    const transfer = leadership.transfer(to, 5000)
    become(statusOf(null))
    become(statusOf(n2))
    expect(await transfer).toBe(n2)
    expect(handed).toEqual([to])
    expect(leadership.transfers).toBe(1)
  })

  it('to the leader itself is done already', async () => {
    const { leadership, handed } = makeLeadership(statusOf(n1))
    expect(await leadership.transfer(n1, 5000)).toBe(n1)
    expect(handed).toEqual([])
  })

  it('is refused by who does not lead, with the name and the address of who does', async () => {
    const { leadership } = makeLeadership(statusOf(n2))
    await expect(leadership.transfer(null, 5000)).rejects.toMatchObject({
      code: 'not-leader',
      details: { leader: 'n2', address: 'h:1' },
    })
  })

  it.each<[string, RaftStatus | null, NodeId | null, string]>([
    ['no leader is known', statusOf(null), null, 'no-leader'],
    ['the cluster has not formed', null, null, 'no-leader'],
    ['the target is no voter', statusOf(n1), 'n9' as NodeId, 'change-refused'],
    ['there is no other voter', statusOf(n1, [n1]), null, 'change-refused'],
  ])('is refused when %s', async (_, status, to, code) => {
    const { leadership, handed } = makeLeadership(status)
    await expect(leadership.transfer(to, 5000)).rejects.toMatchObject({ code })
    expect(handed).toEqual([])
  })

  it('that nobody takes over ends with timeout, its own or after two election timeouts', async () => {
    for (const timeoutMs of [10, 60_000]) {
      const { leadership } = makeLeadership(statusOf(n1))
      await expect(leadership.transfer(n2, timeoutMs)).rejects.toMatchObject({ code: 'timeout' })
    }
  })
})

describe('who may lead next', () => {
  const progress = [
    { node: 'n2', match: 7 },
    { node: 'n3', match: 9 },
    { node: 'n4', match: 9, isActive: false },
    { node: 'n5', match: 9, isRecovering: true },
    { node: 'n6', match: 9, isDiskFull: true },
    { node: 'n7', match: 9 },
    { node: 'n8', match: 8 },
  ].map((each) => ({ isActive: true, isRecovering: false, isDiskFull: false, ...each }))
  const voters = ['n1', 'n2', 'n3', 'n4', 'n5', 'n6', 'n8'] as NodeId[]
  const leading = { ...statusOf(n1, voters), role: 'leader', progress } as unknown as RaftStatus

  it('is every voter that is well and not spared, the furthest first, and nobody where this node does not lead', () => {
    expect(makeLeadership(leading).leadership.successors((node) => node === 'n8')).toEqual(['n3', 'n2'])
    expect(makeLeadership({ ...leading, role: 'follower' }).leadership.successors(() => false)).toEqual([])
    expect(makeLeadership(null).leadership.successors(() => false)).toEqual([])
  })
})

describe('a node that stops', () => {
  it('lets nobody wait for a transfer', async () => {
    const { leadership } = makeLeadership(statusOf(n1))
    const transfer = leadership.transfer(n2, 5000)
    leadership.stop()
    await expect(transfer).rejects.toMatchObject({ code: 'stopped' })
  })
})
