import { assert, unreachable } from '../std/assert.ts'
import { entryKinds } from '../raft/entry.ts'
import type { Entry, Index, Term } from '../raft/entry.ts'
import type { ConfigurationChange } from '../raft/configuration.ts'
import type { Message, MessageBody, ProposalContent, RefusalReason } from '../raft/messages.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { Malformed } from './frame.ts'
import { frameTypes } from './frame-types.ts'
import { copyBytes, isIndex, pack, unpack } from './pack.ts'
import type { PackedValue } from './pack.ts'

/**
 * Raft's messages as bytes: one frame type a kind, the payload `[term, ...fields]`. Sender and receiver are the
 * connection's and do not travel; neither do the indexes of entries, which follow the previous index without a gap. What
 * decodes is well-formed (R14): safe integers, terms that never fall, none above the sender's. Data is copied,
 * each entry's by itself: what lives on in a log must not keep a whole frame alive.
 */
export function encodeMessage(message: Message): { type: number; payload: Uint8Array } {
  return { type: frameTypes[message.kind], payload: pack([message.term, ...fieldsOf(message)]) }
}

export function decodeMessage(
  type: number,
  payload: Uint8Array,
  envelope: { from: NodeId; to: NodeId },
): Message | Malformed {
  const fields = unpack(payload)
  if ('malformed' in fields) return fields
  const term = fields[0]
  if (!isIndex(term)) return { malformed: `frame type ${type}: term` }
  const body = bodyOf(type, term, fields)
  if (body === null) return { malformed: `frame type ${type} does not hold what it should` }
  return { from: envelope.from, to: envelope.to, term, ...body }
}

function fieldsOf(message: Message): readonly PackedValue[] {
  switch (message.kind) {
    case 'pre-vote-request':
      return [message.lastIndex, message.lastTerm]
    case 'vote-request':
      return [message.lastIndex, message.lastTerm, message.transfer]
    case 'pre-vote-response':
    case 'vote-response':
      return [message.granted]
    case 'append-request':
      return [message.prevIndex, message.prevTerm, message.commit, packEntries(message.prevIndex, message.entries)]
    case 'append-accepted':
      return [message.match]
    case 'append-rejected':
      return [message.prevIndex, message.hintIndex, message.hintTerm]
    case 'heartbeat-request':
      return [message.commit, message.read, message.match]
    case 'heartbeat-response':
      return [message.read, message.isDiskFull]
    case 'propose':
      return [message.id, packContent(message.content)]
    case 'propose-accepted':
      return [message.id, message.index]
    case 'propose-refused':
      return [message.id, message.why]
    case 'read-request':
    case 'read-refused':
      return [message.id]
    case 'read-response':
      return [message.id, message.index]
    case 'snapshot-installed':
      return [message.index]
    case 'timeout-now':
      return []
    case 'recovery-request':
      return [message.nonce]
    case 'recovery-response':
      return [message.nonce, message.index]
    default:
      return unreachable(message)
  }
}

/** Null: malformed. Fields behind those that are read here belong to newer versions. */
function bodyOf(type: number, term: Term, fields: readonly unknown[]): MessageBody | null {
  const [, a, b, c, d] = fields
  switch (type) {
    case frameTypes['pre-vote-request']:
      return isIndex(a) && isIndex(b) ? { kind: 'pre-vote-request', lastIndex: a, lastTerm: b } : null
    case frameTypes['vote-request']:
      if (!isIndex(a) || !isIndex(b) || typeof c !== 'boolean') return null
      return { kind: 'vote-request', lastIndex: a, lastTerm: b, transfer: c }
    case frameTypes['pre-vote-response']:
      return typeof a === 'boolean' ? { kind: 'pre-vote-response', granted: a } : null
    case frameTypes['vote-response']:
      return typeof a === 'boolean' ? { kind: 'vote-response', granted: a } : null
    case frameTypes['append-request']: {
      if (!isIndex(a) || !isIndex(b) || !isIndex(c) || !Array.isArray(d) || b > term) return null
      const entries = unpackEntries({ prevIndex: a, prevTerm: b, term, packed: d })
      return entries && { kind: 'append-request', prevIndex: a, prevTerm: b, commit: c, entries }
    }
    case frameTypes['append-accepted']:
      return isIndex(a) ? { kind: 'append-accepted', match: a } : null
    case frameTypes['append-rejected']:
      if (!isIndex(a) || !isIndex(b) || !isIndex(c)) return null
      return { kind: 'append-rejected', prevIndex: a, hintIndex: b, hintTerm: c }
    case frameTypes['heartbeat-request']:
      return isIndex(a) && isIndex(b) && isIndex(c) ? { kind: 'heartbeat-request', commit: a, read: b, match: c } : null
    case frameTypes['heartbeat-response']:
      // Who does not speak of its disk has room.
      if (!isIndex(a) || !(b === undefined || typeof b === 'boolean')) return null
      return { kind: 'heartbeat-response', read: a, isDiskFull: b ?? false }
    case frameTypes.propose: {
      const content = unpackContent(b)
      return isProposalId(a) && content !== null ? { kind: 'propose', id: a, content } : null
    }
    case frameTypes['propose-accepted']:
      return isProposalId(a) && isIndex(b) ? { kind: 'propose-accepted', id: a, index: b } : null
    case frameTypes['propose-refused']:
      return isProposalId(a) && typeof b === 'string' ? { kind: 'propose-refused', id: a, why: refusalReason(b) } : null
    case frameTypes['read-request']:
      return isIndex(a) ? { kind: 'read-request', id: a } : null
    case frameTypes['read-refused']:
      return isIndex(a) ? { kind: 'read-refused', id: a } : null
    case frameTypes['read-response']:
      return isIndex(a) && isIndex(b) ? { kind: 'read-response', id: a, index: b } : null
    case frameTypes['snapshot-installed']:
      return isIndex(a) ? { kind: 'snapshot-installed', index: a } : null
    case frameTypes['timeout-now']:
      return { kind: 'timeout-now' }
    case frameTypes['recovery-request']:
      return isIndex(a) ? { kind: 'recovery-request', nonce: a } : null
    case frameTypes['recovery-response']:
      return isIndex(a) && isIndex(b) ? { kind: 'recovery-response', nonce: a, index: b } : null
    default:
      return null
  }
}

