import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { drawPlan } from './plan.ts'
import type { Plan } from './plan.ts'
import { simulate } from './simulation.ts'
import type { Outcome } from './simulation.ts'

// SIMULATION_SEEDS=2000 plays more fixed seeds, SIMULATION_FRESH_MS=600000 fresh ones for longer. To look into one that
// failed: node --import tsx scripts/simulate.ts --seed 17, then --shrink 17.
const fixedSeeds = Number(process.env['SIMULATION_SEEDS'] ?? '200')
const freshMs = Number(process.env['SIMULATION_FRESH_MS'] ?? '20000')

async function play(seed: number): Promise<Outcome> {
  const outcome = await simulate(drawPlan(seed))
  const { violation } = outcome
  if (violation === null) return outcome
  const again = await simulate(drawPlan(seed))
  const same = again.hash === outcome.hash ? 'the same again' : 'NOT the same again'
  throw new Error(`seed ${seed} (${same}): ${violation.claim}: ${violation.detail}`)
}

describe('simulated clusters', () => {
  it(
    'keep every claim from fixed seeds, in eventful lives',
    async () => {
      const total = new Map<string, number>()
      for (let seed = 1; seed <= fixedSeeds; seed += 1) {
        const { counts } = await play(seed)
        for (const [name, count] of Object.entries(counts)) total.set(name, (total.get(name) ?? 0) + count)
      }
      // A claim that held because nothing happened says nothing.
      const mean = (name: keyof Outcome['counts']): number => (total.get(name) ?? 0) / fixedSeeds
      expect(mean('terms')).toBeGreaterThan(3)
      expect(mean('acknowledged')).toBeGreaterThan(50)
      expect(mean('reads')).toBeGreaterThan(50)
      expect(mean('crashes')).toBeGreaterThan(2)
      expect(mean('snapshots')).toBeGreaterThan(1)
      expect(mean('changes')).toBeGreaterThan(1)
      expect(mean('damages')).toBeGreaterThan(1)
      expect(mean('quarantines')).toBeGreaterThan(0.4)
    },
    60_000 + 2_000 * fixedSeeds,
  )

  it(
    'keep every claim from fresh seeds',
    async () => {
      const first = 1_000_000 + (Date.now() % 1_000_000_000)
      const untilMs = performance.now() + freshMs
      let seed = first
      for (; performance.now() < untilMs; seed += 1) await play(seed)
      expect(seed).toBeGreaterThan(first)
      console.log(`played fresh seeds ${first} to ${seed - 1}`)
      expect(seed).toBeGreaterThan(first)
    },
    60_000 + 2 * freshMs,
  )

  it('go the same way when a seed is played again', async () => {
    for (const seed of [3, 7, 11, 19, 23]) {
      const first = await simulate(drawPlan(seed))
      const second = await simulate(drawPlan(seed), { traced: true })
      expect({ seed, hash: second.hash, events: second.events }).toEqual({
        seed,
        hash: first.hash,
        events: first.events,
      })
    }
  })
})

// Plans of seeds that once broke a claim, made small by --shrink.
describe('plans that once broke a claim', () => {
  const folder = path.join(import.meta.dirname, 'plans')
  for (const name of readdirSync(folder)) {
    it(`${name.replace('.json', '').replaceAll('-', ' ')}: keeps them now`, async () => {
      const plan = JSON.parse(readFileSync(path.join(folder, name), 'utf8')) as Plan
      expect((await simulate(plan)).violation).toBe(null)
    })
  }
})
