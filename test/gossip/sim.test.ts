import { describe, expect, it } from 'vitest'
import { Sim, nodeId } from './sim.ts'
import { agreementBoundMs, play } from './sim-plan.ts'

/** Milliseconds until all live nodes agree; throws when they do not. */
function agree(sim: Sim): number {
  const boundMs = agreementBoundMs(sim)
  const tookMs = sim.runUntil(() => sim.divergence() === null, boundMs)
  if (tookMs === null) throw new Error(`no agreement within ${boundMs} ms: ${sim.divergence() ?? ''}`)
  return tookMs
}

function told(sim: Sim, kind: string): number {
  return sim.events.filter((event) => event.kind === kind).length
}

describe('under faults from a seed nothing is broken, and a sound network brings agreement', () => {
  it.each([
    { nodes: 3, seeds: 40, faultsMs: 60_000 },
    { nodes: 5, seeds: 30, faultsMs: 60_000 },
    { nodes: 25, seeds: 3, faultsMs: 60_000 },
    { nodes: 100, seeds: 1, faultsMs: 20_000 },
  ])('of $nodes nodes ($seeds seeds)', { timeout: 120_000 }, ({ nodes, seeds, faultsMs }) => {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const { agreedMs, sim } = play({ seed, nodes, faultsMs })
      expect(agreedMs).toBeLessThan(agreementBoundMs(sim))
    }
  })

  it('is the same every time', () => {
    const run = (): string => JSON.stringify(play({ seed: 7, nodes: 5, faultsMs: 30_000 }).sim.events)
    expect(run()).toBe(run())
  })
})

describe('a hundred nodes', () => {
  it('come together, find one dead and lose no other', { timeout: 120_000 }, () => {
    const sim = new Sim({ seed: 1, nodes: 100, lossPerMille: 20 })
    agree(sim)
    sim.crash(nodeId(17))
    agree(sim)
    expect(told(sim, 'dead')).toBe(99)
  })
})

describe('a partition', () => {
  it.each([3, 5, 25])('that is long, of %i nodes, heals: nobody who lives stays dead', { timeout: 60_000 }, (nodes) => {
    const sim = new Sim({ seed: 3, nodes })
    agree(sim)
    const ids = [...sim.nodes.keys()]
    const half = Math.ceil(nodes / 2)
    sim.partition([ids.slice(0, half), ids.slice(half)])
    sim.run(120_000)
    for (const { gossip } of sim.up) expect(gossip.status().members.alive).toBeLessThan(nodes - 1)
    sim.heal()
    expect(agree(sim)).toBeLessThan(60_000)
  })

  it('that outlasts both reaping and tombstones heals too, and no deleted key comes back', () => {
    const sim = new Sim({ seed: 4, nodes: 5, timing: { reapTicks: 300, tombstoneTicks: 100 } })
    sim.setState(nodeId(0), 'gone', 'soon')
    agree(sim)
    const ids = [...sim.nodes.keys()]
    sim.partition([ids.slice(0, 2), ids.slice(2)])
    sim.setState(nodeId(0), 'gone', null)
    sim.run(200_000)
    expect(sim.node(nodeId(4)).gossip.member(nodeId(0))).toBeUndefined()
    sim.heal()
    agree(sim)
    expect([...sim.node(nodeId(4)).gossip.state(nodeId(0)).keys()]).toEqual(['role'])
  })

  it('of a deaf node does not spoil the views of the others for long', () => {
    const sim = new Sim({ seed: 5, nodes: 5 })
    agree(sim)
    for (const { id } of sim.up) if (id !== nodeId(2)) sim.cut(id, nodeId(2))
    sim.run(120_000)
    const others = sim.up.filter(({ id }) => id !== nodeId(2))
    for (const { gossip } of others) expect(gossip.status().members).toMatchObject({ alive: 3, dead: 1 })
    sim.heal()
    agree(sim)
  })

  it('between two nodes alone, whom others reach, makes neither of them dead', () => {
    const sim = new Sim({ seed: 6, nodes: 5 })
    agree(sim)
    sim.cut(nodeId(0), nodeId(1))
    sim.cut(nodeId(1), nodeId(0))
    sim.run(300_000)
    expect(told(sim, 'dead')).toBe(0)
    expect(told(sim, 'suspect')).toBe(0)
  })
})

