/**
 * The admin API as commands use it. Every failure is an OperatingError: the node's own, `timeout` where nothing answers,
 * `outcome-unknown` where a write was sent and no answer came.
 */
import { Agent, type Dispatcher } from 'undici'
import { readEvents, type ServerEvent } from './event-stream.ts'
import { errorCodes, OperatingError, type ErrorCode, type Retry } from '../vocabulary/operating-error.ts'

export const defaultUrl = 'http://127.0.0.1:6270'

/** Answers of the admin API are bounded by pages; a tool's result may be large. */
const answerBytesMax = 64 * 1024 * 1024
const connectTimeoutMs = 3000

export type AdminRequest = {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  /** Path with query, percent-encoded. */
  readonly path: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Longest silence before the answer; 0: as long as the node takes. */
  readonly waitMs?: number
}

export class AdminClient {
  readonly url: string
  readonly #origin: string
  /** Stands before every path; empty for a node without a proxy before it. */
  readonly #basePath: string
  readonly #signal: AbortSignal
  readonly #agent = new Agent({ connect: { timeout: connectTimeoutMs }, maxResponseSize: answerBytesMax })
  /** Streams have no end, and are bounded event by event. */
  readonly #streams = new Agent({ connect: { timeout: connectTimeoutMs } })

  constructor(url: string, signal: AbortSignal) {
    const parsed = URL.canParse(url) ? new URL(url) : null
    if (parsed === null || !/^https?:$/.test(parsed.protocol))
      throw new OperatingError('bad-request', `${JSON.stringify(url)} is no http address; for example ${defaultUrl}`)
    this.#origin = parsed.origin
    this.#basePath = parsed.pathname.replace(/\/+$/, '')
    this.url = `${this.#origin}${this.#basePath}`
    this.#signal = signal
  }

  async get(path: string): Promise<unknown> {
    return (await this.send({ method: 'GET', path })).body
  }

  /** A successful answer, parsed and as it came (numbers that JavaScript can not hold are whole in the text). */
  async send(what: AdminRequest): Promise<{ readonly body: unknown; readonly text: string }> {
    const response = await this.#exchange(what)
    if (response.statusCode < 200 || response.statusCode >= 300) throw await this.#refusal(response, what)
    const text = await this.#read(response, what)
    return { body: this.#parsed(text), text }
  }

  /** The events of a stream as they come, until it ends; broken off, or silent for `silenceMs`, it fails with `timeout`. */
  async *events(path: string, { silenceMs }: { readonly silenceMs: number }): AsyncGenerator<ServerEvent, void, void> {
    const what: AdminRequest = { method: 'GET', path, headers: { accept: 'text/event-stream' } }
    const response = await this.#exchange(what, { agent: this.#streams, bodyTimeout: silenceMs })
    if (response.statusCode !== 200) throw await this.#refusal(response, what)
    try {
      yield* readEvents(response.body)
    } catch (cause) {
      throw cause instanceof OperatingError ? cause : this.#failure(cause, what)
    } finally {
      response.body.destroy()
    }
  }

  /**
   * The bytes of an answer as they come, as many as it states; broken off, or silent for `silenceMs`, it fails with `timeout`.
   * Before the first byte the node may take `waitMs`.
   */
  async *bytes(
    path: string,
    { waitMs, silenceMs }: { readonly waitMs: number; readonly silenceMs: number },
  ): AsyncGenerator<Uint8Array, void, void> {
    const what: AdminRequest = { method: 'GET', path, waitMs, headers: { accept: 'application/octet-stream' } }
    const response = await this.#exchange(what, { agent: this.#streams, bodyTimeout: silenceMs })
    if (response.statusCode !== 200) throw await this.#refusal(response, what)
    try {
      for await (const part of response.body) yield part as Uint8Array
    } catch (cause) {
      throw this.#failure(cause, what)
    } finally {
      response.body.destroy()
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#agent.destroy(), this.#streams.destroy()])
  }

  async #refusal(response: Dispatcher.ResponseData, what: AdminRequest): Promise<OperatingError> {
    const body = this.#parsed(await this.#read(response, what))
    return errorOf(body, `${this.url} answers with HTTP ${response.statusCode}`)
  }

  #parsed(text: string): unknown {
    try {
      return text === '' ? undefined : JSON.parse(text)
    } catch {
      throw new OperatingError('internal', `${this.url} answers with something that is no JSON: is it a Quorate node?`)
    }
  }

  async #exchange(
    what: AdminRequest,
    { agent = this.#agent, bodyTimeout }: { readonly agent?: Agent; readonly bodyTimeout?: number } = {},
  ): Promise<Dispatcher.ResponseData> {
    const waitMs = what.waitMs ?? 15_000
    try {
      // In two parts: a URL would take the key `..` for a step up.
      return await agent.request({
        origin: this.#origin,
        path: `${this.#basePath}${what.path}`,
        method: what.method,
        body: what.body ?? null,
        headers: {
          accept: 'application/json',
          ...(what.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...what.headers,
        },
        signal: this.#signal,
        headersTimeout: waitMs,
        bodyTimeout: bodyTimeout ?? waitMs,
      })
    } catch (cause) {
      throw this.#failure(cause, what)
    }
  }

  async #read(response: Dispatcher.ResponseData, what: AdminRequest): Promise<string> {
    try {
      return await response.body.text()
    } catch (cause) {
      throw this.#failure(cause, what)
    }
  }

  #failure(cause: unknown, what: AdminRequest): OperatingError {
    if (this.#signal.aborted) return new OperatingError('cancelled', 'interrupted')
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
    if (neverSent.includes(code))
      return new OperatingError(
        'timeout',
        `nothing answers at ${this.url}; start a node there, or name another with --url or QUORATE_URL`,
        { cause },
      )
    if (what.method === 'GET') return new OperatingError('timeout', `no answer from ${this.url}`, { cause })
    return new OperatingError(
      'outcome-unknown',
      `the request was sent to ${this.url}, but no answer came: it may have been done or not; look before you repeat it`,
      { cause },
    )
  }
}

/** Failures of connecting: no byte of the request left. */
const neverSent: readonly string[] = [
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
]

const retries: readonly Retry[] = ['never', 'elsewhere', 'after', 'outcome-unknown']

/** A node's error shape as the error that it was; `from` says who answers with it. */
export function errorOf(body: unknown, from: string): OperatingError {
  const error = objectOf(objectOf(body)['error'])
  const { code, message, retry, retryAfterMs, details } = error
  if (typeof code !== 'string' || typeof message !== 'string')
    return new OperatingError('internal', `${from}: is it a Quorate node?`)
  const known = errorCodes.find((candidate): candidate is ErrorCode => candidate === code)
  return new OperatingError(known ?? 'internal', known === undefined ? `${message} (${code})` : message, {
    ...(retries.includes(retry as Retry) ? { retry: retry as Retry } : {}),
    ...(typeof retryAfterMs === 'number' ? { retryAfterMs } : {}),
    details: objectOf(details),
  })
}

/** Foreign JSON as a map; empty where it is none. */
export function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

/** The list under a name; empty where there is none. */
export function listOf(body: unknown, name: string): readonly Readonly<Record<string, unknown>>[] {
  const list = objectOf(body)[name]
  return Array.isArray(list) ? list.map(objectOf) : []
}

/** A field for people to read: texts and numbers as they are, nothing as `-`. */
export function fieldText(row: Readonly<Record<string, unknown>>, name: string): string {
  const value = row[name]
  if (value === undefined || value === null || value === '') return '-'
  return typeof value === 'string' ? value : JSON.stringify(value)
}
