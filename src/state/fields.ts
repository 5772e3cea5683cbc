import type { SequenceValue } from '../std/hash.ts'
import { asJsonText } from '../std/json-text.ts'
import { groupLengthMax, groupsMax } from '../vocabulary/group-limits.ts'
import { compareIds, isNodeId, isServerName } from '../vocabulary/ids.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import {
  isJoinTokenId,
  joinTokenLifetimeMaxMs,
  joinTokenLifetimeMinMs,
  joinTokenNoteMax,
  joinTokenUsesMax,
} from '../vocabulary/join-token-limits.ts'
import { keyBytesMax, valueBytesMax } from '../vocabulary/kv-limits.ts'
import { labelLengthMax, labelsMax } from '../vocabulary/label-limits.ts'
import { isolations } from '../vocabulary/isolation.ts'
import type { Offer } from '../vocabulary/offer.ts'
import type { JsonText } from '../std/json-text.ts'
import { drains } from './command.ts'
import type { Drain, JoinToken, Member, Replica } from './command.ts'

/**
 * What commands and snapshots hold, as lists of MessagePack values, and back: checked against every rule and limit, so
 * that nothing foreign gets into the state. The numbers stand on disk and are never used again for another meaning.
 */
export function memberFields(member: Member): SequenceValue[] {
  const { node, generation, addresses, labels, version, startedAt } = member
  const sorted = Object.entries(labels).sort(([a], [b]) => compareIds(a, b))
  return [node, generation, addresses.http, addresses.peer, addresses.raft, sorted, version, startedAt]
}

export function memberOf(fields: readonly unknown[]): Member | undefined {
  const [node, generation, http, peer, raft, labelList, version, startedAt] = fields
  if (fields.length !== 8 || !isText(node) || !isNodeId(node) || !isWhole(generation) || !isWhole(startedAt))
    return undefined
  if (!isText(http) || !isText(peer) || !isText(raft) || !isText(version)) return undefined
  const labels = labelsOf(labelList)
  return labels && { node, generation, addresses: { http, peer, raft }, labels, version, startedAt }
}

export function replicaFields(replica: Replica): SequenceValue[] {
  const { node, generation, server, transport, status, reason, priority, offer } = replica
  const { isolation, whenUnavailable, groups } = replica
  const numbers = [transports.indexOf(transport), statuses.indexOf(status)]
  const visibility = [isolations.indexOf(isolation), visibilities.indexOf(whenUnavailable), [...groups]]
  return [node, generation, server, ...numbers, reason, priority, offer && offerFields(offer), ...visibility]
}

export function replicaOf(fields: readonly unknown[]): Replica | undefined {
  const [node, generation, server, transportNumber, statusNumber, reason, priority, offerList, ...shown] = fields
  if (!isText(node) || !isNodeId(node) || !isWhole(generation) || !isServer(server)) return undefined
  const transport = typeof transportNumber === 'number' ? transports[transportNumber] : undefined
  const status = typeof statusNumber === 'number' ? statuses[statusNumber] : undefined
  if (transport === undefined || status === undefined) return undefined
  if (typeof reason !== 'string' || reason.length > reasonMax) return undefined
  if (!isInteger(priority)) return undefined
  const offer = offerList === null ? null : offerOf(offerList)
  const visibility = visibilityOf(shown)
  if (offer === undefined || visibility === undefined) return undefined
  return { node, generation, server, transport, status, reason, priority, offer, ...visibility }
}

export function tokenFields(token: JoinToken): SequenceValue[] {
  const { id, createdAt, expiresAt, usesMax, usedBy, isRevoked, note } = token
  return [id, createdAt, expiresAt, usesMax, [...usedBy], isRevoked ? 1 : 0, note]
}

export function tokenOf(fields: readonly unknown[]): JoinToken | undefined {
  const [id, createdAt, expiresAt, usesMax, usedByList, revoked, note] = fields
  if (fields.length !== 7 || !isText(id) || !isJoinTokenId(id) || !isText(note, joinTokenNoteMax)) return undefined
  if (!isWhole(createdAt) || !isWhole(expiresAt) || (revoked !== 0 && revoked !== 1)) return undefined
  const lifetimeMs = expiresAt - createdAt
  if (lifetimeMs < joinTokenLifetimeMinMs || lifetimeMs > joinTokenLifetimeMaxMs) return undefined
  if (!isWhole(usesMax) || usesMax < 1 || usesMax > joinTokenUsesMax) return undefined
  const usedBy = nodesOf(usedByList, usesMax)
  return usedBy && { id, createdAt, expiresAt, usesMax, usedBy, isRevoked: revoked === 1, note }
}

