import { Packr, Unpackr } from 'msgpackr'
import type { Malformed } from './frame.ts'

/**
 * Payloads as MessagePack arrays of positional fields with additive tails: a reader takes the fields it knows and ignores
 * the rest. Before msgpackr sees foreign bytes, one pass checks that they hold only what we write (null, booleans,
 * numbers, strings, bytes, arrays), that every declared length is there, and depth and count: no maps, records or
 * extensions, and nothing is allocated on the word of a length field.
 */
export type PackedValue = null | boolean | number | string | Uint8Array | readonly PackedValue[]

const packr = new Packr({ useRecords: false })
const unpackr = new Unpackr({ useRecords: false })

const depthMax = 4
/** Values in one payload, all levels together. */
const valuesMax = 262_144

export function pack(fields: readonly PackedValue[]): Uint8Array {
  return packr.pack(fields)
}

/** Byte fields are views of `payload`: copy what is kept (`copyBytes`). */
export function unpack(payload: Uint8Array): readonly unknown[] | Malformed {
  const flaw = findFlaw(payload)
  if (flaw !== null) return { malformed: flaw }
  try {
    const value: unknown = unpackr.unpack(payload)
    return Array.isArray(value) ? value : { malformed: 'payload is no array' }
  } catch {
    return { malformed: 'payload can not be unpacked' }
  }
}

/** A copy that does not keep the receive buffer alive. */
export function copyBytes(view: Uint8Array): Uint8Array {
  return new Uint8Array(view)
}

export function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

export function isText(value: unknown, charsMax: number): value is string {
  return typeof value === 'string' && value.length <= charsMax
}

function findFlaw(bytes: Uint8Array): string | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const end = bytes.length
  const left: number[] = [1] // values still due, per open level
  let at = 0
  let values = 0
  while (left.length > 0) {
    const due = left[left.length - 1] ?? 0
    if (due === 0) {
      left.pop()
      continue
    }
    left[left.length - 1] = due - 1
    if (at >= end) return 'payload is cut'
    if ((values += 1) > valuesMax) return 'payload holds too many values'
    const token = view.getUint8(at)
    at += 1
    const lengthBytes = lengthFieldBytes(token)
    if (lengthBytes === -1) return `payload holds the token ${token}, which is never written`
    if (end - at < lengthBytes) return 'payload is cut'
    const length = readLength(view, at, token, lengthBytes)
    at += lengthBytes
    if (length > end - at) return 'payload declares more than it holds'
    if (!isArrayToken(token)) {
      at += length
      continue
    }
    if (left.length > depthMax) return 'payload is nested too deep'
    left.push(length)
  }
  return at === end ? null : 'payload is followed by more bytes'
}

function isArrayToken(token: number): boolean {
  return (token >= 0x90 && token <= 0x9f) || token === 0xdc || token === 0xdd
}

/** Bytes of the length field that follows the token; -1 for tokens that we never write. */
function lengthFieldBytes(token: number): number {
  if (token <= 0x7f || token >= 0xe0 || (token >= 0x90 && token <= 0xbf)) return 0
  switch (token) {
    case 0xc4: // bin 8
    case 0xd9: // str 8
      return 1
    case 0xc5: // bin 16
    case 0xda: // str 16
    case 0xdc: // array 16
      return 2
    case 0xc6: // bin 32
    case 0xdb: // str 32
    case 0xdd: // array 32
      return 4
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
    case 0xcb: // float 64
    case 0xcc: // uint 8
    case 0xcd: // uint 16
    case 0xce: // uint 32
    case 0xd0: // int 8
    case 0xd1: // int 16
    case 0xd2: // int 32
      return 0
    default:
      return -1
  }
}

/** Bytes (arrays: values, each at least one byte) that follow the token and its length field. */
function readLength(view: DataView, at: number, token: number, lengthBytes: number): number {
  if (lengthBytes === 1) return view.getUint8(at)
  if (lengthBytes === 2) return view.getUint16(at)
  if (lengthBytes === 4) return view.getUint32(at)
  if (token >= 0x90 && token <= 0x9f) return token & 0x0f
  if (token >= 0xa0 && token <= 0xbf) return token & 0x1f
  if (token === 0xcb) return 8
  if (token === 0xce || token === 0xd2) return 4
  if (token === 0xcd || token === 0xd1) return 2
  if (token === 0xcc || token === 0xd0) return 1
  return 0
}
