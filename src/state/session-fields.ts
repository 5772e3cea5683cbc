import type { SequenceValue } from '../std/hash.ts'
import { isNodeId, isSessionId } from '../vocabulary/ids.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import { logLevels } from '../vocabulary/log-level.ts'
import type { LogLevel } from '../vocabulary/log-level.ts'
import {
  pinsMax,
  sessionIdleMaxMs,
  sessionIdleMinMs,
  sessionTextBytesMax,
  subscriptionsMax,
  subscriptionUriLengthMax,
  touchesMax,
} from '../vocabulary/session-limits.ts'
import type { SessionOpening, SessionRecord, Subscription } from './command.ts'
import { isJson, isServer, isText, isWhole } from './fields.ts'

/** As `fields`, of clients' sessions. */
export function openingFields(opening: SessionOpening): SequenceValue[] {
  const { id, path, transport, protocolVersion, clientInfo, capabilities, idleMs } = opening
  return [id, path, transports.indexOf(transport), protocolVersion, clientInfo, capabilities, idleMs]
}

export function openingOf(fields: readonly unknown[]): SessionOpening | undefined {
  const [id, path, transportNumber, protocolVersion, clientInfo, capabilities, idleMs] = fields
  if (fields.length !== openingLength || !isSession(id) || !isText(path, pathLengthMax)) return undefined
  const transport = typeof transportNumber === 'number' ? transports[transportNumber] : undefined
  if (transport === undefined || !isText(protocolVersion, versionLengthMax)) return undefined
  if (!isJson(clientInfo, sessionTextBytesMax) || !isJson(capabilities, sessionTextBytesMax)) return undefined
  if (!isWhole(idleMs) || idleMs < sessionIdleMinMs || idleMs > sessionIdleMaxMs) return undefined
  return { id, path, transport, protocolVersion, clientInfo, capabilities, idleMs }
}

export function sessionFields(session: SessionRecord): SequenceValue[] {
  const { openedAt, usedAt, level, subscriptions, pins } = session
  return [
    ...openingFields(session),
    openedAt,
    usedAt,
    level && logLevels.indexOf(level),
    subscriptions.flatMap(({ server, uri }) => [server, uri]),
    [...pins].flat(),
  ]
}

export function sessionOf(fields: readonly unknown[]): SessionRecord | undefined {
  const opening = openingOf(fields.slice(0, openingLength))
  const [openedAt, usedAt, place, subscriptionList, pinList, ...more] = fields.slice(openingLength)
  if (opening === undefined || more.length > 0 || !isWhole(openedAt) || !isWhole(usedAt)) return undefined
  const level = place === null ? null : levelAt(place)
  const subscriptions = subscriptionsOf(subscriptionList)
  const pins = pinsOf(pinList)
  if (level === undefined || subscriptions === undefined || pins === undefined) return undefined
  return { ...opening, openedAt, usedAt, level, subscriptions, pins }
}

/** UTF-16 units of the text that sessions may differ in. */
export function sessionLength({ clientInfo, capabilities, subscriptions }: SessionRecord): number {
  return subscriptions.reduce((sum, { uri }) => sum + uri.length, clientInfo.length + capabilities.length)
}

export function isSession(value: unknown): value is SessionId {
  return typeof value === 'string' && isSessionId(value)
}

/** Each once. */
export function touchedOf(fields: readonly unknown[]): SessionId[] | undefined {
  const ids = fields.filter(isSession)
  if (ids.length !== fields.length || ids.length > touchesMax || new Set(ids).size !== ids.length) return undefined
  return ids
}

export function levelAt(place: unknown): LogLevel | undefined {
  return typeof place === 'number' ? logLevels[place] : undefined
}

export function subscriptionOf(server: unknown, uri: unknown): Subscription | undefined {
  if (!isServer(server) || !isText(uri, subscriptionUriLengthMax) || uri === '') return undefined
  return { server, uri }
}

const transports = ['streamable-http', 'sse'] as const
const openingLength = 7
/** Of a session's endpoint, in UTF-16 units. */
const pathLengthMax = 256
/** Of a revision's name, in UTF-16 units. */
const versionLengthMax = 32

/** Each once. */
function subscriptionsOf(value: unknown): Subscription[] | undefined {
  const pairs = pairsOf(value, subscriptionsMax)
  const subscriptions = new Map<string, Subscription>()
  for (const [server, uri] of pairs ?? []) {
    const subscription = subscriptionOf(server, uri)
    if (subscription === undefined) return undefined
    subscriptions.set(`${subscription.server} ${subscription.uri}`, subscription)
  }
  return subscriptions.size === pairs?.length ? [...subscriptions.values()] : undefined
}

/** Each server once. */
function pinsOf(value: unknown): Map<ServerName, NodeId> | undefined {
  const pairs = pairsOf(value, pinsMax)
  const pins = new Map<ServerName, NodeId>()
  for (const [server, node] of pairs ?? []) {
    if (!isServer(server) || !isText(node) || !isNodeId(node)) return undefined
    pins.set(server, node)
  }
  return pins.size === pairs?.length ? pins : undefined
}

function pairsOf(value: unknown, countMax: number): (readonly [unknown, unknown])[] | undefined {
  if (!Array.isArray(value) || value.length % 2 !== 0 || value.length > 2 * countMax) return undefined
  const list = value as readonly unknown[]
  return Array.from({ length: list.length / 2 }, (_, at) => [list[2 * at], list[2 * at + 1]] as const)
}
