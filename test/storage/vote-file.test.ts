import { beforeEach, describe, expect, it } from 'vitest'
import { chainStart, isDamage } from '../../src/storage/log-record.ts'
import { VoteFile } from '../../src/storage/vote-file.ts'
import { slotBytes } from '../../src/storage/vote-record.ts'
import type { VoteRecord } from '../../src/storage/vote-record.ts'
import { ManualClock } from '../consensus/manual-clock.ts'
import { n1, n2 } from '../fixtures/log-batches.ts'
import { MemorySlotFile } from '../fixtures/memory-records.ts'
import { waitFor } from '../wait.ts'

function record(seq: number, term = 1): VoteRecord {
  const identity = { nodeId: n1, generation: 1, promise: null, joined: null }
  return {
    ...identity,
    seq,
    term,
    vote: n2,
    isRecovering: false,
    condemned: null,
    lastIndex: seq,
    lastHash: chainStart,
  }
}

describe('the vote file', () => {
  let file: MemorySlotFile
  let clock: ManualClock
  let failures: unknown[]
  let vote: VoteFile

  beforeEach(async () => {
    file = new MemorySlotFile()
    clock = new ManualClock()
    failures = []
    vote = makeFile()
    await vote.open()
  })

  function makeFile(): VoteFile {
    return new VoteFile({ file, clock, failed: (error) => failures.push(error) })
  }

  async function seqIn(bytes: Uint8Array | null): Promise<number | string> {
    const other = new MemorySlotFile()
    other.bytes = bytes
    const found = await new VoteFile({ file: other, clock, failed: () => undefined }).open()
    if (found === null) return 'nothing'
    return isDamage(found) ? found.damage : found.seq
  }

  it('is durable when that was waited for', async () => {
    await vote.saveDurably(record(7))
    expect(await makeFile().open()).toEqual(record(7))
    expect(await seqIn(file.synced)).toBe(7)
    expect(clock.timers).toBe(0)
  })

  it('writes the latest of what came while a write was under way, and syncs once in a second', async () => {
    let release: () => void = () => undefined
    file.gate = new Promise((resolve) => (release = resolve))
    for (let seq = 1; seq <= 50; seq += 1) vote.save(record(seq))
    file.gate = null
    release()
    await waitFor('the latest', async () => (await seqIn(file.bytes)) === 50)
    expect([file.writes, file.syncs]).toEqual([2, 0])
    clock.advance(999)
    vote.save(record(51))
    await waitFor('the next', async () => (await seqIn(file.bytes)) === 51)
    expect(file.syncs).toBe(0)
    clock.advance(1)
    await waitFor('the sync', () => file.syncs === 1)
    expect(await seqIn(file.synced)).toBe(51)
    expect(clock.timers).toBe(0)
    await vote.close()
    expect(file.syncs).toBe(1)
  })

  it('never writes the slot that was synced last before the other one was, so that a torn one leaves what was durable', async () => {
    await vote.saveDurably(record(1))
    const durable = file.bytes
    for (const seq of [2, 3, 4]) {
      vote.save(record(seq))
      await waitFor('the write', async () => (await seqIn(file.bytes)) === seq)
      const torn = new Uint8Array(file.bytes ?? [])
      for (let at = 0; at < torn.length; at += 1) if (torn[at] !== durable?.[at]) torn[at] = 0xa5
      expect(await seqIn(torn)).toBe(1)
    }
    await vote.close()
    expect(await seqIn(file.synced)).toBe(4)
  })

  it('goes on in the slot that does not hold what a process before wrote last', async () => {
    for (const seq of [1, 2, 3]) await vote.saveDurably(record(seq))
    const next = makeFile()
    await next.open()
    file.gate = Promise.reject(new Error('the power is gone'))
    await expect(next.saveDurably(record(4))).rejects.toThrow('power')
    expect(failures).toHaveLength(1)
    expect(await seqIn(file.bytes)).toBe(3)
  })

  it('is dead after a write that failed', async () => {
    file.gate = Promise.reject(new Error('no space'))
    vote.save(record(1))
    await waitFor('the failure', () => failures.length === 1)
    file.gate = null
    await expect(vote.saveDurably(record(2))).rejects.toThrow('no space')
    expect(await seqIn(file.bytes)).toBe('nothing')
    expect(failures).toHaveLength(1)
  })

  it('can be read from either slot alone once it was saved twice, and from none when both are damaged', async () => {
    await vote.saveTwice(record(5))
    const whole = file.bytes ?? new Uint8Array()
    const harmed = (...slots: number[]): Uint8Array => {
      const bytes = new Uint8Array(whole)
      for (const slot of slots) bytes[slot * slotBytes + 60] = 0
      return bytes
    }
    expect([await seqIn(harmed(0)), await seqIn(harmed(1))]).toEqual([5, 5])
    expect(await seqIn(harmed(0, 1))).toBe('neither of its slots can be read')
  })

  it('finds a slot that is not what was written, and writes both anew', async () => {
    await vote.saveTwice(record(5))
    expect((await vote.verify()).why).toBeNull()
    const bytes = new Uint8Array(file.bytes ?? [])
    bytes[slotBytes + 30] = (bytes[slotBytes + 30] ?? 0) ^ 1
    file.bytes = bytes
    expect((await vote.verify()).why).toBe('slot 2 of the vote file is not what was written')
    expect((await vote.verify()).why).toBeNull()
    file.bytes = null
    expect((await vote.verify()).why).toContain('not what was written')
    expect(await seqIn(file.synced)).toBe(5)
  })

  it('does not go back behind what was saved while a damaged slot is written anew', async () => {
    await vote.saveTwice(record(5))
    file.bytes = null
    let release: () => void = () => undefined
    file.closeGate = new Promise((resolve) => (release = resolve))
    const verified = vote.verify()
    await Promise.resolve()
    await Promise.resolve()
    await vote.saveDurably(record(6, 2))
    release()
    expect((await verified).why).toContain('not what was written')
    expect(await seqIn(file.synced)).toBe(6)
  })

  it('makes durable what a process before has left, before it writes over the other slot', async () => {
    await vote.saveDurably(record(1))
    vote.save(record(2))
    await waitFor('the write', async () => (await seqIn(file.bytes)) === 2)
    expect(await seqIn(file.synced)).toBe(1)
    expect(await makeFile().open()).toEqual(record(2))
    expect(await seqIn(file.synced)).toBe(2)
  })
})
