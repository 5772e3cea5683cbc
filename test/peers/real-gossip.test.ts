import { afterEach, describe, expect, it } from 'vitest'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { waitFor } from '../wait.ts'
import { RealGossip } from './real-gossip.ts'
import type { RealNode } from './real-gossip.ts'

// Ten drivers over real sockets: five voters, and five that open their lanes when they have something to say. Gossip's times
// are a fifth of what they are in a cluster.
const voters = 5
let gossip: RealGossip | null = null

afterEach(async () => {
  await gossip?.stop()
  gossip = null
})

async function formed(count: number): Promise<RealGossip> {
  gossip = new RealGossip({ voters, speed: 5 })
  await gossip.start(count)
  await agreed(gossip)
  return gossip
}

function agreed({ nodes }: RealGossip): Promise<boolean> {
  const alive = (): number[] => nodes.map(({ driver }) => driver.status().members.alive)
  return waitFor(
    () => `${nodes.length - 1} alive at each, not ${alive().join()}`,
    () => alive().every((count) => count === nodes.length - 1),
  )
}

function lastOf(nodes: readonly RealNode[]): RealNode {
  const last = nodes.at(-1)
  if (last === undefined) throw new Error('there is no node')
  return last
}

function statusOf(at: RealNode, node: NodeId): string | undefined {
  return at.driver.members().find((member) => member.node === node)?.status
}

function events(nodes: readonly RealNode[], event: string): number {
  return nodes.reduce((sum, { logged }) => sum + logged.filter((line) => line.event === event).length, 0)
}

describe('ten nodes over real sockets', () => {
  it('find each other from one address, and each has what the others say of themselves', async () => {
    const { nodes } = await formed(10)
    const last = lastOf(nodes)
    last.driver.setState('label.zone', 'z')
    last.driver.setGauges(new Map([['cpu', 0.5]]))
    await waitFor('the label and the gauge at all', () =>
      nodes.every(({ driver }) => {
        const { state, gauges } = driver.said(last.id)
        return state.get('label.zone') === 'z' && gauges.get('cpu') === 0.5
      }),
    )
    expect(events(nodes, 'member-dead')).toBe(0)
  })

  it('keep the lanes of voters open, and open others when they have something to say', async () => {
    const { nodes } = await formed(10)
    const open = (at: readonly RealNode[]): number[] => at.map(({ driver }) => driver.counters.openNow)
    await waitFor(
      () => `the lanes of voters, which are ${open(nodes.slice(0, voters)).join()}`,
      () => open(nodes.slice(0, voters)).every((count) => count === nodes.length - 1),
    )
    // A probe goes round all of them in nine intervals, and a digest goes to some each interval.
    await waitFor(
      () => `the lanes of the others, which are ${open(nodes.slice(voters)).join()}`,
      () => open(nodes.slice(voters)).every((count) => count > voters),
    )
  })

  it('find one dead whose sockets break, and none of the others', async () => {
    const cluster = await formed(10)
    const victim = lastOf(cluster.nodes)
    await cluster.kill(victim)
    await waitFor('it to be dead at all', () => cluster.nodes.every((node) => statusOf(node, victim.id) === 'dead'))
    expect(events(cluster.nodes, 'member-dead')).toBe(cluster.nodes.length)
    await agreed(cluster)
  })

  it('take in five more at once, and see one leave that says so', async () => {
    const cluster = await formed(10)
    await cluster.start(5)
    await agreed(cluster)
    const leaver = lastOf(cluster.nodes)
    await leaver.driver.leave(5000)
    await cluster.kill(leaver)
    await waitFor('it to have left', () => cluster.nodes.every((node) => statusOf(node, leaver.id) === 'left'))
    await agreed(cluster)
    expect(events(cluster.nodes, 'member-dead')).toBe(0)
  })
})
