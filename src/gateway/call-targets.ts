import { findCompletionTarget, findResource } from '../routing/catalog.ts'
import type { CatalogScope } from '../routing/catalog.ts'
import { isObject } from '../std/is-object.ts'
import { replaceJson, jsonMembers, toJsonText } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import { isServerName } from '../vocabulary/ids.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import { rpcCodes, rpcError } from './errors.ts'
import type { Params, Request } from './json-rpc.ts'
import { paramsToServer, splitTaskId } from './translation.ts'
import type { ResultKind } from './translation.ts'

/**
 * Which server a request goes to where several stand on one URL, and its params with that server's own names; or the error
 * that says why it goes nowhere. Where one server stands alone everything is its, as it is.
 */
export type Target =
  | { readonly kind: 'call'; readonly server: ServerName; readonly params: JsonText; readonly result: ResultKind }
  | { readonly kind: 'refused'; readonly error: JsonText }

/** Undefined: not a method that is passed to one server. `hasServer`: whether one has that name now. */
export function findTarget(
  { method, params }: Pick<Request, 'method' | 'params'>,
  lists: CatalogScope,
  hasServer: (server: ServerName) => boolean,
): Target | undefined {
  switch (method) {
    case 'tools/call':
      return named(lists, 'tools', params)
    case 'prompts/get':
      return named(lists, 'prompts', params)
    case 'resources/read':
    case 'resources/subscribe':
    case 'resources/unsubscribe':
      return resource(lists, params, method)
    case 'completion/complete':
      return completed(lists, params)
    case 'tasks/get':
    case 'tasks/cancel':
      return task(params, { method, result: 'task', hasServer })
    case 'tasks/result':
      return task(params, { method, result: 'plain', hasServer })
    default:
      return undefined
  }
}

function named(lists: CatalogScope, list: 'tools' | 'prompts', params: Params): Target {
  const name = params.value['name']
  if (typeof name !== 'string') return refused(rpcCodes.invalidParams, 'params.name is not a string')
  const entry = lists[list].find(name)
  if (entry === undefined)
    return refused(rpcCodes.invalidParams, `Unknown ${list === 'tools' ? 'tool' : 'prompt'}: ${quoted(name)}`)
  const result = isObject(params.value['task']) ? 'task-made' : 'plain'
  return call(entry.server, renamed(params.text, ['name'], { from: name, to: entry.own }), result)
}

function resource(lists: CatalogScope, params: Params, method: string): Target {
  const uri = params.value['uri']
  if (typeof uri !== 'string') return refused(rpcCodes.invalidParams, 'params.uri is not a string')
  const server = findResource(lists, uri)
  if (server === undefined)
    return {
      kind: 'refused',
      error: rpcError(rpcCodes.resourceNotFound, 'Resource not found', { uri: quoted(uri) }),
    }
  return call(server, paramsToServer(server, params.text, { method }))
}

/** Of a prompt by its name, of a template (or a resource) by its URI. */
function completed(lists: CatalogScope, params: Params): Target {
  const ref = params.value['ref']
  const { type, name, uri } = isObject(ref) ? ref : {}
  if (type === 'ref/prompt' && typeof name === 'string') {
    const target = findCompletionTarget(lists, { kind: 'prompt', name })
    if (target === undefined) return refused(rpcCodes.invalidParams, `Unknown prompt: ${quoted(name)}`)
    return call(target.server, renamed(params.text, ['ref', 'name'], { from: name, to: target.own }))
  }
  if (type === 'ref/resource' && typeof uri === 'string') {
    const target = findCompletionTarget(lists, { kind: 'resource', name: uri })
    if (target === undefined) return refused(rpcCodes.invalidParams, `Unknown resource template: ${quoted(uri)}`)
    return call(target.server, params.text)
  }
  return refused(rpcCodes.invalidParams, 'params.ref is neither a prompt nor a resource')
}

function task(
  params: Params,
  {
    method,
    result,
    hasServer,
  }: { readonly method: string; readonly result: ResultKind; readonly hasServer: (server: ServerName) => boolean },
): Target {
  const id = params.value['taskId']
  if (typeof id !== 'string') return refused(rpcCodes.invalidParams, 'params.taskId is not a string')
  const server = splitTaskId(id)?.server
  if (server === undefined || !isServerName(server) || !hasServer(server))
    return refused(rpcCodes.invalidParams, `Unknown task: ${quoted(id)}`)
  return call(server, paramsToServer(server, params.text, { method }), result)
}

function call(server: ServerName, params: JsonText, result: ResultKind = 'plain'): Target {
  return { kind: 'call', server, params, result }
}

function refused(code: number, message: string): Target {
  return { kind: 'refused', error: rpcError(code, message) }
}

function renamed(
  params: JsonText,
  path: readonly string[],
  { from, to }: { readonly from: string; readonly to: string },
): JsonText {
  if (from === to) return params
  let at = 0
  let range: { start: number; end: number } | undefined
  for (const name of path) {
    range = jsonMembers(params, at).get(name)
    if (range === undefined) return params
    at = range.start
  }
  return range === undefined ? params : replaceJson(params, range, toJsonText(to))
}

/** Of a client's text so many characters are said back in an error. */
function quoted(text: string): string {
  return text.slice(0, 200)
}
