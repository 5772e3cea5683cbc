import { isNodeId } from '../vocabulary/ids.ts'
import { decodeConfiguration } from './configuration.ts'
import type { Entry } from './entry.ts'
import type { Message, ProposalContent } from './messages.ts'

/**
 * Which messages can be used at all (R14): whole numbers in range, appended entries without a gap and in the order of
 * terms. The types were checked where the frame was decoded; who may speak is checked by the core.
 */
export function isWellFormed(message: Message): boolean {
  if (!isCount(message.term) || message.term < 1) return false
  switch (message.kind) {
    case 'pre-vote-request':
    case 'vote-request':
      return isPlace(message.lastIndex, message.lastTerm) && message.lastTerm <= message.term
    case 'append-request':
      return isPlace(message.prevIndex, message.prevTerm) && isCount(message.commit) && areConsecutive(message)
    case 'append-accepted':
      return isCount(message.match)
    case 'append-rejected':
      return isCount(message.prevIndex) && isPlace(message.hintIndex, message.hintTerm)
    case 'heartbeat-request':
      return isCount(message.commit) && isCount(message.read) && isCount(message.match)
    case 'heartbeat-response':
      return isCount(message.read)
    case 'propose':
      return message.id !== '' && isUsable(message.content)
    case 'propose-refused':
      return message.id !== ''
    case 'propose-accepted':
      return message.id !== '' && isCount(message.index)
    case 'read-request':
    case 'read-refused':
      return isCount(message.id)
    case 'read-response':
      return isCount(message.id) && isCount(message.index)
    case 'snapshot-installed':
      return isCount(message.index)
    case 'recovery-request':
      return isCount(message.nonce)
    case 'recovery-response':
      return isCount(message.nonce) && isCount(message.index)
    case 'pre-vote-response':
    case 'vote-response':
    case 'timeout-now':
      return true
    default:
      return false
  }
}

function areConsecutive(message: Extract<Message, { kind: 'append-request' }>): boolean {
  let { prevIndex: index, prevTerm: term } = message
  for (const entry of message.entries) {
    if (entry.index !== index + 1 || !isCount(entry.index) || !isCount(entry.time)) return false
    if (!isCount(entry.term) || entry.term < Math.max(1, term) || entry.term > message.term) return false
    if (!hasReadableData(entry)) return false
    index = entry.index
    term = entry.term
  }
  return true
}

/** Every log begins with a configuration. */
function hasReadableData(entry: Entry): boolean {
  if (entry.kind !== 'configuration') return entry.index !== 1
  return decodeConfiguration(entry.data) !== undefined
}

function isUsable(content: ProposalContent): boolean {
  return content.kind === 'command' || isNodeId(content.change.node)
}

/** A place in a log: index and term are both 0 before the first entry, and both positive from there on. */
function isPlace(index: number, term: number): boolean {
  return isCount(index) && isCount(term) && (index === 0) === (term === 0)
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}
