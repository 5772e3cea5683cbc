import { crc32 } from '../std/hash.ts'
import { decodeConfiguration, encodeConfiguration } from '../raft/configuration.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { HardState, Index } from '../raft/entry.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import type { FormingPromise, Quarantine } from './log-store.ts'

/**
 * The bytes of the log's records but for the entries (entry-record.ts): meta (who the node is), head (hard state, where the
 * log begins and ends) and snapshot (what stands for the part that is gone). Each begins with its format version and
 * carries a CRC. Decoding never throws: what is wrong with the bytes comes back as a sentence.
 */

/** Of the log's records and the vote file. Every later one, too, begins with the version and its complement. */
export const formatVersion = 3

export type Meta = {
  readonly nodeId: NodeId
  readonly generation: number
  readonly promise: FormingPromise | null
  readonly joined: ClusterId | null
  readonly quarantine: StoredQuarantine | null
}

/** `lostHash`: the chain hash at `lostUpTo`; null when the log that began anew is not chained to the same beginning. */
export type StoredQuarantine = Quarantine & { readonly lostHash: Uint8Array | null }

/** Rewritten in every batch, so that it always tells how the log must begin and end. */
export type Head = {
  /** Counts the batches of the directory's life. */
  readonly seq: number
  readonly hardState: HardState
  /** What stands before it is compacted away, whether or not its keys are there still. */
  readonly firstIndex: Index
  /** `firstIndex - 1` while the log is empty. */
  readonly lastIndex: Index
  /** Of the snapshot record; 0: there is none. */
  readonly snapshotIndex: Index
  /** What the first entry is chained to: the hash of the one before it, or `chainStart`. */
  readonly anchor: Uint8Array
  /** Chain hash of the last entry; the anchor while the log is empty. */
  readonly lastHash: Uint8Array
}

/** What is wrong with bytes. `isForeign`: nothing, but another version of the product wrote them. */
export type Damage = { readonly damage: string; readonly isForeign: boolean }

/** What the first entry of all, or the first one behind an installed snapshot, is chained to. */
export const chainStart: Uint8Array = new Uint8Array(8)

export function isDamage(value: object): value is Damage {
  return 'damage' in value && 'isForeign' in value
}

export const metaKey = Uint8Array.of(0x00)
export const headKey = Uint8Array.of(0x01)
export const entryPrefix = 0x02
export const snapshotKey = Uint8Array.of(0x03)

export function entryKey(index: Index): Uint8Array {
  const key = new Uint8Array(9)
  key[0] = entryPrefix
  writeUint64(viewOf(key), 1, index)
  return key
}

/** Undefined when the key is not an entry's. */
export function indexOfKey(key: Uint8Array): Index | undefined {
  if (key.length !== 9 || key[0] !== entryPrefix) return undefined
  return readUint64(viewOf(key), 1)
}

export function encodeMeta(meta: Meta): Uint8Array {
  const { nodeId, generation, promise, joined, quarantine } = meta
  const lostHash = quarantine?.lostHash ?? null
  const kept = quarantine === null ? null : { ...quarantine, lostHash: lostHash === null ? null : toHex(lostHash) }
  return encodeJson({ nodeId, generation, promise, joined, quarantine: kept })
}

export function decodeMeta(bytes: Uint8Array): Meta | Damage {
  const value = decodeJson(bytes)
  if (isDamage(value)) return value
  const identity = identityOf(value)
  const quarantine = quarantineOf(value['quarantine'])
  if (identity === undefined || quarantine === undefined) return damaged('its content is not a meta record')
  return { ...identity, quarantine }
}

/** The part of a meta record that both homes hold. */
export function identityOf(value: Record<string, unknown>): Omit<Meta, 'quarantine'> | undefined {
  const { nodeId, generation, promise, joined } = value
  if (typeof nodeId !== 'string' || !isNodeId(nodeId)) return undefined
  if (!isCount(generation)) return undefined
  if (joined !== null && !isClusterId(joined)) return undefined
  if (promise === null) return { nodeId, generation, promise, joined }
  if (typeof promise !== 'object') return undefined
  const { clusterId, voters } = promise as Record<string, unknown>
  if (!isClusterId(clusterId) || !Array.isArray(voters)) return undefined
  if (!voters.every((id: unknown): id is NodeId => typeof id === 'string' && isNodeId(id))) return undefined
  return { nodeId, generation, promise: { clusterId, voters }, joined }
}

