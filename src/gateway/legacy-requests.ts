import type { ServerResponse } from 'node:http'
import type { Call, Outcome } from '../calls/call.ts'
import { findResource } from '../routing/catalog.ts'
import type { CatalogScope } from '../routing/catalog.ts'
import type { ListKind } from '../routing/listing.ts'
import { InvariantError } from '../std/assert.ts'
import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText, editJson, jsonMembers, toJsonText } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { CallAnswer, sendJson } from './call-answer.ts'
import { accidentError, outcomeError, rpcCodes, rpcError } from './errors.ts'
import { errorMessage, notificationMessage, resultMessage } from './json-rpc.ts'
import type { Incoming, Params, RequestId } from './json-rpc.ts'
import type { EraOptions } from './gateway-options.ts'
import type { ActiveCall, Session } from './session.ts'

/**
 * What each request of a legacy session means: lists are answered from the catalog's cached text, calls go to the one
 * server that the catalog names, with that server's own name in the params and every other byte as the client sent it.
 * Each request is answered on its own POST, also when two of a session have the same id.
 */
export type Request = Incoming & { readonly kind: 'request' }

export type RequestInSession = {
  readonly session: Session
  readonly request: Request
  /** What the session's URL shows. */
  readonly lists: CatalogScope
  readonly res: ServerResponse
}

/** Monotone since the start. */
export type CallCounters = { cancelled: number; clientsGone: number; clientsTooSlow: number; accidents: number }

/** Who waits for a call; `streams`: as an event stream from the start. */
type Caller = Pick<RequestInSession, 'session' | 'res'> & { readonly id: RequestId; readonly streams: boolean }

/** Where a call goes; or the error that says why nowhere. */
type Target = { readonly server: ServerName; readonly params: JsonText } | { readonly error: JsonText }

const listMethods: Readonly<Record<string, ListKind>> = {
  'tools/list': 'tools',
  'resources/list': 'resources',
  'resources/templates/list': 'resourceTemplates',
  'prompts/list': 'prompts',
}
/** Of a client's text so many characters are said back in an error. */
const quotedCharactersMax = 200

export class LegacyRequests {
  readonly counters: CallCounters = { cancelled: 0, clientsGone: 0, clientsTooSlow: 0, accidents: 0 }
  readonly #options: EraOptions
  #active = 0
  #idle: Deferred<void> | null = null

  constructor(options: EraOptions) {
    this.#options = options
  }

  get active(): number {
    return this.#active
  }

  async answer(at: RequestInSession): Promise<void> {
    const { request, res } = at
    const list = Object.hasOwn(listMethods, request.method) ? listMethods[request.method] : undefined
    if (list !== undefined) return this.#list(at, list)
    switch (request.method) {
      case 'ping':
        return sendJson(res, resultMessage(request.id, asJsonText('{}')))
      case 'tools/call':
        return this.#call(at, namedTarget(at.lists, 'tools', request.params))
      case 'prompts/get':
        return this.#call(at, namedTarget(at.lists, 'prompts', request.params))
      case 'resources/read':
        return this.#call(at, resourceTarget(at, request.params))
      default:
        return sendJson(res, errorMessage(request.id, rpcError(rpcCodes.methodNotFound, 'Method not found')))
    }
  }

  /** Waits, within its limit, until every call has ended. The sessions have told their calls to end before. */
  async stop(): Promise<void> {
    if (this.#active === 0) return
    this.#idle = deferred()
    const timer = this.#options.clock.after(this.#options.limits.stopMs, () => this.#idle?.resolve())
    await this.#idle.promise
    timer.cancel()
  }

  #list({ request, lists, res }: RequestInSession, list: ListKind): void {
    const cursor = request.params.value['cursor']
    const page = cursor === undefined || typeof cursor === 'string' ? lists[list].page(cursor ?? null) : undefined
    sendJson(
      res,
      page === undefined
        ? errorMessage(request.id, rpcError(rpcCodes.invalidParams, 'the cursor is unknown'))
        : resultMessage(request.id, page),
    )
  }

