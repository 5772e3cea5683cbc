import { SequenceHash } from '../std/hash.ts'
import type { SequenceValue } from '../std/hash.ts'
import { fieldsOf, recordKinds } from './records.ts'
import type { RecordKind, StateRecords } from './records.ts'
import { sessionLength } from './session-fields.ts'

/** The sum of the 64-bit hashes of records: the same for the same records, in whatever order they come. */
export class RecordSum {
  readonly #hash = new SequenceHash()
  #low: number
  #high: number

  constructor({ low, high }: Sum = { low: 0, high: 0 }) {
    this.#low = low
    this.#high = high
  }

  get value(): Sum {
    return { low: this.#low, high: this.#high }
  }

  add(kind: RecordKind, fields: readonly SequenceValue[]): void {
    this.#count(kind, fields, 1)
  }

  subtract(kind: RecordKind, fields: readonly SequenceValue[]): void {
    this.#count(kind, fields, -1)
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

/**
 * The sum of all records of a state that changes. A change is only noted, with the record as it was before the first; both
 * are hashed when much has changed, or when the sum is asked for, so what a record was in between costs nothing. What is
 * gone is hashed as it is then: a record that was damaged in memory before leaves its difference in the sum.
 */
export class ContentSum {
  readonly #current: CurrentRecords
  readonly #sum: RecordSum
  readonly #noted: NotedRecords = {
    kv: new Map(),
    member: new Map(),
    replica: new Map(),
    answer: new Map(),
    token: new Map(),
    drain: new Map(),
    session: new Map(),
  }
  #count = 0
  #length = 0

  /** `sum`: of all records that the state has. */
  constructor(current: CurrentRecords, sum?: Sum) {
    this.#current = current
    this.#sum = new RecordSum(sum)
  }

  /** The very next change of the state makes the record of that name, which was `before`, what `after` is. */
  note<Kind extends RecordKind>(kind: Kind, name: string, { before, after }: RecordChange<StateRecords[Kind]>): void {
    if (this.#count >= notedMax || this.#length >= notedLengthMax) this.#settle()
    if (after !== undefined) this.#length += lengthOf(kind, after)
    const noted = this.#noted[kind]
    if (noted.has(name)) return
    noted.set(name, before)
    this.#count += 1
    if (before !== undefined) this.#length += lengthOf(kind, before)
  }

  total(): Sum {
    this.#settle()
    return this.#sum.value
  }

  #settle(): void {
    for (const kind of recordKinds) this.#settleKind(kind)
    this.#count = 0
    this.#length = 0
  }

  #settleKind(kind: RecordKind): void {
    const noted: Map<string, StateRecords[RecordKind] | undefined> = this.#noted[kind]
    for (const [name, before] of noted) {
      const now = this.#current[kind](name)
      if (before === now) continue
      if (before !== undefined) this.#sum.subtract(kind, fieldsOf(kind, before))
      if (now !== undefined) this.#sum.add(kind, fieldsOf(kind, now))
    }
    noted.clear()
  }
}

/** What a record was and will be; undefined: there is none. */
export type RecordChange<Item> = { readonly before: Item | undefined; readonly after: Item | undefined }

/** The record of a name that the state has now. */
export type CurrentRecords = { readonly [Kind in RecordKind]: (name: string) => StateRecords[Kind] | undefined }

/** Both modulo 2^32, as signed integers. */
export type Sum = { readonly low: number; readonly high: number }

type NotedRecords = { readonly [Kind in RecordKind]: Map<string, StateRecords[Kind] | undefined> }

const seeds: Readonly<Record<RecordKind, number>> = {
  kv: 1,
  member: 2,
  replica: 3,
  answer: 4,
  token: 5,
  drain: 6,
  session: 7,
}
/** Changes that are noted, and the text in them, in UTF-16 units: one or two milliseconds' work. */
const notedMax = 2048
const notedLengthMax = 1024 * 1024

function lengthOf(kind: RecordKind, record: StateRecords[RecordKind]): number {
  if (kind === 'kv') return (record as StateRecords['kv']).value.length
  if (kind === 'session') return sessionLength(record as StateRecords['session'])
  const { offer = null } = kind === 'replica' ? (record as StateRecords['replica']) : {}
  return offer === null ? 0 : Object.values(offer).reduce((sum, { length }) => sum + length, 0)
}