function packEntries(prevIndex: Index, entries: readonly Entry[]): readonly PackedValue[] {
  return entries.map((entry, at) => {
    assert(entry.index === prevIndex + 1 + at, 'the entries of an append request follow its previous index')
    return [entry.term, entryKinds.indexOf(entry.kind), entry.id, entry.time, entry.data]
  })
}

function unpackEntries(append: {
  prevIndex: Index
  prevTerm: Term
  term: Term
  packed: readonly unknown[]
}): Entry[] | null {
  const entries: Entry[] = []
  const kept = new Uint8Array(dataBytes(append.packed))
  let keptTo = 0
  let lastTerm = append.prevTerm
  for (const [at, item] of append.packed.entries()) {
    if (!Array.isArray(item)) return null
    const [term, kindNumber, id, time, data] = item as readonly unknown[]
    const index = append.prevIndex + 1 + at
    const kind = isIndex(kindNumber) ? entryKinds[kindNumber] : undefined
    if (!isIndex(index) || !isIndex(term) || term < lastTerm || term > append.term) return null
    if (kind === undefined || !isEntryId(id) || !isIndex(time) || !(data instanceof Uint8Array)) return null
    lastTerm = term
    kept.set(data, keptTo)
    entries.push({ index, term, kind, id, time, data: kept.subarray(keptTo, keptTo + data.length) })
    keptTo += data.length
  }
  return entries
}

/** One piece of memory for all that came together: it leaves the log about together, and each piece costs as much as an entry. */
function dataBytes(packed: readonly unknown[]): number {
  let bytes = 0
  for (const item of packed) if (Array.isArray(item) && item[4] instanceof Uint8Array) bytes += item[4].length
  return bytes
}

/** `['command', data]` or `['add-learner', node, promote]`, `['promote', node]`, `['remove', node]`. */
function packContent(content: ProposalContent): readonly PackedValue[] {
  if (content.kind === 'command') return [content.kind, content.data]
  const { change } = content
  return change.kind === 'add-learner' ? [change.kind, change.node, change.promote] : [change.kind, change.node]
}

function unpackContent(value: unknown): ProposalContent | null {
  if (!Array.isArray(value)) return null
  const [kind, what, promote] = value as readonly unknown[]
  if (kind === 'command') return what instanceof Uint8Array ? { kind, data: copyBytes(what) } : null
  const change = typeof what === 'string' && isNodeId(what) ? changeOf(kind, what, promote) : null
  return change && { kind: 'change', change }
}

function changeOf(kind: unknown, node: NodeId, promote: unknown): ConfigurationChange | null {
  if (kind === 'promote' || kind === 'remove') return { kind, node }
  return kind === 'add-learner' && typeof promote === 'boolean' ? { kind, node, promote } : null
}

const refusalReasons: Record<RefusalReason, true> = {
  'no-leader': true,
  'not-leader': true,
  transferring: true,
  overloaded: true,
  'too-large': true,
  'disk-full': true,
  'change-under-way': true,
  'change-refused': true,
  overwritten: true,
}

/**
 * Only a proposal that entered no log is answered with a refusal, so that much is true whatever a newer version has against
 * it; and later it may have nothing against it.
 */
function refusalReason(text: string): RefusalReason {
  return isRefusalReason(text) ? text : 'overloaded'
}

function isRefusalReason(text: string): text is RefusalReason {
  return Object.hasOwn(refusalReasons, text)
}

const idPattern = /^[A-Za-z0-9._-]{1,128}$/

function isProposalId(value: unknown): value is ProposalId {
  return typeof value === 'string' && idPattern.test(value)
}

/** Entries that nobody waits for have the empty id. */
function isEntryId(value: unknown): value is ProposalId {
  return value === '' || isProposalId(value)
}
