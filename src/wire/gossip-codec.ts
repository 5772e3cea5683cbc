import { unreachable } from '../std/assert.ts'
import { addressBytesMax, keyBytesMax, stateValueBytesMax } from '../gossip/limits.ts'
import type {
  Claim,
  Delta,
  DigestEntry,
  GaugeDelta,
  GossipBody,
  GossipMessage,
  MemberStatus,
  StateDelta,
} from '../gossip/messages.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { Malformed } from './frame.ts'
import { frameTypes } from './frame-types.ts'
import { isIndex, isText, pack, unpack } from './pack.ts'
import type { PackedValue } from './pack.ts'

/**
 * Gossip's messages as bytes: one frame type a kind, the payload `[node, generation, incarnation, address, to, claims,
 * ...fields]`. Sender and receiver travel, so that the driver can hold them against the handshake's. What decodes has the
 * types and the lengths of texts that it should; the budgets of whole messages are the core's to check.
 */
export function encodeGossipMessage(message: GossipMessage): { type: number; payload: Uint8Array } {
  const { from, to, claims } = message
  const header = [from.node, from.generation, from.incarnation, from.address, to, claims.map(packClaim)]
  return { type: frameTypes[message.kind], payload: pack([...header, ...fieldsOf(message)]) }
}

export function decodeGossipMessage(type: number, payload: Uint8Array): GossipMessage | Malformed {
  const fields = unpack(payload)
  if ('malformed' in fields) return fields
  const [node, generation, incarnation, address, to, packed] = fields
  const claims = listOf(packed, claimOf)
  const isHeader =
    isId(node) && isIndex(generation) && isIndex(incarnation) && isText(address, addressBytesMax) && isId(to)
  if (!isHeader || claims === null) return { malformed: `frame type ${type}: header` }
  const body = bodyOf(type, fields.slice(6))
  if (body === null) return { malformed: `frame type ${type} does not hold what it should` }
  return { from: { node, generation, incarnation, address }, to, claims, ...body }
}

function fieldsOf(body: GossipBody): readonly PackedValue[] {
  switch (body.kind) {
    case 'ping':
    case 'ack':
    case 'nack':
      return [body.seq]
    case 'ping-request':
      return [body.seq, body.target]
    case 'news':
      return []
    case 'exchange-request':
    case 'exchange-response':
      return [body.members.map(packClaim)]
    case 'digest-request':
      return [body.digest.map(packDigestEntry)]
    case 'digest-response':
      return [body.digest.map(packDigestEntry), body.deltas.map(packDelta)]
    case 'deltas':
      return [body.deltas.map(packDelta)]
    default:
      return unreachable(body)
  }
}

/** Null: malformed. Fields behind those that are read here belong to newer versions. */
function bodyOf(type: number, [a, b]: readonly unknown[]): GossipBody | null {
  switch (type) {
    case frameTypes.ping:
      return isIndex(a) ? { kind: 'ping', seq: a } : null
    case frameTypes['ping-request']:
      return isIndex(a) && isId(b) ? { kind: 'ping-request', seq: a, target: b } : null
    case frameTypes.ack:
      return isIndex(a) ? { kind: 'ack', seq: a } : null
    case frameTypes.nack:
      return isIndex(a) ? { kind: 'nack', seq: a } : null
    case frameTypes.news:
      return { kind: 'news' }
    case frameTypes['exchange-request']: {
      const members = listOf(a, claimOf)
      return members && { kind: 'exchange-request', members }
    }
    case frameTypes['exchange-response']: {
      const members = listOf(a, claimOf)
      return members && { kind: 'exchange-response', members }
    }
    case frameTypes['digest-request']: {
      const digest = listOf(a, digestEntryOf)
      return digest && { kind: 'digest-request', digest }
    }
    case frameTypes['digest-response']: {
      const digest = listOf(a, digestEntryOf)
      const deltas = listOf(b, deltaOf)
      return digest && deltas && { kind: 'digest-response', digest, deltas }
    }
    case frameTypes.deltas: {
      const deltas = listOf(a, deltaOf)
      return deltas && { kind: 'deltas', deltas }
    }
    default:
      return null
  }
}

