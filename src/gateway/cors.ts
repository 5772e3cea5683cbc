import type { IncomingMessage, ServerResponse } from 'node:http'

/**
 * What pages of other origins may do (CORS): those of the origins that the operator listed speak MCP and read the answers,
 * the rest nothing. Loopback pages are not among them unless they are listed.
 */
export class Cors {
  readonly #origins: ReadonlySet<string>

  constructor(allowedOrigins: readonly string[]) {
    this.#origins = new Set(allowedOrigins.map((origin) => origin.toLowerCase().replace(/\/$/, '')))
  }

  /** On every response, before its headers are sent. */
  allow(req: IncomingMessage, res: ServerResponse): void {
    if (this.#origins.size === 0) return
    res.setHeader('Vary', 'Origin')
    const { origin } = req.headers
    if (origin === undefined || !this.#isAllowed(origin)) return
    res.setHeader('Access-Control-Allow-Origin', origin)
    res.setHeader('Access-Control-Expose-Headers', exposedHeaders)
  }

  /** True: the request only asked what it may do, and has its answer. */
  answersPreflight(req: IncomingMessage, res: ServerResponse): boolean {
    const { origin } = req.headers
    if (req.method !== 'OPTIONS' || origin === undefined || !this.#isAllowed(origin)) return false
    if (req.headers['access-control-request-method'] === undefined) return false
    res.writeHead(204, {
      'Access-Control-Allow-Methods': 'GET, POST, DELETE',
      'Access-Control-Allow-Headers': requestHeaders,
      'Access-Control-Max-Age': '600',
    })
    res.end()
    return true
  }

  #isAllowed(origin: string): boolean {
    return this.#origins.has(origin.toLowerCase())
  }
}

const requestHeaders = 'Accept, Authorization, Content-Type, Last-Event-ID, Mcp-Protocol-Version, Mcp-Session-Id'
const exposedHeaders = 'Mcp-Session-Id, Retry-After'
