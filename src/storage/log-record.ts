import { crc32, sha256Prefix8 } from '../std/hash.ts'
import { decodeConfiguration, encodeConfiguration } from '../raft/configuration.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import { entryKinds } from '../raft/entry.ts'
import type { Entry, HardState, Index, Term } from '../raft/entry.ts'
import type { ClusterId, NodeId, ProposalId } from '../vocabulary/ids.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import type { FormingPromise } from './log-store.ts'

/**
 * The bytes of the log's records: meta (who the node is), head (hard state, where the log begins and ends), snapshot (what
 * stands for the part that is gone) and entry. Each begins with its format version and carries a CRC; entries also carry a
 * hash chain, so that a lost, swapped or changed entry is found at the next start. Decoding never throws: what is wrong
 * with the bytes comes back as a sentence.
 */

export const formatVersion = 2

export type Meta = {
  readonly nodeId: NodeId
  readonly generation: number
  readonly promise: FormingPromise | null
  readonly joined: ClusterId | null
}

/** Rewritten in every batch, so that it always tells how the log must begin and end. */
export type Head = {
  /** Counts the batches of the directory's life. */
  readonly seq: number
  readonly hardState: HardState
  /** What stands before it is compacted away, whether or not its keys are there still. */
  readonly firstIndex: Index
  /** `firstIndex - 1` while the log is empty. */
  readonly lastIndex: Index
  /** What the first entry is chained to: the hash of the one before it, or `chainStart`. */
  readonly anchor: Uint8Array
  /** Chain hash of the last entry; the anchor while the log is empty. */
  readonly lastHash: Uint8Array
}

export type StoredEntry = { readonly entry: Entry; readonly prevHash: Uint8Array; readonly hash: Uint8Array }

/** What is wrong with a record. `newer`: nothing, but another version of the product wrote it. */
export type Damage = { readonly damage: string; readonly newer: boolean }

/** What the first entry of all, or the first one behind an installed snapshot, is chained to. */
export const chainStart: Uint8Array = new Uint8Array(8)

export function isDamage(value: object): value is Damage {
  return 'damage' in value
}

export const metaKey = Uint8Array.of(0x00)
export const headKey = Uint8Array.of(0x01)
const entryPrefix = 0x02
export const snapshotKey = Uint8Array.of(0x03)

export function entryKey(index: Index): Uint8Array {
  const key = new Uint8Array(9)
  key[0] = entryPrefix
  viewOf(key).setBigUint64(1, BigInt(index))
  return key
}

/** Undefined when the key is not an entry's. */
export function indexOfKey(key: Uint8Array): Index | undefined {
  if (key.length !== 9 || key[0] !== entryPrefix) return undefined
  return readUint64(viewOf(key), 1)
}

// meta: version u8 | 3 bytes 0 | crc u32 | JSON
const metaHeaderBytes = 8

export function encodeMeta(meta: Meta): Uint8Array {
  const { nodeId, generation, promise, joined } = meta
  return encodeJson({ nodeId, generation, promise, joined })
}

export function decodeMeta(bytes: Uint8Array): Meta | Damage {
  const value = decodeJson(bytes)
  return isDamage(value) ? value : (metaOf(value) ?? damaged('its content is not a meta record'))
}

function metaOf(value: Record<string, unknown>): Meta | undefined {
  const { nodeId, generation, promise, joined } = value
  if (typeof nodeId !== 'string' || !isNodeId(nodeId)) return undefined
  if (typeof generation !== 'number' || !Number.isSafeInteger(generation) || generation < 1) return undefined
  if (joined !== null && !isClusterId(joined)) return undefined
  if (promise === null) return { nodeId, generation, promise, joined }
  if (typeof promise !== 'object') return undefined
  const { clusterId, voters } = promise as Record<string, unknown>
  if (!isClusterId(clusterId) || !Array.isArray(voters)) return undefined
  if (!voters.every((id: unknown): id is NodeId => typeof id === 'string' && isNodeId(id))) return undefined
  return { nodeId, generation, promise: { clusterId, voters }, joined }
}

