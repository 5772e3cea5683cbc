import { Packr } from 'msgpackr'
import { unpackArray } from '../std/message-pack.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { isIdempotencyKey } from './answers.ts'
import type { AnswerRecord } from './answers.ts'
import { checksMax, isCheckIndex, isDigest } from './checks.ts'
import type { CheckRecord } from './checks.ts'
import type { CommandResult, JoinToken, Member, Replica, Revision, SessionRecord } from './command.ts'
import type { Malformed } from './command-codec.ts'
import { RecordSum } from './content-sum.ts'
import type { Sum } from './content-sum.ts'
import { drainOf, isKey, isText, isValue, isWhole, memberOf, replicaOf, tokenOf } from './fields.ts'
import type { DrainRecord } from './fields.ts'
import type { KvEntry } from './reader.ts'
import { fieldsOf, resultKinds } from './records.ts'
import type { RecordKind, StateRecords } from './records.ts'
import { sessionOf } from './session-fields.ts'

/**
 * The whole state at one applied index, and its bytes: blocks of `length (4 bytes, big endian), MessagePack list`, each
 * list a section number and its records; a head first; counts and the sum of all records last. Equal states have equal
 * bytes. Damage on the disk is the store's to find, damage before and after by the sum; what this version does not know is
 * refused, never guessed at.
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
  readonly answers: readonly AnswerRecord[]
  /** In the order in which they became known. */
  readonly tokens: readonly JoinToken[]
  readonly drains: readonly DrainRecord[]
  /** In the order of their last use. */
  readonly sessions: readonly SessionRecord[]
  /** Oldest index first. */
  readonly checks: readonly CheckRecord[]
  /** Of all but the checks, as they were when they came to be. */
  readonly sum: Sum
}

/**
 * The bytes, part by part: none takes longer than its ~64 KiB, or its one record, so whoever asks may rest between. Returns
 * the sum of what it has written: another than the image's says that a record was damaged in memory.
 */
export function* encodeSnapshot(image: StateImage): Generator<Uint8Array, Sum, void> {
  const { kv, members, replicas, answers, tokens, drains, sessions, checks } = image
  const content = new RecordSum()
  yield block([sections.head, format, image.appliedIndex, image.time])
  yield* blocks('kv', kv, content)
  yield* blocks('member', members, content)
  yield* blocks('replica', replicas, content)
  yield* blocks('answer', answers, content)
  yield* blocks('token', tokens, content)
  yield* blocks('drain', drains, content)
  yield* blocks('session', sessions, content)
  if (checks.length > 0) yield block([sections.checks, ...checks.map(checkFields)])
  const sum = content.value
  const counts = [kv, members, replicas, answers, tokens, drains, sessions, checks].map((list) => list.length)
  yield block([sections.end, ...counts, sum.low, sum.high])
  return sum
}

/** See `decodingSnapshot`; all of it in one go. */
export function decodeSnapshot(bytes: Uint8Array): StateImage | Malformed {
  const decoding = decodingSnapshot(bytes)
  for (;;) {
    const step = decoding.next()
    if (step.done === true) return step.value
  }
}

/** The image that the bytes hold, block by block, so that whoever asks may rest between. */
export function* decodingSnapshot(bytes: Uint8Array): Generator<void, StateImage | Malformed, void> {
  const found = new Found()
  let head: { appliedIndex: Revision; time: number } | null = null
  let at = 0
  while (at < bytes.length) {
    const next = blockAt(bytes, at)
    if (next === undefined) return { malformed: `no block begins at byte ${at}` }
    const [section, ...records] = next.list
    at = next.end
    if (head === null) {
      const [formatFound, appliedIndex, time] = records
      if (section !== sections.head || formatFound !== format)
        return { malformed: `the head is not of format ${format}` }
      if (!isWhole(appliedIndex) || !isWhole(time)) return { malformed: 'the head has no index or no time' }
      head = { appliedIndex, time }
    } else if (section === sections.end) {
      const end = [...found.counts, found.sum.low, found.sum.high]
      if (at !== bytes.length || end.length !== records.length || end.some((value, place) => value !== records[place]))
        return { malformed: 'the records are not as many as the end says, or not those of which it has the sum' }
      return { ...head, ...found.lists, sum: found.sum }
    } else if (!found.take(section, records)) {
      return { malformed: `a record before byte ${at} is not what a snapshot holds` }
    }
    yield
  }
  return { malformed: 'the end is missing' }
}

const packr = new Packr({ useRecords: false, mapsAsObjects: true, moreTypes: false })
const format = 4
/** Numbers on the disk; never used again for another meaning. */
const sections = {
  head: 0,
  kv: 1,
  member: 2,
  replica: 3,
  answer: 4,
  end: 5,
  checks: 6,
  token: 7,
  drain: 8,
  session: 9,
} as const
/** Text of one block, in UTF-16 units, about; its last record may pass it. */
const blockLengthMax = 64 * 1024
/** More than any block has. */
const valuesMax = 65_536

/** What a decoder has found so far. */
class Found {
  readonly lists = {
    kv: [] as KvEntry[],
    members: [] as Member[],
    replicas: [] as Replica[],
    answers: [] as AnswerRecord[],
    tokens: [] as JoinToken[],
    drains: [] as DrainRecord[],
    sessions: [] as SessionRecord[],
    checks: [] as CheckRecord[],
  }
  readonly #names = new Set<string>()
  readonly #content = new RecordSum()

