import { unreachable } from '../std/assert.ts'
import { asJsonText } from '../std/json-text.ts'
import type { Mail, MailPosition } from '../calls/call.ts'
import { isServerName, isSessionId } from '../vocabulary/ids.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import type { Malformed } from './frame.ts'
import { frameTypes } from './frame-types.ts'
import { isIndex, pack, unpack } from './pack.ts'
import type { PackedValue } from './pack.ts'

/**
 * Mail on its way from the node that keeps it to the node that has the client's stream, as bytes. `reading` is the number
 * that the reading node gave it, the first field of each.
 */
export type MailMessage =
  /** Fields as in calls/mailboxes. */
  | {
      readonly kind: 'mail-open'
      readonly reading: number
      readonly session: SessionId
      readonly position: MailPosition | null
      readonly isFresh: boolean
      readonly isAgain: boolean
    }
  /** The answer to `mail-open`, before any mail: from where on it comes. */
  | { readonly kind: 'mail-opened'; readonly reading: number; readonly position: MailPosition }
  | { readonly kind: 'mail'; readonly reading: number; readonly epoch: number; readonly mail: Mail }
  /** Mail waits that could not be sent: nothing more comes until it is opened again. */
  | { readonly kind: 'mail-behind'; readonly reading: number }
  /** Another reading of the session has taken its place. */
  | { readonly kind: 'mail-displaced'; readonly reading: number }
  /** `arrived`: up to which mail; null: nothing was told. */
  | { readonly kind: 'mail-close'; readonly reading: number; readonly arrived: number | null }

export function encodeMailMessage(message: MailMessage): { type: number; payload: Uint8Array } {
  return { type: frameTypes[message.kind], payload: pack([message.reading, ...fieldsOf(message)]) }
}

export function decodeMailMessage(type: number, payload: Uint8Array): MailMessage | Malformed {
  const fields = unpack(payload)
  if ('malformed' in fields) return fields
  const [reading, ...rest] = fields
  const message = isIndex(reading) ? messageOf(type, reading, rest) : null
  return message ?? { malformed: `frame type ${type}: bad fields` }
}

function fieldsOf(message: MailMessage): readonly PackedValue[] {
  switch (message.kind) {
    case 'mail-open': {
      const { session, position, isFresh, isAgain } = message
      return [session, isFresh, isAgain, position?.epoch ?? null, position?.seq ?? null]
    }
    case 'mail-opened':
      return [message.position.epoch, message.position.seq]
    case 'mail':
      return [message.epoch, message.mail.seq, message.mail.server, message.mail.message]
    case 'mail-close':
      return [message.arrived]
    case 'mail-behind':
    case 'mail-displaced':
      return []
    default:
      return unreachable(message)
  }
}

function messageOf(type: number, reading: number, fields: readonly unknown[]): MailMessage | null {
  const [a, b, c, d, e] = fields
  switch (type) {
    case frameTypes['mail-open']: {
      if (typeof a !== 'string' || !isSessionId(a)) return null
      if (typeof b !== 'boolean' || typeof c !== 'boolean') return null
      const opening = { kind: 'mail-open' as const, reading, session: a, isFresh: b, isAgain: c }
      if (d === null) return { ...opening, position: null }
      return isIndex(d) && isIndex(e) ? { ...opening, position: { epoch: d, seq: e } } : null
    }
    case frameTypes['mail-opened']:
      return isIndex(a) && isIndex(b) ? { kind: 'mail-opened', reading, position: { epoch: a, seq: b } } : null
    case frameTypes.mail: {
      if (!isIndex(a) || !isIndex(b) || typeof d !== 'string') return null
      if (typeof c !== 'string' || !isServerName(c)) return null
      return { kind: 'mail', reading, epoch: a, mail: { seq: b, server: c, message: asJsonText(d) } }
    }
    case frameTypes['mail-behind']:
      return { kind: 'mail-behind', reading }
    case frameTypes['mail-displaced']:
      return { kind: 'mail-displaced', reading }
    case frameTypes['mail-close']:
      return a === null || isIndex(a) ? { kind: 'mail-close', reading, arrived: a } : null
    default:
      return null
  }
}
