import type { Catalog, CatalogScope } from '../routing/catalog.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText, jsonMembers, toJsonText, withJsonMember } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import type { Ask } from './client-calls.ts'
import { rpcCodes, rpcError } from './errors.ts'
import { errorMessage, resultMessage } from './json-rpc.ts'
import type { Request } from './json-rpc.ts'
import { resultToClient } from './translation.ts'

/**
 * The tasks of several servers as one list: a server's pages come one after another as it gives them, in the order of the
 * servers' names. A cursor names the server and its own cursor. A server that does not answer is left out.
 */
export function serversWithTasks({ servers }: Catalog, scope: CatalogScope): readonly ServerName[] {
  return [...scope.servers].filter((name) => {
    const tasks = servers.get(name)?.capabilities['tasks']
    return isObject(tasks) && isObject(tasks['list'])
  })
}

/** The answer: a whole JSON-RPC response. */
export async function listTasks(
  { id, method, params }: Request,
  servers: readonly ServerName[],
  ask: Ask,
): Promise<JsonText> {
  const given = params.value['cursor']
  const cursor = given === undefined ? firstPage : readCursor(given)
  if (cursor === undefined) return errorMessage(id, rpcError(rpcCodes.invalidParams, 'the cursor is unknown'))
  const from = cursor.server
  const waiting = servers.filter((server) => from === null || compareIds(server, from) >= 0)
  for (const [at, server] of waiting.entries()) {
    const own = server === from ? cursor.own : null
    const outcome = await ask({ server, method, params: withCursor(params.text, own) })
    if (outcome.kind === 'error' && own !== null) return errorMessage(id, outcome.error)
    if (outcome.kind !== 'result') continue
    const page = pageOf(outcome.result, { server, next: waiting[at + 1] ?? null })
    if (page !== undefined) return resultMessage(id, resultToClient(server, 'task-list', page))
  }
  return resultMessage(id, asJsonText('{"tasks":[]}'))
}

type Cursor = { readonly server: string | null; readonly own: string | null }

const firstPage: Cursor = { server: null, own: null }

/** `next`: the server that follows. Undefined: there is nothing in it, and more may follow. */
function pageOf(
  result: JsonText,
  { server, next }: { readonly server: ServerName; readonly next: ServerName | null },
): JsonText | undefined {
  const parsed: unknown = JSON.parse(result)
  if (!isObject(parsed)) return undefined
  const { nextCursor, tasks } = parsed
  if (typeof nextCursor === 'string')
    return withJsonMember(result, 'nextCursor', printCursor({ server, own: nextCursor }))
  if (next === null) return result
  if (!Array.isArray(tasks) || tasks.length === 0) return undefined
  return withJsonMember(result, 'nextCursor', printCursor({ server: next, own: null }))
}

function printCursor(cursor: Cursor): JsonText {
  return toJsonText(Buffer.from(JSON.stringify([cursor.server, cursor.own])).toString('base64url'))
}

function readCursor(given: unknown): Cursor | undefined {
  if (typeof given !== 'string') return undefined
  try {
    const read: unknown = JSON.parse(Buffer.from(given, 'base64url').toString())
    if (!Array.isArray(read) || read.length !== 2) return undefined
    const [server, own]: readonly unknown[] = read
    return typeof server === 'string' && (own === null || typeof own === 'string') ? { server, own } : undefined
  } catch {
    return undefined
  }
}

/** Params for the server: its own cursor in the place of ours, or none. */
function withCursor(params: JsonText, own: string | null): JsonText {
  if (own !== null) return withJsonMember(params, 'cursor', toJsonText(own))
  if (!jsonMembers(params).has('cursor')) return params
  const { cursor: _, ...rest } = JSON.parse(params) as Record<string, unknown>
  return toJsonText(rest)
}
