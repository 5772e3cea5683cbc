import { describe, expect, it } from 'vitest'
import { Sim, nodeId } from './sim.ts'
import { agreementBoundMs, play } from './sim-plan.ts'

describe('while nodes join, leave and are removed under faults from a seed', () => {
  it.each([
    { nodes: 3, seeds: 30, faultsMs: 60_000 },
    { nodes: 5, seeds: 20, faultsMs: 60_000 },
    { nodes: 25, seeds: 1, faultsMs: 60_000 },
    { nodes: 100, seeds: 1, faultsMs: 10_000 },
  ])('nothing is broken, and all agree, from $nodes nodes on ($seeds seeds)', { timeout: 120_000 }, (life) => {
    const { nodes, seeds, faultsMs } = life
    const happened = { joined: 0, gone: 0 }
    for (let seed = 1; seed <= seeds; seed += 1) {
      const { agreedMs, sim, churn } = play({ seed, nodes, faultsMs, churns: true })
      expect(agreedMs).toBeLessThan(agreementBoundMs(sim))
      happened.joined += churn?.joined ?? 0
      happened.gone += (churn?.left ?? 0) + (churn?.removed ?? 0)
    }
    expect(happened.joined).toBeGreaterThanOrEqual(seeds)
    expect(happened.gone).toBeGreaterThanOrEqual(seeds)
  })
})

describe('a node that joins', () => {
  const formed = (nodes: number, options: { lossPerMille?: number } = {}): Sim => {
    const sim = new Sim({ seed: 21, nodes, ...options })
    expect(sim.runUntil(() => sim.divergence() === null, agreementBoundMs(sim))).not.toBeNull()
    return sim
  }

  it.each([3, 25, 100])('by one address is known to all of %i within seconds', { timeout: 60_000 }, (nodes) => {
    const sim = formed(nodes)
    sim.join(nodeId(nodes), nodeId(1))
    expect(sim.runUntil(() => sim.divergence() === null, 10_000)).not.toBeNull()
  })

  it('is known to all although whom it joined by is gone at once', () => {
    const sim = formed(5)
    sim.join(nodeId(5), nodeId(1))
    expect(sim.runUntil(() => sim.node(nodeId(5)).gossip.members().length > 0, 5000)).not.toBeNull()
    sim.crash(nodeId(1))
    expect(sim.runUntil(() => sim.divergence() === null, agreementBoundMs(sim))).not.toBeNull()
  })

  it('and falls later is found dead by all', () => {
    const sim = formed(5)
    sim.run(30_000)
    sim.join(nodeId(5), nodeId(1))
    sim.run(60_000)
    sim.crash(nodeId(5))
    expect(sim.runUntil(() => sim.divergence() === null, agreementBoundMs(sim))).not.toBeNull()
  })

  it('and is removed ends, wherever that was said, and is welcome as a new process', () => {
    const sim = formed(5)
    sim.join(nodeId(5), nodeId(1))
    sim.run(5000)
    sim.remove(nodeId(5), nodeId(3))
    expect(sim.runUntil(() => !sim.node(nodeId(5)).isUp, 5000)).not.toBeNull()
    sim.run(30_000)
    expect(sim.divergence()).toBeNull()
    sim.join(nodeId(5), nodeId(1))
    expect(sim.runUntil(() => sim.divergence() === null, 10_000)).not.toBeNull()
  })
})
