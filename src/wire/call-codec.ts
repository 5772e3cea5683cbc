import { unreachable } from '../std/assert.ts'
import { asJsonText } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import type { Call, CallEvent, CallOrigin, CallRef, Outcome } from '../calls/call.ts'
import { isServerName, isSessionId } from '../vocabulary/ids.ts'
import type { CallId } from '../vocabulary/ids.ts'
import { errorCodes, OperatingError } from '../vocabulary/operating-error.ts'
import type { OperatingErrorOptions, Retry } from '../vocabulary/operating-error.ts'
import type { Malformed } from './frame.ts'
import { frameTypes } from './frame-types.ts'
import { cutText, isIndex, isText, pack, unpack } from './pack.ts'
import type { PackedValue } from './pack.ts'

/**
 * Forwarded calls as bytes. JSON travels as the text it is and is not parsed again: the sender is a node that has proven
 * the secret, its edge has parsed the text, and the frame's checksum says that it is still the same.
 */
export type CallMessage =
  | { readonly kind: 'call-start'; readonly call: Call }
  /** What follows of it comes under `id`, which the asking node made for this question alone. */
  | { readonly kind: 'call-resume'; readonly id: CallId; readonly ref: CallRef }
  | { readonly kind: 'call-event'; readonly id: CallId; readonly event: CallEvent }
  /** Events wait that could not be sent: nothing more comes until the call is resumed, which may be done under the same id. */
  | { readonly kind: 'call-behind'; readonly id: CallId }
  /** The last of its call. */
  | { readonly kind: 'call-end'; readonly id: CallId; readonly outcome: Outcome }
  /** `params`: what the client said; null: nothing. */
  | { readonly kind: 'call-cancel'; readonly id: CallId; readonly params: JsonText | null }
  /** The caller has gone and may come back. */
  | { readonly kind: 'call-leave'; readonly id: CallId }

export function encodeCallMessage(message: CallMessage): { type: number; payload: Uint8Array } {
  return { type: frameTypes[message.kind], payload: pack(fieldsOf(message)) }
}

/** `id`: of which call, if that at least can be read. */
export type UnreadableCall = Malformed & { readonly id: CallId | null }

export function decodeCallMessage(type: number, payload: Uint8Array): CallMessage | UnreadableCall {
  const fields = unpack(payload)
  if ('malformed' in fields) return { ...fields, id: null }
  const [first] = fields
  const id = isCallId(first) ? first : null
  const message = id === null ? null : messageOf(type, id, fields)
  return message ?? { malformed: `frame type ${type}: bad fields`, id }
}

function fieldsOf(message: CallMessage): readonly PackedValue[] {
  switch (message.kind) {
    case 'call-start': {
      const { id, server, method, params, timeoutMs, origin } = message.call
      const { session, requestId, isKept } = origin ?? { session: null, requestId: null, isKept: false }
      return [id, server, method, params, timeoutMs, session, requestId, isKept]
    }
    case 'call-resume':
      return [message.id, message.ref.id, message.ref.session, message.ref.after]
    case 'call-event':
      return [message.id, message.event.seq, message.event.message]
    case 'call-end':
      return [message.id, message.outcome.kind, ...outcomeFields(message.outcome)]
    case 'call-cancel':
      return [message.id, message.params]
    case 'call-leave':
    case 'call-behind':
      return [message.id]
    default:
      return unreachable(message)
  }
}

