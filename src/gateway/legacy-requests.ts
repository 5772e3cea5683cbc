import { emptyScope } from '../routing/catalog.ts'
import type { CatalogScope } from '../routing/catalog.ts'
import type { ListKind } from '../routing/listing.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { ClientCalls } from './client-calls.ts'
import type { Ask, ClientCall, ClientRequest } from './client-calls.ts'
import { findTarget } from './call-targets.ts'
import { outcomeError, rpcCodes, rpcError } from './errors.ts'
import type { EraOptions } from './gateway-options.ts'
import { errorMessage, resultMessage } from './json-rpc.ts'
import type { Params, Request } from './json-rpc.ts'
import type { LocalSession } from './local-session.ts'
import type { Reply } from './reply.ts'
import { listsOf } from './scope.ts'
import { canLog, setLevelOfAll, settingOf } from './session-settings.ts'
import { listTasks, serversWithTasks } from './task-list.ts'

/**
 * What each request of a legacy session means, whatever transport it came by: lists are answered from the catalog's cached
 * text, calls go to the one server that the catalog names, with that server's own name in the params and every other byte
 * as the client sent it. Each request has its own reply, also when two of a session have the same id.
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
  async answer({ session, request, reply }: RequestInSession): Promise<void> {
    const { id, method, params } = request
    const list = Object.hasOwn(listMethods, method) ? listMethods[method] : undefined
    const catalog = this.#options.catalog()
    const lists = listsOf(catalog, session.scope)
    if (list !== undefined) return answerList({ lists, list, params }, { id, reply })
    if (method === 'ping') return reply.finish(resultMessage(id, asJsonText('{}')))
    const at: ClientRequest = { session, id, reply }
    const { server } = session.scope
    if (server !== null) return this.#call(at, request, { server, params: params.text, result: 'plain' })
    const shown = lists ?? emptyScope
    const target = findTarget(request, shown, (name) => catalog.servers.has(name))
    if (target?.kind === 'call') return this.#call(at, request, target)
    if (target?.kind === 'refused') return reply.finish(errorMessage(id, target.error))
    const together = this.#together(session, request, shown)
    if (together !== undefined) return this.calls.gather(at, together)
    return reply.finish(errorMessage(id, rpcError(rpcCodes.methodNotFound, 'Method not found')))
  }

  async #call(
    at: ClientRequest,
    request: Request,
    { server, params, result }: Pick<ClientCall, 'server' | 'params' | 'result'>,
  ): Promise<void> {
    const { method } = request
    const { before, confirm } = settingOf(this.#options.sessions, at.session, { ...request, server })
    if (before !== undefined) {
      const refusal = await refusalOf(before, this.#options.nextCallId())
      if (refusal !== null) return at.reply.finish(errorMessage(at.id, refusal))
    }
    return this.calls.perform(at, {
      server,
      method,
      params,
      result,
      wantsEvents: hasProgressToken(request.params),
      ...this.#levelFirst(at.session, server),
      ...(confirm === undefined ? {} : { confirm }),
    })
  }

  /** Where several servers are: a level that this one may not know yet. */
  #levelFirst({ scope, levels }: LocalSession, server: ServerName): Pick<ClientCall, 'first'> {
    const level = scope.server === null ? levels.call(server) : null
    const own = level === null ? undefined : this.#options.catalog().servers.get(server)
    if (level === null || own === undefined || !canLog(own)) return {}
    return { first: { server, method: 'logging/setLevel', params: level } }
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

function answerList(
  {
    lists,
    list,
    params,
  }: { readonly lists: CatalogScope | undefined; readonly list: ListKind; readonly params: Params },
  { id, reply }: Pick<ClientRequest, 'id' | 'reply'>,
): void {
  const cursor = params.value['cursor']
  if (lists === undefined && cursor === undefined) return reply.finish(resultMessage(id, asJsonText(`{"${list}":[]}`)))
  const page = cursor === undefined || typeof cursor === 'string' ? lists?.[list].page(cursor ?? null) : undefined
  reply.finish(
    page === undefined
      ? errorMessage(id, rpcError(rpcCodes.invalidParams, 'the cursor is unknown'))
      : resultMessage(id, page),
  )
}

function hasProgressToken({ value }: Params): boolean {
  const meta = value['_meta']
  return isObject(meta) && meta['progressToken'] !== undefined
}
