/** Places, entries, members and messages as the scenarios print them. */
import { decodeConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration } from '../../src/raft/configuration.ts'
import type { RaftStatus } from '../../src/raft/effects.ts'
import { entryBytes } from '../../src/raft/entry.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { Message, ProposalContent } from '../../src/raft/messages.ts'
import { unreachable } from '../../src/std/assert.ts'
import type { LogImage } from './lab-disk.ts'

export function placeText({ index, term }: { index: number; term: number }): string {
  return `${index}/${term}`
}

export function logText({ snapshot, entries }: LogImage): string {
  const places = entries.map(placeText)
  if (snapshot !== null) places.unshift(`(snapshot at ${placeText(snapshot)})`)
  return places.length === 0 ? '-' : places.join(' ')
}

export function entryText(entry: Entry): string {
  if (entry.kind === 'noop') return `${placeText(entry)}:noop`
  if (entry.kind === 'command') return `${placeText(entry)}:"${new TextDecoder().decode(entry.data)}"`
  const configuration = decodeConfiguration(entry.data)
  return `${placeText(entry)}:${configuration === undefined ? 'configuration' : membersText(configuration)}`
}

/** `{n1 n2 n3}`, in a joint configuration `{n1 n2}+{n1 n2 n3}`, learners behind `learns`, `*` at those to be promoted. */
export function membersText({ voters, votersOutgoing, learners, promotable }: Configuration): string {
  const sets = [voters, votersOutgoing].filter((set) => set.length > 0).map((set) => `{${set.join(' ')}}`)
  const marked = learners.map((id) => (promotable.includes(id) ? `${id}*` : id))
  return `${sets.join('+') || '{}'}${marked.length === 0 ? '' : ` learns ${marked.join(' ')}`}`
}

export function statusText({ id, role, term, leader, commitIndex, lastIndex, isRecovering }: RaftStatus): string {
  const place = `${id}: ${role} term ${term} leader ${leader ?? '-'} commit ${commitIndex} last ${lastIndex}`
  return `${place}${recoveringText(isRecovering)}`
}

export function recoveringText(isRecovering: boolean): string {
  return isRecovering ? ' recovering' : ''
}

export function messageText(message: Message): string {
  return `${message.from}->${message.to} ${message.kind} term ${message.term}${bodyText(message)}`
}

function bodyText(message: Message): string {
  switch (message.kind) {
    case 'pre-vote-request':
      return ` last ${message.lastIndex}/${message.lastTerm}`
    case 'vote-request':
      return ` last ${message.lastIndex}/${message.lastTerm}${message.transfer ? ' transfer' : ''}`
    case 'pre-vote-response':
    case 'vote-response':
      return message.granted ? ' granted' : ' rejected'
    case 'append-request': {
      const { prevIndex, prevTerm, commit, entries } = message
      const bytes = entries.length > 2 ? ` (${entries.reduce((sum, entry) => sum + entryBytes(entry), 0)} bytes)` : ''
      const list = entries.length === 0 ? '' : ` entries ${entries.map(entryText).join(' ')}`
      return ` after ${prevIndex}/${prevTerm}${list}${bytes} commit ${commit}`
    }
    case 'append-accepted':
      return ` match ${message.match}`
    case 'append-rejected':
      return ` after ${message.prevIndex} hint ${message.hintIndex}/${message.hintTerm}`
    case 'heartbeat-request':
      return heartbeatText(message)
    case 'heartbeat-response':
      return `${message.read === 0 ? '' : ` read ${message.read}`}${message.isDiskFull ? ' full' : ''}`
    case 'propose':
      return ` ${message.id} ${contentText(message.content)}`
    case 'propose-accepted':
      return ` ${message.id} at ${message.index}`
    case 'propose-refused':
      return ` ${message.id} ${message.why}`
    // The id of a request is random, and says nothing.
    case 'read-request':
    case 'read-refused':
    case 'timeout-now':
    case 'recovery-request':
      return ''
    case 'recovery-response':
      return ` at ${message.index}`
    case 'read-response':
      return ` at ${message.index}`
    case 'snapshot-installed':
      return ` at ${message.index}`
    default:
      return unreachable(message)
  }
}

/** What the receiver is counted for is mostly all that it is told to be committed. */
function heartbeatText({ commit, read, match }: Extract<Message, { kind: 'heartbeat-request' }>): string {
  return ` commit ${commit}${read === 0 ? '' : ` read ${read}`}${match === commit ? '' : ` match ${match}`}`
}

function contentText(content: ProposalContent): string {
  if (content.kind === 'command') return `"${new TextDecoder().decode(content.data)}"`
  return `${content.change.kind} ${content.change.node}`
}
