import { isObject } from '../std/is-object.ts'
import {
  asJsonText,
  editJson,
  jsonElements,
  jsonMembers,
  sliceJson,
  toJsonText,
  type JsonEdit,
  type JsonRange,
  type JsonText,
} from '../std/json-text.ts'

/**
 * JSON-RPC as the south edge reads and writes it: a server's message becomes a closed union whose parts are slices of
 * the text it came in, so that what passes through keeps every byte. Nothing here throws on foreign input.
 */
export type ServerMessage =
  | { readonly kind: 'result'; readonly id: number; readonly result: JsonText }
  | { readonly kind: 'error'; readonly id: number; readonly error: JsonText }
  /** Answers one of our ids, but with neither a result nor a proper error. */
  | { readonly kind: 'bad-answer'; readonly id: number }
  | ServerRequest
  | ServerNotification
  | { readonly kind: 'rubbish' }

export type ServerRequest = Spoken & { readonly kind: 'request'; readonly id: JsonText }
export type ServerNotification = Spoken & { readonly kind: 'notification' }

type Spoken = {
  readonly method: string
  /** The whole message, and where its members are in it. */
  readonly text: JsonText
  readonly members: ReadonlyMap<string, JsonRange>
}

const rubbish: ServerMessage = { kind: 'rubbish' }

/** One message, or those of a batch: the revision 2025-03-26 has them. */
export function readServerMessages(text: string): readonly ServerMessage[] {
  const value = parse(text)
  if (!Array.isArray(value)) return [readMessage(asJsonText(text), value)]
  const elements = jsonElements(text)
  return value.map((each, at) => {
    const range = elements[at]
    return range === undefined ? rubbish : readMessage(sliceJson(text, range), each)
  })
}

function readMessage(text: JsonText, message: unknown): ServerMessage {
  if (!isObject(message)) return rubbish
  const members = jsonMembers(text)
  const slice = (name: string): JsonText | undefined => {
    const range = members.get(name)
    return range === undefined ? undefined : sliceJson(text, range)
  }
  const id = slice('id')
  if (typeof message['method'] === 'string') {
    const spoken = { method: message['method'], text, members }
    return id !== undefined && id !== 'null' ? { kind: 'request', id, ...spoken } : { kind: 'notification', ...spoken }
  }
  if (typeof message['id'] !== 'number') return rubbish
  const result = slice('result')
  if (result !== undefined) return { kind: 'result', id: message['id'], result }
  const error = slice('error')
  if (error !== undefined && isErrorObject(message['error'])) return { kind: 'error', id: message['id'], error }
  return { kind: 'bad-answer', id: message['id'] }
}

/** Where a member of the params is in the message. */
export function paramRange({ text, members }: Spoken, name: string): JsonRange | undefined {
  const params = members.get('params')
  return params === undefined ? undefined : jsonMembers(text, params.start).get(name)
}

/** A member of the params, parsed; undefined where there is none. */
export function paramOf(message: Spoken, name: string): unknown {
  const range = paramRange(message, name)
  return range === undefined ? undefined : (JSON.parse(sliceJson(message.text, range)) as unknown)
}

/** Where `params._meta.progressToken` of a request is. */
export function tokenRange(message: Spoken): JsonRange | undefined {
  const meta = paramRange(message, '_meta')
  return meta === undefined ? undefined : jsonMembers(message.text, meta.start).get('progressToken')
}

/** The message with other texts in some of its places. */
export function edited({ text }: Spoken, edits: readonly JsonEdit[]): JsonText {
  return editJson(text, edits)
}

export function requestText(id: number, method: string, params: JsonText): string {
  return `{"jsonrpc":"2.0","id":${id},"method":${JSON.stringify(method)},"params":${params}}`
}

export function notificationText(method: string, params?: JsonText): JsonText {
  const tail = params === undefined ? '' : `,"params":${params}`
  return asJsonText(`{"jsonrpc":"2.0","method":${JSON.stringify(method)}${tail}}`)
}

export function resultText(id: JsonText, result: JsonText): string {
  return `{"jsonrpc":"2.0","id":${id},"result":${result}}`
}

export function errorText(id: JsonText, error: JsonText): string {
  return `{"jsonrpc":"2.0","id":${id},"error":${error}}`
}

export function errorObject(code: number, message: string): JsonText {
  return toJsonText({ code, message })
}

export function parseObject(text: string): Record<string, unknown> | undefined {
  const value = parse(text)
  return isObject(value) ? value : undefined
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isErrorObject(value: unknown): boolean {
  return isObject(value) && typeof value['code'] === 'number' && typeof value['message'] === 'string'
}
