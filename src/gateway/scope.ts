import type { Catalog, CatalogScope } from '../routing/catalog.ts'
import { isServerName } from '../vocabulary/ids.ts'
import type { ServerName } from '../vocabulary/ids.ts'

/**
 * What one URL shows: `/mcp` all servers, `/mcp/group/{group}` those of a group, `/mcp/{server}` one under its own names. A
 * session is bound to the scope on which it began.
 */
export type Scope = {
  readonly path: string
  /** The one server of the scope, which is passed everything as it is; null: several, whose names are translated. */
  readonly server: ServerName | null
  readonly group: string | null
}

export const allServers: Scope = { path: '/mcp', server: null, group: null }
const groupPath = '/mcp/group/'
const serverPath = '/mcp/'
/** As the configuration lets groups be named. */
const groupPattern = /^[A-Za-z0-9_-]{1,48}$/

/** Undefined: nothing can be there. Whether something is there now is asked with `listsOf`. */
export function scopeOfPath(path: string): Scope | undefined {
  if (path === '/mcp') return allServers
  if (path.startsWith(groupPath)) {
    const group = path.slice(groupPath.length)
    return groupPattern.test(group) ? { path, server: null, group } : undefined
  }
  const name = path.startsWith(serverPath) ? path.slice(serverPath.length) : ''
  return isServerName(name) ? { path, server: name, group: null } : undefined
}

/** Undefined: nobody offers the scope now. */
export function listsOf(catalog: Catalog, { server, group }: Scope): CatalogScope | undefined {
  if (server !== null) return catalog.servers.get(server)
  return group === null ? catalog.all : catalog.groups.get(group)
}
