import { decodeConfiguration } from './configuration.ts'
import type { Entry } from './entry.ts'
import type { Message } from './messages.ts'

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
      return isCount(message.commit)
    case 'propose':
    case 'propose-refused':
      return message.id !== ''
    case 'propose-accepted':
      return message.id !== '' && isCount(message.index)
    case 'pre-vote-response':
    case 'vote-response':
    case 'heartbeat-response':
      return true
    default:
      return false
  }
}

function areConsecutive(message: Extract<Message, { kind: 'append-request' }>): boolean {
  let { prevIndex: index, prevTerm: term } = message
  for (const entry of message.entries) {
    if (entry.index !== index + 1 || !isCount(entry.index)) return false
    if (!isCount(entry.term) || entry.term < Math.max(1, term) || entry.term > message.term) return false
    if (!hasReadableData(entry)) return false
    index = entry.index
    term = entry.term
  }
  return true
}

function hasReadableData(entry: Entry): boolean {
  return entry.kind !== 'configuration' || decodeConfiguration(entry.data) !== undefined
}

/** A place in a log: index and term are both 0 before the first entry, and both positive from there on. */
function isPlace(index: number, term: number): boolean {
  return isCount(index) && isCount(term) && (index === 0) === (term === 0)
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}
