import { isServerName, type ServerName } from '../vocabulary/ids.ts'
import type { Config, ServerConfig } from './schema.ts'

/**
 * The servers that one node is to run, in the shape in which upstream/ takes them (`UpstreamServer`; config/ may not
 * import that folder).
 */
export type ConfiguredServer = {
  readonly name: ServerName
  readonly priority: number
  readonly timeoutMs: number
  readonly link:
    | {
        readonly kind: 'stdio'
        readonly command: string
        readonly args: readonly string[]
        readonly env: Readonly<Record<string, string>>
        readonly cwd: string | null
      }
    | { readonly kind: 'http'; readonly url: string; readonly headers: Readonly<Record<string, string>> }
}

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
    return [{ name, priority: server.priority, timeoutMs: server.timeoutMs, link }]
  })
}

function linkOf(server: ServerConfig): ConfiguredServer['link'] | null {
  if (server.url !== null) return { kind: 'http', url: server.url, headers: server.headers }
  if (server.command === null) return null
  return { kind: 'stdio', command: server.command, args: server.args, env: server.env, cwd: server.cwd }
}
