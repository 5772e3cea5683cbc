import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Autopilot } from '../../src/autopilot/autopilot.ts'
import { votersLeftMin } from '../../src/autopilot/limits.ts'
import type { Decision, Verdict } from '../../src/autopilot/observation.ts'
import { changed, conditions, observationOf, options } from './lab.ts'
import type { Cluster, Condition } from './lab.ts'

// A cluster that goes through any conditions for any times, in which every decision is carried out. What is known of each
// node is kept here once more, by the test's own means.
const { deadVoterMs, stabilizationMs, votersMax } = options
const deadConditions: readonly string[] = ['dead', 'left', 'unknown']
/** A leader is alive and has the whole log. */
const ofLeader = ['recovering', 'drain', 'leave', null] as const
const names = Object.keys(conditions) as Condition[]

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('condition' as const),
      node: fc.nat(),
      of: fc.option(fc.constantFrom(...names), { freq: 2 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(100, 1000, 2000, 30_000, 60_000) }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'term' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'join' as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leader' as const), of: fc.constantFrom(...ofLeader) }) },
)
const start = fc.record({ voters: fc.integer({ min: 1, max: 7 }), learners: fc.integer({ min: 0, max: 5 }) })

class World {
  readonly autopilot = new Autopilot(options)
  cluster: Cluster
  nowMs = 0
  #next: number
  /** Since when each node is as it is. */
  readonly #sinceMs = new Map<string, number>()

  constructor({ voters, learners }: { voters: number; learners: number }) {
    const ids = Array.from({ length: voters + learners }, (_, at) => String(at + 1))
    this.cluster = { voters: ids.slice(0, voters), learners: ids.slice(voters), conditions: new Map(), term: 1 }
    this.#next = ids.length + 1
  }

  become(node: string, condition: Condition | null): void {
    // What is dead in another way is dead since then all the same.
    const isSame = this.isDead(node) && deadConditions.includes(String(condition))
    const next = new Map(this.cluster.conditions)
    if (condition === null) next.delete(node)
    else next.set(node, condition)
    if (!isSame && (this.cluster.conditions.get(node) ?? null) !== condition) this.#sinceMs.set(node, this.nowMs)
    this.cluster = { ...this.cluster, conditions: next }
  }

  newTerm(): void {
    this.cluster = { ...this.cluster, term: (this.cluster.term ?? 1) + 1 }
    for (const node of this.members) this.#sinceMs.set(node, this.nowMs)
  }

