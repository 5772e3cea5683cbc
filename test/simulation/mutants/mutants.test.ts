import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { huntAll } from './hunt.ts'
import { mutants } from './mutants.ts'

// All of them: node --import tsx scripts/mutants.ts. Here, those that few seeds are enough for: the simulation that let
// one of these live would be blind.
const root = path.resolve(import.meta.dirname, '../../..')
const easy = mutants.filter(({ within }) => typeof within === 'number' && within <= 50)

describe('mutants', () => {
  it('each replace a text that is there exactly once', () => {
    const stale = mutants.filter(
      ({ file, search }) => readFileSync(path.join(root, file), 'utf8').split(search).length !== 2,
    )
    expect(stale.map(({ name }) => name)).toEqual([])
  })

  it('have names of their own', () => {
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length)
  })

  it('that a few seeds are enough for do not survive', { timeout: 300_000 }, async () => {
    expect(easy.length).toBeGreaterThan(10)
    const hunts = await huntAll(easy, { atOnce: Math.min(2, availableParallelism()) })
    expect(hunts.filter(({ caught }) => caught === null).map(({ mutant }) => mutant.name)).toEqual([])
  })
})
