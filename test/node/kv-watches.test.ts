import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KvWatches, makeMatcher } from '../../src/node/kv-watches.ts'
import type { KvWatch } from '../../src/node/kv-watches.ts'
import type { KvEvent } from '../../src/state/reader.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'

const put = (key: string, revision: number, value = '1'): KvEvent => ({
  kind: 'put',
  key,
  value: asJsonText(value),
  revision,
})
const revisions = async (watch: KvWatch): Promise<number[]> => (await watch.take()).map(({ revision }) => revision)

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function errorOf(run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    return error
  }
}

describe('the pattern of a watch', () => {
  it.each<[string, string[], string[]]>([
    ['a', ['a'], ['', 'ab', 'ba', 'A']],
    ['*', ['', 'a', 'a/b'], []],
    ['a/*', ['a/', 'a/b', 'a/b/c'], ['a', 'b/a/']],
    ['*/x', ['/x', 'a/x', 'a/x/x'], ['x', 'a/xx']],
    ['a*a', ['aa', 'aba'], ['a']],
    ['a*b*c', ['abc', 'a-b-c', 'abbc', 'abcbc'], ['ac', 'acb', 'abcd']],
    ['**a**', ['a', 'xax'], ['b']],
    ['a.c', ['a.c'], ['abc']],
    ['*aab', ['aaab', 'aab'], ['aaba']],
  ])('%s', (pattern, matching, others) => {
    const matches = makeMatcher(pattern)
    expect(matching.filter((key) => !matches(key))).toEqual([])
    expect(others.filter(matches)).toEqual([])
  })

  it('says what a regular expression says, on any text', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 12 })
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 })
    fc.assert(
      fc.property(pattern, text, (pattern, key) => {
        const expression = new RegExp(`^${pattern.replaceAll('*', '.*')}$`, 's')
        expect(makeMatcher(pattern)(key)).toBe(expression.test(key))
      }),
      { numRuns: 3000 },
    )
  })
})

