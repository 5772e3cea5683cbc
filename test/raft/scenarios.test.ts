import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { render } from './scenario.ts'

// Each file is a story; UPDATE_SCENARIOS=1 writes what the core does now (read the diff before you commit it).
const folder = path.join(import.meta.dirname, 'scenarios')

describe('scenarios', () => {
  for (const name of readdirSync(folder).filter((name) => name.endsWith('.txt'))) {
    it(`${name.replace('.txt', '').replaceAll('-', ' ')} goes as written`, () => {
      const file = path.join(folder, name)
      const rendered = render(readFileSync(file, 'utf8'))
      if (process.env['UPDATE_SCENARIOS'] === '1') writeFileSync(file, rendered)
      expect(rendered).toBe(readFileSync(file, 'utf8'))
    })
  }
})