function packClaim({ node, generation, incarnation, status, address, by, age }: Claim): PackedValue {
  return [node, generation, incarnation, statuses.indexOf(status), address, by, age]
}

function claimOf(packed: readonly unknown[]): Claim | null {
  const [node, generation, incarnation, place, address, by, age] = packed
  const status = isIndex(place) ? statuses[place] : undefined
  if (!isId(node) || !isIndex(generation) || !isIndex(incarnation) || status === undefined) return null
  if (!isText(address, addressBytesMax) || !isId(by) || !isIndex(age)) return null
  return { node, generation, incarnation, status, address, by, age }
}

function packDigestEntry({ owner, generation, state, gauges }: DigestEntry): PackedValue {
  return [owner, generation, state, gauges]
}

function digestEntryOf([owner, generation, state, gauges]: readonly unknown[]): DigestEntry | null {
  if (!isId(owner) || !isIndex(generation) || !isIndex(state) || !isIndex(gauges)) return null
  return { owner, generation, state, gauges }
}

/** The entries lie flat behind the numbers of their delta: key, value and version one after the other. */
function packDelta({ owner, generation, state, gauges }: Delta): PackedValue {
  const { since, upTo, forgottenUpTo, entries } = state ?? emptyState
  const values = entries.flatMap(({ key, value, version }) => [key, value, version])
  const numbers = gauges?.entries.flatMap(({ key, value }) => [key, value]) ?? []
  return [owner, generation, state && [since, upTo, forgottenUpTo, ...values], gauges && [gauges.version, ...numbers]]
}

function deltaOf([owner, generation, packedState, packedGauges]: readonly unknown[]): Delta | null {
  if (!isId(owner) || !isIndex(generation)) return null
  const state = packedState === null ? null : stateOf(packedState)
  const gauges = packedGauges === null ? null : gaugesOf(packedGauges)
  return state === undefined || gauges === undefined ? null : { owner, generation, state, gauges }
}

/** Undefined: malformed. */
function stateOf(packed: unknown): StateDelta | undefined {
  if (!Array.isArray(packed)) return undefined
  const [since, upTo, forgottenUpTo, ...flat] = packed as readonly unknown[]
  if (!isIndex(since) || !isIndex(upTo) || !isIndex(forgottenUpTo)) return undefined
  const entries: StateDelta['entries'][number][] = []
  for (let at = 0; at < flat.length; at += 3) {
    const [key, value, version] = flat.slice(at, at + 3)
    if (!isText(key, keyBytesMax) || !isIndex(version)) return undefined
    if (value !== null && !isText(value, stateValueBytesMax)) return undefined
    entries.push({ key, value, version })
  }
  return { since, upTo, forgottenUpTo, entries }
}

/** Undefined: malformed. */
function gaugesOf(packed: unknown): GaugeDelta | undefined {
  if (!Array.isArray(packed)) return undefined
  const [version, ...flat] = packed as readonly unknown[]
  if (!isIndex(version)) return undefined
  const entries: GaugeDelta['entries'][number][] = []
  for (let at = 0; at < flat.length; at += 2) {
    const [key, value] = flat.slice(at, at + 2)
    if (!isText(key, keyBytesMax) || typeof value !== 'number' || !Number.isFinite(value)) return undefined
    entries.push({ key, value })
  }
  return { version, entries }
}

/** Null: it is no list, or one of its items is malformed. */
function listOf<T>(packed: unknown, itemOf: (item: readonly unknown[]) => T | null): T[] | null {
  if (!Array.isArray(packed)) return null
  const items: T[] = []
  for (const each of packed as readonly unknown[]) {
    const item = Array.isArray(each) ? itemOf(each as readonly unknown[]) : null
    if (item === null) return null
    items.push(item)
  }
  return items
}

function isId(value: unknown): value is NodeId {
  return typeof value === 'string' && isNodeId(value)
}

/** Their places travel; new ones come at the end. */
const statuses: readonly MemberStatus[] = ['alive', 'suspect', 'dead', 'left']
const emptyState: StateDelta = { since: 0, upTo: 0, forgottenUpTo: 0, entries: [] }
