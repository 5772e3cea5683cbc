import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { claims } from './claims.ts'

const folder = import.meta.dirname

/** A scenario is a file; any other test is a title in its file. */
function exists(file: string, test: string): boolean {
  if (file === 'scenarios') return existsSync(path.join(folder, file, `${test}.txt`))
  const text = readFileSync(path.join(folder, file), 'utf8')
  return [`'${test}'`, `"${test}"`].some((title) => new RegExp(`\\bit\\(\\s*${escape(title)},`).test(text))
}

function escape(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

describe('the claims of the paper and the thesis', () => {
  it('are numbered, and each names a test that exists', () => {
    expect(claims.length).toBeGreaterThanOrEqual(60)
    expect(claims.map(({ id }) => id)).toEqual(claims.map((_, at) => at + 1))
    const missing = claims.filter(({ file, test }) => !exists(file, test))
    expect(missing.map(({ id, test }) => `${id}: ${test}`)).toEqual([])
  })

  it('are each said once', () => {
    expect(new Set(claims.map(({ claim }) => claim)).size).toBe(claims.length)
  })
})
