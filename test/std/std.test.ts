import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Backoff } from '../../src/std/backoff.ts'
import { Random } from '../../src/std/random.ts'
import { formatAddress, isLoopbackHost, parseAddress } from '../../src/vocabulary/addresses.ts'
import { describeError, OperatingError } from '../../src/vocabulary/operating-error.ts'
import { isNodeId, isServerName } from '../../src/vocabulary/ids.ts'

describe('seeded random numbers', () => {
  it('repeat for a seed and differ between seeds', () => {
    const draw = (seed: number): number[] => {
      const random = new Random(seed)
      return Array.from({ length: 16 }, () => random.uint32())
    }
    expect(draw(7)).toEqual(draw(7))
    expect(draw(7)).not.toEqual(draw(8))
  })

  it('stay below the bound and reach every value under it', () => {
    const random = new Random(1)
    const seen = new Set(Array.from({ length: 1000 }, () => random.below(10)))
    expect([...seen].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })
})

describe('back-off', () => {
  it('keeps each wait within its limits, grows its ceiling, and starts anew after a reset', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0, max: 40 }), (seed, waits) => {
        const backoff = new Backoff({ minMs: 50, maxMs: 3000 }, new Random(seed))
        for (let n = 0; n < waits; n += 1) {
          const wait = backoff.next()
          expect(wait).toBeGreaterThanOrEqual(50)
          expect(wait).toBeLessThanOrEqual(Math.min(3000, 50 * 2 ** n))
        }
        backoff.reset()
        expect(backoff.next()).toBe(50)
      }),
    )
  })
})

describe('addresses', () => {
  it.each([
    ['127.0.0.1:6270', { host: '127.0.0.1', port: 6270 }],
    ['[::1]:6271', { host: '::1', port: 6271 }],
    ['node-a.example:1', { host: 'node-a.example', port: 1 }],
  ])('%s is read and printed back', (text, address) => {
    expect(parseAddress(text)).toEqual(address)
    expect(formatAddress(address)).toBe(text)
  })

  it.each(['', 'host', ':80', 'host:', 'host:70000', 'host:8o', '::1:80', 'http://host:80', 'a b:80'])(
    '%s is no address',
    (text) => {
      expect(parseAddress(text)).toBeUndefined()
    },
  )

  it('knows the hosts that never leave the machine', () => {
    expect(['localhost', '127.0.0.1', '127.8.9.1', '::1'].every(isLoopbackHost)).toBe(true)
    expect(['0.0.0.0', '10.0.0.1', '127.0.0.1.example', 'example'].some(isLoopbackHost)).toBe(false)
  })
})

describe('names', () => {
  it('of servers never hold the separator of public tool names, nor a reserved word', () => {
    expect(['files', 'my-sql', 'a_b'].every(isServerName)).toBe(true)
    expect(['', 'a__b', 'quorate', 'group', 'a b', 'x'.repeat(49), 'é'].some(isServerName)).toBe(false)
  })

  it('of nodes are short and printable', () => {
    expect(['n1', 'node-4f.a_B'].every(isNodeId)).toBe(true)
    expect(['', 'a/b', 'n 1', 'x'.repeat(65)].some(isNodeId)).toBe(false)
  })
})

describe('an operating error', () => {
  it('prints its chain once, outermost first', () => {
    const cause = new Error('connect ECONNREFUSED')
    expect(describeError(new OperatingError('server-failed', 'start server files', { cause }))).toBe(
      'start server files: connect ECONNREFUSED',
    )
  })

  it('of unknown outcome says so in its retry rule by itself', () => {
    expect(new OperatingError('outcome-unknown', 'x').retry).toBe('outcome-unknown')
    expect(new OperatingError('not-found', 'x').retry).toBe('never')
  })
})
