import { asJsonText } from '../std/json-text.ts'
import type { HandAnswer } from '../calls/call.ts'
import { isSessionId } from '../vocabulary/ids.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import type { Malformed } from './frame.ts'
import { frameTypes } from './frame-types.ts'
import { isIndex, pack, unpack } from './pack.ts'

/** A client's message on its way to the node of its stream, and that node's answer, as bytes: by the number of the asking node. */
export type HandMessage =
  /** `message`: the client's bytes, a view of the payload when read. */
  | { readonly kind: 'hand'; readonly number: number; readonly session: SessionId; readonly message: Uint8Array }
  /** Null: the node takes no messages now. */
  | { readonly kind: 'handed'; readonly number: number; readonly answer: HandAnswer | null }

export function encodeHandMessage(message: HandMessage): { type: number; payload: Uint8Array } {
  const type = frameTypes[message.kind]
  const { number } = message
  if (message.kind === 'hand') return { type, payload: pack([number, message.session, message.message]) }
  const { status = null, retryAfterS = null, body = null } = message.answer ?? {}
  return { type, payload: pack([number, status, retryAfterS, body]) }
}

export function decodeHandMessage(type: number, payload: Uint8Array): HandMessage | Malformed {
  const fields = unpack(payload)
  if ('malformed' in fields) return fields
  const [number, ...rest] = fields
  const message = isIndex(number) ? messageOf(type, number, rest) : null
  return message ?? { malformed: `frame type ${type}: bad fields` }
}

function messageOf(type: number, number: number, [a, b, c]: readonly unknown[]): HandMessage | null {
  if (type === frameTypes.hand) {
    if (typeof a !== 'string' || !isSessionId(a) || !(b instanceof Uint8Array)) return null
    return { kind: 'hand', number, session: a, message: b }
  }
  if (type !== frameTypes.handed) return null
  if (a === null) return { kind: 'handed', number, answer: null }
  if (!isIndex(a) || a < statusMin || a > statusMax || !(b === null || isIndex(b))) return null
  if (c !== null && typeof c !== 'string') return null
  const body = c === null ? null : asJsonText(c)
  return { kind: 'handed', number, answer: { status: a, retryAfterS: b, body } }
}

/** Of final answers in HTTP. */
const statusMin = 200
const statusMax = 599
