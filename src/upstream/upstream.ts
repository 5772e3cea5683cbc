import type { Offer } from '../vocabulary/offer.ts'
import type { ServerName } from '../vocabulary/ids.ts'

/** One server as this node's configuration describes it (`mcpServers.<name>`), ready to be run. */
export type UpstreamServer = {
  readonly name: ServerName
  readonly priority: number
  /** Default time from a call's start to its result, ms. */
  readonly timeoutMs: number
  readonly link:
    | {
        readonly kind: 'stdio'
        readonly command: string
        readonly args: readonly string[]
        /** Added to the minimal environment (PATH, HOME, USER, LANG, TMPDIR, ...). */
        readonly env: Readonly<Record<string, string>>
        readonly cwd: string | null
      }
    | { readonly kind: 'http'; readonly url: string; readonly headers: Readonly<Record<string, string>> }
}

/** What an upstream tells its node whenever it changes; the node publishes it. */
export type UpstreamStatus = {
  readonly status: 'starting' | 'ready' | 'failed'
  /** One sentence; '' when ready. */
  readonly reason: string
  readonly offer: Offer | null
}
