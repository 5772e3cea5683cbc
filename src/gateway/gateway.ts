import type { IncomingMessage, ServerResponse } from 'node:http'
import { InvariantError } from '../std/assert.ts'
import { makeOriginCheck } from '../vocabulary/http-origin.ts'
import type { CallCounters } from './client-calls.ts'
import { Cors } from './cors.ts'
import { rpcCodes } from './errors.ts'
import type { GatewayOptions } from './gateway-options.ts'
import { LegacyEra } from './legacy-era.ts'
import type { EraCounters } from './legacy-era.ts'
import { defaultLimits } from './limits.ts'
import type { GatewayLimits } from './limits.ts'
import { answerOf, drainingRefusal, refuse, stoppedRefusal } from './refusal.ts'
import type { Refusal } from './refusal.ts'
import { scopeOfPath } from './scope.ts'
import { SseTransport } from './sse-transport.ts'
import { StreamableHttp } from './streamable-http.ts'

/**
 * The north edge: MCP for clients, on `/mcp` (all servers) and `/mcp/{server}` (one, unrenamed), and for old ones on `/sse`
 * and `/messages`, as a listener of a bare HTTP server. Checks Host and Origin, hands each request to the protocol era and
 * transport that it speaks, and lets no accident out.
 */
export type Gateway = {
  /** Whether the path is the gateway's. */
  serves(pathname: string): boolean
  handle(req: IncomingMessage, res: ServerResponse): void
  /**
   * Ends what sessions have open here, as for a node that stops: they go on with other nodes, and so do those of their calls
   * that clients can come back for. The rest is answered with an error.
   */
  abandonSessions(): void
  counters(): GatewayCounters
  /** The same, and takes nothing more; afterwards no timer or listener is left. */
  stop(): Promise<void>
}

export type GatewayCounters = Readonly<EraCounters & CallCounters> & {
  /** Gauges: calls that clients wait for here, and streams on which sessions listen here. */
  readonly activeCalls: number
  readonly streams: number
}

export function makeGateway(options: GatewayOptions, limits: Partial<GatewayLimits> = {}): Gateway {
  const checkOrigin = makeOriginCheck(options)
  const cors = new Cors(options.allowedOrigins)
  const eraOptions = { ...options, limits: { ...defaultLimits, ...limits } }
  const era = new LegacyEra(eraOptions)
  const streamable = new StreamableHttp(era, eraOptions)
  const sse = new SseTransport(era, eraOptions)
  const unsubscribe = options.onCatalogChanged(() => era.catalogChanged())
  let refusedAtDoor = 0
  let accidents = 0
  let stopped = false

  const accident = (error: unknown): Refusal => {
    if (error instanceof InvariantError) throw error
    accidents += 1
    const traceId = options.nextCallId()
    options.log.error('mcp-request-accident', { traceId, error })
    return { status: 500, message: `internal error (trace ${traceId})`, code: rpcCodes.internalError }
  }
  const stopTaking = options.handing.onHanded(
    (session, message) =>
      new Promise((resolve) => {
        sse.takeHanded(session, message, resolve).catch((error: unknown) => resolve(answerOf(accident(error))))
      }),
  )
  const serve = (req: IncomingMessage, res: ServerResponse): Promise<void> | undefined => {
    const forbidden = checkOrigin(req.headers)
    const path = pathOf(req)
    const scope = scopeOfPath(path)
    const isDrained = options.takes() === 'nothing'
    if (forbidden === null) {
      cors.allow(req, res)
      if (cors.answersPreflight(req, res)) return undefined
      if (!stopped && !isDrained) {
        if (scope !== undefined) return streamable.serve(scope, req, res)
        if (sse.serves(path)) return sse.serve(path, req, res)
      }
    }
    refusedAtDoor += 1
    if (stopped) refuse(res, stoppedRefusal)
    else if (forbidden !== null) refuse(res, { status: 403, message: forbidden.message })
    else if (isDrained) refuse(res, drainingRefusal)
    else refuse(res, { status: 404, message: 'there is no such MCP address' })
    return undefined
  }

  return {
    serves: (pathname) => pathname === '/mcp' || sse.serves(pathname) || /^\/mcp\/(?:group\/)?[^/]*$/.test(pathname),
    handle(req, res) {
      // A broken connection is told by `close`; without these listeners its `error` would end the process.
      req.on('error', () => undefined)
      res.on('error', () => undefined)
      const failed = (error: unknown): void => {
        const refusal = accident(error)
        if (res.headersSent) res.destroy()
        else refuse(res, refusal)
      }
      try {
        serve(req, res)?.catch(failed)
      } catch (error) {
        failed(error)
      }
    },
    abandonSessions: () => era.locals.abandon(),
    counters() {
      const { calls } = era.requests
      return {
        ...era.counters,
        ...calls.counters,
        refused: era.counters.refused + refusedAtDoor,
        accidents: calls.counters.accidents + accidents,
        activeCalls: calls.active,
        streams: era.locals.listening,
      }
    },
    async stop() {
      if (stopped) return
      stopped = true
      unsubscribe()
      stopTaking()
      streamable.stop()
      sse.stop()
      await era.stop()
    },
  }
}

function pathOf(req: IncomingMessage): string {
  const { url = '' } = req
  const query = url.indexOf('?')
  return query === -1 ? url : url.slice(0, query)
}