function isClusterId(value: unknown): value is ClusterId {
  return typeof value === 'string' && value !== ''
}

// snapshot: like meta

export function encodeSnapshotMeta(snapshot: SnapshotMeta): Uint8Array {
  const { index, term, time, configuration } = snapshot
  return encodeJson({ index, term, time, configuration: decoder.decode(encodeConfiguration(configuration)) })
}

export function decodeSnapshotMeta(bytes: Uint8Array): SnapshotMeta | Damage {
  const value = decodeJson(bytes)
  if (isDamage(value)) return value
  const { index, term, time } = value
  const configuration =
    typeof value['configuration'] === 'string' ? decodeConfiguration(encoder.encode(value['configuration'])) : undefined
  const numbers = [index, term, time].every((each) => Number.isSafeInteger(each) && (each as number) >= 0)
  if (!numbers || index === 0 || term === 0 || configuration === undefined)
    return damaged('its content does not describe a snapshot')
  return { index: index as Index, term: term as Term, time: time as number, configuration }
}

function encodeJson(value: Record<string, unknown>): Uint8Array {
  const json = encoder.encode(JSON.stringify(value))
  const bytes = new Uint8Array(metaHeaderBytes + json.length)
  bytes[0] = formatVersion
  bytes.set(json, metaHeaderBytes)
  viewOf(bytes).setUint32(4, crc32(json))
  return bytes
}

function decodeJson(bytes: Uint8Array): Record<string, unknown> | Damage {
  const early = checkVersion(bytes, metaHeaderBytes)
  if (early !== undefined) return early
  const json = bytes.subarray(metaHeaderBytes)
  if (viewOf(bytes).getUint32(4) !== crc32(json)) return damaged('its checksum does not match')
  let value: unknown
  try {
    value = JSON.parse(decoder.decode(json))
  } catch {
    value = null
  }
  if (typeof value !== 'object' || value === null) return damaged('its content is no object')
  return value as Record<string, unknown>
}

// head: version u8 | vote length u8 | 2 bytes 0 | crc u32 of the rest and of the first 4 bytes | seq u64 | term u64 |
//       commit u64 | firstIndex u64 | lastIndex u64 | lastHash 8 bytes | anchor 8 bytes | vote
const headFixedBytes = 64

export function encodeHead(head: Head): Uint8Array {
  const { seq, hardState, firstIndex, lastIndex, lastHash, anchor } = head
  const vote = encoder.encode(hardState.vote ?? '')
  const bytes = new Uint8Array(headFixedBytes + vote.length)
  const view = viewOf(bytes)
  bytes[0] = formatVersion
  bytes[1] = vote.length
  for (const [at, value] of [seq, hardState.term, hardState.commit, firstIndex, lastIndex].entries())
    view.setBigUint64(8 + at * 8, BigInt(value))
  bytes.set(lastHash, 48)
  bytes.set(anchor, 56)
  bytes.set(vote, headFixedBytes)
  view.setUint32(4, checksum(bytes))
  return bytes
}

export function decodeHead(bytes: Uint8Array): Head | Damage {
  const early = checkVersion(bytes, headFixedBytes)
  if (early !== undefined) return early
  const view = viewOf(bytes)
  if (view.getUint32(4) !== checksum(bytes)) return damaged('its checksum does not match')
  const [seq, term, commit, firstIndex, lastIndex] = [8, 16, 24, 32, 40].map((at) => readUint64(view, at))
  const vote = decoder.decode(bytes.subarray(headFixedBytes))
  if (seq === undefined || term === undefined || commit === undefined) return damaged('a number in it is out of range')
  if (firstIndex === undefined || lastIndex === undefined) return damaged('a number in it is out of range')
  if (bytes[1] !== bytes.length - headFixedBytes || (vote !== '' && !isNodeId(vote)))
    return damaged('the vote in it is no node id')
  return {
    seq,
    hardState: { term, vote: vote === '' ? null : vote, commit, isRecovering: false },
    firstIndex,
    lastIndex,
    lastHash: new Uint8Array(bytes.subarray(48, 56)),
    anchor: new Uint8Array(bytes.subarray(56, headFixedBytes)),
  }
}

