import { describe, expect, it } from 'vitest'
import { SimRecords } from './sim-records.ts'
import type { RecordWrite } from './sim-records.ts'
import { SimSlots } from './sim-slots.ts'
import { Stream } from './streams.ts'

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

function writeOf(records: Readonly<Record<string, number | null>>, sync = true): RecordWrite {
  const operations = Object.entries(records).map(([key, value]) => ({
    key,
    value: value === null ? null : bytes(value),
  }))
  return { operations, sync, durable: () => undefined }
}

function put(records: SimRecords, ...writes: readonly RecordWrite[]): void {
  for (const write of writes) {
    records.begin(write)
    records.finish(write)
  }
}

const contentOf = (records: SimRecords): Readonly<Record<string, number | undefined>> =>
  Object.fromEntries(records.between('', 'z').map(([key, value]) => [key, value[0]]))

const told = (): boolean => true
const stream = new Stream(1, 'test')

describe('simulated records', () => {
  it('keep through a power cut what was synced, and what was before it', () => {
    const records = new SimRecords()
    put(records, writeOf({ a: 1 }, false), writeOf({ b: 2 }))
    records.crash('power', stream, told)
    expect(contentOf(records)).toEqual({ a: 1, b: 2 })
    expect(records.isDamaged).toBe(false)
  })

  it('lose a batch that the disk only said it had written, alone, and not what was written again', () => {
    const records = new SimRecords()
    put(records, writeOf({ a: 1, head: 1 }))
    records.loseNext('alone')
    put(records, writeOf({ b: 2, head: 2 }), writeOf({ c: 3, head: 3 }))
    expect(contentOf(records)).toEqual({ a: 1, b: 2, c: 3, head: 3 })
    expect(records.isDamaged).toBe(true)
    records.crash('kill', stream, told)
    expect(contentOf(records)).toEqual({ a: 1, c: 3, head: 3 })
    expect(records.isDamaged).toBe(true)
    put(records, writeOf({ b: 2 }))
    expect(records.isDamaged).toBe(false)
  })

  it('lose all behind such a batch, and nothing when nobody could tell', () => {
    const records = new SimRecords()
    put(records, writeOf({ a: 1 }))
    records.loseNext('tail')
    put(records, writeOf({ b: 2 }), writeOf({ a: null }))
    records.crash('power', stream, told)
    expect(contentOf(records)).toEqual({ a: 1 })
    records.forget()
    records.loseNext('tail')
    put(records, writeOf({ b: 2 }))
    records.crash('power', stream, () => false)
    expect(contentOf(records)).toEqual({ a: 1, b: 2 })
    expect(records.isDamaged).toBe(false)
  })

  it('are cut by their last batches', () => {
    const records = new SimRecords()
    put(records, writeOf({ a: 1 }), writeOf({ a: 2, b: 2 }), writeOf({ b: 3 }))
    expect(records.cutTail(2, told)).toBe(true)
    expect(contentOf(records)).toEqual({ a: 1 })
  })

  it('put a record of a batch in the place of another', () => {
    const records = new SimRecords()
    put(records, writeOf({ a: 1, b: 2 }))
    records.misdirectNext(0)
    put(records, writeOf({ c: 3 }))
    expect(contentOf(records)).toEqual({ a: 3, b: 2 })
    expect(records.isDamaged).toBe(true)
  })

  it('rot in one bit, by key, or are gone', () => {
    for (const how of ['value', 'gone', 'block'] as const) {
      const records = new SimRecords()
      put(records, writeOf({ a: 1, b: 1, c: 1, d: 1 }))
      records.rot(how, 1)
      const { a, b, c, d } = contentOf(records)
      expect({ a, b }).toEqual({ a: 1, b: how === 'value' ? 3 : undefined })
      expect(c === 1 && d === 1).toBe(how !== 'block')
      expect(records.isDamaged).toBe(true)
    }
  })
})

describe('a simulated vote file', () => {
  it('keeps through a power cut what was synced, and of the rest all, nothing or a beginning', () => {
    const kept = new Set<string>()
    for (let seed = 0; seed < 50; seed += 1) {
      const slots = new SimSlots()
      slots.write({ at: 0, bytes: bytes(1, 1) })
      slots.sync()
      slots.write({ at: 2, bytes: bytes(2, 2) })
      slots.crash('power', new Stream(seed, 'test'))
      expect(slots.isDamaged).toBe(false)
      kept.add(String(slots.read()))
    }
    expect([...kept].sort()).toEqual(['1,1', '1,1,2', '1,1,2,2'])
  })

  it('loses a sync that the disk only said it had made, until it was written again', () => {
    const slots = new SimSlots()
    slots.write({ at: 0, bytes: bytes(1) })
    slots.sync()
    slots.loseNext('alone')
    slots.write({ at: 0, bytes: bytes(2) })
    slots.sync()
    slots.write({ at: 1, bytes: bytes(3) })
    slots.sync()
    slots.crash('kill', stream)
    expect(slots.read()).toEqual(bytes(1, 3))
    expect(slots.isDamaged).toBe(true)
    slots.write({ at: 0, bytes: bytes(4) })
    expect(slots.isDamaged).toBe(false)
  })

  it('is sound again where it is written again, and where nobody reads what an older, longer piece has left', () => {
    for (const how of ['value', 'gone', 'block'] as const) {
      const slots = new SimSlots()
      slots.write({ at: 0, bytes: bytes(1, 2, 3) })
      slots.sync()
      slots.rot(how, 2)
      expect(slots.isDamaged).toBe(true)
      slots.write({ at: 0, bytes: bytes(4) })
      slots.sync()
      expect(slots.isDamaged).toBe(false)
    }
    const slots = new SimSlots()
    slots.write({ at: 0, bytes: bytes(1, 2, 3) })
    slots.write({ at: 0, bytes: bytes(4) })
    slots.sync()
    slots.rot('value', 8)
    expect(slots.read()).toEqual(bytes(4, 3, 3))
    expect(slots.isDamaged).toBe(false)
    slots.rot('block', 0)
    expect(slots.isDamaged).toBe(true)
  })

  it('rots, is cut, and is gone', () => {
    for (const damage of [
      (slots: SimSlots) => slots.rot('value', 0),
      (slots: SimSlots) => slots.rot('gone', 0),
      (slots: SimSlots) => slots.rot('block', 0),
      (slots: SimSlots) => slots.cut(1),
    ]) {
      const slots = new SimSlots()
      slots.write({ at: 0, bytes: bytes(1, 2) })
      slots.write({ at: 2, bytes: bytes(3, 4) })
      slots.sync()
      expect(slots.isDamaged).toBe(false)
      damage(slots)
      expect(slots.isDamaged).toBe(true)
      slots.crash('power', stream)
      expect(slots.isDamaged).toBe(true)
    }
  })
})
