import { SequenceHash } from '../std/hash.ts'
import type { SequenceValue } from '../std/hash.ts'
import { fieldsOf } from './records.ts'
import type { RecordKind, StateRecords } from './records.ts'

/**
 * The sum of the 64-bit hashes of all records of the state: the same for the same records, in whatever order they came. A
 * change is only noted; what was added and removed is hashed when there is much of it, or when the sum is asked for, so a
 * record that was replaced meanwhile costs nothing. What is removed is hashed as it is then: a record that was damaged in
 * memory before leaves its difference in the sum.
 */
export class ContentSum {
  readonly #hash = new SequenceHash()
  readonly #added = new Map<object, RecordKind>()
  readonly #removed = new Map<object, RecordKind>()
  #length = 0
  #low: number
  #high: number

  constructor({ low, high }: Sum = noRecords) {
    this.#low = low
    this.#high = high
  }

  add<Kind extends RecordKind>(kind: Kind, record: StateRecords[Kind]): void {
    if (!this.#removed.delete(record)) this.#added.set(record, kind)
    this.#note(kind, record)
  }

  remove<Kind extends RecordKind>(kind: Kind, record: StateRecords[Kind]): void {
    if (!this.#added.delete(record)) this.#removed.set(record, kind)
    this.#note(kind, record)
  }

  /** The list of a record that is added for good, as `fieldsOf` makes it. */
  addFields(kind: RecordKind, fields: readonly SequenceValue[]): void {
    this.#count(kind, fields, 1)
  }

  total(): Sum {
    this.#fold()
    return { low: this.#low, high: this.#high }
  }

  #note(kind: RecordKind, record: StateRecords[RecordKind]): void {
    this.#length += lengthOf(kind, record)
    if (this.#added.size + this.#removed.size >= notedMax || this.#length >= notedLengthMax) this.#fold()
  }

  #fold(): void {
    for (const [record, kind] of this.#added) this.#count(kind, fieldsOf(kind, record as never), 1)
    for (const [record, kind] of this.#removed) this.#count(kind, fieldsOf(kind, record as never), -1)
    this.#added.clear()
    this.#removed.clear()
    this.#length = 0
  }

  #count(kind: RecordKind, fields: readonly SequenceValue[], sign: 1 | -1): void {
    const hash = this.#hash
    hash.begin(seeds[kind])
    hash.add(fields)
    hash.end()
    this.#low = (this.#low + sign * hash.low) | 0
    this.#high = (this.#high + sign * hash.high) | 0
  }
}

/** Both modulo 2^32, as signed integers. */
export type Sum = { readonly low: number; readonly high: number }

const noRecords: Sum = { low: 0, high: 0 }
const seeds: Readonly<Record<RecordKind, number>> = { kv: 1, member: 2, replica: 3, session: 4 }
/** Changes that are noted and not hashed yet, and their text in UTF-16 units: a millisecond's work, about. */
const notedMax = 1024
const notedLengthMax = 512 * 1024

function lengthOf(kind: RecordKind, record: StateRecords[RecordKind]): number {
  if (kind === 'kv') return (record as StateRecords['kv']).value.length
  const { offer = null } = kind === 'replica' ? (record as StateRecords['replica']) : {}
  return offer === null ? 0 : Object.values(offer).reduce((sum, { length }) => sum + length, 0)
}
