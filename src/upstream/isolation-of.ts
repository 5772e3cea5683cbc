import type { Isolation } from '../vocabulary/isolation.ts'
import { isObject } from '../std/is-object.ts'
import type { JsonText } from '../std/json-text.ts'
import { parseObject } from './json-rpc.ts'
import type { ConfiguredServer } from '../vocabulary/configured-server.ts'

/**
 * Who shares the upstreams of a server: as configured, or by what it shows. One that gives sessions, or keeps tasks,
 * keeps state by session. On a pipe nothing says which call a question belongs to, so that only a client of its own can
 * be asked.
 */
export function isolationOf(server: ConfiguredServer, shown: Shown | null): Isolation {
  if (server.isolation !== 'auto') return server.isolation
  if (shown !== null && (shown.hasSession || declares(shown.initialize, 'tasks'))) return 'session'
  return server.link.kind === 'stdio' ? 'asking' : 'shared'
}

/** Null: it has not been seen yet. */
export type Shown = { readonly initialize: JsonText; readonly hasSession: boolean }

/** Whether a server's answer to initialize has the capability. */
export function declares(initialize: JsonText | null, capability: string): boolean {
  const capabilities = initialize === null ? undefined : parseObject(initialize)?.['capabilities']
  return isObject(capabilities) && isObject(capabilities[capability])
}
