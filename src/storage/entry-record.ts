import { hash } from 'node:crypto'
import { crc32 } from '../std/hash.ts'
import { entryKinds } from '../raft/entry.ts'
import type { Entry } from '../raft/entry.ts'
import type { ProposalId } from '../vocabulary/ids.ts'
import { damaged, readUint64, unseal, viewOf, writeUint64, writeVersion } from './log-record.ts'
import type { Damage } from './log-record.ts'

/**
 * The bytes of an entry's record: beside the checksum of every record a hash chain, so that a lost, swapped or changed
 * entry is found. This is the path of every write: a batch is encoded into one piece of memory, with few objects.
 */

export type StoredEntry = { readonly entry: Entry; readonly prevHash: Uint8Array; readonly hash: Uint8Array }

// version u8 | its complement u8 | 2 bytes 0 | crc u32 of all behind it | hash 8 bytes of all behind it |
// prevHash 8 bytes | term u64 | index u64 | time u64 | data length u32 | id length u16 | kind u8 | 1 byte 0 | id | data
const hashAt = 8
const hashedFrom = 16
const fixedBytes = 56

/** The records of entries that follow each other, the first behind an entry of that hash. */
export function encodeEntries(entries: readonly Entry[], prevHash: Uint8Array): Uint8Array[] {
  let size = 0
  for (const { id, data } of entries) size += fixedBytes + Buffer.byteLength(id) + data.length
  const all = Buffer.allocUnsafeSlow(size)
  const view = viewOf(all)
  const records: Uint8Array[] = []
  let at = 0
  let before = prevHash
  for (const entry of entries) {
    const { id, data } = entry
    const idLength = all.write(id, at + fixedBytes)
    const end = at + fixedBytes + idLength + data.length
    const record = all.subarray(at, end)
    writeVersion(all, at)
    view.setUint16(at + 2, 0)
    all.set(before, at + hashedFrom)
    writeUint64(view, at + 24, entry.term)
    writeUint64(view, at + 32, entry.index)
    writeUint64(view, at + 40, entry.time)
    view.setUint32(at + 48, data.length)
    view.setUint16(at + 52, idLength)
    view.setUint16(at + 54, entryKinds.indexOf(entry.kind) << 8)
    all.set(data, at + fixedBytes + idLength)
    writeHash(record)
    view.setUint32(at + 4, crc32(record.subarray(hashAt)))
    before = hashOfEntry(record)
    records.push(record)
    at = end
  }
  return records
}

/** The chain hash in an entry's record: a view of it. */
export function hashOfEntry(record: Uint8Array): Uint8Array {
  return record.subarray(hashAt, hashedFrom)
}

export function decodeEntry(bytes: Uint8Array): StoredEntry | Damage {
  const early = unseal(bytes, fixedBytes)
  if (early !== undefined) return early
  if (!isHashRight(bytes)) return damaged('its hash does not match its content')
  const view = viewOf(bytes)
  const term = readUint64(view, 24)
  const index = readUint64(view, 32)
  const time = readUint64(view, 40)
  const idLength = view.getUint16(52)
  const kind = entryKinds[bytes[54] ?? 255]
  if (kind === undefined || term === undefined || index === undefined || time === undefined)
    return damaged('a field in it is out of range')
  const dataAt = fixedBytes + idLength
  if (dataAt + view.getUint32(48) !== bytes.length) return damaged('its length is not the stated one')
  const id = decoder.decode(bytes.subarray(fixedBytes, dataAt)) as ProposalId
  const data = new Uint8Array(bytes.subarray(dataAt))
  const prevHash = new Uint8Array(bytes.subarray(hashedFrom, hashedFrom + 8))
  return { entry: { index, term, kind, id, time, data }, prevHash, hash: new Uint8Array(hashOfEntry(bytes)) }
}

function writeHash(record: Uint8Array): void {
  const digest = chainHash(record)
  for (let at = 0; at < 8; at += 1) record[hashAt + at] = digest.charCodeAt(at)
}

function isHashRight(record: Uint8Array): boolean {
  const digest = chainHash(record)
  for (let at = 0; at < 8; at += 1) if (record[hashAt + at] !== digest.charCodeAt(at)) return false
  return true
}

/** As text of one character for a byte, which costs a quarter of what a buffer does. */
function chainHash(record: Uint8Array): string {
  return hash('sha256', record.subarray(hashedFrom), 'binary')
}

const decoder = new TextDecoder()
