import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { autopilotMutants } from './mutants.ts'

// They are hunted by scripts/mutants.ts.
const root = path.resolve(import.meta.dirname, '../..')

describe('the mutants of autopilot', () => {
  it('each replace a text that is there exactly once', () => {
    const stale = autopilotMutants.filter(
      ({ file, search }) => readFileSync(path.join(root, file), 'utf8').split(search).length !== 2,
    )
    expect(stale.map(({ name }) => name)).toEqual([])
  })
})