function quarantineOf(value: unknown): StoredQuarantine | null | undefined {
  if (value === null) return null
  if (typeof value !== 'object') return undefined
  const { why, lostUpTo, verified, lostHash } = value as Record<string, unknown>
  if (typeof why !== 'string' || !isCount(lostUpTo)) return undefined
  if (verified !== null && typeof verified !== 'boolean') return undefined
  if (lostHash === null) return { why, lostUpTo, verified, lostHash }
  const hash = hashOf(lostHash)
  return hash === undefined ? undefined : { why, lostUpTo, verified, lostHash: hash }
}

function isClusterId(value: unknown): value is ClusterId {
  return typeof value === 'string' && value !== ''
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

export function encodeSnapshotMeta(snapshot: SnapshotMeta): Uint8Array {
  return encodeJson(fieldsOfSnapshot(snapshot))
}

export function decodeSnapshotMeta(bytes: Uint8Array): SnapshotMeta | Damage {
  const value = decodeJson(bytes)
  return isDamage(value) ? value : snapshotOf(value)
}

/** What a snapshot stands for, as JSON holds it. */
export function fieldsOfSnapshot({ index, term, time, configuration }: SnapshotMeta): Record<string, unknown> {
  return { index, term, time, configuration: decoder.decode(encodeConfiguration(configuration)) }
}

export function snapshotOf(value: Record<string, unknown>): SnapshotMeta | Damage {
  const { index, term, time } = value
  const configuration =
    typeof value['configuration'] === 'string' ? decodeConfiguration(encoder.encode(value['configuration'])) : undefined
  if (!isCount(index) || !isCount(term) || !isCount(time) || index === 0 || term === 0 || configuration === undefined)
    return damaged('its content does not describe a snapshot')
  return { index, term, time, configuration }
}

// A record of JSON: version u8 | its complement u8 | 2 bytes 0 | crc u32 of the rest | JSON
const jsonFrom = 8

export function encodeJson(value: Record<string, unknown>): Uint8Array {
  const json = encoder.encode(JSON.stringify(value))
  const bytes = new Uint8Array(jsonFrom + json.length)
  bytes.set(json, jsonFrom)
  return seal(bytes)
}

export function decodeJson(bytes: Uint8Array): Record<string, unknown> | Damage {
  const early = unseal(bytes, jsonFrom)
  if (early !== undefined) return isFirstFormats(bytes) ? foreign(bytes[0] ?? 0, formatVersion) : early
  return parseObject(bytes.subarray(jsonFrom))
}

/** JSON of an object. */
export function parseObject(json: Uint8Array): Record<string, unknown> | Damage {
  let value: unknown
  try {
    value = JSON.parse(decoder.decode(json))
  } catch {
    value = null
  }
  if (typeof value !== 'object' || value === null) return damaged('its content is no object')
  return value as Record<string, unknown>
}

/** What came before the complement: such a directory is whole, and of no use. */
function isFirstFormats(bytes: Uint8Array): boolean {
  if (bytes.length < jsonFrom || bytes[1] !== 0 || bytes[2] !== 0 || bytes[3] !== 0) return false
  return (bytes[0] === 1 || bytes[0] === 2) && viewOf(bytes).getUint32(4) === crc32(bytes.subarray(jsonFrom))
}

// head: as above, with in the place of JSON: seq u64 | term u64 | commit u64 | firstIndex u64 | lastIndex u64 |
//       snapshotIndex u64 | lastHash 8 bytes | anchor 8 bytes | recovering u8 | vote
const headFixedBytes = 73

export function encodeHead(head: Head): Uint8Array {
  const { seq, hardState, firstIndex, lastIndex, snapshotIndex, lastHash, anchor } = head
  const vote = hardState.vote ?? ''
  const bytes = new Uint8Array(headFixedBytes + vote.length)
  const view = viewOf(bytes)
  writeUint64(view, 8, seq)
  writeUint64(view, 16, hardState.term)
  writeUint64(view, 24, hardState.commit)
  writeUint64(view, 32, firstIndex)
  writeUint64(view, 40, lastIndex)
  writeUint64(view, 48, snapshotIndex)
  bytes.set(lastHash, 56)
  bytes.set(anchor, 64)
  bytes[72] = hardState.isRecovering ? 1 : 0
  // An id of a node is ASCII.
  for (let at = 0; at < vote.length; at += 1) bytes[headFixedBytes + at] = vote.charCodeAt(at)
  return seal(bytes)
}

export function decodeHead(bytes: Uint8Array): Head | Damage {
  const early = unseal(bytes, headFixedBytes)
  if (early !== undefined) return early
  const view = viewOf(bytes)
  const numbers = [8, 16, 24, 32, 40, 48].map((at) => readUint64(view, at))
  const [seq, term, commit, firstIndex, lastIndex, snapshotIndex] = numbers
  const vote = decoder.decode(bytes.subarray(headFixedBytes))
  if (seq === undefined || term === undefined || commit === undefined) return damaged('a number in it is out of range')
  if (firstIndex === undefined || lastIndex === undefined || snapshotIndex === undefined)
    return damaged('a number in it is out of range')
  if (vote !== '' && !isNodeId(vote)) return damaged('the vote in it is no node id')
  return {
    seq,
    hardState: { term, vote: vote === '' ? null : vote, commit, isRecovering: bytes[72] !== 0 },
    firstIndex,
    lastIndex,
    snapshotIndex,
    lastHash: new Uint8Array(bytes.subarray(56, 64)),
    anchor: new Uint8Array(bytes.subarray(64, 72)),
  }
}

/** Sets what every record begins with: version, complement, and the checksum of all behind it. */
export function seal(bytes: Uint8Array): Uint8Array {
  writeVersion(bytes, 0)
  viewOf(bytes).setUint32(4, crc32(bytes.subarray(8)))
  return bytes
}

/** What is wrong with how the record begins; undefined: nothing. */
export function unseal(bytes: Uint8Array, atLeast: number): Damage | undefined {
  if (bytes.length < atLeast || bytes[2] !== 0 || bytes[3] !== 0) return damaged('it is cut or was never a record')
  const wrong = checkVersion(bytes, 0)
  if (wrong !== undefined) return wrong
  return viewOf(bytes).getUint32(4) === crc32(bytes.subarray(8)) ? undefined : damaged('its checksum does not match')
}

/** The version stands beside its complement, so that a changed one is not taken for that of another version. */
export function writeVersion(bytes: Uint8Array, at: number): void {
  bytes[at] = formatVersion
  bytes[at + 1] = formatVersion ^ 0xff
}

export function checkVersion(bytes: Uint8Array, at: number): Damage | undefined {
  return checkFormat([bytes[at], bytes[at + 1]], formatVersion)
}

export function checkFormat(
  [version = 0, complement = 0]: readonly (number | undefined)[],
  known: number,
): Damage | undefined {
  if ((complement ^ 0xff) !== version) return damaged('it was never a record, or its beginning was changed')
  return version === known ? undefined : foreign(version, known)
}

function foreign(version: number, known: number): Damage {
  return { damage: `it has format ${version}; this version of quorate reads ${known}`, isForeign: true }
}

export function damaged(damage: string): Damage {
  return { damage, isForeign: false }
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at])
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** A chain hash as `toHex` wrote it. */
export function hashOf(text: unknown): Uint8Array | undefined {
  if (typeof text !== 'string' || !/^[0-9a-f]{16}$/.test(text)) return undefined
  return new Uint8Array(Buffer.from(text, 'hex'))
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export function readUint64(view: DataView, at: number): number | undefined {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4)
  return Number.isSafeInteger(value) ? value : undefined
}

export function writeUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32))
  view.setUint32(at + 4, value >>> 0)
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
