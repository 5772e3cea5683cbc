import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { mergePersists } from '../../src/consensus/log-writer.ts'
import type { Persist } from '../../src/raft/effects.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { LogBatch } from '../../src/storage/log-store.ts'
import { MemoryDisk, MemoryLogStore } from '../../src/storage/memory-log-store.ts'
import { batch, entry, n1 } from '../fixtures/log-batches.ts'

type Written = Omit<Persist, 'then'>

/** Batches as Raft makes them: each from where the one before left the log; terms rise, the commit index stays behind. */
const persistsOf = fc
  .array(fc.record({ back: fc.nat(4), append: fc.nat(4), commits: fc.boolean(), mustSync: fc.boolean() }), {
    minLength: 1,
    maxLength: 8,
  })
  .map((steps) => {
    let last = 3
    let commit = 1
    return steps.map(({ back, append, commits, mustSync }, at): Written => {
      const term = at + 2
      const from = Math.max(commit + 1, last - back + 1)
      const truncateFrom = back > 0 && from <= last ? from : null
      const kept = truncateFrom === null ? last : truncateFrom - 1
      const entries = Array.from({ length: append }, (_, n): Entry => entry(kept + n + 1, term))
      last = kept + append
      if (commits) commit = Math.max(commit, last - 1)
      const hardState = { term, vote: null, commit }
      return { seq: at + 1, hardState, install: null, compact: null, truncateFrom, entries, mustSync }
    })
  })

async function diskAfter(batches: readonly LogBatch[]): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  const store = new MemoryLogStore(disk)
  await store.open({ nodeId: n1 })
  const entries = [entry(1, 1), entry(2, 1), entry(3, 1)]
  await store.write(batch({ term: 1, commit: 1, entries }))
  for (const batch of batches) await store.write(batch)
  await store.close()
  return disk
}

describe('mergePersists', () => {
  it('makes one batch that leaves the log as all of them in turn', async () => {
    await fc.assert(
      fc.asyncProperty(persistsOf, async (persists) => {
        const inTurn = await diskAfter(persists.map((persist) => ({ ...persist, sync: persist.mustSync })))
        expect(await diskAfter([mergePersists(persists)])).toEqual(inTurn)
      }),
      { numRuns: 300 },
    )
  })

  it('is synced when one of them must be', () => {
    const persist: Written = {
      seq: 1,
      hardState: { term: 1, vote: null, commit: 0 },
      install: null,
      compact: null,
      truncateFrom: null,
      entries: [],
      mustSync: false,
    }
    expect(mergePersists([persist, persist]).sync).toBe(false)
    expect(mergePersists([persist, { ...persist, mustSync: true }, persist]).sync).toBe(true)
  })
})
