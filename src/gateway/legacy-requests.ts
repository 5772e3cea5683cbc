import { emptyScope } from '../routing/catalog.ts'
import type { CatalogScope } from '../routing/catalog.ts'
import { isCatalogCursor } from '../routing/listing.ts'
import type { ListKind } from '../routing/listing.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { ClientCalls } from './client-calls.ts'
import type { Ask, AskedCall, ClientCall, ClientRequest } from './client-calls.ts'
import { findTarget } from './call-targets.ts'
import { outcomeError, rpcCodes, rpcError } from './errors.ts'
import type { EraOptions } from './gateway-options.ts'
import { errorMessage, resultMessage } from './json-rpc.ts'
import type { Params, Request, RequestId } from './json-rpc.ts'
import type { LocalSession } from './local-session.ts'
import { paramsOfPage } from './own-lists.ts'
import type { Reply } from './reply.ts'
import { listsOf } from './scope.ts'
import { canLog, setLevelOfAll, settingOf } from './session-settings.ts'
import { listTasks, serversWithTasks } from './task-list.ts'

/**
 * What each request of a legacy session means, whatever transport it came by: lists are answered from the catalog's cached
 * text or by the session's own upstream, calls go to the one server that the catalog names, with that server's own name in
 * the params and every other byte as the client sent it. Each request has its own reply, also when two of a session have the same id.
 */
export type RequestInSession = { readonly session: LocalSession; readonly request: Request; readonly reply: Reply }

const listMethods: Readonly<Record<string, ListKind>> = {
  'tools/list': 'tools',
  'resources/list': 'resources',
  'resources/templates/list': 'resourceTemplates',
  'prompts/list': 'prompts',
}

export class LegacyRequests {
  readonly calls: ClientCalls
  readonly #options: EraOptions

  constructor(options: EraOptions) {
    this.#options = options
    this.calls = new ClientCalls(options)
  }

  /** Settles when the reply has its last word. */
  answer({ session, request, reply }: RequestInSession): Promise<void> {
    const { id, method, params } = request
    const list = Object.hasOwn(listMethods, method) ? listMethods[method] : undefined
    const catalog = this.#options.catalog()
    const lists = listsOf(catalog, session.scope)
    const finish = (message: JsonText): Promise<void> => {
      reply.finish(message)
      return Promise.resolve()
    }
    if (list !== undefined)
      return this.#listOwn({ session, id, reply }, request, list) ?? finish(listMessage(id, { lists, list, params }))
    if (method === 'ping') return finish(resultMessage(id, asJsonText('{}')))
    const at: ClientRequest = { session, id, reply }
    const { server } = session.scope
    if (server !== null) return this.#call(at, request, { server, params: params.text, result: 'plain' })
    const shown = lists ?? emptyScope
    const target = findTarget(request, shown, (name) => catalog.servers.has(name))
    if (target?.kind === 'call') return this.#call(at, request, target)
    if (target?.kind === 'refused') return finish(errorMessage(id, target.error))
    const together = this.#together(session, request, shown)
    if (together !== undefined) return this.calls.gather(at, together)
    return finish(errorMessage(id, rpcError(rpcCodes.methodNotFound, 'Method not found')))
  }

  /** Undefined: the catalog answers. */
  #listOwn(at: ClientRequest, { method, params }: Request, list: ListKind): Promise<void> | undefined {
    const { id, scope } = at.session
    const shown = scope.server === null ? undefined : this.#options.catalog().servers.get(scope.server)
    const cursor = params.value['cursor']
    if (shown?.isOwnOfAskable !== true || !this.#options.sessions.asks(id) || isCatalogCursor(cursor)) return undefined
    const { server } = shown
    const instead = (): JsonText => this.#options.catalog().servers.get(server)?.[list].page(null) ?? emptyPage(list)
    return this.calls.list(at, {
      server,
      method,
      params: paramsOfPage(params),
      wantsEvents: hasProgressToken(params),
      instead: cursor === undefined ? instead : null,
    })
  }

  #call(
    at: ClientRequest,
    { method, params }: Request,
    { server, params: own, result }: Pick<ClientCall, 'server' | 'params' | 'result'>,
  ): Promise<void> {
    const { before, confirm } = settingOf(this.#options.sessions, at.session, { method, params }, server)
    const first = this.#levelFirst(at.session, server)
    const call = { server, method, params: own, result, wantsEvents: hasProgressToken(params), first, confirm }
    return before === null ? this.calls.perform(at, call) : this.#performAfter(before, at, call)
  }

  async #performAfter(before: () => Promise<void>, at: ClientRequest, call: ClientCall): Promise<void> {
    const refusal = await refusalOf(before, this.#options.nextCallId())
    if (refusal === null) return this.calls.perform(at, call)
    return at.reply.finish(errorMessage(at.id, refusal))
  }

  /** Where several servers are: a level that this one may not know yet. */
  #levelFirst({ scope, levels }: LocalSession, server: ServerName): AskedCall | null {
    const level = scope.server === null ? levels.call(server) : null
    const own = level === null ? undefined : this.#options.catalog().servers.get(server)
    if (level === null || own === undefined || !canLog(own)) return null
    return { server, method: 'logging/setLevel', params: level }
  }

  /** What several servers answer together; undefined: nothing that they could. */
  #together(
    session: LocalSession,
    request: Request,
    lists: CatalogScope,
  ): ((ask: Ask) => Promise<JsonText>) | undefined {
    const { sessions } = this.#options
    const record = sessions.find(session.id)
    if (request.method === 'logging/setLevel' && canLog(lists) && record !== undefined)
      return (ask) => setLevelOfAll(this.#options, { session, record, request, lists, ask })
    if (request.method !== 'tasks/list') return undefined
    const servers = serversWithTasks(this.#options.catalog(), lists)
    return servers.length === 0 ? undefined : (ask) => listTasks(request, servers, ask)
  }
}

/** Null: it is done. */
async function refusalOf(change: () => Promise<void>, traceId: string): Promise<JsonText | null> {
  try {
    await change()
    return null
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error
    return outcomeError(error.code === 'outcome-unknown' ? 'unknown' : 'rejected', error, traceId)
  }
}

function listMessage(
  id: RequestId,
  {
    lists,
    list,
    params,
  }: { readonly lists: CatalogScope | undefined; readonly list: ListKind; readonly params: Params },
): JsonText {
  const cursor = params.value['cursor']
  if (lists === undefined && cursor === undefined) return resultMessage(id, emptyPage(list))
  const page = cursor === undefined || typeof cursor === 'string' ? lists?.[list].page(cursor ?? null) : undefined
  return page === undefined
    ? errorMessage(id, rpcError(rpcCodes.invalidParams, 'the cursor is unknown'))
    : resultMessage(id, page)
}

function emptyPage(list: ListKind): JsonText {
  return asJsonText(`{"${list}":[]}`)
}

function hasProgressToken({ value }: Params): boolean {
  const meta = value['_meta']
  return isObject(meta) && meta['progressToken'] !== undefined
}
