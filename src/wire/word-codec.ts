import { unreachable } from '../std/assert.ts'
import { asJsonText } from '../std/json-text.ts'
import type { ClientWord } from '../calls/call.ts'
import { nodeOfQuestion } from '../calls/question-ids.ts'
import { isServerName, isSessionId } from '../vocabulary/ids.ts'
import type { QuestionId, SessionId } from '../vocabulary/ids.ts'
import type { Malformed } from './frame.ts'
import { frameTypes } from './frame-types.ts'
import { isText, pack, unpack } from './pack.ts'
import type { PackedValue } from './pack.ts'

/** What a client says that is no request, as bytes: `[session, kind, ...fields]`. JSON travels as the text it is. */
export type SaidWord = { readonly session: SessionId; readonly word: ClientWord }

export function encodeWord({ session, word }: SaidWord): { type: number; payload: Uint8Array } {
  return { type: frameTypes['client-word'], payload: pack([session, word.kind, ...fieldsOf(word)]) }
}

export function decodeWord(type: number, payload: Uint8Array): SaidWord | Malformed {
  if (type !== frameTypes['client-word']) return { malformed: `frame type ${type} is no client's word` }
  const fields = unpack(payload)
  if ('malformed' in fields) return fields
  const [session, kind, ...rest] = fields
  const word = wordOf(kind, rest)
  if (word === null || typeof session !== 'string' || !isSessionId(session))
    return { malformed: 'client word: bad fields' }
  return { session, word }
}

function fieldsOf(word: ClientWord): readonly PackedValue[] {
  switch (word.kind) {
    case 'answer':
      return [word.question, word.result]
    case 'refusal':
      return [word.question, word.error]
    case 'progress':
      return [word.question, word.params]
    case 'cancel':
      return [word.requestId, word.params]
    case 'notification':
      return [word.server, word.method, word.params]
    default:
      return unreachable(word)
  }
}

function wordOf(kind: unknown, [a, b, c]: readonly unknown[]): ClientWord | null {
  switch (kind) {
    case 'answer':
      return isQuestionId(a) && typeof b === 'string' ? { kind, question: a, result: asJsonText(b) } : null
    case 'refusal':
      return isQuestionId(a) && typeof b === 'string' ? { kind, question: a, error: asJsonText(b) } : null
    case 'progress':
      return isQuestionId(a) && typeof b === 'string' ? { kind, question: a, params: asJsonText(b) } : null
    case 'cancel':
      if (typeof a !== 'string' || typeof b !== 'string') return null
      return { kind, requestId: asJsonText(a), params: asJsonText(b) }
    case 'notification': {
      if (a !== null && !(typeof a === 'string' && isServerName(a))) return null
      if (!isText(b, methodCharsMax) || (c !== null && typeof c !== 'string')) return null
      return { kind, server: a, method: b, params: c === null ? null : asJsonText(c) }
    }
    default:
      return null
  }
}

const methodCharsMax = 256

function isQuestionId(value: unknown): value is QuestionId {
  return typeof value === 'string' && nodeOfQuestion(value) !== undefined
}
