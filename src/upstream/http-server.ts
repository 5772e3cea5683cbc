import { Pool } from 'undici'
import type { Clock } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { Log } from '../log/log.ts'
import { HttpExchange, type ExchangeEvents } from './http-exchange.ts'
import type { UpstreamLimits } from './limits.ts'
import type { ConfiguredServer } from '../vocabulary/configured-server.ts'

/**
 * How one server is reached over HTTP, by all links to it: its pools of connections and its configured headers, which are
 * never logged. Streams that stay open have a pool of their own, so that they take no call's place.
 */
export type HttpServerOptions = {
  readonly server: ConfiguredServer
  readonly link: Extract<ConfiguredServer['link'], { kind: 'http' }>
  readonly log: Log
  readonly clock: Clock
  readonly random: Random
  readonly limits: UpstreamLimits
}

export type HttpRequestHead = {
  readonly method: 'POST' | 'GET' | 'DELETE'
  readonly body: string | null
  readonly headers: Readonly<Record<string, string>>
  /** Path and query, where it is not the configured URL's. */
  readonly path?: string
  readonly pool: 'calls' | 'streams'
}

export class HttpServer {
  readonly url: URL
  readonly #options: HttpServerOptions
  readonly #headers: Readonly<Record<string, string>>
  readonly #path: string
  readonly #pools = new Map<'calls' | 'streams', Pool>()

  /** May throw: only the configuration's own check has seen the URL. */
  constructor(options: HttpServerOptions) {
    this.#options = options
    this.url = new URL(options.link.url)
    this.#path = `${this.url.pathname}${this.url.search}`
    this.#headers = Object.fromEntries(
      Object.entries(options.link.headers)
        .map(([name, value]): [string, string] => [name.toLowerCase(), value])
        .filter(([name]) => !ownHeaders.has(name)),
    )
  }

  exchange({ method, body, headers, path, pool }: HttpRequestHead, events: ExchangeEvents): HttpExchange {
    const accept = method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream'
    return new HttpExchange(
      {
        pool: this.#pool(pool),
        path: path ?? this.#path,
        method,
        body,
        headers: {
          ...this.#headers,
          accept,
          ...(body === null ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        messageBytesMax: this.#options.limits.messageBytesMax,
        refusalBytesMax: method === 'POST' ? this.#options.limits.refusalBytesMax : 0,
      },
      events,
    )
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()))
  }

  #pool(name: 'calls' | 'streams'): Pool {
    let pool = this.#pools.get(name)
    if (pool === undefined) {
      const { limits, server } = this.#options
      const calls = 2 * limits.callsInFlightMax + limits.tellsInFlightMax
      pool = new Pool(this.url.origin, {
        connections: name === 'calls' ? calls : server.isolatedMax + sparesMax,
        connect: { timeout: limits.connectTimeoutMs },
        headersTimeout: 0,
        bodyTimeout: 0,
      })
      this.#pools.set(name, pool)
    }
    return pool
  }
}

/** Streams beside those of single sessions: the shared one, and those of links that are being replaced. */
const sparesMax = 16

/** What this side of the protocol says itself, or leaves to the HTTP client. */
const ownHeaders = new Set([
  'accept',
  'connection',
  'content-length',
  'content-type',
  'expect',
  'keep-alive',
  'last-event-id',
  'mcp-protocol-version',
  'mcp-session-id',
  'transfer-encoding',
  'upgrade',
])
