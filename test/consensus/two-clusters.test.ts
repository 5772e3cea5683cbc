import { afterEach, describe, expect, it } from 'vitest'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { waitFor } from '../wait.ts'
import { Hub } from './hub.ts'
import { LoopCluster, change, stopClusters } from './loop-cluster.ts'
import { leaderOf, write } from './test-cluster.ts'

const [n1, n2, n4] = ['n1', 'n2', 'n4'] as [NodeId, NodeId, NodeId]

afterEach(stopClusters)

describe('a node that two clusters take in at the same moment', () => {
  it('joins one and hears nothing of the other', async () => {
    const hub = new Hub()
    const ports = { makeTransport: (_: NodeId, link: Parameters<Hub['makeTransport']>[0]) => hub.makeTransport(link) }
    const one = new LoopCluster({ bootstrapExpect: 1 }, ports)
    const other = new LoopCluster({ bootstrapExpect: 1 }, ports)
    const leaders = [await one.start(n1), await other.start(n2)]
    for (const leader of leaders) {
      await leaderOf([leader])
      await change(leader, { kind: 'add-learner', node: n4, promote: false }, ({ configuration }) =>
        configuration.learners.includes(n4),
      )
      await write(leader, `of ${leader.id}`, [leader])
    }
    const joiner = await one.start(n4, { bootstrapExpect: null })
    for (const { id, started } of leaders) joiner.started.consensus.learnPeer(id, started.raftAddress)
    await waitFor('its log', () => joiner.told.commands().length > 0)
    const [home, stranger] = leaders.sort((a) => (joiner.told.commands()[0] === `of ${a.id}` ? -1 : 1))
    if (home === undefined || stranger === undefined) throw new Error('there are two')
    await write(stranger, 'more', [stranger])
    await write(home, 'and more', [home, joiner])
    expect(joiner.told.commands()).toEqual([`of ${home.id}`, 'and more'])
    expect(one.disks.get(n4)?.joined).toBe(home.told.last?.clusterId)
    await waitFor('the other to be let go', () => joiner.told.last?.connected.join() === home.id)
    expect([home, stranger, joiner].flatMap(({ told }) => told.failures)).toEqual([])
  })
})
