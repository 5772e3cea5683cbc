import { isObject } from '../std/is-object.ts'
import { jsonMembers, sliceJson, toJsonText, type JsonText } from '../std/json-text.ts'

/**
 * JSON-RPC as the south edge reads and writes it: a server's message becomes a closed union whose parts are slices of
 * the text it came in, so that what passes through keeps every byte. Nothing here throws on foreign input.
 */
export type ServerMessage =
  | { readonly kind: 'result'; readonly id: number; readonly result: JsonText }
  | { readonly kind: 'error'; readonly id: number; readonly error: JsonText }
  /** Answers one of our ids, but with neither a result nor a proper error. */
  | { readonly kind: 'bad-answer'; readonly id: number }
  | { readonly kind: 'request'; readonly id: JsonText; readonly method: string }
  | { readonly kind: 'notification'; readonly method: string; readonly params: JsonText }
  | { readonly kind: 'rubbish' }

const rubbish: ServerMessage = { kind: 'rubbish' }

export function readServerMessage(text: string): ServerMessage {
  const message = parseObject(text)
  if (message === undefined) return rubbish
  const members = jsonMembers(text)
  const slice = (name: string): JsonText | undefined => {
    const range = members.get(name)
    return range === undefined ? undefined : sliceJson(text, range)
  }
  const id = slice('id')
  if (typeof message['method'] === 'string') {
    const method = message['method']
    if (id !== undefined && id !== 'null') return { kind: 'request', id, method }
    return { kind: 'notification', method, params: slice('params') ?? toJsonText({}) }
  }
  if (typeof message['id'] !== 'number') return rubbish
  const result = slice('result')
  if (result !== undefined) return { kind: 'result', id: message['id'], result }
  const error = slice('error')
  if (error !== undefined && isErrorObject(message['error'])) return { kind: 'error', id: message['id'], error }
  return { kind: 'bad-answer', id: message['id'] }
}

export function requestText(id: number, method: string, params: JsonText): string {
  return `{"jsonrpc":"2.0","id":${id},"method":${JSON.stringify(method)},"params":${params}}`
}

export function notificationText(method: string, params?: JsonText): string {
  const tail = params === undefined ? '' : `,"params":${params}`
  return `{"jsonrpc":"2.0","method":${JSON.stringify(method)}${tail}}`
}

export function resultText(id: JsonText, result: JsonText): string {
  return `{"jsonrpc":"2.0","id":${id},"result":${result}}`
}

export function errorText(id: JsonText, code: number, message: string): string {
  return `{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify({ code, message })}}`
}

export function parseObject(text: string): Record<string, unknown> | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  return isObject(value) ? value : undefined
}

function isErrorObject(value: unknown): boolean {
  return isObject(value) && typeof value['code'] === 'number' && typeof value['message'] === 'string'
}
