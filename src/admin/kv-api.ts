import type { Clock } from '../std/clock.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { valueBytesMax } from '../vocabulary/kv-limits.ts'
import { Deadline } from './deadline.ts'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { answerJson, mountRoutes } from './routes.ts'
import type { Api, ApiContext } from './routes.ts'
import { streamWatch } from './kv-watch-stream.ts'
import type { WatchError } from './kv-watch-stream.ts'
import type { KvNeeds, KvView } from './needs.ts'
import { readJsonBody } from './request-body.ts'
import {
  consistencyOf,
  idempotencyKeyOf,
  ifMatchOf,
  keyOf,
  limitOf,
  queryOf,
  revisionOf,
  timeoutOf,
} from './request-input.ts'

/**
 * `/v1/kv`: every request ends within its time, a value comes back byte for byte as it was put, and no answer claims that a
 * write did not happen when it may have. A watch has no time.
 */
export function mountKv(api: Api, { kv, clock, watchError }: KvApiOptions): void {
  const begin = (c: ApiContext): Deadline =>
    new Deadline({ clock, timeoutMs: timeoutOf(c.env.incoming), client: c.req.raw.signal })

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
      const listed = await begin(c).step(lateRead('the list'), (limits) => kv.list(range, { consistency, ...limits }))
      const { entries, next } = cutToBytes(listed.entries, listed.next)
      const nextMember = next === null ? '' : `,"next":${JSON.stringify(next)}`
      return answerJson(
        c,
        `{"entries":[${entries.map(entryText).join(',')}],"revision":${listed.revision}${nextMember}}`,
      )
    },
  })

  mountRoutes(api, `${keyPrefix}*`, {
    GET: async (c) => {
      const key = keyOf(c.env.incoming, keyPrefix)
      const consistency = consistencyOf(queryOf(c.env.incoming, ['consistency']).consistency)
      const found = await begin(c).step(lateRead('the key'), (limits) => kv.get(key, { consistency, ...limits }))
      if (found === undefined) throw new OperatingError('not-found', `there is no key ${JSON.stringify(key)}`)
      return answerJson(c, entryText(found))
    },
    PUT: async (c) => {
      const { key, ...conditions } = writeOf(c)
      const deadline = begin(c)
      const { text } = await deadline.step(lateBody, ({ signal }) =>
        readJsonBody(c.env.incoming, { bytesMax: valueBytesMax, signal }),
      )
      const { revision } = await deadline.step(lateWrite('put'), (limits) =>
        kv.put(key, text, { ...conditions, ...limits }),
      )
      return answerJson(c, JSON.stringify({ key, revision }))
    },
    DELETE: async (c) => {
      const { key, ...conditions } = writeOf(c)
      const { revision } = await begin(c).step(lateWrite('delete'), (limits) =>
        kv.delete(key, { ...conditions, ...limits }),
      )
      return answerJson(c, JSON.stringify({ key, revision }))
    },
  })
}

export type KvApiOptions = { readonly kv: KvNeeds; readonly clock: Clock; readonly watchError: WatchError }

type WatchQuery = { readonly watch: string } & Partial<
  Record<'prefix' | 'after' | 'limit' | 'consistency' | 'from', string>
>

const keyPrefix = '/v1/kv/'

/** Values of one answer of a list together, in UTF-16 units: past it the rest is left for the next page. */
const listLengthMax = 8 * 1024 * 1024

function writeOf(c: ApiContext): { key: string; expect: number | null; idempotencyKey: string | null } {
  const key = keyOf(c.env.incoming, keyPrefix)
  queryOf(c.env.incoming, [])
  return { key, expect: ifMatchOf(c.env.incoming), idempotencyKey: idempotencyKeyOf(c.env.incoming) }
}

function entryText({ key, value, revision }: KvView): string {
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

const lateBody = new OperatingError('bad-request', 'the body did not arrive within the time of the request')

function lateRead(what: string): OperatingError {
  return new OperatingError('timeout', `${what} could not be read within the time of the request`, { retry: 'after' })
}

function lateWrite(what: string): OperatingError {
  return new OperatingError('outcome-unknown', `${what}: no outcome within the time of the request`)
}
