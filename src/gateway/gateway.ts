import type { IncomingMessage, ServerResponse } from 'node:http'
import { InvariantError } from '../std/assert.ts'
import { makeOriginCheck } from '../vocabulary/http-origin.ts'
import { isServerName } from '../vocabulary/ids.ts'
import { rpcCodes } from './errors.ts'
import type { GatewayOptions } from './gateway-options.ts'
import { drainingRefusal, LegacyEra, stoppedRefusal } from './legacy-era.ts'
import type { LegacyEraCounters } from './legacy-era.ts'
import type { CallCounters } from './legacy-requests.ts'
import { defaultLimits } from './limits.ts'
import type { GatewayLimits } from './limits.ts'
import { refuse } from './refusal.ts'
import type { SessionInfo, SessionScope } from './session.ts'

/**
 * The north edge: MCP for clients, on `/mcp` (all servers) and `/mcp/{server}` (one, unrenamed), as a listener of a bare
 * HTTP server. Checks Host and Origin, hands each request to the protocol era that it speaks, and lets no accident out.
 */
export type Gateway = {
  /** Whether the path is the gateway's. */
  serves(pathname: string): boolean
  handle(req: IncomingMessage, res: ServerResponse): void
  sessions(): readonly SessionInfo[]
  /** Ends a session as its client could; false when there is none. */
  closeSession(id: string): boolean
  /** Ends all sessions as for a node that stops: the calls in work are answered with an error. */
  abandonSessions(): void
  counters(): GatewayCounters
  /** Answers the calls in work with an error, ends every stream; afterwards no timer or listener is left. */
  stop(): Promise<void>
}

export type GatewayCounters = Readonly<LegacyEraCounters & CallCounters> & {
  /** Gauges. */
  readonly sessions: number
  readonly activeCalls: number
  readonly streams: number
}

export function makeGateway(options: GatewayOptions, limits: Partial<GatewayLimits> = {}): Gateway {
  const checkOrigin = makeOriginCheck(options)
  const era = new LegacyEra({ ...options, limits: { ...defaultLimits, ...limits } })
  const unsubscribe = options.onCatalogChanged(() => era.catalogChanged())
  let refusedAtDoor = 0
  let accidents = 0
  let stopped = false

  const serve = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const forbidden = checkOrigin(req.headers)
    const scope = scopeOfPath(pathOf(req))
    const isDrained = options.takes() === 'nothing'
    if (!stopped && !isDrained && forbidden === null && scope !== undefined) return era.serve(scope, req, res)
    refusedAtDoor += 1
    if (stopped) refuse(res, stoppedRefusal)
    else if (forbidden !== null) refuse(res, { status: 403, message: forbidden.message })
    else if (isDrained) refuse(res, drainingRefusal)
    else refuse(res, { status: 404, message: 'there is no such MCP address' })
  }

  return {
    serves: (pathname) => pathname === '/mcp' || /^\/mcp\/[^/]*$/.test(pathname),
    handle(req, res) {
      // A broken connection is told by `close`; without these listeners its `error` would end the process.
      req.on('error', () => undefined)
      res.on('error', () => undefined)
      serve(req, res).catch((error: unknown) => {
        if (error instanceof InvariantError) throw error
        accidents += 1
        const traceId = options.nextCallId()
        options.log.error('mcp-request-accident', { traceId, error })
        const message = `internal error (trace ${traceId})`
        if (res.headersSent) res.destroy()
        else refuse(res, { status: 500, message, code: rpcCodes.internalError })
      })
    },
    sessions: () => era.sessions.all().map((session) => session.describe()),
    closeSession(id) {
      const session = era.sessions.find(id)
      if (session !== undefined) era.close(session)
      return session !== undefined
    },
    abandonSessions: () => era.abandon(),
    counters: () => ({
      ...era.counters,
      ...era.requests.counters,
      refused: era.counters.refused + refusedAtDoor,
      accidents: era.requests.counters.accidents + accidents,
      sessions: era.sessions.size,
      activeCalls: era.requests.active,
      streams: era.sessions.all().filter((session) => session.isListening).length,
    }),
    async stop() {
      if (stopped) return
      stopped = true
      unsubscribe()
      await era.stop()
    },
  }
}

function pathOf(req: IncomingMessage): string {
  return (req.url ?? '').split('?', 1)[0] ?? ''
}

/** Undefined: no server can have that name. Whether a server has it now is the era's question. */
function scopeOfPath(pathname: string): SessionScope | undefined {
  if (pathname === '/mcp') return null
  const name = pathname.slice('/mcp/'.length)
  return isServerName(name) ? name : undefined
}
