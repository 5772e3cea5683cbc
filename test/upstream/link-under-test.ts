import { httpLinks } from '../../src/upstream/http-links.ts'
import { defaultLimits, type UpstreamLimits } from '../../src/upstream/limits.ts'
import type { Link, LinkEnd, LinkFailure, LinkSource } from '../../src/upstream/link.ts'
import type { ConfiguredServer } from '../../src/vocabulary/configured-server.ts'
import { Random } from '../../src/std/random.ts'
import { countingClock } from '../counting-clock.ts'
import { httpServer, recordedLog, type RecordedLog } from './upstreams-under-test.ts'

/** One link to a server over HTTP, spoken to as an MCP connection does, without one. */
export type Answer =
  | { readonly kind: 'answer'; readonly message: Record<string, unknown> }
  | (LinkFailure & { readonly text: string })

export type LinkUnderTest = {
  readonly link: Link
  readonly log: RecordedLog
  /** All that answers no request: what came, and on which request's stream. */
  readonly heard: { readonly message: Record<string, unknown>; readonly on: number | null }[]
  readonly ends: LinkEnd[]
  readonly missed: () => number
  /** Ids of the requests made so far, from 1 on. */
  request(method: string, params?: object): Promise<Answer>
  abandon(id: number): 'withdrawn' | 'sent'
  /** initialize and what follows. */
  begin(): Promise<Answer>
  liveTimers(): number
  /** Another link of the same source. */
  again(): LinkUnderTest
  close(): Promise<void>
}

type Transport = Extract<ConfiguredServer['link'], { kind: 'http' }>['transport']

export function openLink(
  url: string,
  options: { transport?: Transport; headers?: Record<string, string>; limits?: Partial<UpstreamLimits> } = {},
): LinkUnderTest {
  const timers = new Set<object>()
  const log = recordedLog()
  const server = httpServer('s', url)
  const link = {
    kind: 'http',
    url,
    headers: options.headers ?? {},
    transport: options.transport ?? 'inferred',
  } as const
  const limits = { ...defaultLimits, resumeDelayMs: 20, resumeDelayMinMs: 1, ...options.limits }
  const source = httpLinks({ server, link, log, clock: countingClock(timers), random: new Random(1), limits })
  return open({ source, log, timers })
}

function open(parts: { source: LinkSource; log: RecordedLog; timers: Set<object> }): LinkUnderTest {
  const heard: LinkUnderTest['heard'] = []
  const ends: LinkEnd[] = []
  const waiting = new Map<number, (answer: Answer) => void>()
  let nextId = 1
  let missed = 0
  const link = parts.source.open({
    message(text, on) {
      const message = JSON.parse(text) as Record<string, unknown>
      const id = message['method'] === undefined ? Number(message['id']) : 0
      const settle = waiting.get(id)
      if (settle === undefined) return heard.push({ message, on })
      waiting.delete(id)
      link.release(id)
      return settle({ kind: 'answer', message })
    },
    failed(id, failure) {
      waiting.get(id)?.({ ...failure, text: failure.kind === 'session-lost' ? '' : failure.error.message })
      waiting.delete(id)
    },
    missed: () => (missed += 1),
    ended: (end) => ends.push(end),
  })
  const request = (method: string, params: object = {}): Promise<Answer> =>
    new Promise((resolve) => {
      const id = nextId
      nextId += 1
      waiting.set(id, resolve)
      link.request(id, JSON.stringify({ jsonrpc: '2.0', id, method, params }))
    })
  return {
    link,
    log: parts.log,
    heard,
    ends,
    missed: () => missed,
    request,
    abandon(id) {
      waiting.delete(id)
      const params = { requestId: id }
      return link.abandon(id, JSON.stringify({ jsonrpc: '2.0', method: 'notifications/cancelled', params }))
    },
    async begin() {
      const clientInfo = { name: 'test', version: '1' }
      const answer = await request('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo })
      if (answer.kind !== 'answer' || answer.message['result'] === undefined) return answer
      link.negotiated((answer.message['result'] as { protocolVersion: string }).protocolVersion)
      await link.tell(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' }))
      link.listen()
      return answer
    },
    liveTimers: () => parts.timers.size,
    again: () => open(parts),
    async close() {
      await link.close()
      await parts.source.close()
      if (parts.timers.size > 0) throw new Error(`${parts.timers.size} timers are left after close`)
    },
  }
}
