import { beforeEach, describe, expect, it } from 'vitest'
import type { LogBatch } from '../../src/storage/log-store.ts'
import { RecordLogStore } from '../../src/storage/record-log-store.ts'
import { decodeSlots } from '../../src/storage/vote-record.ts'
import { isDamage } from '../../src/storage/log-record.ts'
import { ManualClock } from '../consensus/manual-clock.ts'
import { batch, entry, n1, n2 } from '../fixtures/log-batches.ts'
import { MemoryRecords, MemorySlotFile } from '../fixtures/memory-records.ts'
import { waitFor } from '../wait.ts'

describe('the two homes of term and vote', () => {
  let records: MemoryRecords
  let voteFile: MemorySlotFile
  let store: RecordLogStore

  beforeEach(async () => {
    records = new MemoryRecords()
    voteFile = new MemorySlotFile()
    store = new RecordLogStore({ where: 'memory', records, voteFile, clock: new ManualClock() })
    await store.open({ nodeId: n1 })
    await store.write(batch({ term: 2, vote: n1 }))
  })

  function gate(): { promise: Promise<void>; release: () => void } {
    let release: () => void = () => undefined
    const promise = new Promise<void>((resolve) => (release = resolve))
    return { promise, release }
  }

  function seqIn(bytes: Uint8Array | null): number {
    const slots = decodeSlots(bytes ?? new Uint8Array())
    return isDamage(slots) ? -1 : slots.record.seq
  }

  /** Whether the write has ended, told after everything else that can go on has gone on. */
  async function begin(written: LogBatch): Promise<() => Promise<boolean>> {
    let isDone = false
    void store.write(written).then(() => (isDone = true))
    return async () => {
      for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve))
      return isDone
    }
  }

  const recovering = {
    ...batch({ term: 2, vote: n1 }),
    hardState: { term: 2, vote: n1, commit: 0, isRecovering: true },
  }

  it.each([
    ['the term', batch({ term: 3 })],
    ['the vote', batch({ term: 3, vote: n2 })],
    ['that it is recovering', recovering],
  ])('ends a write that changes %s only when the vote file is durable', async (_what, written) => {
    const before = seqIn(voteFile.synced)
    const { promise, release } = gate()
    voteFile.gate = promise
    const isDone = await begin(written)
    expect(await isDone()).toBe(false)
    expect(seqIn(voteFile.synced)).toBe(before)
    voteFile.gate = null
    release()
    await waitFor('the write', isDone)
    expect(seqIn(voteFile.synced)).toBe(before + 1)
  })

  it('writes nothing to the vote file before it is durable in the records', async () => {
    const before = seqIn(voteFile.bytes)
    const { promise, release } = gate()
    records.gate = promise
    const isDone = await begin(batch({ term: 3 }))
    expect(await isDone()).toBe(false)
    expect(seqIn(voteFile.bytes)).toBe(before)
    records.gate = null
    release()
    await waitFor('the write', isDone)
    expect(seqIn(voteFile.synced)).toBe(before + 1)
  })

  it('does not wait for the vote file for entries, nor tell it what is not durable', async () => {
    const before = seqIn(voteFile.bytes)
    voteFile.gate = gate().promise
    const isDone = await begin(batch({ term: 2, vote: n1, entries: [entry(1, 2)] }))
    expect(await isDone()).toBe(true)
    voteFile.gate = null
    await store.write(batch({ term: 2, vote: n1, commit: 1, sync: false }))
    expect(seqIn(voteFile.bytes)).toBe(before)
  })

  it('makes the vote file before the first record, so that a crash in between is a first start', async () => {
    const first = new MemoryRecords()
    const file = new MemorySlotFile()
    first.gate = Promise.reject(new Error('the power is gone'))
    const make = (): RecordLogStore =>
      new RecordLogStore({
        where: 'memory',
        records: first,
        voteFile: file,
        clock: new ManualClock(),
        firstGeneration: 7,
      })
    await expect(make().open({ nodeId: n1 })).rejects.toMatchObject({ code: 'storage-failed' })
    expect(first.rows.size).toBe(0)
    expect(file.synced).not.toBeNull()
    first.gate = null
    expect(await make().open({ nodeId: n1 })).toMatchObject({ generation: 7, damage: null })
  })

  it('counts a first start that was broken off and then damaged as none, so it begins where a new one does', async () => {
    const first = new MemoryRecords()
    const file = new MemorySlotFile()
    first.gate = Promise.reject(new Error('the power is gone'))
    const make = (voteFile: MemorySlotFile): RecordLogStore => {
      const clock = new ManualClock()
      return new RecordLogStore({ where: 'memory', records: first, voteFile, clock, firstGeneration: 1000 })
    }
    await expect(make(file).open({ nodeId: n1 })).rejects.toMatchObject({ code: 'storage-failed' })
    first.gate = null
    const atCrash = new MemorySlotFile()
    atCrash.bytes = Uint8Array.from(file.synced ?? [])
    await make(file).open({ nodeId: n1 })
    for (const bytes of first.rows.values()) bytes[bytes.length - 1] = 0x2a
    const damaged = make(atCrash)
    expect(await damaged.open({ nodeId: null })).toMatchObject({ damage: { condemned: false }, generation: 0 })
    const begin = { why: 'it was damaged', snapshot: null, entries: [], hardState: recovering.hardState }
    expect(await damaged.quarantine(begin)).toMatchObject({ generation: 1000 })
  })

  it('has begun anew even when a crash came before the vote file knew of it', async () => {
    for (let index = 1; index <= 9; index += 1)
      await store.write(batch({ term: 2, vote: n1, entries: [entry(index, 2)] }))
    await store.close()
    records.rows.clear()
    const make = (): RecordLogStore =>
      new RecordLogStore({ where: 'memory', records, voteFile, clock: new ManualClock() })
    const damaged = make()
    expect(await damaged.open({ nodeId: null })).toMatchObject({ damage: { condemned: false } })
    voteFile.gate = Promise.reject(new Error('the power is gone'))
    const begin = { why: 'it was lost', snapshot: null, entries: [], hardState: recovering.hardState }
    await expect(damaged.quarantine(begin)).rejects.toMatchObject({ code: 'storage-failed' })
    voteFile.gate = null
    const next = await make().open({ nodeId: null })
    expect(next).toMatchObject({ damage: null, hardState: recovering.hardState, quarantine: { lostUpTo: 9 } })
  })

  it('is dead once the vote file could not be written', async () => {
    voteFile.gate = Promise.reject(new Error('no space'))
    await expect(store.write(batch({ term: 3 }))).rejects.toMatchObject({ code: 'storage-failed' })
    voteFile.gate = null
    await expect(store.write(batch({ term: 3 }))).rejects.toMatchObject({ code: 'storage-failed' })
  })
})
