import { crc32 } from '../std/hash.ts'
import { assert } from '../std/assert.ts'
import type { Index, Term } from '../raft/entry.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import {
  checkVersion,
  damaged,
  hashOf,
  identityOf,
  isCount,
  isDamage,
  toHex,
  viewOf,
  writeVersion,
} from './log-record.ts'
import type { Damage, Meta } from './log-record.ts'

/**
 * The bytes of the vote file: two slots of fixed length, each a checksummed record of what this node is and has promised.
 * The one with the higher count holds. A torn slot is what a crash leaves; the other one is whole then.
 */

export type VoteRecord = Omit<Meta, 'quarantine'> & {
  /** Of the batch that it repeats. */
  readonly seq: number
  readonly term: Term
  readonly vote: NodeId | null
  readonly isRecovering: boolean
  /** Why nothing of this node is to be trusted at its next start. */
  readonly condemned: string | null
  readonly lastIndex: Index
  readonly lastHash: Uint8Array
}

/** `slot` is where the record stands. */
export type VoteSlots = { readonly record: VoteRecord; readonly count: number; readonly slot: 0 | 1 }

/** Room for a promise to well over a hundred founders; only what is used of it is written. */
export const slotBytes = 16 * 1024

// version u8 | its complement u8 | 2 bytes 0 | crc u32 of all behind it | length u32 of the JSON | JSON
const jsonFrom = 12
/** More of a sentence is of no use. */
const whyMax = 500

export function encodeSlot(record: VoteRecord, count: number): Uint8Array {
  const condemned = record.condemned?.slice(0, whyMax) ?? null
  const json = encoder.encode(JSON.stringify({ ...record, condemned, lastHash: toHex(record.lastHash), count }))
  const bytes = new Uint8Array(jsonFrom + json.length)
  assert(bytes.length <= slotBytes, `a vote record of ${bytes.length} bytes`)
  bytes.set(json, jsonFrom)
  writeVersion(bytes, 0)
  const view = viewOf(bytes)
  view.setUint32(8, json.length)
  view.setUint32(4, crc32(bytes.subarray(8)))
  return bytes
}

/** The newest slot of the file that can be read; a damage when there is none. */
export function decodeSlots(file: Uint8Array): VoteSlots | Damage {
  const slots = ([0, 1] as const).map((slot) =>
    decodeSlot(file.subarray(slot * slotBytes, (slot + 1) * slotBytes), slot),
  )
  const foreign = slots.find((each) => isDamage(each) && each.isForeign)
  const readable = slots.filter((each): each is VoteSlots => !isDamage(each)).sort((a, b) => b.count - a.count)
  return readable[0] ?? foreign ?? damaged('neither of its slots can be read')
}

function decodeSlot(bytes: Uint8Array, slot: 0 | 1): VoteSlots | Damage {
  if (bytes.length < jsonFrom || bytes[2] !== 0 || bytes[3] !== 0) return damaged('it is cut or was never a record')
  const wrong = checkVersion(bytes, 0)
  if (wrong !== undefined) return wrong
  const view = viewOf(bytes)
  const end = jsonFrom + view.getUint32(8)
  if (end > bytes.length || view.getUint32(4) !== crc32(bytes.subarray(8, end)))
    return damaged('its checksum does not match')
  let value: unknown
  try {
    value = JSON.parse(decoder.decode(bytes.subarray(jsonFrom, end)))
  } catch {
    value = null
  }
  if (typeof value !== 'object' || value === null) return damaged('its content is no object')
  const { count } = value as Record<string, unknown>
  const record = voteRecordOf(value as Record<string, unknown>)
  if (record === undefined || !isCount(count)) return damaged('its content is not a vote record')
  return { record, count, slot }
}

function voteRecordOf(value: Record<string, unknown>): VoteRecord | undefined {
  const identity = identityOf(value)
  const { seq, term, vote, isRecovering, condemned, lastIndex } = value
  const lastHash = hashOf(value['lastHash'])
  if (identity === undefined || lastHash === undefined) return undefined
  if (!isCount(seq) || !isCount(term) || !isCount(lastIndex) || typeof isRecovering !== 'boolean') return undefined
  if (vote !== null && (typeof vote !== 'string' || !isNodeId(vote))) return undefined
  if (condemned !== null && typeof condemned !== 'string') return undefined
  return { ...identity, seq, term, vote, isRecovering, condemned, lastIndex, lastHash }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()
