import { Packr } from 'msgpackr'
import { unpackArray } from '../std/message-pack.ts'
import type { Malformed } from './frame.ts'

/**
 * Payloads as MessagePack arrays of positional fields with additive tails: a reader takes the fields it knows and ignores
 * the rest. Foreign bytes are read by our own reader (std/message-pack).
 */
export type PackedValue = null | boolean | number | string | Uint8Array | readonly PackedValue[]

const packr = new Packr({ useRecords: false })

const depthMax = 4
/** Values in one payload, all levels together: what an array of nothing costs in memory is many times its bytes. */
const valuesMax = 262_144

export function pack(fields: readonly PackedValue[]): Uint8Array {
  return packr.pack(fields)
}

/** Byte fields are views of `payload`: copy what is kept (`copyBytes`). */
export function unpack(payload: Uint8Array): readonly unknown[] | Malformed {
  const unpacked = unpackArray(payload, { depthMax, valuesMax })
  return 'flaw' in unpacked ? { malformed: `payload ${unpacked.flaw}` } : unpacked.values
}

/** A copy that does not keep the receive buffer alive. */
export function copyBytes(view: Uint8Array): Uint8Array {
  return new Uint8Array(view)
}

/** Text for a field that holds so many characters: half a character would be replaced by three on its way. */
export function cutText(text: string, charsMax: number): string {
  return Buffer.from(text.slice(0, charsMax)).toString()
}

export function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

export function isText(value: unknown, charsMax: number): value is string {
  return typeof value === 'string' && value.length <= charsMax
}
