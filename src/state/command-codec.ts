import { Packr } from 'msgpackr'
import { unreachable } from '../std/assert.ts'
import { unpackArray } from '../std/message-pack.ts'
import { logLevels } from '../vocabulary/log-level.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import { isJoinTokenId } from '../vocabulary/join-token-limits.ts'
import { isIdempotencyKey } from './answers.ts'
import { isDigest } from './checks.ts'
import { drains } from './command.ts'
import type { Command, Envelope, Revision } from './command.ts'
import {
  drainAt,
  isKey,
  isServer,
  isText,
  isValue,
  isWhole,
  memberFields,
  memberOf,
  replicaFields,
  replicaOf,
  tokenFields,
  tokenOf,
} from './fields.ts'
import { isSession, levelAt, openingFields, openingOf, subscriptionOf, touchedOf } from './session-fields.ts'

/**
 * Commands as bytes of a log entry: MessagePack arrays `[format, idempotency key or null, kind, ...fields]`, validated
 * after decoding, limits included. Nothing that the bytes may hold makes decoding throw.
 *
 * Bytes that this version does not know (damaged by their writer, or a later format or kind) are malformed: every node
 * that does not know them skips the entry alike and answers its proposer `refused`. The states of nodes that do know and
 * that do not would part there; so a release that adds a kind, a field or another limit logs it only once the directory
 * shows that every member's version knows it.
 */
export function encodeCommand({ command, idempotencyKey }: Envelope): Uint8Array {
  return packr.pack([format, idempotencyKey, ...commandFields(command)])
}

/** Why bytes are no command, in one sentence. */
export type Malformed = { readonly malformed: string }

export function decodeCommand(bytes: Uint8Array): Envelope | Malformed {
  const unpacked = unpackArray(bytes, { depthMax: 4, valuesMax })
  if ('flaw' in unpacked) return { malformed: `the entry ${unpacked.flaw}` }
  const [formatFound, idempotencyKey, kind, ...fields] = unpacked.values
  if (formatFound !== format) return { malformed: `format ${shown(formatFound)} is not known, only ${format}` }
  if (idempotencyKey !== null && !isIdempotencyKey(idempotencyKey))
    return { malformed: 'the idempotency key is not what one may be' }
  const command = commandOf(kind, fields)
  return command === undefined
    ? { malformed: `kind ${shown(kind)} is not known, or its fields are not what it takes` }
    : { command, idempotencyKey }
}

const packr = new Packr({ useRecords: false, mapsAsObjects: true, moreTypes: false })
const format = 2
/** More than any command has. */
const valuesMax = 2048

/** Numbers on the disk; never used again for another meaning. 6 was a barrier, which format 2 does not have. */
const kindNumbers = {
  'kv-set': 1,
  'kv-delete': 2,
  'member-set': 3,
  'replica-set': 4,
  'replica-delete': 5,
  'member-delete': 7,
  'state-digest': 8,
  'token-set': 9,
  'token-use': 10,
  'token-revoke': 11,
  'member-drain': 12,
  'session-open': 13,
  'session-close': 14,
  'session-touch': 15,
  'session-level': 16,
  'session-subscribe': 17,
  'session-unsubscribe': 18,
  'session-pin': 19,
} as const satisfies Record<Command['kind'], number>

/** What the command says, in one order: equal commands have equal fields. */
export function commandFields(command: Command): unknown[] {
  const kind = kindNumbers[command.kind]
  switch (command.kind) {
    case 'kv-set':
      return [kind, command.key, command.value, command.expect]
    case 'kv-delete':
      return [kind, command.key, command.expect]
    case 'member-set':
      return [kind, ...memberFields(command.member)]
    case 'member-delete':
      return [kind, command.node, command.generation]
    case 'replica-set':
      return [kind, ...replicaFields(command.replica)]
    case 'replica-delete':
      return [kind, command.node, command.generation, command.server]
    case 'state-digest':
      return [kind, command.node, command.index, command.digest]
    case 'token-set':
      return [kind, ...tokenFields(command.token)]
    case 'token-use':
      return [kind, command.id, command.node]
    case 'token-revoke':
      return [kind, command.id]
    case 'member-drain':
      return [kind, command.node, command.drain && drains.indexOf(command.drain)]
    case 'session-open':
      return [kind, ...openingFields(command.session)]
    case 'session-close':
      return [kind, command.id]
    case 'session-touch':
      return [kind, ...command.ids]
    case 'session-level':
      return [kind, command.id, logLevels.indexOf(command.level)]
    case 'session-subscribe':
    case 'session-unsubscribe':
      return [kind, command.id, command.server, command.uri]
    case 'session-pin':
      return [kind, command.id, command.server, command.node]
    default:
      return unreachable(command)
  }
}