describe('restarts', () => {
  it.each([3, 25])('of all %i nodes at once leave nobody dead', { timeout: 60_000 }, (nodes) => {
    const sim = new Sim({ seed: 8, nodes, linkHints: true })
    agree(sim)
    const ids = [...sim.nodes.keys()]
    for (const id of ids) sim.crash(id)
    for (const id of ids) sim.start(id)
    expect(agree(sim)).toBeLessThan(20_000)
    sim.run(60_000)
    expect(sim.divergence()).toBeNull()
  })

  it('of all nodes one after another are each known by the new generation within seconds', () => {
    const sim = new Sim({ seed: 9, nodes: 5, linkHints: true })
    agree(sim)
    for (const id of sim.nodes.keys()) {
      sim.restart(id)
      expect(agree(sim)).toBeLessThan(10_000)
    }
    expect(told(sim, 'dead')).toBe(0)
  })
})

describe('who is gone', () => {
  it('stays gone, whoever remembers it as alive', () => {
    const sim = new Sim({ seed: 10, nodes: 5, timing: { reapTicks: 600 } })
    agree(sim)
    // n005 is cut off before n001 dies, and comes back when the others have forgotten n001.
    sim.partition([[...sim.nodes.keys()].slice(0, 4), [nodeId(4)]])
    sim.pause(nodeId(4), 100_000)
    sim.crash(nodeId(0))
    sim.run(100_000)
    expect(sim.node(nodeId(1)).gossip.member(nodeId(0))).toBeUndefined()
    const before = sim.events.length
    sim.heal()
    agree(sim)
    sim.run(100_000)
    const risen = sim.events
      .slice(before)
      .filter(({ node, kind, viewer }) => node === nodeId(0) && kind === 'joined' && viewer !== nodeId(4))
    expect(risen).toEqual([])
  })

  it('by leaving is never suspected', () => {
    const sim = new Sim({ seed: 11, nodes: 5 })
    agree(sim)
    sim.leave(nodeId(2))
    agree(sim)
    sim.run(60_000)
    expect(told(sim, 'left')).toBe(4)
    expect(told(sim, 'suspect') + told(sim, 'dead')).toBe(0)
  })
})

describe('a starved node', () => {
  it('makes no healthy node dead, and hardly suspects any', () => {
    const sim = new Sim({ seed: 12, nodes: 10 })
    agree(sim)
    const starved = nodeId(3)
    const before = sim.events.length
    for (let count = 0; count < 60; count += 1) {
      sim.pause(starved, 4000)
      sim.run(5000)
    }
    const false_ = sim.events.slice(before).filter(({ node }) => node !== starved)
    expect(false_.filter(({ kind }) => kind === 'dead')).toEqual([])
    expect(false_.filter(({ kind, viewer }) => kind === 'suspect' && viewer === starved).length).toBeLessThan(10)
  })

  it('that hears little of what it is told accuses little, for it doubts itself', () => {
    const sim = new Sim({ seed: 13, nodes: 10 })
    agree(sim)
    const deaf = nodeId(3)
    sim.deafPerMille.set(deaf, 700)
    const before = sim.events.length
    sim.run(300_000)
    const suspected = sim.events
      .slice(before)
      .filter(({ node, kind, by }) => node !== deaf && kind === 'suspect' && by === deaf)
    // Without local health these are more than 500.
    expect(suspected.length).toBeLessThan(200)
  })

  it('that hears nothing doubts itself as much as can be', () => {
    const sim = new Sim({ seed: 14, nodes: 10 })
    agree(sim)
    sim.deafPerMille.set(nodeId(3), 1000)
    sim.run(30_000)
    expect(sim.node(nodeId(3)).gossip.status().health).toBe(7)
  })
})

describe('when nothing happens', () => {
  it('there is a probe, its answer and a digest from each node a second, and no more', () => {
    const sim = new Sim({ seed: 15, nodes: 25 })
    agree(sim)
    sim.run(60_000)
    const before = sim.messagesSent
    sim.run(60_000)
    expect((sim.messagesSent - before) / 25 / 60).toBeLessThan(3.3)
  })
})
