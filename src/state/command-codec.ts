import { Packr } from 'msgpackr'
import { unreachable } from '../std/assert.ts'
import { asJsonText } from '../std/json-text.ts'
import { compareIds, isNodeId, isServerName } from '../vocabulary/ids.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import { keyBytesMax, valueBytesMax } from '../vocabulary/kv-limits.ts'
import { labelLengthMax, labelsMax } from '../vocabulary/label-limits.ts'
import type { Offer } from '../vocabulary/offer.ts'
import type { Command, Member, Replica, Revision } from './command.ts'

/**
 * Commands as bytes of a log entry: MessagePack arrays `[format, kind, ...fields]`, validated after decoding, limits
 * included. Nothing that the bytes may hold makes decoding throw.
 *
 * Bytes that this version does not know (damaged by their writer, or a later format or kind) are malformed: every node
 * that does not know them skips the entry alike and answers its proposer `refused`. The states of nodes that do know and
 * that do not would part there; so a release that adds a kind, a field or another limit logs it only once the directory
 * shows that every member's version knows it.
 */
export function encodeCommand(command: Command): Uint8Array {
  // A copy: what the packer returns shares one large buffer, which a transfer to another thread would take away.
  return new Uint8Array(packr.pack([format, ...fieldsOf(command)]))
}

/** Why bytes are no command, in one sentence. */
export type Malformed = { readonly malformed: string }

export function decodeCommand(bytes: Uint8Array): Command | Malformed {
  let value: unknown
  try {
    value = packr.unpack(bytes)
  } catch {
    return { malformed: 'the bytes are no MessagePack' }
  }
  if (!Array.isArray(value)) return { malformed: 'the value is no array' }
  const [formatFound, kind, ...fields] = value as unknown[]
  if (formatFound !== format) return { malformed: `format ${shown(formatFound)} is not known, only ${format}` }
  return (
    commandOf(kind, fields) ?? { malformed: `kind ${shown(kind)} is not known, or its fields are not what it takes` }
  )
}

const packr = new Packr({ useRecords: false, mapsAsObjects: true, moreTypes: false })
const format = 1

/** Numbers on the disk; never used again for another meaning. */
const kindNumbers = {
  'kv-set': 1,
  'kv-delete': 2,
  'member-set': 3,
  'replica-set': 4,
  'replica-delete': 5,
  barrier: 6,
} as const satisfies Record<Command['kind'], number>

const transports = ['stdio', 'http'] as const
const statuses = ['starting', 'ready', 'failed'] as const

/** An address or version is at most this long, in UTF-16 units. */
const shortTextMax = 256
/** Longest `reason` of a replica, in UTF-16 units. */
const reasonMax = 2048
/** All parts of an offer together, in UTF-16 units. */
const offerLengthMax = 4 * 1024 * 1024

function fieldsOf(command: Command): unknown[] {
  const kind = kindNumbers[command.kind]
  switch (command.kind) {
    case 'kv-set':
      return [kind, command.key, command.value, command.expect]
    case 'kv-delete':
      return [kind, command.key, command.expect]
    case 'member-set': {
      const { node, generation, addresses, labels, version, startedAt } = command.member
      const sorted = Object.entries(labels).sort(([a], [b]) => compareIds(a, b))
      return [kind, node, generation, addresses.http, addresses.peer, addresses.raft, sorted, version, startedAt]
    }
    case 'replica-set': {
      const { node, generation, server, transport, status, reason, priority, offer } = command.replica
      const numbers = [transports.indexOf(transport), statuses.indexOf(status)]
      return [kind, node, generation, server, ...numbers, reason, priority, offer === null ? null : offerFields(offer)]
    }
    case 'replica-delete':
      return [kind, command.node, command.generation, command.server]
    case 'barrier':
      return [kind]
    default:
      return unreachable(command)
  }
}

function offerFields(offer: Offer): string[] {
  return [offer.initialize, offer.tools, offer.resources, offer.resourceTemplates, offer.prompts]
}

function commandOf(kind: unknown, fields: readonly unknown[]): Command | undefined {
  switch (kind) {
    case kindNumbers['kv-set']:
      return kvSetOf(fields)
    case kindNumbers['kv-delete']:
      return kvDeleteOf(fields)
    case kindNumbers['member-set']:
      return memberSetOf(fields)
    case kindNumbers['replica-set']:
      return replicaSetOf(fields)
    case kindNumbers['replica-delete']:
      return replicaDeleteOf(fields)
    case kindNumbers.barrier:
      return fields.length === 0 ? { kind: 'barrier' } : undefined
    default:
      return undefined
  }
}

