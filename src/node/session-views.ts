import { isObject } from '../std/is-object.ts'
import type { JsonText } from '../std/json-text.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { SessionView } from '../admin/needs.ts'
import type { SessionRecord } from '../state/command.ts'

/** What operators see of clients' sessions, by their beginning, then id. */
export function sessionViews(sessions: readonly SessionRecord[]): readonly SessionView[] {
  return sessions
    .map(({ id, clientInfo, protocolVersion, path, openedAt, usedAt }) => ({
      id,
      client: clientText(clientInfo),
      protocolVersion,
      path,
      startedAt: openedAt,
      lastUsedAt: usedAt,
    }))
    .sort((a, b) => a.startedAt - b.startedAt || compareIds(a.id, b.id))
}

function clientText(clientInfo: JsonText): string {
  const said: unknown = JSON.parse(clientInfo)
  if (!isObject(said)) return ''
  return [said['name'], said['version']].filter((part) => typeof part === 'string').join(' ')
}
