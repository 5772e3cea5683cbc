import { crc32 } from '../std/hash.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import { checkFormat, damaged, encodeSnapshotMeta, fieldsOfSnapshot, isDamage, parseObject } from './log-record.ts'
import { sameBytes, snapshotOf } from './log-record.ts'
import type { Damage } from './log-record.ts'

/**
 * The bytes of a stored snapshot, alike on every disk and on the way to another node: a head of fixed length, what it stands
 * for as JSON, the state machine's bytes. The checksum covers everything behind itself, so it can be computed piece by piece.
 */

/** Not the log's: a snapshot that somebody keeps outlives the formats of logs. */
const snapshotFormat = 1
// head: magic 4 bytes | format u8 | its complement u8 | 2 bytes 0 | crc u32 of all behind it | meta length u32 | data length u64
export const headBytes = 24
export const checkedFrom = 12
const magic = Uint8Array.of(0x51, 0x53, 0x4e, 0x50)
/** More than any configuration of any cluster needs. */
const metaBytesMax = 1024 * 1024

export type SnapshotHead = { readonly checksum: number; readonly metaBytes: number; readonly dataBytes: number }

/** Head and meta, with a checksum still to be set once that of the data is known. */
export function encodeBeginning(snapshot: SnapshotMeta, dataBytes: number): Uint8Array {
  const meta = new TextEncoder().encode(JSON.stringify(fieldsOfSnapshot(snapshot)))
  const bytes = new Uint8Array(headBytes + meta.length)
  const view = new DataView(bytes.buffer)
  bytes.set(magic)
  bytes[4] = snapshotFormat
  bytes[5] = snapshotFormat ^ 0xff
  view.setUint32(12, meta.length)
  view.setBigUint64(16, BigInt(dataBytes))
  bytes.set(meta, headBytes)
  return bytes
}

export function setChecksum(beginning: Uint8Array, checksum: number): void {
  new DataView(beginning.buffer, beginning.byteOffset).setUint32(8, checksum)
}

/** What the first `headBytes` of a file of that size say, if they can belong to one. */
export function decodeHead(bytes: Uint8Array, size: number): SnapshotHead | Damage {
  if (bytes.length < magic.length || magic.some((byte, at) => bytes[at] !== byte)) return damaged('it is no snapshot')
  if (bytes.length < headBytes) return damaged(`it is cut: it has ${size} bytes`)
  const wrong = checkFormat([bytes[4], bytes[5]], snapshotFormat)
  if (wrong !== undefined) return wrong
  const view = new DataView(bytes.buffer, bytes.byteOffset, headBytes)
  const metaBytes = view.getUint32(12)
  const dataBytes = Number(view.getBigUint64(16))
  // What the checksum does not cover is the same in every file.
  if (bytes[6] !== 0 || bytes[7] !== 0 || metaBytes > metaBytesMax)
    return damaged('its beginning is not what was written')
  const stated = headBytes + metaBytes + dataBytes
  if (stated > size) return damaged(`it is cut: it has ${size} bytes of ${stated}`)
  if (stated < size) return damaged(`it has ${size} bytes, and should have ${stated}`)
  return { checksum: view.getUint32(8), metaBytes, dataBytes }
}

/** What stands between head and data. */
export function decodeMeta(bytes: Uint8Array): SnapshotMeta | Damage {
  const value = parseObject(bytes)
  return isDamage(value) ? value : snapshotOf(value)
}

/** The whole snapshot in one piece. */
export function encodeSnapshot(snapshot: SnapshotMeta, data: Uint8Array): Uint8Array {
  const beginning = encodeBeginning(snapshot, data.length)
  setChecksum(beginning, crc32(data, crc32(beginning.subarray(checkedFrom))))
  const bytes = new Uint8Array(beginning.length + data.length)
  bytes.set(beginning)
  bytes.set(data, beginning.length)
  return bytes
}

export function decodeSnapshot(bytes: Uint8Array): { snapshot: SnapshotMeta; data: Uint8Array } | Damage {
  const head = decodeHead(bytes, bytes.length)
  if (isDamage(head)) return head
  if (crc32(bytes.subarray(checkedFrom)) !== head.checksum) return damaged('its checksum does not match')
  const snapshot = decodeMeta(bytes.subarray(headBytes, headBytes + head.metaBytes))
  if (isDamage(snapshot)) return snapshot
  return { snapshot, data: new Uint8Array(bytes.subarray(headBytes + head.metaBytes)) }
}

/** Two snapshots of one place in the log stand for the same state. */
export function snapshotName({ index, term }: SnapshotMeta): string {
  return `${index}-${term}`
}

export function isSameSnapshot(a: SnapshotMeta, b: SnapshotMeta): boolean {
  return sameBytes(encodeSnapshotMeta(a), encodeSnapshotMeta(b))
}
