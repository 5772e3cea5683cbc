import type { CatalogScope } from '../routing/catalog.ts'
import type { SessionRecord } from '../state/command.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import { isLogLevel } from '../vocabulary/log-level.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Ask } from './client-calls.ts'
import type { EraOptions } from './gateway-options.ts'
import { outcomeError, rpcCodes, rpcError } from './errors.ts'
import { errorMessage, resultMessage } from './json-rpc.ts'
import type { Request } from './json-rpc.ts'
import type { LocalSession } from './local-session.ts'
import type { ClusterSessions } from './sessions-port.ts'

/**
 * What a client sets for its session: its log level and its subscriptions. It holds when the server has it, and then the
 * session's record, from which it is said again wherever the session's upstream is made anew.
 */
export type Setting = {
  /** Before the server is asked. */
  readonly before: (() => Promise<void>) | null
  /** When the server has done it. */
  readonly confirm: (() => Promise<void>) | null
}

/** Of a request that goes to one server. */
export function settingOf(
  sessions: ClusterSessions,
  { id }: LocalSession,
  { method, params }: Pick<Request, 'method' | 'params'>,
  server: ServerName,
): Setting {
  const { uri, level } = params.value
  if (method === 'logging/setLevel' && isLogLevel(level))
    return { before: null, confirm: () => sessions.setLevel(id, level) }
  if (typeof uri !== 'string') return noSetting
  if (method === 'resources/subscribe') return { before: null, confirm: () => sessions.subscribe(id, { server, uri }) }
  // First of all the record: what the server is not told now is at least not said to it again.
  if (method === 'resources/unsubscribe')
    return { before: () => sessions.unsubscribe(id, { server, uri }), confirm: null }
  return noSetting
}

const noSetting: Setting = { before: null, confirm: null }

/**
 * The answer to a level for several servers. Those that may have an upstream for the session are told; the others learn it
 * from the record, or before the session's next call. One that does not take it stops nobody.
 */
export async function setLevelOfAll(
  { sessions, catalog, nextCallId }: Pick<EraOptions, 'sessions' | 'catalog' | 'nextCallId'>,
  { session, record, request, lists, ask }: LevelForAll,
): Promise<JsonText> {
  const { id, method, params } = request
  const { level } = params.value
  if (!isLogLevel(level))
    return errorMessage(id, rpcError(rpcCodes.invalidParams, 'params.level is not a level of logging'))
  try {
    await sessions.setLevel(session.id, level)
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error
    return errorMessage(
      id,
      outcomeError(error.code === 'outcome-unknown' ? 'unknown' : 'rejected', error, nextCallId()),
    )
  }
  session.levels.want(params.text)
  const servers = [...new Set([...record.pins.keys(), ...session.levels.called])].filter((server) => {
    const own = catalog().servers.get(server)
    return lists.servers.has(server) && own !== undefined && canLog(own)
  })
  await Promise.all(servers.map((server) => ask({ server, method, params: params.text })))
  return resultMessage(id, asJsonText('{}'))
}

export type LevelForAll = {
  readonly session: LocalSession
  readonly record: SessionRecord
  readonly request: Request
  readonly lists: CatalogScope
  readonly ask: Ask
}

export function canLog({ capabilities }: CatalogScope): boolean {
  return isObject(capabilities['logging'])
}
