import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LogWriter, mergePersists } from '../../src/consensus/log-writer.ts'
import { newCounters } from '../../src/consensus/status-report.ts'
import type { Persist } from '../../src/raft/effects.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { LogBatch } from '../../src/storage/log-store.ts'
import { MemoryDisk, MemoryLogStore } from '../../src/storage/memory-log-store.ts'
import { waitFor } from '../wait.ts'
import { ManualClock } from './manual-clock.ts'
import { batch, entry, n1, snapshotOf } from '../fixtures/log-batches.ts'

type Written = Omit<Persist, 'then'>

/**
 * Batches as Raft makes them: each from where the one before left the log; terms rise, the commit index stays behind. What
 * is compacted was durable before them all; an installed snapshot is ahead of what is committed.
 */
const persistsOf = fc
  .array(
    fc.record({
      back: fc.nat(4),
      append: fc.nat(4),
      commits: fc.boolean(),
      compacts: fc.boolean(),
      installs: fc.option(fc.nat(6), { freq: 4 }),
      mustSync: fc.boolean(),
    }),
    { minLength: 1, maxLength: 8 },
  )
  .map((steps) => {
    let last = 3
    let commit = 2
    let mayCompact = true
    return steps.map(({ back, append, commits, compacts, installs, mustSync }, at): Written => {
      const term = at + 2
      const install = installs === null ? null : snapshotOf(Math.max(commit, 3) + installs, term)
      const compact = mayCompact && compacts && install === null ? { firstIndex: 2, snapshot: snapshotOf(2, 1) } : null
      mayCompact &&= compact === null && install === null
      const from = Math.max(commit + 1, last - back + 1)
      const truncateFrom = install === null && back > 0 && from <= last ? from : null
      const kept = install?.index ?? (truncateFrom === null ? last : truncateFrom - 1)
      const entries = Array.from({ length: append }, (_, n): Entry => entry(kept + n + 1, term))
      last = kept + append
      if (install !== null) commit = install.index
      if (commits) commit = Math.max(commit, last - 1)
      const hardState = { term, vote: null, commit, isRecovering: false }
      return { seq: at + 1, hardState, install, compact, truncateFrom, entries, mustSync }
    })
  })

async function diskAfter(batches: readonly LogBatch[]): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  const store = new MemoryLogStore(disk)
  await store.open({ nodeId: n1 })
  const entries = [entry(1, 1), entry(2, 1), entry(3, 1)]
  await store.write(batch({ term: 1, commit: 2, entries }))
  for (const batch of batches) await store.write(batch)
  await store.close()
  return disk
}

/** Entries that must be synced, or without any a commit hint. */
function persistOf(seq: number, { entries, commit }: { entries: readonly Entry[]; commit: number }): Persist {
  const hardState = { term: 1, vote: null, commit, isRecovering: false }
  const mustSync = entries.length > 0
  // oxlint-disable-next-line unicorn/no-thenable -- a list of messages, never a function
  return { seq, hardState, install: null, compact: null, truncateFrom: null, entries, mustSync, then: [] }
}

describe('mergePersists', () => {
  it('makes one batch that leaves the log as all of them in turn', async () => {
    await fc.assert(
      fc.asyncProperty(persistsOf, async (persists) => {
        const inTurn = await diskAfter(persists.map((persist) => ({ ...persist, sync: persist.mustSync })))
        expect(await diskAfter([mergePersists(persists)])).toEqual(inTurn)
      }),
      { numRuns: 500 },
    )
  })

  it('is synced when one of them must be', () => {
    const persist: Written = {
      seq: 1,
      hardState: { term: 1, vote: null, commit: 0, isRecovering: false },
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

describe('the durations of writes', () => {
  it('count those that were synced, as a sum and as the time that 99 of 100 took no longer than', async () => {
    const clock = new ManualClock()
    const store = new MemoryLogStore(new MemoryDisk())
    await store.open({ nodeId: n1 })
    const tookMs = [30, 5000]
    const write = store.write.bind(store)
    store.write = (given) => {
      clock.advance(tookMs.shift() ?? 0)
      return write(given)
    }
    const counters = newCounters()
    let done = 0
    const writer = new LogWriter({
      store,
      clock,
      counters,
      durable: () => void (done += 1),
      failed: (error) => {
        throw error
      },
    })
    expect(writer.syncP99Ms).toBe(0)
    writer.write(persistOf(1, { entries: [entry(1, 1)], commit: 0 }))
    await waitFor('the synced write', () => done === 1)
    writer.write(persistOf(2, { entries: [], commit: 1 }))
    writer.writeHints()
    await waitFor('the other one', () => done === 2)
    expect(counters).toMatchObject({ persistBatches: 2, persistSyncs: 1, persistMs: 30 })
    expect(writer.syncP99Ms).toBe(30)
    await writer.end()
  })
})

describe('a commit hint', () => {
  it('goes with the next batch that must be written, or when it is asked for, and not before', async () => {
    const store = new MemoryLogStore(new MemoryDisk())
    await store.open({ nodeId: n1 })
    const done: number[][] = []
    const writer = new LogWriter({
      store,
      clock: new ManualClock(),
      counters: newCounters(),
      durable: (persists) => void done.push(persists.map(({ seq }) => seq)),
      failed: (error) => {
        throw error
      },
    })
    const write = (seq: number, entries: readonly Entry[], commit: number): void =>
      writer.write(persistOf(seq, { entries, commit }))
    write(1, [entry(1, 1), entry(2, 1)], 0)
    await waitFor('the first batch', () => done.length === 1)
    write(2, [], 1)
    await Promise.resolve()
    write(3, [entry(3, 1)], 1)
    await waitFor('the second batch', () => done.length === 2)
    write(4, [], 2)
    write(5, [], 3)
    await new Promise(setImmediate)
    expect(done).toEqual([[1], [2, 3]])
    writer.writeHints()
    await waitFor('the hints', () => done.length === 3)
    expect(done).toEqual([[1], [2, 3], [4, 5]])
    await writer.end()
  })
})