export function drainFields({ node, drain }: DrainRecord): SequenceValue[] {
  return [node, drains.indexOf(drain)]
}

export function drainOf(fields: readonly unknown[]): DrainRecord | undefined {
  const [node, place] = fields
  const drain = drainAt(place)
  if (fields.length !== 2 || !isText(node) || !isNodeId(node) || drain === undefined) return undefined
  return { node, drain }
}

export type DrainRecord = { readonly node: NodeId; readonly drain: Drain }

export function drainAt(place: unknown): Drain | undefined {
  return typeof place === 'number' ? drains[place] : undefined
}

const transports = ['stdio', 'http'] as const
const visibilities = ['keep', 'hide'] as const
const statuses = ['starting', 'ready', 'failed'] as const

/** An address or version is at most this long, in UTF-16 units. */
const shortTextMax = 256
/** Longest `reason` of a replica, in UTF-16 units. */
const reasonMax = 2048
/** All parts of an offer together, in UTF-16 units. */
const offerLengthMax = 4 * 1024 * 1024

/** How a replica is shared, and where it is shown. */
function visibilityOf(
  fields: readonly unknown[],
): Pick<Replica, 'isolation' | 'whenUnavailable' | 'groups'> | undefined {
  const [isolationNumber, visibilityNumber, groupList] = fields
  const isolation = typeof isolationNumber === 'number' ? isolations[isolationNumber] : undefined
  const whenUnavailable = typeof visibilityNumber === 'number' ? visibilities[visibilityNumber] : undefined
  const groups = groupsOf(groupList)
  if (fields.length !== 3 || isolation === undefined || whenUnavailable === undefined) return undefined
  return groups && { isolation, whenUnavailable, groups }
}

/** Each once, sorted. */
function groupsOf(value: unknown): string[] | undefined {
  if (!Array.isArray(value) || value.length > groupsMax) return undefined
  const groups: string[] = []
  for (const group of value as unknown[]) {
    const before = groups.at(-1)
    if (!isText(group, groupLengthMax) || group === '') return undefined
    if (before !== undefined && compareIds(before, group) >= 0) return undefined
    groups.push(group)
  }
  return groups
}

function labelsOf(value: unknown): Record<string, string> | undefined {
  if (!Array.isArray(value) || value.length > labelsMax) return undefined
  const labels: [string, string][] = []
  for (const pair of value as unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined
    const [name, text] = pair as unknown[]
    const before = labels.at(-1)?.[0]
    if (!isText(name, labelLengthMax) || !isText(text, labelLengthMax)) return undefined
    if (before !== undefined && compareIds(before, name) >= 0) return undefined
    labels.push([name, text])
  }
  return Object.fromEntries(labels)
}

/** Each once. */
function nodesOf(value: unknown, countMax: number): NodeId[] | undefined {
  if (!Array.isArray(value) || value.length > countMax) return undefined
  const nodes = new Set<NodeId>()
  for (const node of value as unknown[]) {
    if (!isText(node) || !isNodeId(node)) return undefined
    nodes.add(node)
  }
  return nodes.size === value.length ? [...nodes] : undefined
}

function offerFields(offer: Offer): string[] {
  return [offer.initialize, offer.tools, offer.resources, offer.resourceTemplates, offer.prompts]
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

export function isKey(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && fitsBytes(value, keyBytesMax)
}

/**
 * That it is JSON was the edge's to check: a parser's limits may differ between releases of Node, and every node must find
 * the same here.
 */
export function isValue(value: unknown): value is JsonText {
  return isJson(value, valueBytesMax)
}

/** As `isValue`, with a limit of its own. */
export function isJson(value: unknown, bytesMax: number): value is JsonText {
  return typeof value === 'string' && value !== '' && fitsBytes(value, bytesMax)
}

export function isWhole(value: unknown): value is number {
  return isInteger(value) && value >= 0
}

/** Not -0: it would come back from its bytes as another number. */
function isInteger(value: unknown): value is number {
  return Number.isSafeInteger(value) && !Object.is(value, -0)
}

export function isText(value: unknown, lengthMax = shortTextMax): value is string {
  return typeof value === 'string' && value.length <= lengthMax
}

export function isServer(value: unknown): value is ServerName {
  return isText(value) && isServerName(value)
}

/** One UTF-16 unit is three bytes at most: short text needs no counting. */
function fitsBytes(text: string, bytesMax: number): boolean {
  return text.length * 3 <= bytesMax || Buffer.byteLength(text) <= bytesMax
}
