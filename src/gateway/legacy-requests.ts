import { emptyScope } from '../routing/catalog.ts'
import type { CatalogScope } from '../routing/catalog.ts'
import type { ListKind } from '../routing/listing.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText } from '../std/json-text.ts'
import { ClientCalls } from './client-calls.ts'
import type { ClientRequest } from './client-calls.ts'
import { findTarget } from './call-targets.ts'
import { rpcCodes, rpcError } from './errors.ts'
import type { EraOptions } from './gateway-options.ts'
import { errorMessage, resultMessage } from './json-rpc.ts'
import type { Params, Request } from './json-rpc.ts'
import type { LocalSession } from './local-session.ts'
import type { Reply } from './reply.ts'
import { listsOf } from './scope.ts'

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
    const wantsEvents = hasProgressToken(params)
    const { server } = session.scope
    if (server !== null)
      return this.calls.perform(at, { server, method, params: params.text, result: 'plain', wantsEvents })
    const target = findTarget(request, lists ?? emptyScope, (name) => catalog.servers.has(name))
    if (target === undefined)
      return reply.finish(errorMessage(id, rpcError(rpcCodes.methodNotFound, 'Method not found')))
    if (target.kind === 'refused') return reply.finish(errorMessage(id, target.error))
    return this.calls.perform(at, { ...target, method, wantsEvents })
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
