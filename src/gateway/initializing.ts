import { randomUUID } from 'node:crypto'
import { emptyScope } from '../routing/catalog.ts'
import type { Catalog } from '../routing/catalog.ts'
import type { SessionOpening } from '../state/command.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText, jsonMembers, sliceJson, toJsonText, withJsonMember } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { rpcCodes } from './errors.ts'
import type { EraOptions } from './gateway-options.ts'
import type { Params } from './json-rpc.ts'
import { digestLists } from './list-digests.ts'
import type { ListDigests } from './event-ids.ts'
import type { Refusal } from './refusal.ts'
import { listsOf } from './scope.ts'
import type { Scope } from './scope.ts'

/**
 * How a session begins: what the client says of itself goes into the cluster's record of it, and what the scope's servers
 * can do is the answer. The record is committed before the client learns the session's id, so every node knows it.
 */
export const legacyVersions: readonly string[] = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']

export type Opened = {
  readonly kind: 'opened'
  readonly opening: SessionOpening
  /** The lists that the client would see now. */
  readonly told: ListDigests
  readonly result: JsonText
}

/** `id`: of the session; one is made when it is left out. */
export type Initialize = {
  readonly scope: Scope
  readonly transport: SessionOpening['transport']
  readonly params: Params
  readonly id?: SessionId
}

export class Initializing {
  readonly #options: EraOptions

  constructor(options: EraOptions) {
    this.#options = options
  }

  async open({ scope, transport, params, id }: Initialize): Promise<Opened | { kind: 'refused'; refusal: Refusal }> {
    const { sessions, limits, version } = this.#options
    const { sessionIdleMs, sseSessionIdleMs } = limits
    const catalog = this.#options.catalog()
    const lists = listsOf(catalog, scope)
    if (lists === undefined) return refused({ status: 404, message: `nothing is offered at ${scope.path}` })
    const asked = params.value['protocolVersion']
    if (typeof asked !== 'string') return invalid('protocolVersion is not a string')
    const about = { clientInfo: objectOf(params, 'clientInfo'), capabilities: objectOf(params, 'capabilities') }
    if (about.clientInfo === undefined) return invalid('clientInfo is not an object')
    if (about.capabilities === undefined) return invalid('capabilities is not an object')
    const protocolVersion = legacyVersions.find((known) => known === asked) ?? legacyVersions[0] ?? asked
    const opening: SessionOpening = {
      id: id ?? (randomUUID() as SessionId),
      path: scope.path,
      transport,
      protocolVersion,
      clientInfo: about.clientInfo,
      capabilities: about.capabilities,
      idleMs: transport === 'sse' ? Math.min(sessionIdleMs, sseSessionIdleMs) : sessionIdleMs,
    }
    try {
      await sessions.open(opening)
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error
      return error.code === 'bad-request' ? invalid(error.message) : refused(refusalOfChange(error))
    }
    const result = initializeResult(catalog, scope, { protocolVersion, version })
    return { kind: 'opened', opening, told: digestLists(lists), result }
  }
}

/** A change of a session that is not done, or not surely. */
export function refusalOfChange(error: OperatingError): Refusal {
  const seconds = Math.max(1, Math.ceil((error.retryAfterMs ?? 1000) / 1000))
  return {
    status: 503,
    message: error.message,
    code: error.code === 'overloaded' ? rpcCodes.overloaded : rpcCodes.unavailable,
    data: { code: error.code, retry: 'after' },
    headers: { 'Retry-After': String(seconds) },
  }
}

function refused(refusal: Refusal): { kind: 'refused'; refusal: Refusal } {
  return { kind: 'refused', refusal }
}

/** The request itself is wrong: an answer, not a refused HTTP request. */
function invalid(message: string): { kind: 'refused'; refusal: Refusal } {
  return refused({ status: 200, message, code: rpcCodes.invalidParams })
}

/** The client's own text; undefined when it is there and no object. */
function objectOf({ text, value }: Params, name: string): JsonText | undefined {
  const range = jsonMembers(text).get(name)
  if (range === undefined) return asJsonText('{}')
  return isObject(value[name]) ? sliceJson(text, range) : undefined
}

function initializeResult(
  catalog: Catalog,
  scope: Scope,
  { protocolVersion, version }: { readonly protocolVersion: string; readonly version: string },
): JsonText {
  const { capabilities } = listsOf(catalog, scope) ?? emptyScope
  const serverInfo = { name: 'quorate', version }
  if (scope.server === null)
    return toJsonText({ protocolVersion, capabilities, serverInfo, instructions: clusterInstructions })
  const own = catalog.servers.get(scope.server)?.initialize ?? asJsonText('{}')
  // A server that does not say who it is breaks a rule; its clients need not.
  const named = jsonMembers(own).has('serverInfo') ? own : withJsonMember(own, 'serverInfo', toJsonText(serverInfo))
  const able = withJsonMember(named, 'capabilities', toJsonText(capabilities))
  return withJsonMember(able, 'protocolVersion', toJsonText(protocolVersion))
}

const clusterInstructions =
  "One address for the MCP servers of a whole cluster. A tool's or prompt's name begins with its server's name and two underscores."
