import { Packr } from 'msgpackr'
import type { CommandResult, Member, Replica, Revision } from './command.ts'
import type { Malformed } from './command-codec.ts'
import { isKey, isValue, isWhole, memberFields, memberOf, replicaFields, replicaOf } from './fields.ts'
import type { KvEntry } from './reader.ts'
import { isIdempotencyKey } from './sessions.ts'
import type { SessionRecord } from './sessions.ts'

/**
 * The whole state at one applied index, and its bytes: blocks of `length (4 bytes, big endian), MessagePack list`, each
 * list a section number and its records; a head first, the counts last. Equal states have equal bytes. Damage is the
 * store's to find; what this version does not know is refused, never guessed at.
 */
export type StateImage = {
  readonly appliedIndex: Revision
  /** Log time of the entry at `appliedIndex`. */
  readonly time: number
  /** In the order in which the keys came to be. */
  readonly kv: readonly KvEntry[]
  readonly members: readonly Member[]
  readonly replicas: readonly Replica[]
  /** Oldest first. */
  readonly sessions: readonly SessionRecord[]
}

/** The bytes, part by part: none takes longer than its ~64 KiB, or its one record, so whoever asks may rest between. */
export function* encodeSnapshot(image: StateImage): Generator<Uint8Array, void, void> {
  const { kv, members, replicas, sessions } = image
  yield block([sections.head, format, image.appliedIndex, image.time])
  yield* blocks(sections.kv, kv, ({ key, value, revision }) => [key, value, revision])
  yield* blocks(sections.members, members, memberFields)
  yield* blocks(sections.replicas, replicas, replicaFields)
  yield* blocks(sections.sessions, sessions, (it) => [it.key, it.fingerprint, it.time, ...resultFields(it.result)])
  yield block([sections.end, kv.length, members.length, replicas.length, sessions.length])
}

export function decodeSnapshot(bytes: Uint8Array): StateImage | Malformed {
  const kv: KvEntry[] = []
  const members: Member[] = []
  const replicas: Replica[] = []
  const sessions: SessionRecord[] = []
  let head: { appliedIndex: Revision; time: number } | null = null
  let at = 0
  while (at < bytes.length) {
    const found = blockAt(bytes, at)
    if (found === undefined) return { malformed: `no block begins at byte ${at}` }
    const [section, ...records] = found.list
    at = found.end
    if (head === null) {
      const [formatFound, appliedIndex, time] = records
      if (section !== sections.head || formatFound !== format)
        return { malformed: `the head is not of format ${format}` }
      if (!isWhole(appliedIndex) || !isWhole(time)) return { malformed: 'the head has no index or no time' }
      head = { appliedIndex, time }
    } else if (section === sections.end) {
      const counts = [kv, members, replicas, sessions].map((list) => list.length)
      if (at !== bytes.length || counts.some((count, place) => count !== records[place]))
        return { malformed: 'the records are not as many as the end says' }
      return { ...head, kv, members, replicas, sessions }
    } else {
      const taken =
        (section === sections.kv && takeAll(records, kv, kvOf)) ||
        (section === sections.members && takeAll(records, members, memberOf)) ||
        (section === sections.replicas && takeAll(records, replicas, replicaOf)) ||
        (section === sections.sessions && takeAll(records, sessions, sessionOf))
      if (!taken) return { malformed: `a record before byte ${at} is not what a snapshot holds` }
    }
  }
  return { malformed: 'the end is missing' }
}

const packr = new Packr({ useRecords: false, mapsAsObjects: true, moreTypes: false })
const format = 1
const sections = { head: 0, kv: 1, members: 2, replicas: 3, sessions: 4, end: 5 } as const
/** Text of one block, in UTF-16 units, about; its last record may pass it. */
const blockLengthMax = 64 * 1024
const results = ['done', 'revision-mismatch', 'not-found', 'refused'] as const

function* blocks<Item>(
  section: number,
  items: readonly Item[],
  fieldsOf: (item: Item) => unknown[],
): Generator<Uint8Array, void, void> {
  let list: unknown[] = [section]
  let length = 0
  for (const item of items) {
    const fields = fieldsOf(item)
    list.push(fields)
    length += lengthOf(fields)
    if (length < blockLengthMax) continue
    yield block(list)
    list = [section]
    length = 0
  }
  if (list.length > 1) yield block(list)
}

function lengthOf(fields: readonly unknown[]): number {
  let length = 16
  for (const field of fields) {
    if (typeof field === 'string') length += field.length
    else if (Array.isArray(field)) length += lengthOf(field)
  }
  return length
}

function block(list: readonly unknown[]): Uint8Array {
  const packed = packr.pack(list)
  const bytes = new Uint8Array(4 + packed.length)
  new DataView(bytes.buffer).setUint32(0, packed.length)
  bytes.set(packed, 4)
  return bytes
}

function blockAt(bytes: Uint8Array, at: number): { list: readonly unknown[]; end: number } | undefined {
  if (at + 4 > bytes.length) return undefined
  const end = at + 4 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(at)
  if (end > bytes.length) return undefined
  try {
    const value: unknown = packr.unpack(bytes.subarray(at + 4, end))
    return Array.isArray(value) ? { list: value, end } : undefined
  } catch {
    return undefined
  }
}

function takeAll<Item>(
  records: readonly unknown[],
  into: Item[],
  itemOf: (fields: readonly unknown[]) => Item | undefined,
): boolean {
  for (const fields of records) {
    const item = Array.isArray(fields) ? itemOf(fields) : undefined
    if (item === undefined) return false
    into.push(item)
  }
  return true
}

function kvOf(fields: readonly unknown[]): KvEntry | undefined {
  const [key, value, revision] = fields
  if (fields.length !== 3 || !isKey(key) || !isValue(value) || !isWhole(revision)) return undefined
  return { key, value, revision }
}

function sessionOf(fields: readonly unknown[]): SessionRecord | undefined {
  const [key, fingerprint, time, ...rest] = fields
  const result = resultOf(rest)
  if (!isIdempotencyKey(key) || typeof fingerprint !== 'string' || !isWhole(time) || result === undefined)
    return undefined
  return { key, fingerprint, time, result }
}

function resultFields(result: CommandResult): unknown[] {
  const kind = results.indexOf(result.kind)
  if (result.kind === 'not-found') return [kind]
  return [kind, result.kind === 'refused' ? result.reason : result.revision]
}

function resultOf([kindNumber, told]: readonly unknown[]): CommandResult | undefined {
  const kind = typeof kindNumber === 'number' ? results[kindNumber] : undefined
  switch (kind) {
    case 'done':
    case 'revision-mismatch':
      return isWhole(told) ? { kind, revision: told } : undefined
    case 'not-found':
      return { kind }
    case 'refused':
      return typeof told === 'string' ? { kind, reason: told } : undefined
    case undefined:
      return undefined
  }
}
