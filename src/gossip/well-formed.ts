import { isNodeId } from '../vocabulary/ids.ts'
import {
  addressBytesMax,
  counterMax,
  digestBytesMax,
  gaugeKeysMax,
  gaugeOwnerBytesMax,
  keyBytesMax,
  messageBytesMax,
  stateKeysMax,
  stateOwnerBytesMax,
  stateValueBytesMax,
} from './limits.ts'
import { digestBytes, gaugeDeltaBytes, messageBytes, stateDeltaBytes, textBytes } from './messages.ts'
import type { Claim, Delta, DigestEntry, GaugeDelta, GossipMessage, StateDelta } from './messages.ts'

/**
 * Whether a message can have come from a sound node: numbers are counters, texts and lists within the limits. The types are
 * the codec's business. One that is not is dropped whole and counted.
 */
export function isWellFormed(message: GossipMessage): boolean {
  const { from, claims } = message
  if (!isNodeId(from.node) || !isCounter(from.generation) || !isCounter(from.incarnation)) return false
  if (textBytes(from.address) > addressBytesMax || messageBytes(message) > messageBytesMax) return false
  return claims.every(isClaim) && isBody(message)
}

function isBody(message: GossipMessage): boolean {
  switch (message.kind) {
    case 'news':
      return true
    case 'ping':
    case 'ack':
    case 'nack':
      return isCounter(message.seq)
    case 'ping-request':
      return isCounter(message.seq) && isNodeId(message.target)
    case 'exchange-request':
    case 'exchange-response':
      return message.members.every(isClaim)
    case 'digest-request':
      return isDigest(message.digest)
    case 'digest-response':
      return isDigest(message.digest) && message.deltas.every(isDelta)
    case 'deltas':
      return message.deltas.every(isDelta)
    default:
      return false
  }
}

function isClaim({ node, generation, incarnation, address, by, age }: Claim): boolean {
  const numbers = isCounter(generation) && isCounter(incarnation) && isCounter(age)
  return numbers && isNodeId(node) && isNodeId(by) && textBytes(address) <= addressBytesMax
}

/** The answer may have to name all of it, and has to stay within the limit itself. */
function isDigest(digest: readonly DigestEntry[]): boolean {
  return digestBytes(digest) <= digestBytesMax && digest.every(isDigestEntry)
}

function isDigestEntry({ owner, generation, state, gauges }: DigestEntry): boolean {
  return isNodeId(owner) && isCounter(generation) && isCounter(state) && isCounter(gauges)
}

function isDelta({ owner, generation, state, gauges }: Delta): boolean {
  if (!isNodeId(owner) || !isCounter(generation)) return false
  return (state === null || isStateDelta(state)) && (gauges === null || isGaugeDelta(gauges))
}

function isStateDelta(delta: StateDelta): boolean {
  const { since, upTo, forgottenUpTo, entries } = delta
  if (!isCounter(since) || !isCounter(upTo) || !isCounter(forgottenUpTo)) return false
  if (since > upTo || forgottenUpTo > upTo || entries.length > stateKeysMax) return false
  if (stateDeltaBytes(delta) > stateOwnerBytesMax) return false
  return entries.every(
    ({ key, value, version }) =>
      isCounter(version) &&
      version > since &&
      version <= upTo &&
      textBytes(key) <= keyBytesMax &&
      (value === null || textBytes(value) <= stateValueBytesMax),
  )
}

function isGaugeDelta(delta: GaugeDelta): boolean {
  if (!isCounter(delta.version) || delta.entries.length > gaugeKeysMax) return false
  if (gaugeDeltaBytes(delta) > gaugeOwnerBytesMax + 256) return false
  return delta.entries.every(({ key, value }) => Number.isFinite(value) && textBytes(key) <= keyBytesMax)
}

function isCounter(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= counterMax
}
