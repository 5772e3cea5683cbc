import type { ConfiguredServer } from '../vocabulary/configured-server.ts'
import { compareIds, isServerName } from '../vocabulary/ids.ts'
import type { Config } from './schema.ts'
import type { ServerConfig, ServerType } from './server-schema.ts'

/** The servers of a configuration in the shape in which they are run: those of one node, or all. */

/** Connections of single sessions to a server, where its key `isolatedMax` is not given. */
const isolatedMax = { stdio: 64, http: 1024 } as const

/** Enabled servers whose `placement.where` the labels match; the caller adds the label `node`, the node's id. */
export function upstreamServersOf(
  config: Config,
  labels: Readonly<Record<string, string>>,
): readonly ConfiguredServer[] {
  return configuredServers(config, (server) =>
    Object.entries(server.placement.where).every(([label, value]) => labels[label] === value),
  )
}

/** Every enabled server, wherever it is placed. */
export function allServersOf(config: Config): readonly ConfiguredServer[] {
  return configuredServers(config, () => true)
}

function configuredServers(config: Config, isWanted: (server: ServerConfig) => boolean): readonly ConfiguredServer[] {
  return Object.entries(config.mcpServers).flatMap(([name, server]) => {
    const link = linkOf(server)
    if (server.disabled || link === null || !isServerName(name) || !isWanted(server)) return []
    const { priority, timeoutMs, timeoutMaxMs, isolation, allow, deny, whenUnavailable } = server
    return [
      {
        name,
        priority,
        timeoutMs,
        timeoutMaxMs: Math.max(timeoutMs, timeoutMaxMs),
        isolation,
        isolatedMax: server.isolatedMax ?? isolatedMax[link.kind],
        allow,
        deny,
        groups: [...new Set(server.groups)].sort(compareIds),
        whenUnavailable,
        link,
      },
    ]
  })
}

function linkOf(server: ServerConfig): ConfiguredServer['link'] | null {
  if (server.url !== null)
    return { kind: 'http', url: server.url, headers: server.headers, transport: httpTransports[server.type ?? 'http'] }
  if (server.command === null) return null
  return { kind: 'stdio', command: server.command, args: server.args, env: server.env, cwd: server.cwd }
}

/** `http` says no more than the url does: servers of the older transport are written so too. */
const httpTransports = {
  stdio: 'inferred',
  http: 'inferred',
  'streamable-http': 'streamable-http',
  streamableHttp: 'streamable-http',
  sse: 'sse',
} as const satisfies Record<ServerType, unknown>
