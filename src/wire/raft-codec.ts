import { assert, unreachable } from '../std/assert.ts'
import { entryKinds } from '../raft/entry.ts'
import type { Entry, Index, Term } from '../raft/entry.ts'
import type { Message, MessageBody, RefusalReason } from '../raft/messages.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { Malformed } from './frame.ts'
import { frameTypes } from './frame-types.ts'
import { copyBytes, isIndex, pack, unpack } from './pack.ts'
import type { PackedValue } from './pack.ts'

/**
 * Raft's messages as bytes: one frame type a kind, the payload `[term, ...fields]`. Sender and receiver are the
 * connection's and do not travel; neither do the indexes of entries, which follow the previous index without a gap. What
 * decodes is well-formed (R14): safe integers, terms that never fall, none above the sender's. Data is copied.
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
    case 'vote-request':
      return [message.lastIndex, message.lastTerm]
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
      return [message.commit]
    case 'heartbeat-response':
      return []
    case 'propose':
      return [message.id, message.data]
    case 'propose-accepted':
      return [message.id, message.index]
    case 'propose-refused':
      return [message.id, message.why]
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
      return isIndex(a) && isIndex(b) ? { kind: 'vote-request', lastIndex: a, lastTerm: b } : null
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
      return isIndex(a) ? { kind: 'heartbeat-request', commit: a } : null
    case frameTypes['heartbeat-response']:
      return { kind: 'heartbeat-response' }
    case frameTypes.propose:
      return isProposalId(a) && b instanceof Uint8Array ? { kind: 'propose', id: a, data: copyBytes(b) } : null
    case frameTypes['propose-accepted']:
      return isProposalId(a) && isIndex(b) ? { kind: 'propose-accepted', id: a, index: b } : null
    case frameTypes['propose-refused']: {
      const why = refusalReasons.find((reason) => reason === b)
      return isProposalId(a) && why !== undefined ? { kind: 'propose-refused', id: a, why } : null
    }
    default:
      return null
  }
}

function packEntries(prevIndex: Index, entries: readonly Entry[]): readonly PackedValue[] {
  return entries.map((entry, at) => {
    assert(entry.index === prevIndex + 1 + at, 'the entries of an append request follow its previous index')
    return [entry.term, entryKinds.indexOf(entry.kind), entry.id, entry.data]
  })
}

function unpackEntries(append: {
  prevIndex: Index
  prevTerm: Term
  term: Term
  packed: readonly unknown[]
}): Entry[] | null {
  const entries: Entry[] = []
  let lastTerm = append.prevTerm
  for (const [at, item] of append.packed.entries()) {
    if (!Array.isArray(item)) return null
    const [term, kindNumber, id, data] = item as readonly unknown[]
    const index = append.prevIndex + 1 + at
    const kind = isIndex(kindNumber) ? entryKinds[kindNumber] : undefined
    if (!isIndex(index) || !isIndex(term) || term < lastTerm || term > append.term) return null
    if (kind === undefined || !isEntryId(id) || !(data instanceof Uint8Array)) return null
    lastTerm = term
    entries.push({ index, term, kind, id, data: copyBytes(data) })
  }
  return entries
}

const refusalReasons: readonly RefusalReason[] = ['no-leader', 'not-leader', 'overloaded', 'too-large', 'overwritten']

const idPattern = /^[A-Za-z0-9._-]{1,128}$/

function isProposalId(value: unknown): value is ProposalId {
  return typeof value === 'string' && idPattern.test(value)
}

/** Entries that nobody waits for have the empty id. */
function isEntryId(value: unknown): value is ProposalId {
  return value === '' || isProposalId(value)
}
