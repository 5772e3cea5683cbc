import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { formatAddress, parseAddress } from '../vocabulary/addresses.ts'
import type { Address } from '../vocabulary/addresses.ts'
import type { HealthAnswer } from '../admin/api.ts'
import type { Log } from '../log/log.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * The one HTTP server of a node. It is bound first, so that its address is known, and answers 503 until the node has
 * something to serve with.
 */
export class HttpListener {
  readonly #server: Server
  readonly #refusal: (reason: string) => Serve
  #serve: Serve

  constructor({ health, log }: HttpListenerOptions) {
    this.#refusal = (reason) => (req, res) => answerUnready(req, res, { health, reason })
    this.#serve = this.#refusal('this node is starting')
    this.#server = createServer(httpLimits, (req, res) => this.#serve(req, res))
    this.#server.maxConnections = connectionsMax
    // After it listens: a connection that could not be accepted, as when the process has no descriptor left.
    this.#server.on('error', (error) => log.warn('http-listener-failed', { error }))
  }

  /** Error: `listen-failed`. */
  open(address: Address): Promise<Address> {
    return new Promise((resolve, reject) => {
      const fail = (cause: Error): void => {
        const text = formatAddress(address)
        reject(
          new OperatingError('listen-failed', `listen.http ${text}: can not listen; free it or choose another`, {
            cause,
          }),
        )
      }
      this.#server.once('error', fail)
      this.#server.listen(address.port, address.host, () => {
        this.#server.off('error', fail)
        const bound = this.#server.address()
        resolve(bound !== null && typeof bound === 'object' ? { host: address.host, port: bound.port } : address)
      })
    })
  }

  serve(serve: Serve): void {
    this.#serve = serve
  }

  /** From now on everything but the health check is answered with 503 and the reason. */
  refuse(reason: string): void {
    this.#serve = this.#refusal(reason)
  }

  /** Takes no new connection, lets requests under way end for `graceMs`, then cuts them. */
  async close(graceMs: number): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
    this.#server.closeIdleConnections()
    const cut = setTimeout(() => this.#server.closeAllConnections(), graceMs)
    await closed
    clearTimeout(cut)
  }
}

/** The process lives; nothing else can be said. */
function answerUnready(
  req: IncomingMessage,
  res: ServerResponse,
  { health, reason }: { readonly health: HealthAnswer; readonly reason: string },
): void {
  if (req.url === health.path) {
    res.writeHead(health.status, { 'content-type': 'text/plain' }).end(health.message)
    return
  }
  if (req.url === '/readyz') {
    const answer = { ready: false, reasons: [reason] }
    res.writeHead(503, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    return
  }
  const traceId = randomBytes(8).toString('hex')
  const error = { code: 'no-leader', message: reason, retry: 'after', retryAfterMs: 1000, traceId }
  res.writeHead(503, { 'content-type': 'application/json', 'retry-after': '1' }).end(JSON.stringify({ error }))
}

export type HttpListenerOptions = { readonly health: HealthAnswer; readonly log: Log }

export type Serve = (req: IncomingMessage, res: ServerResponse) => void

/** Client connections of a node, idle ones and open streams included; more are closed at once. */
const connectionsMax = 20_000

const httpLimits = {
  /** From a connection's first byte to the end of a request's headers, ms. */
  headersTimeout: 20_000,
  /** To the end of the request's body, ms; answers and streams have no limit of their own here. */
  requestTimeout: 120_000,
  keepAliveTimeout: 65_000,
  maxHeaderSize: 32_768,
}

/** What others are told: the advertised address, else the bound one. Error: `bad-config`, when that is no address to call. */
export function advertisedAddress(options: { advertised: string | null; bound: Address; listener: string }): string {
  const { advertised, bound, listener } = options
  if (advertised === null) return formatAddress(bound)
  const address = parseAddress(advertised)
  if (address === undefined)
    throw new OperatingError('bad-config', `advertise.${listener}: ${advertised} is no HOST:PORT`)
  // Port 0 stands for "the port that is listened on".
  return formatAddress({ host: address.host, port: address.port === 0 ? bound.port : address.port })
}
