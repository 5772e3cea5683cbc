import type { ServerName } from './ids.ts'

/** One server as this node's configuration describes it (`mcpServers.<name>`), ready to be run: made by config/, run by upstream/. */
export type ConfiguredServer = {
  readonly name: ServerName
  readonly priority: number
  /** Default time from a call's start to its result, ms. */
  readonly timeoutMs: number
  /** What reports of progress may extend it to, ms; never less. */
  readonly timeoutMaxMs: number
  readonly isolation: 'auto' | 'shared' | 'session'
  /** Upstreams of single sessions at once. */
  readonly isolatedMax: number
  /** What clients see of it: names, or patterns with `*`. Of `allow` an empty list means all; `deny` wins. */
  readonly allow: OfferedNames
  readonly deny: OfferedNames
  /** Sorted, each once. */
  readonly groups: readonly string[]
  readonly whenUnavailable: 'keep' | 'hide'
  readonly link:
    | {
        readonly kind: 'stdio'
        readonly command: string
        readonly args: readonly string[]
        /** Added to the minimal environment (PATH, HOME, USER, LANG, TMPDIR, ...). */
        readonly env: Readonly<Record<string, string>>
        readonly cwd: string | null
      }
    | {
        readonly kind: 'http'
        readonly url: string
        readonly headers: Readonly<Record<string, string>>
        /** `sse`: the HTTP+SSE of revision 2024-11-05. `inferred`: found out when it is first connected. */
        readonly transport: 'streamable-http' | 'sse' | 'inferred'
      }
}

/** Resources by URI, resource templates by the text of theirs. */
export type OfferedNames = Readonly<Record<'tools' | 'resources' | 'prompts', readonly string[]>>