// entry: version u8 | kind u8 | id length u16 | crc u32 of all but itself | hash 8 bytes | prevHash 8 bytes | term u64 |
//        index u64 | time u64 | data length u32 | id | data.
// The hash covers everything but itself and the crc: prevHash makes it a chain, the index ties the entry to its place.
const entryFixedBytes = 52
const entryHashedFrom = 16

export function encodeEntry(entry: Entry, prevHash: Uint8Array): { bytes: Uint8Array; hash: Uint8Array } {
  const id = encoder.encode(entry.id)
  const bytes = new Uint8Array(entryFixedBytes + id.length + entry.data.length)
  const view = viewOf(bytes)
  bytes[0] = formatVersion
  bytes[1] = entryKinds.indexOf(entry.kind)
  view.setUint16(2, id.length)
  bytes.set(prevHash, entryHashedFrom)
  view.setBigUint64(24, BigInt(entry.term))
  view.setBigUint64(32, BigInt(entry.index))
  view.setBigUint64(40, BigInt(entry.time))
  view.setUint32(48, entry.data.length)
  bytes.set(id, entryFixedBytes)
  bytes.set(entry.data, entryFixedBytes + id.length)
  const hash = chainHash(bytes)
  bytes.set(hash, 8)
  view.setUint32(4, checksum(bytes))
  return { bytes, hash }
}

export function decodeEntry(bytes: Uint8Array): StoredEntry | Damage {
  const early = checkVersion(bytes, entryFixedBytes)
  if (early !== undefined) return early
  const view = viewOf(bytes)
  if (view.getUint32(4) !== checksum(bytes)) return damaged('its checksum does not match')
  const hash = new Uint8Array(bytes.subarray(8, entryHashedFrom))
  if (!sameBytes(hash, chainHash(bytes))) return damaged('its hash does not match its content')
  const kind = entryKinds[bytes[1] ?? 255]
  const idLength = view.getUint16(2)
  const term = readUint64(view, 24)
  const index = readUint64(view, 32)
  const time = readUint64(view, 40)
  if (kind === undefined || term === undefined || index === undefined || time === undefined)
    return damaged('a field in it is out of range')
  if (entryFixedBytes + idLength + view.getUint32(48) !== bytes.length)
    return damaged('its length is not the stated one')
  const id = decoder.decode(bytes.subarray(entryFixedBytes, entryFixedBytes + idLength)) as ProposalId
  const data = new Uint8Array(bytes.subarray(entryFixedBytes + idLength))
  const prevHash = new Uint8Array(bytes.subarray(entryHashedFrom, entryHashedFrom + 8))
  return { entry: { index, term, kind, id, time, data }, prevHash, hash }
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at])
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

function chainHash(bytes: Uint8Array): Uint8Array {
  return sha256Prefix8(bytes.subarray(0, 4), bytes.subarray(entryHashedFrom))
}

/** Of the whole record but the checksum itself, which stands at 4. */
function checksum(bytes: Uint8Array): number {
  return crc32(bytes.subarray(8), crc32(bytes.subarray(0, 4)))
}

function checkVersion(bytes: Uint8Array, atLeast: number): Damage | undefined {
  const version = bytes[0]
  if (version !== undefined && version > formatVersion && version < 0x80)
    return { damage: `it has format ${version}; this version of quorate reads ${formatVersion}`, newer: true }
  if (bytes.length < atLeast || version !== formatVersion) return damaged('it is cut or was never a record')
  return undefined
}

function damaged(damage: string): Damage {
  return { damage, newer: false }
}

function readUint64(view: DataView, at: number): number | undefined {
  const value = Number(view.getBigUint64(at))
  return Number.isSafeInteger(value) ? value : undefined
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
