import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ChurningMap } from '../../src/std/churning-map.ts'
import { waitFor } from '../wait.ts'

describe('a churning map', () => {
  it('answers as a Map does, whatever comes and goes', () => {
    const change = fc.record({
      kind: fc.constantFrom('set', 'set', 'delete', 'clear'),
      key: fc.nat(8),
      value: fc.nat(),
    })
    fc.assert(
      fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
        const [churning, plain] = [new ChurningMap<number, number>(), new Map<number, number>()]
        for (const { kind, key, value } of changes) {
          const apply = (map: ChurningMap<number, number> | Map<number, number>): unknown => {
            if (kind === 'delete') return map.delete(key)
            return void (kind === 'clear' ? map.clear() : map.set(key, value))
          }
          expect(apply(churning)).toBe(apply(plain))
          expect([...churning.entries()]).toEqual([...plain])
          expect([...churning.values()]).toEqual([...plain.values()])
          expect([churning.size, churning.has(key), churning.get(key)]).toEqual([
            plain.size,
            plain.has(key),
            plain.get(key),
          ])
        }
      }),
    )
  })

  it('is told of all that is there while entries go and come', () => {
    const map = new ChurningMap<string, number>()
    for (const [at, key] of ['a', 'b', 'c'].entries()) map.set(key, at)
    const told: string[] = []
    for (const [key] of map.entries()) {
      told.push(key)
      map.delete('b')
      if (key === 'a') map.set('d', 3)
    }
    expect(told).toEqual(['a', 'c', 'd'])
  })

  it('holds nothing that has gone, also where an outgrown table of it is still there', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const map = new ChurningMap<number, object>()
    map.set(0, {})
    // Stays at the table of now until it is asked for more.
    const reading = map.entries()
    reading.next()
    const gone = comeAndGo(map)
    await waitFor('what has gone to be collected', async () => {
      await new Promise(setImmediate)
      collect()
      return gone.every((ref) => ref.deref() === undefined)
    })
    expect(reading.next().done).toBe(true)
  })
})

/** So many that the map needs larger tables meanwhile. */
function comeAndGo(map: ChurningMap<number, object>): readonly WeakRef<object>[] {
  const ids = Array.from({ length: 100 }, (_, at) => at + 1)
  const refs = ids.map((id) => {
    const value = {}
    map.set(id, value)
    return new WeakRef(value)
  })
  for (const id of ids) map.delete(id)
  return refs
}
