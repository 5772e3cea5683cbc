import { isUtf8 } from 'node:buffer'
import { isObject } from '../std/is-object.ts'
import { asJsonText, jsonElements, jsonMembers, sliceJson } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import { rpcCodes } from './errors.ts'

/**
 * One JSON-RPC message of a client, read from a POST's bytes: parsed once to be judged, and kept as text, so that its id
 * and params go on byte for byte. Also the envelopes of what we answer.
 */
export type Incoming = Request | Notification | Response | Bad

export type Request = {
  readonly kind: 'request'
  readonly id: RequestId
  readonly method: string
  readonly params: Params
}
export type Notification = { readonly kind: 'notification'; readonly method: string; readonly params: Params }
/** An answer to a question. Exactly one of the two is there. */
export type Response = {
  readonly kind: 'response'
  readonly id: unknown
  readonly result: JsonText | null
  readonly error: JsonText | null
}
export type Bad = {
  readonly kind: 'bad'
  readonly code: number
  readonly message: string
  readonly id: RequestId | null
}

/** A body: one message, or several in revision 2025-03-26. */
export type IncomingBody = Incoming | { readonly kind: 'batch'; readonly messages: readonly Incoming[] }

/** Messages of one batch. */
export const batchMessagesMax = 100

export type RequestId = {
  /** The client's own bytes. */
  readonly text: JsonText
  /** Equal for equal ids of the same type: the string "7" is not the number 7. */
  readonly key: string
}

export type Params = {
  /** `{}` when the client gave none. */
  readonly text: JsonText
  readonly value: Readonly<Record<string, unknown>>
}

/** Of a message that has none. */
export const noParams: Params = { text: asJsonText('{}'), value: {} }

export function readBody(body: Buffer): IncomingBody {
  if (!isUtf8(body)) return bad(rpcCodes.parseError, 'the body is not UTF-8')
  const text = body.toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return bad(rpcCodes.parseError, 'the body is not JSON')
  }
  if (!Array.isArray(value)) return readMessage(text, value)
  if (value.length === 0) return bad(rpcCodes.invalidRequest, 'the batch is empty')
  if (value.length > batchMessagesMax)
    return bad(rpcCodes.invalidRequest, `a batch has ${batchMessagesMax} messages at most`)
  const values: readonly unknown[] = value
  const messages = jsonElements(text).map((range, at) => readMessage(sliceJson(text, range), values[at]))
  return { kind: 'batch', messages }
}

function readMessage(text: string, message: unknown): Incoming {
  if (!isObject(message)) return bad(rpcCodes.invalidRequest, 'the body is not a JSON-RPC message')
  const ranges = jsonMembers(text)
  const idRange = ranges.get('id')
  const id = idRange === undefined ? undefined : requestId(message['id'], sliceJson(text, idRange))
  if (message['jsonrpc'] !== '2.0') return bad(rpcCodes.invalidRequest, 'jsonrpc is not "2.0"', id)
  const { method } = message
  if (method === undefined && ('result' in message || 'error' in message)) {
    const textOf = (name: string): JsonText | null => {
      const range = ranges.get(name)
      return range === undefined ? null : sliceJson(text, range)
    }
    const error = textOf('error')
    return { kind: 'response', id: message['id'], result: error === null ? textOf('result') : null, error }
  }
  if (typeof method !== 'string') return bad(rpcCodes.invalidRequest, 'method is not a string', id)
  const paramsRange = ranges.get('params')
  const value = message['params']
  if (paramsRange !== undefined && !isObject(value)) return bad(rpcCodes.invalidRequest, 'params is not an object', id)
  const params =
    paramsRange === undefined || !isObject(value) ? noParams : { text: sliceJson(text, paramsRange), value }
  if (idRange === undefined) return { kind: 'notification', method, params }
  if (id === undefined) return bad(rpcCodes.invalidRequest, 'id is neither a string nor a number')
  return { kind: 'request', id, method, params }
}

/** The id as a client names it; undefined when it is neither string nor number. */
export function requestId(value: unknown, text: JsonText): RequestId | undefined {
  if (typeof value === 'string') return { text, key: `"${value}` }
  // A number's own digits: two big integers that are one double stay two ids.
  return typeof value === 'number' ? { text, key: text } : undefined
}

export function resultMessage(id: RequestId, result: JsonText): JsonText {
  return `{"jsonrpc":"2.0","id":${id.text},"result":${result}}` as JsonText
}

export function errorMessage(id: RequestId | null, error: JsonText): JsonText {
  return `{"jsonrpc":"2.0","id":${id?.text ?? 'null'},"error":${error}}` as JsonText
}

export function notificationMessage(method: string): JsonText {
  return `{"jsonrpc":"2.0","method":${JSON.stringify(method)}}` as JsonText
}

function bad(code: number, message: string, id?: RequestId): Bad {
  return { kind: 'bad', code, message, id: id ?? null }
}
