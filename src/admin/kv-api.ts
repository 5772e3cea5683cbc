import type { Clock } from '../std/clock.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { Deadline } from './deadline.ts'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { answerJson, mountRoutes } from './routes.ts'
import type { Api, ApiContext } from './routes.ts'
import { streamWatch } from './kv-watch-stream.ts'
import type { WatchError } from './kv-watch-stream.ts'
import type { KvNeeds, KvView } from './needs.ts'
import { consistencyOf, limitOf, queryOf, revisionOf, timeoutOf } from './request-input.ts'

/**
 * `/v1/kv`: lists and watches; what concerns one key is kv-keys'. A list ends within its time, a watch has none.
 */
export function mountKv(api: Api, { kv, clock, watchError }: KvApiOptions): void {
  const begin = (c: ApiContext): Deadline =>
    new Deadline({ clock, timeoutMs: timeoutOf(c.env.incoming), client: c.env.outgoing })

  const watchKeys = (c: ApiContext, query: WatchQuery): Response => {
    for (const name of ['prefix', 'after', 'limit', 'consistency'] as const)
      if (query[name] !== undefined) throw new OperatingError('bad-request', `${name} has no meaning with watch`)
    if (query.watch === '') throw new OperatingError('bad-request', 'the pattern of the watch is empty; * is every key')
    const { incoming, outgoing } = c.env
    const seen = revisionOf(incoming.headers['last-event-id'], { name: 'Last-Event-ID', min: 0 })
    const from = seen === null ? revisionOf(query.from, { name: 'from', min: 1 }) : seen + 1
    const watch = kv.watch({ pattern: query.watch, from })
    void streamWatch({ watch, outgoing, clock, watchError, bodyless: incoming.method === 'HEAD' })
    return RESPONSE_ALREADY_SENT
  }

  mountRoutes(api, '/v1/kv', {
    GET: async (c) => {
      const query = queryOf(c.env.incoming, ['prefix', 'after', 'limit', 'consistency', 'watch', 'from'])
      if (query.watch !== undefined) return watchKeys(c, { ...query, watch: query.watch })
      if (query.from !== undefined) throw new OperatingError('bad-request', 'from stands with watch only')
      const consistency = consistencyOf(query.consistency)
      const range = { prefix: query.prefix ?? '', after: query.after ?? null, limit: limitOf(query.limit) }
      const listed = await begin(c).step(
        () => lateRead('the list'),
        ({ timeoutMs, signal }) => kv.list(range, { consistency, timeoutMs, signal }),
      )
      const { entries, next } = cutToBytes(listed.entries, listed.next)
      const nextMember = next === null ? '' : `,"next":${JSON.stringify(next)}`
      return answerJson(
        c,
        `{"entries":[${entries.map(entryText).join(',')}],"revision":${listed.revision}${nextMember}}`,
      )
    },
  })
}

export type KvApiOptions = { readonly kv: KvNeeds; readonly clock: Clock; readonly watchError: WatchError }

type WatchQuery = { readonly watch: string } & Partial<
  Record<'prefix' | 'after' | 'limit' | 'consistency' | 'from', string>
>

/** Values of one answer of a list together, in UTF-16 units: past it the rest is left for the next page. */
const listLengthMax = 8 * 1024 * 1024

export function entryText({ key, value, revision }: KvView): string {
  return `{"key":${JSON.stringify(key)},"value":${value},"revision":${revision}}`
}

function cutToBytes(
  entries: readonly KvView[],
  next: string | null,
): { entries: readonly KvView[]; next: string | null } {
  let length = 0
  const fitting = entries.findIndex((entry, at) => {
    length += entry.value.length
    return at > 0 && length > listLengthMax
  })
  if (fitting === -1) return { entries, next }
  return { entries: entries.slice(0, fitting), next: entries[fitting - 1]?.key ?? null }
}

export function lateRead(what: string): OperatingError {
  return new OperatingError('timeout', `${what} could not be read within the time of the request`, { retry: 'after' })
}
