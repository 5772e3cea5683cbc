/**
 * One request of the workload each, straight to a node, and what its answer proves: `ok`, `refused` (it has provably not
 * happened) or `unknown`. Nothing is sent twice here, and every request ends within its time.
 */
import { Agent, request } from 'undici'
import { openSession, post, type RawSession } from '../lib/raw-mcp.ts'
import { rpcCodes } from '../../src/gateway/errors.ts'
import type { NodeTarget, Operation } from './types.ts'

export type Answer = Pick<Operation, 'outcome' | 'why' | 'value' | 'revision'>

/** What a node is told to end within, and when it is given up: a node that is paused ends nothing. */
const kvRequestMs = 1500
const kvGiveUpMs = 2500
const callGiveUpMs = 3000

const notSent = new Set(['ECONNREFUSED', 'UND_ERR_CONNECT_TIMEOUT'])
const refusingCodes: ReadonlySet<unknown> = new Set([
  rpcCodes.unavailable,
  rpcCodes.rejected,
  rpcCodes.overloaded,
  rpcCodes.invalidParams,
  rpcCodes.refusedRequest,
])

type Json = Readonly<Record<string, unknown>>

export class Requests {
  readonly agent = new Agent({ pipelining: 1 })

  put(
    target: NodeTarget,
    write: { key: string; value: string; idempotencyKey: string | null; expects: number | null },
  ): Promise<Answer> {
    const { key, value, idempotencyKey, expects } = write
    return this.#kv(`${target.url}/v1/kv/${key}`, {
      method: 'PUT',
      headers: {
        'content-type': 'application/json',
        ...(idempotencyKey === null ? {} : { 'idempotency-key': idempotencyKey }),
        ...(expects === null ? {} : { 'if-match': `"${expects}"` }),
      },
      body: JSON.stringify(value),
    })
  }

  get(target: NodeTarget, key: string, consistency: 'linearizable' | 'stale'): Promise<Answer> {
    return this.#kv(`${target.url}/v1/kv/${key}?consistency=${consistency}`, { method: 'GET', headers: {}, body: null })
  }

  /** Rejects when there is none: what was to be done in it has not begun. */
  openSession(target: NodeTarget): Promise<RawSession> {
    return openSession(target.mcpUrl, this.agent, AbortSignal.timeout(callGiveUpMs))
  }

  /** `isGone`: the session has ended, and another is to be opened. */
  async call(
    session: RawSession,
    call: { name: string; arguments: object },
  ): Promise<Answer & { readonly isGone: boolean }> {
    try {
      const message = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: call }
      const response = await post(session, message, AbortSignal.timeout(callGiveUpMs))
      const text = await response.body.text()
      const isGone = response.statusCode === 404
      if (response.statusCode !== 200) return { ...failed(response.statusCode, text), isGone }
      return { ...answerOfCall(text), isGone }
    } catch (cause) {
      return { ...failedToAsk(cause), isGone: false }
    }
  }

  close(): Promise<void> {
    return this.agent.destroy()
  }

  async #kv(
    url: string,
    {
      method,
      headers,
      body,
    }: { method: 'GET' | 'PUT'; headers: Readonly<Record<string, string>>; body: string | null },
  ): Promise<Answer> {
    try {
      const response = await request(url, {
        method,
        dispatcher: this.agent,
        headers: { ...headers, 'x-request-timeout-ms': String(kvRequestMs) },
        body,
        signal: AbortSignal.timeout(kvGiveUpMs),
      })
      const text = await response.body.text()
      const { statusCode } = response
      if (method === 'GET' && statusCode === 404) return { outcome: 'ok', why: null, value: null, revision: 0 }
      if (statusCode !== 200) return failed(statusCode, text)
      const { value, revision } = parse(text)
      return {
        outcome: 'ok',
        why: null,
        value: typeof value === 'string' ? value : null,
        revision: typeof revision === 'number' ? revision : null,
      }
    } catch (cause) {
      return failedToAsk(cause)
    }
  }
}

/** Of what a node refuses with a status below 500 it has done nothing; 503 promises the same. */
function failed(status: number, text: string): Answer {
  const { error } = parse(text)
  const code = isJson(error) ? error['code'] : ''
  const outcome = status < 500 || status === 503 ? 'refused' : 'unknown'
  return { outcome, why: `${status} ${String(code)}`, value: null, revision: null }
}

function failedToAsk(cause: unknown): Answer {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const why = code === '' || code === '23' ? (cause instanceof Error ? cause.name : String(cause)) : code
  return { outcome: notSent.has(code) ? 'refused' : 'unknown', why, value: null, revision: null }
}

/** As JSON, or as a stream of events of which the last is the answer. */
function answerOfCall(text: string): Answer {
  const data = text.startsWith('{') ? text : (text.trimEnd().split('\n').at(-1) ?? '').replace(/^data: ?/, '')
  const { result, error } = parse(data)
  if (isJson(result) && result['isError'] !== true) {
    const content: unknown = Array.isArray(result['content']) ? result['content'][0] : null
    return { outcome: 'ok', why: null, value: isJson(content) ? String(content['text']) : null, revision: null }
  }
  const code = isJson(error) ? error['code'] : 'no answer'
  const outcome = refusingCodes.has(code) ? 'refused' : 'unknown'
  const detail = isJson(error) && isJson(error['data']) ? error['data']['code'] : ''
  return { outcome, why: `${String(code)} ${String(detail)}`.trimEnd(), value: null, revision: null }
}

function parse(text: string): Json {
  try {
    const value: unknown = JSON.parse(text)
    return isJson(value) ? value : {}
  } catch {
    return {}
  }
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
