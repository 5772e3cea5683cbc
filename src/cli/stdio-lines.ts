import { isObject } from '../std/is-object.ts'
import { asJsonText, editJson, jsonMembers, sliceJson, toJsonText, type JsonText } from '../std/json-text.ts'

/**
 * JSON-RPC as `quorate stdio` sees it: what one line of the client is, and the few lines that the bridge writes itself.
 * Everything else passes as it came. Nothing here throws on foreign input.
 */
export type ClientLine =
  | { readonly kind: 'request'; readonly id: JsonText; readonly method: string; readonly uri: string | null }
  | { readonly kind: 'cancel'; readonly requestId: JsonText }
  /** A notification or an answer; null: an answer. */
  | { readonly kind: 'tell'; readonly method: string | null }
  | { readonly kind: 'bad'; readonly code: number; readonly message: string }

/** As the gateway says them, so that a client can not tell who did. */
export const bridgeCodes = {
  parseError: -32_700,
  invalidRequest: -32_600,
  unavailable: -31_001,
  outcomeUnknown: -31_003,
  overloaded: -31_004,
} as const

export function readClientLine(text: string): ClientLine {
  const message = parseJson(text)
  if (message === undefined) return { kind: 'bad', code: bridgeCodes.parseError, message: 'the line is not JSON' }
  if (Array.isArray(message))
    return { kind: 'bad', code: bridgeCodes.invalidRequest, message: 'batches are not supported' }
  if (!isObject(message))
    return { kind: 'bad', code: bridgeCodes.invalidRequest, message: 'the line is not a JSON-RPC message' }
  const { method } = message
  const id = memberText(text, 'id')
  const params = isObject(message['params']) ? message['params'] : {}
  if (typeof method !== 'string') return { kind: 'tell', method: null }
  if (id !== undefined) return { kind: 'request', id, method, uri: stringOrNull(params['uri']) }
  const requestId = memberText(memberText(text, 'params') ?? '', 'requestId')
  if (method === 'notifications/cancelled' && requestId !== undefined) return { kind: 'cancel', requestId }
  return { kind: 'tell', method }
}

/** What a node sends within the stream of one request. */
export type NodeLine =
  | { readonly kind: 'answer'; readonly result: Readonly<Record<string, unknown>> | null }
  /** A notification, a question, ... */
  | { readonly kind: 'other' }
  | { readonly kind: 'rubbish' }

export function readNodeLine(text: string): NodeLine {
  const message = parseJson(text)
  if (!isObject(message)) return { kind: 'rubbish' }
  if (message['method'] !== undefined) return { kind: 'other' }
  if (isObject(message['result'])) return { kind: 'answer', result: message['result'] }
  return 'result' in message || 'error' in message ? { kind: 'answer', result: null } : { kind: 'rubbish' }
}

/** Line breaks in JSON stand between its tokens only. */
export function asLine(text: string): string {
  return text.replaceAll(/[\r\n]+/g, ' ')
}

export function withId(request: string, id: string): JsonText {
  const range = jsonMembers(request).get('id')
  return range === undefined ? asJsonText(request) : editJson(request, [{ ...range, text: toJsonText(id) }])
}

export function errorLine(id: JsonText | null, error: JsonText): JsonText {
  return asJsonText(`{"jsonrpc":"2.0","id":${id ?? 'null'},"error":${error}}`)
}

export function notificationLine(method: string): JsonText {
  return toJsonText({ jsonrpc: '2.0', method })
}

/** The error object in the body of a refusal, if there is one. */
export function errorIn(body: string): JsonText | undefined {
  const message = parseJson(body)
  return isObject(message) && isObject(message['error']) ? memberText(body, 'error') : undefined
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function memberText(text: string, name: string): JsonText | undefined {
  const range = jsonMembers(text).get(name)
  return range === undefined ? undefined : sliceJson(text, range)
}

function stringOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}