function kvSetOf(fields: readonly unknown[]): Command | undefined {
  const [key, value, expect] = fields
  if (fields.length !== 3 || !isKey(key) || !isExpect(expect)) return undefined
  // That it is JSON was the edge's to check: a parser's limits may differ between releases of Node, and every node must
  // find the same here.
  if (typeof value !== 'string' || value === '' || !fitsBytes(value, valueBytesMax)) return undefined
  return { kind: 'kv-set', key, value: asJsonText(value), expect }
}

function kvDeleteOf(fields: readonly unknown[]): Command | undefined {
  const [key, expect] = fields
  if (fields.length !== 2 || !isKey(key) || !isExpect(expect)) return undefined
  return { kind: 'kv-delete', key, expect }
}

function memberSetOf(fields: readonly unknown[]): Command | undefined {
  const [node, generation, http, peer, raft, labelList, version, startedAt] = fields
  if (fields.length !== 8 || !isText(node) || !isNodeId(node) || !isWhole(generation) || !isWhole(startedAt))
    return undefined
  if (!isText(http) || !isText(peer) || !isText(raft) || !isText(version)) return undefined
  const labels = labelsOf(labelList)
  if (labels === undefined) return undefined
  const member: Member = { node, generation, addresses: { http, peer, raft }, labels, version, startedAt }
  return { kind: 'member-set', member }
}

function labelsOf(value: unknown): Record<string, string> | undefined {
  if (!Array.isArray(value) || value.length > labelsMax) return undefined
  const labels: [string, string][] = []
  for (const pair of value as unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined
    const [name, text] = pair as unknown[]
    const before = labels.at(-1)?.[0]
    if (
      !isText(name, labelLengthMax) ||
      !isText(text, labelLengthMax) ||
      (before !== undefined && compareIds(before, name) >= 0)
    )
      return undefined
    labels.push([name, text])
  }
  return Object.fromEntries(labels)
}

function replicaSetOf(fields: readonly unknown[]): Command | undefined {
  const [node, generation, server, transportNumber, statusNumber, reason, priority, offerList] = fields
  if (fields.length !== 8 || !isText(node) || !isNodeId(node) || !isWhole(generation) || !isServer(server))
    return undefined
  const transport = typeof transportNumber === 'number' ? transports[transportNumber] : undefined
  const status = typeof statusNumber === 'number' ? statuses[statusNumber] : undefined
  if (transport === undefined || status === undefined) return undefined
  if (typeof reason !== 'string' || reason.length > reasonMax) return undefined
  if (typeof priority !== 'number' || !Number.isSafeInteger(priority)) return undefined
  const offer = offerList === null ? null : offerOf(offerList)
  if (offer === undefined) return undefined
  const replica: Replica = { node, generation, server, transport, status, reason, priority, offer }
  return { kind: 'replica-set', replica }
}

function offerOf(value: unknown): Offer | undefined {
  if (!Array.isArray(value) || value.length !== 5) return undefined
  let length = 0
  for (const part of value as unknown[]) {
    if (typeof part !== 'string' || part === '') return undefined
    length += part.length
  }
  if (length > offerLengthMax) return undefined
  const [initialize, tools, resources, resourceTemplates, prompts] = (value as string[]).map(asJsonText)
  if (initialize === undefined || tools === undefined || resources === undefined) return undefined
  if (resourceTemplates === undefined || prompts === undefined) return undefined
  return { initialize, tools, resources, resourceTemplates, prompts }
}

function replicaDeleteOf(fields: readonly unknown[]): Command | undefined {
  const [node, generation, server] = fields
  if (fields.length !== 3 || !isText(node) || !isNodeId(node) || !isWhole(generation) || !isServer(server))
    return undefined
  return { kind: 'replica-delete', node, generation, server }
}

function isKey(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && fitsBytes(value, keyBytesMax)
}

function isExpect(value: unknown): value is Revision | null {
  return value === null || isWhole(value)
}

function isWhole(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isText(value: unknown, lengthMax = shortTextMax): value is string {
  return typeof value === 'string' && value.length <= lengthMax
}

function isServer(value: unknown): value is ServerName {
  return isText(value) && isServerName(value)
}

/** One UTF-16 unit is three bytes at most: short text needs no counting. */
function fitsBytes(text: string, bytesMax: number): boolean {
  return text.length * 3 <= bytesMax || Buffer.byteLength(text) <= bytesMax
}

function shown(value: unknown): string {
  return typeof value === 'number' ? String(value) : `of type ${typeof value}`
}