function commandOf(kind: unknown, fields: readonly unknown[]): Command | undefined {
  switch (kind) {
    case kindNumbers['kv-set']:
      return kvSetOf(fields)
    case kindNumbers['kv-delete']:
      return kvDeleteOf(fields)
    case kindNumbers['member-set']: {
      const member = memberOf(fields)
      return member && { kind: 'member-set', member }
    }
    case kindNumbers['member-delete']:
      return memberDeleteOf(fields)
    case kindNumbers['replica-set']: {
      const replica = replicaOf(fields)
      return replica && { kind: 'replica-set', replica }
    }
    case kindNumbers['replica-delete']:
      return replicaDeleteOf(fields)
    case kindNumbers['state-digest']:
      return stateDigestOf(fields)
    case kindNumbers['token-set']: {
      const token = tokenOf(fields)
      return token === undefined || token.usedBy.length > 0 || token.isRevoked
        ? undefined
        : { kind: 'token-set', token }
    }
    case kindNumbers['token-use']:
      return tokenUseOf(fields)
    case kindNumbers['token-revoke']:
      return tokenRevokeOf(fields)
    case kindNumbers['member-drain']:
      return memberDrainOf(fields)
    default:
      return sessionCommandOf(kind, fields)
  }
}

function sessionCommandOf(kind: unknown, fields: readonly unknown[]): Command | undefined {
  switch (kind) {
    case kindNumbers['session-open']: {
      const session = openingOf(fields)
      return session && { kind: 'session-open', session }
    }
    case kindNumbers['session-close']: {
      const [id] = fields
      return fields.length === 1 && isSession(id) ? { kind: 'session-close', id } : undefined
    }
    case kindNumbers['session-touch']: {
      const ids = touchedOf(fields)
      return ids && { kind: 'session-touch', ids }
    }
    case kindNumbers['session-level']: {
      const [id, place] = fields
      const level = levelAt(place)
      if (fields.length !== 2 || !isSession(id) || level === undefined) return undefined
      return { kind: 'session-level', id, level }
    }
    case kindNumbers['session-subscribe']:
      return sessionSubscriptionOf('session-subscribe', fields)
    case kindNumbers['session-unsubscribe']:
      return sessionSubscriptionOf('session-unsubscribe', fields)
    case kindNumbers['session-pin']:
      return sessionPinOf(fields)
    default:
      return undefined
  }
}

function kvSetOf(fields: readonly unknown[]): Command | undefined {
  const [key, value, expect] = fields
  if (fields.length !== 3 || !isKey(key) || !isValue(value) || !isExpect(expect)) return undefined
  return { kind: 'kv-set', key, value, expect }
}

function kvDeleteOf(fields: readonly unknown[]): Command | undefined {
  const [key, expect] = fields
  if (fields.length !== 2 || !isKey(key) || !isExpect(expect)) return undefined
  return { kind: 'kv-delete', key, expect }
}

function memberDeleteOf(fields: readonly unknown[]): Command | undefined {
  const [node, generation] = fields
  if (fields.length !== 2 || !isText(node) || !isNodeId(node) || !isWhole(generation)) return undefined
  return { kind: 'member-delete', node, generation }
}

function replicaDeleteOf(fields: readonly unknown[]): Command | undefined {
  const [node, generation, server] = fields
  if (fields.length !== 3 || !isText(node) || !isNodeId(node) || !isWhole(generation) || !isServer(server))
    return undefined
  return { kind: 'replica-delete', node, generation, server }
}

function stateDigestOf(fields: readonly unknown[]): Command | undefined {
  const [node, index, digest] = fields
  if (fields.length !== 3 || !isText(node) || !isNodeId(node) || !isWhole(index) || !isDigest(digest)) return undefined
  return { kind: 'state-digest', node, index, digest }
}

function tokenUseOf(fields: readonly unknown[]): Command | undefined {
  const [id, node] = fields
  if (fields.length !== 2 || !isText(id) || !isJoinTokenId(id) || !isText(node) || !isNodeId(node)) return undefined
  return { kind: 'token-use', id, node }
}

function tokenRevokeOf(fields: readonly unknown[]): Command | undefined {
  const [id] = fields
  if (fields.length !== 1 || !isText(id) || !isJoinTokenId(id)) return undefined
  return { kind: 'token-revoke', id }
}

function memberDrainOf(fields: readonly unknown[]): Command | undefined {
  const [node, place] = fields
  const drain = place === null ? null : drainAt(place)
  if (fields.length !== 2 || !isText(node) || !isNodeId(node) || drain === undefined) return undefined
  return { kind: 'member-drain', node, drain }
}

function sessionSubscriptionOf(
  kind: 'session-subscribe' | 'session-unsubscribe',
  fields: readonly unknown[],
): Command | undefined {
  const [id, server, uri] = fields
  const subscription = subscriptionOf(server, uri)
  if (fields.length !== 3 || !isSession(id) || subscription === undefined) return undefined
  return { kind, id, ...subscription }
}

function sessionPinOf(fields: readonly unknown[]): Command | undefined {
  const [id, server, node] = fields
  if (fields.length !== 3 || !isSession(id) || !isServer(server) || !isText(node) || !isNodeId(node)) return undefined
  return { kind: 'session-pin', id, server, node }
}

function isExpect(value: unknown): value is Revision | null {
  return value === null || isWhole(value)
}

function shown(value: unknown): string {
  return typeof value === 'number' ? String(value) : `of type ${typeof value}`
}
