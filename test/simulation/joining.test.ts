import { describe, expect, it } from 'vitest'
import { drawJoiningPlan } from './autopilot-plan.ts'
import { simulate } from './simulation.ts'
import type { Outcome } from './simulation.ts'

// JOINING_SEEDS=2000 plays more. To look into one that failed: node --import tsx scripts/simulate.ts --joins --seed 17.
const seeds = Number(process.env['JOINING_SEEDS'] ?? '60')

describe('simulated clusters that nodes join, and in which autopilot decides who votes', () => {
  it(
    'keep every claim, and have the voters that they want in the end',
    async () => {
      const total = new Map<string, number>()
      for (let seed = 1; seed <= seeds; seed += 1) {
        const { counts, violation } = await simulate(drawJoiningPlan(seed))
        if (violation !== null) throw new Error(`seed ${seed}: ${violation.claim}: ${violation.detail}`)
        for (const [name, count] of Object.entries(counts)) total.set(name, (total.get(name) ?? 0) + count)
      }
      // A claim that held because nothing happened says nothing.
      const mean = (name: keyof Outcome['counts']): number => (total.get(name) ?? 0) / seeds
      expect(mean('joins')).toBeGreaterThan(1.5)
      expect(mean('promotions')).toBeGreaterThan(0.7)
      expect(mean('removals')).toBeGreaterThan(0.2)
      expect(mean('crashes')).toBeGreaterThan(5)
    },
    60_000 + 4_000 * seeds,
  )

  it('go the same way when a seed is played again', async () => {
    for (const seed of [2, 9]) {
      const [first, second] = [await simulate(drawJoiningPlan(seed)), await simulate(drawJoiningPlan(seed))]
      expect({ seed, hash: second.hash }).toEqual({ seed, hash: first.hash })
    }
  })
})