describe('a watch of keys', () => {
  it('tells what comes from now on, and only what matches', async () => {
    const watches = new KvWatches()
    watches.applied([put('a', 1)], 1)
    const watch = watches.open({ pattern: 'a*', from: null })
    expect(watch.next).toBe(2)
    const first = revisions(watch)
    watches.applied([put('b', 2)], 2)
    watches.applied([put('ab', 3), put('b', 4), put('a', 5)], 6)
    expect(await first).toEqual([3, 5])
    expect(watch.next).toBe(7)
  })

  it('begins at any revision that the history holds, and at one that is yet to come', async () => {
    const watches = new KvWatches()
    watches.applied([put('a', 1), put('a', 3), put('a', 4)], 5)
    expect(await revisions(watches.open({ pattern: '*', from: 1 }))).toEqual([1, 3, 4])
    expect(await revisions(watches.open({ pattern: '*', from: 2 }))).toEqual([3, 4])
    expect(await revisions(watches.open({ pattern: 'a', from: 4 }))).toEqual([4])
    const ahead = revisions(watches.open({ pattern: '*', from: 8 }))
    watches.applied([put('a', 6), put('a', 7)], 7)
    watches.applied([put('a', 8)], 8)
    expect(await ahead).toEqual([8])
  })

  it('is refused, and one that is behind is cut, when the history has moved on, with where one may begin', async () => {
    const watches = new KvWatches({ eventsMax: 3, lengthMax: 1000 })
    const slow = watches.open({ pattern: '*', from: 1 })
    const idle = watches.open({ pattern: 'other', from: 1 })
    const waiting = idle.take()
    for (let revision = 1; revision <= 10; revision += 1) watches.applied([put('a', revision)], revision)
    const compacted = { code: 'compacted', details: { revision: 8 } }
    await expect(slow.take()).rejects.toMatchObject(compacted)
    expect(errorOf(() => watches.open({ pattern: '*', from: 7 }))).toMatchObject(compacted)
    expect(await revisions(watches.open({ pattern: '*', from: 8 }))).toEqual([8, 9, 10])
    watches.applied([put('other', 11)], 11)
    expect((await waiting).map(({ revision }) => revision)).toEqual([11])
  })

  it('shares a history that is bounded by length too', () => {
    const watches = new KvWatches({ eventsMax: 100, lengthMax: 1000 })
    const value = `"${'x'.repeat(400)}"`
    for (let revision = 1; revision <= 5; revision += 1) watches.applied([put('a', revision, value)], revision)
    expect(errorOf(() => watches.open({ pattern: '*', from: 3 }))).toMatchObject({ details: { revision: 4 } })
  })

  it('holds nothing that its history has let go of', async () => {
    const watches = new KvWatches({ eventsMax: 100, lengthMax: 1000 })
    const value = `"${'x'.repeat(400)}"`
    const applied = Array.from({ length: 10 }, (_, at) => {
      const event = put('a', at + 1, value)
      watches.applied([event], at + 1)
      return new WeakRef(event)
    })
    const held = await waitFor('the rest to be collected', () => {
      collectGarbage()
      const revisions = applied.flatMap((event) => event.deref()?.revision ?? [])
      return revisions.length <= 2 && revisions
    })
    expect(held).toEqual([9, 10])
    expect(watches.count).toBe(0)
  })

  it('is cut by a new beginning of the state, unless its place is behind that', async () => {
    const watches = new KvWatches()
    watches.applied([put('a', 1)], 1)
    const [cut, ahead] = [watches.open({ pattern: '*', from: null }), watches.open({ pattern: '*', from: 21 })]
    const [cutTake, aheadTake] = [cut.take(), revisions(ahead)]
    watches.reset(20)
    await expect(cutTake).rejects.toMatchObject({ code: 'compacted', details: { revision: 21 } })
    watches.applied([put('a', 21)], 21)
    expect(await aheadTake).toEqual([21])
  })

  it('hands out a long run in parts', async () => {
    const watches = new KvWatches()
    const value = `"${'x'.repeat(100_000)}"`
    watches.applied(
      Array.from({ length: 7 }, (_, at) => put('a', at + 1, value)),
      7,
    )
    const watch = watches.open({ pattern: '*', from: 1 })
    const parts = [await revisions(watch), await revisions(watch), await revisions(watch)]
    expect(parts).toEqual([[1, 2, 3], [4, 5, 6], [7]])
  })

  it('ends without a word when it is closed, and with one when the node stops', async () => {
    const watches = new KvWatches()
    const [closed, stopped] = [watches.open({ pattern: '*', from: null }), watches.open({ pattern: '*', from: null })]
    const takes = [closed.take(), stopped.take()]
    closed.close()
    expect(await takes[0]).toEqual([])
    expect(watches.count).toBe(1)
    watches.stop(new OperatingError('stopped', 'this node is stopping'))
    await expect(takes[1]).rejects.toMatchObject({ code: 'stopped' })
    expect(watches.count).toBe(0)
  })

  it('is refused when there are too many, and when its pattern is too long', () => {
    const watches = new KvWatches()
    expect(errorOf(() => watches.open({ pattern: 'é'.repeat(513), from: null }))).toMatchObject({ code: 'bad-request' })
    for (let n = 0; n < 1024; n += 1) watches.open({ pattern: '*', from: null })
    expect(errorOf(() => watches.open({ pattern: '*', from: null }))).toMatchObject({ code: 'overloaded' })
  })

  it('misses nothing and repeats nothing, whatever it was resumed at, however the changes came', async () => {
    const step = fc.record({ keys: fc.array(fc.constantFrom('a', 'b', null), { maxLength: 4 }), resume: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const watches = new KvWatches()
        const expected: number[] = []
        const told: number[] = []
        let index = 0
        let watch = watches.open({ pattern: 'a', from: 1 })
        let pending: Promise<readonly KvEvent[]> | null = null
        for (const { keys, resume } of steps) {
          const events: KvEvent[] = []
          for (const key of keys) {
            index += 1
            if (key !== null) events.push(put(key, index))
            if (key === 'a') expected.push(index)
          }
          pending ??= watch.take()
          watches.applied(events, index)
          if (told.length + 1 > expected.length) continue
          for (const { revision } of await pending) told.push(revision)
          pending = null
          if (!resume) continue
          watch.close()
          watch = watches.open({ pattern: 'a', from: (told.at(-1) ?? 0) + 1 })
        }
        expect(told).toEqual(expected)
      }),
      { numRuns: 300 },
    )
  })
})