  #call({ session, request, res }: RequestInSession, target: Target): Promise<void> | void {
    if ('error' in target) return sendJson(res, errorMessage(request.id, target.error))
    const callId = this.#options.nextCallId()
    const overload = this.#overload(session)
    if (overload !== undefined)
      return sendJson(res, errorMessage(request.id, outcomeError('rejected', overload, callId)))
    const { id, method, params } = request
    const call: Call = { id: callId, server: target.server, method, params: target.params, timeoutMs: null }
    return this.#perform(call, { session, id, res, streams: hasProgressToken(params) })
  }

  /** Is not given the parsed params: they may be many times as large as their text, and the call may take long. */
  async #perform(call: Call, { session, id, res, streams }: Caller): Promise<void> {
    const cancellation = new AbortController()
    const answer = new CallAnswer({
      res,
      clock: this.#options.clock,
      limits: this.#options.limits,
      lost: (why) => {
        if (why === 'gone') this.counters.clientsGone += 1
        else this.counters.clientsTooSlow += 1
        cancellation.abort()
      },
    })
    const active: ActiveCall = {
      id,
      cancel: () => {
        this.counters.cancelled += 1
        answer.finishWithoutAnswer()
        cancellation.abort()
      },
      abandon: () => {
        answer.finish(errorMessage(id, outcomeError('unknown', abandonedError, call.id)))
        cancellation.abort()
      },
    }
    if (streams) answer.openStream()
    session.begin(active)
    this.#active += 1
    try {
      const outcome = await this.#options.calls.call(
        call,
        ({ method, params }) => answer.notify(notificationMessage(method, params)),
        cancellation.signal,
      )
      answer.finish(this.#envelope(id, call, outcome))
    } catch (error) {
      if (error instanceof InvariantError) throw error
      this.counters.accidents += 1
      this.#options.log.error('mcp-call-accident', { traceId: call.id, server: call.server, error })
      answer.finish(errorMessage(id, accidentError(call.id)))
    } finally {
      session.end(active)
      this.#active -= 1
      if (this.#active === 0) this.#idle?.resolve()
    }
  }

  #overload(session: Session): OperatingError | undefined {
    const { sessionCallsMax, nodeCallsMax } = this.#options.limits
    const after = { retry: 'after', retryAfterMs: 1000 } as const
    if (session.activeCalls >= sessionCallsMax)
      return new OperatingError('overloaded', `the session already has ${sessionCallsMax} calls in work`, after)
    if (this.#active >= nodeCallsMax)
      return new OperatingError('overloaded', `this node already has ${nodeCallsMax} calls in work`, after)
    return undefined
  }

  #envelope(id: RequestId, call: Call, outcome: Outcome): JsonText {
    if (outcome.kind === 'result') return resultMessage(id, outcome.result)
    if (outcome.kind === 'error') return errorMessage(id, outcome.error)
    // `cancelled` stands here only if the call was ended by somebody else than its client.
    const { kind, error } = outcome.kind === 'cancelled' ? { kind: 'unknown' as const, error: abandonedError } : outcome
    const fields = { traceId: call.id, outcome: kind, server: call.server, method: call.method, error }
    if (error.code === 'internal') this.#options.log.error('mcp-call-accident', fields)
    else this.#options.log.debug('mcp-call-failed', fields)
    return errorMessage(id, outcomeError(kind, error, call.id))
  }
}

const abandonedError = new OperatingError('stopped', 'the node ended the call; it may have been done')

function namedTarget(lists: CatalogScope, list: 'tools' | 'prompts', params: Params): Target {
  const name = params.value['name']
  if (typeof name !== 'string') return { error: rpcError(rpcCodes.invalidParams, 'params.name is not a string') }
  const entry = lists[list].find(name)
  if (entry === undefined) {
    const noun = list === 'tools' ? 'tool' : 'prompt'
    return { error: rpcError(rpcCodes.invalidParams, `Unknown ${noun}: ${name.slice(0, quotedCharactersMax)}`) }
  }
  if (entry.own === name) return { server: entry.server, params: params.text }
  const range = jsonMembers(params.text).get('name')
  const edits = range === undefined ? [] : [{ ...range, text: toJsonText(entry.own) }]
  return { server: entry.server, params: editJson(params.text, edits) }
}

function resourceTarget({ session, lists }: RequestInSession, params: Params): Target {
  const uri = params.value['uri']
  if (typeof uri !== 'string') return { error: rpcError(rpcCodes.invalidParams, 'params.uri is not a string') }
  // A server may answer for URIs that it does not list (a tool's result links to one). Where only one can be meant, it
  // is asked.
  const server = session.scope ?? findResource(lists, uri)
  if (server === undefined)
    return {
      error: rpcError(rpcCodes.resourceNotFound, 'Resource not found', { uri: uri.slice(0, quotedCharactersMax) }),
    }
  return { server, params: params.text }
}

function hasProgressToken(params: Params): boolean {
  const meta = params.value['_meta']
  return isObject(meta) && meta['progressToken'] !== undefined
}