  join(): void {
    this.cluster = { ...this.cluster, learners: [...this.cluster.learners, String(this.#next)] }
    this.#sinceMs.set(String(this.#next), this.nowMs)
    this.#next += 1
  }

  get members(): readonly string[] {
    return [...this.cluster.voters, ...this.cluster.learners]
  }

  lasts(node: string): number {
    return this.nowMs - (this.#sinceMs.get(node) ?? 0)
  }

  isDead(node: string): boolean {
    return node !== '1' && deadConditions.includes(this.cluster.conditions.get(node) ?? '')
  }

  isLongDead(node: string): boolean {
    return this.isDead(node) && this.lasts(node) >= deadVoterMs
  }

  isSure(node: string): boolean {
    const condition = this.cluster.conditions.get(node)
    return condition === undefined && this.lasts(node) >= stabilizationMs
  }

  /** Of the voters, those that are there to stay. */
  staying({ voters }: Cluster = this.cluster): readonly string[] {
    return voters.filter((voter) => !this.isLongDead(voter) && this.cluster.conditions.get(voter) !== 'leave')
  }

  observe(isUnsettled = false): Verdict {
    return this.autopilot.observe(observationOf({ ...this.cluster, isUnsettled }, this.nowMs))
  }
}

function oddUpTo(count: number): number {
  return count - (count % 2 === 0 ? 1 : 0)
}

function claim(world: World, { kind, node }: Decision): Cluster {
  const after = changed(world.cluster, { kind, node })
  for (const { voters } of [world.cluster, after]) {
    const sure = voters.filter((voter) => world.isSure(voter)).length
    expect(sure, `${kind} ${node}: sure ones of ${voters.join(' ')}`).toBeGreaterThan(voters.length / 2)
  }
  expect(world.cluster.conditions.has('1'), 'only who is fit decides').toBe(false)
  if (kind === 'promote') {
    expect(world.isSure(node), `${node} is ready`).toBe(true)
    expect(world.staying(after).length).toBeLessThanOrEqual(votersMax)
  } else {
    expect(world.isLongDead(node), `${node} is dead`).toBe(true)
    if (world.cluster.voters.includes(node)) expect(after.voters.length).toBeGreaterThanOrEqual(votersLeftMin)
  }
  return after
}

/** Carries out what is decided; what follows at once follows at once. */
function follow(world: World): void {
  for (let verdict = world.observe(); verdict.decision !== null; verdict = world.observe()) {
    const { decision } = verdict
    const after = claim(world, decision)
    expect(world.observe(true).decision, 'a second change').toBeNull()
    world.cluster = after
    const isOddAgain = decision.kind === 'remove' || world.staying().length % 2 === 1
    expect(isOddAgain || world.observe().decision !== null, 'an even number by promotion alone').toBe(true)
  }
}

describe('whatever happens to a cluster, autopilot', () => {
  it('changes only what leaves a majority that is surely well, one at a time, and ends odd', () => {
    fc.assert(
      fc.property(start, fc.array(step, { maxLength: 40 }), (of, steps) => {
        const world = new World(of)
        world.observe()
        for (const each of steps) {
          if (each.kind === 'wait') {
            for (const endMs = world.nowMs + each.ms; world.nowMs < endMs; follow(world)) {
              world.nowMs = Math.min(endMs, world.nowMs + 1000)
            }
          }
          if (each.kind === 'leader') world.become('1', each.of)
          if (each.kind === 'term') world.newTerm()
          if (each.kind === 'join' && world.members.length < 14) world.join()
          if (each.kind === 'condition') {
            const node = world.members[each.node % world.members.length] ?? '1'
            if (node !== '1') world.become(node, each.of)
          }
          const { voterTarget } = world.observe()
          const present = oddUpTo(world.cluster.voters.length)
          expect([voterTarget % 2, voterTarget <= Math.max(votersMax, present)]).toEqual([1, true])
          expect(voterTarget).toBeGreaterThanOrEqual(present)
        }
      }),
      { numRuns: 600 },
    )
  })

  it('reaches its target once who lives is well: no voter is dead for long while another could vote', () => {
    fc.assert(
      fc.property(start, fc.array(fc.nat(), { maxLength: 4 }), (of, dead) => {
        const world = new World(of)
        const chosen = new Set(dead.map((at) => world.members[1 + (at % Math.max(1, world.members.length - 1))] ?? '1'))
        chosen.delete('1')
        // With more dead voters than that nobody leads.
        const lost = world.cluster.voters.filter((voter) => chosen.has(voter))
        for (const voter of lost.slice(Math.ceil(of.voters / 2) - 1)) chosen.delete(voter)
        for (const node of chosen) world.become(node, 'dead')
        for (world.nowMs = 0; world.nowMs <= 2 * deadVoterMs; world.nowMs += 1000) follow(world)
        const { voters, learners } = world.cluster
        const living = [...voters, ...learners].filter((node) => !world.isDead(node)).length
        const target = oddUpTo(Math.min(living, votersMax))
        expect(world.staying().length).toBeGreaterThanOrEqual(target)
        expect(world.staying().length === target || voters.length <= of.voters).toBe(true)
        const couldVote = learners.filter((learner) => world.isSure(learner))
        const isStuck = voters.length === votersLeftMin && couldVote.length === 0
        expect(isStuck || !voters.some((voter) => world.isDead(voter)), 'a dead voter stays').toBe(true)
      }),
      { numRuns: 400 },
    )
  })
})
