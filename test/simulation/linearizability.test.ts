import { describe, expect, it } from 'vitest'
import { checkHistory } from './linearizability.ts'
import type { Operation } from './linearizability.ts'

function write(value: string, calledUs: number, answeredUs: number, key = 'k'): Operation {
  return { client: 'c', key, kind: 'write', value, calledUs, answeredUs }
}

function read(value: string | null, calledUs: number, answeredUs: number, key = 'k'): Operation {
  return { client: 'c', key, kind: 'read', value, calledUs, answeredUs }
}

describe('the linearizability check', () => {
  it('accepts operations one after the other', () => {
    expect(checkHistory([read(null, 0, 1), write('a', 2, 3), read('a', 4, 5), write('b', 6, 7), read('b', 8, 9)])).toBe(
      null,
    )
  })

  it('accepts a read that sees a write which is still under way, and one beside it that does not yet', () => {
    expect(checkHistory([write('a', 0, 10), read('a', 4, 5), read(null, 1, 3)])).toBe(null)
  })

  it('rejects a read that sees less than an earlier read has seen', () => {
    expect(checkHistory([write('a', 0, 10), read('a', 1, 3), read(null, 4, 5)])).toContain('no order explains it')
  })

  it('rejects a read that misses an acknowledged write', () => {
    expect(checkHistory([write('a', 0, 1), write('b', 2, 3), read('a', 4, 5)])).toContain('no order explains it')
  })

  it('lets a write without an answer happen late, or never', () => {
    expect(checkHistory([write('a', 0, 1), write('b', 2, Infinity), read('a', 50, 51), read('b', 60, 61)])).toBe(null)
    expect(checkHistory([write('a', 0, 1), write('b', 2, Infinity), read('a', 50, 51)])).toBe(null)
  })

  it('rejects a write without an answer that happens twice', () => {
    const history = [write('b', 0, Infinity), read('b', 1, 2), write('a', 3, 4), read('a', 5, 6), read('b', 7, 8)]
    expect(checkHistory(history)).toContain('no order explains it')
  })

  it('judges each key by itself', () => {
    expect(checkHistory([write('a', 0, 1, 'x'), read(null, 2, 3, 'y'), read('a', 2, 3, 'x')])).toBe(null)
    expect(checkHistory([write('a', 0, 1, 'x'), read(null, 2, 3, 'x')])).toContain('x: ')
  })

  it('finds the one order among many concurrent writes', () => {
    const writes = Array.from({ length: 12 }, (_, at) => write(`v${at}`, 0, 100))
    const reads = [7, 3, 11, 0, 5].map((of, at) => read(`v${of}`, 10 * at + 1, 10 * at + 2))
    expect(checkHistory([...writes, ...reads])).toBe(null)
    expect(checkHistory([...writes, ...reads, read('v7', 90, 91)])).toContain('no order explains it')
  })
})