function messageOf(type: number, id: CallId, fields: readonly unknown[]): CallMessage | null {
  const [, a, b, c, d, ...tail] = fields
  switch (type) {
    case frameTypes['call-start']: {
      if (typeof a !== 'string' || !isServerName(a) || !isText(b, methodCharsMax) || typeof c !== 'string') return null
      if (d !== null && !isDuration(d)) return null
      const origin = originOf(tail)
      if (origin === undefined) return null
      return { kind: 'call-start', call: { id, server: a, method: b, params: asJsonText(c), timeoutMs: d, origin } }
    }
    case frameTypes['call-resume']:
      if (!isCallId(a) || typeof b !== 'string' || !isSessionId(b) || !isIndex(c)) return null
      return { kind: 'call-resume', id, ref: { id: a, session: b, after: c } }
    case frameTypes['call-event']:
      if (!isIndex(a) || typeof b !== 'string') return null
      return { kind: 'call-event', id, event: { seq: a, message: asJsonText(b) } }
    case frameTypes['call-end']: {
      const outcome = outcomeOf(a, fields.slice(2))
      return outcome && { kind: 'call-end', id, outcome }
    }
    case frameTypes['call-cancel']:
      // A node of the version before says nothing of it.
      return { kind: 'call-cancel', id, params: typeof a === 'string' ? asJsonText(a) : null }
    case frameTypes['call-leave']:
      return { kind: 'call-leave', id }
    case frameTypes['call-behind']:
      return { kind: 'call-behind', id }
    default:
      return null
  }
}

/** Undefined: malformed. */
function originOf([session, requestId, isKept]: readonly unknown[]): CallOrigin | null | undefined {
  if (session === null) return null
  if (typeof session !== 'string' || !isSessionId(session)) return undefined
  if (typeof requestId !== 'string' || typeof isKept !== 'boolean') return undefined
  return { session, requestId: asJsonText(requestId), isKept }
}

function outcomeFields(outcome: Outcome): readonly PackedValue[] {
  switch (outcome.kind) {
    case 'result':
      return [outcome.result]
    case 'error':
      return [outcome.error]
    case 'not-sent':
    case 'rejected':
    case 'unknown': {
      const { code, message, retry, retryAfterMs, details } = outcome.error
      return [code, cutText(message, messageCharsMax), retry, retryAfterMs ?? null, packDetails(details)]
    }
    case 'cancelled':
    case 'left':
      return []
    default:
      return unreachable(outcome)
  }
}

function outcomeOf(kind: unknown, fields: readonly unknown[]): Outcome | null {
  const [first] = fields
  switch (kind) {
    case 'result':
      return typeof first === 'string' ? { kind, result: asJsonText(first) } : null
    case 'error':
      return typeof first === 'string' ? { kind, error: asJsonText(first) } : null
    case 'not-sent':
    case 'rejected':
    case 'unknown': {
      const error = errorOf(fields)
      return error && { kind, error }
    }
    case 'cancelled':
    case 'left':
      return { kind }
    default:
      return null
  }
}

/** The cause stays where it happened: the log of that node has it. */
function errorOf(fields: readonly unknown[]): OperatingError | null {
  const [code, message, retry, retryAfterMs, details] = fields
  if (!isText(code, 64) || !isText(message, messageCharsMax)) return null
  const options: OperatingErrorOptions = {}
  const knownRetry = retries.find((known) => known === retry)
  if (knownRetry === undefined) return null
  options.retry = knownRetry
  if (retryAfterMs !== null) {
    if (!isDuration(retryAfterMs)) return null
    options.retryAfterMs = retryAfterMs
  }
  if (details !== null) {
    const unpacked = isText(details, detailsCharsMax) ? unpackDetails(asJsonText(details)) : null
    if (unpacked === null) return null
    options.details = unpacked
  }
  // The code of a newer node that this one does not know; the message still says what it is.
  const knownCode = errorCodes.find((known) => known === code) ?? 'internal'
  return new OperatingError(knownCode, message, options)
}

/** Details are for display: what is too long or no JSON stays behind. */
function packDetails(details: Readonly<Record<string, unknown>> | undefined): string | null {
  if (details === undefined) return null
  try {
    const text = JSON.stringify(details)
    return text.length <= detailsCharsMax ? text : null
  } catch {
    return null
  }
}

function unpackDetails(text: JsonText): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}

const retries: readonly Retry[] = ['never', 'elsewhere', 'after', 'outcome-unknown']
const methodCharsMax = 256
const messageCharsMax = 4096
const detailsCharsMax = 16_384
const callIdPattern = /^[A-Za-z0-9._-]{1,128}$/

function isCallId(value: unknown): value is CallId {
  return typeof value === 'string' && callIdPattern.test(value)
}

function isDuration(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}