  get counts(): readonly number[] {
    const { kv, members, replicas, answers, tokens, drains, sessions, checks } = this.lists
    return [kv, members, replicas, answers, tokens, drains, sessions, checks].map((list) => list.length)
  }

  get sum(): Sum {
    return this.#content.value
  }

  take(section: unknown, records: readonly unknown[]): boolean {
    const { kv, members, replicas, answers, tokens, drains, sessions, checks } = this.lists
    switch (section) {
      case sections.kv:
        return this.#takeAll('kv', { records, into: kv, itemOf: kvOf, nameOf: ({ key }) => key })
      case sections.member:
        return this.#takeAll('member', { records, into: members, itemOf: memberOf, nameOf: ({ node }) => node })
      case sections.replica: {
        const nameOf = ({ node, server }: Replica): string => `${node}/${server}`
        return this.#takeAll('replica', { records, into: replicas, itemOf: replicaOf, nameOf })
      }
      case sections.answer:
        return this.#takeAll('answer', { records, into: answers, itemOf: answerOf, nameOf: ({ key }) => key })
      case sections.token:
        return this.#takeAll('token', { records, into: tokens, itemOf: tokenOf, nameOf: ({ id }) => id })
      case sections.drain:
        return this.#takeAll('drain', { records, into: drains, itemOf: drainOf, nameOf: ({ node }) => node })
      case sections.session:
        return this.#takeAll('session', { records, into: sessions, itemOf: sessionOf, nameOf: ({ id }) => id })
      case sections.checks:
        return takeAll(records, checks, checkOf) && areChecks(checks)
      default:
        return false
    }
  }

  /** The records of a kind come one behind the other, and each stands there once. */
  #takeAll<Kind extends RecordKind>(
    kind: Kind,
    { records, into, itemOf, nameOf }: Taking<StateRecords[Kind]>,
  ): boolean {
    const before = into.length
    if (before === 0) this.#names.clear()
    if (!takeAll(records, into, itemOf)) return false
    for (const record of into.slice(before)) {
      this.#names.add(nameOf(record))
      this.#content.add(kind, fieldsOf(kind, record))
    }
    return this.#names.size === into.length
  }
}

type Taking<Item> = {
  readonly records: readonly unknown[]
  readonly into: Item[]
  readonly itemOf: (fields: readonly unknown[]) => Item | undefined
  readonly nameOf: (item: Item) => string
}

function* blocks<Kind extends RecordKind>(
  kind: Kind,
  records: readonly StateRecords[Kind][],
  content: RecordSum,
): Generator<Uint8Array, void, void> {
  let list: unknown[] = [sections[kind]]
  let length = 0
  for (const record of records) {
    const fields = fieldsOf(kind, record)
    list.push(fields)
    content.add(kind, fields)
    length += lengthOf(fields)
    if (length < blockLengthMax) continue
    yield block(list)
    list = [sections[kind]]
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
  const unpacked = unpackArray(bytes.subarray(at + 4, end), { depthMax: 4, valuesMax })
  return 'flaw' in unpacked ? undefined : { list: unpacked.values, end }
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

function answerOf(fields: readonly unknown[]): AnswerRecord | undefined {
  const [key, fingerprint, time, ...rest] = fields
  const result = resultOf(rest)
  if (!isIdempotencyKey(key) || !isText(fingerprint) || !isWhole(time) || result === undefined) return undefined
  return { key, fingerprint, time, result }
}

function checkFields({ index, reports }: CheckRecord): unknown[] {
  return [index, ...reports.flatMap(({ node, digest }) => [node, digest])]
}

function checkOf(fields: readonly unknown[]): CheckRecord | undefined {
  const [index, ...told] = fields
  if (!isWhole(index) || !isCheckIndex(index) || told.length % 2 !== 0) return undefined
  const reports: { node: NodeId; digest: string }[] = []
  for (let at = 0; at < told.length; at += 2) {
    const [node, digest] = [told[at], told[at + 1]]
    if (!isText(node) || !isNodeId(node) || !isDigest(digest)) return undefined
    reports.push({ node, digest })
  }
  return { index, reports }
}

/** Their indexes ascend, and in each a node stands once. */
function areChecks(checks: readonly CheckRecord[]): boolean {
  return (
    checks.length <= checksMax &&
    checks.every(({ index, reports }, place) => {
      const nodes = new Set(reports.map(({ node }) => node))
      return nodes.size === reports.length && index > (checks[place - 1]?.index ?? 0)
    })
  )
}

function resultOf([kindNumber, told, ...more]: readonly unknown[]): CommandResult | undefined {
  const kind = typeof kindNumber === 'number' ? resultKinds[kindNumber] : undefined
  if (more.length > 0) return undefined
  switch (kind) {
    case 'done':
    case 'revision-mismatch':
      return isWhole(told) ? { kind, revision: told } : undefined
    case 'not-found':
      return told === undefined ? { kind } : undefined
    case 'refused':
      return typeof told === 'string' ? { kind, reason: told } : undefined
    case undefined:
      return undefined
  }
}
