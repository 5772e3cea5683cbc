import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { RequestError, getRequestListener } from '@hono/node-server'
import { InvariantError } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import type { Log } from '../log/log.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { makeOriginCheck } from '../vocabulary/http-origin.ts'
import type { OriginOptions } from '../vocabulary/http-origin.ts'
import { makeApi } from './api.ts'
import type { FailedRequest, HealthAnswer } from './api.ts'
import { answerError, isAccident } from './error-answer.ts'
import type { ErrorAnswer } from './error-answer.ts'
import { KvKeys } from './kv-keys.ts'
import type { Metrics } from './metrics.ts'
import type { AdminNeeds } from './needs.ts'

/**
 * The operators' HTTP surface as a listener for a node:http server, which keeps its own limits of headers and time.
 *
 * Guarantees: Host and Origin are checked before anything else; every answer that is no success is the one error shape
 * with a trace id; of an accident the client learns only that id, and the log the cause.
 */
export type Admin = {
  readonly listener: (incoming: IncomingMessage, outgoing: ServerResponse) => void
}

export type AdminOptions = {
  readonly needs: AdminNeeds
  readonly metrics: Metrics
  readonly clock: Clock
  readonly log: Log
  readonly origins: OriginOptions
  readonly health: HealthAnswer
  /** An invariant broke within a request: the node must stop. */
  readonly onBroken: (error: InvariantError) => void
}

export function makeAdmin(options: AdminOptions): Admin {
  const { needs, metrics, clock, log, onBroken, health } = options
  const answerFailure = (error: unknown, request: FailedRequest): ErrorAnswer => {
    const traceId = randomBytes(8).toString('hex')
    const answer = answerError(error, traceId)
    const fields = { ...request, path: request.path?.slice(0, loggedPathMax), status: answer.status, traceId, error }
    if (isAccident(error)) log.error('admin-accident', fields)
    else if (answer.status >= 499) log.debug('admin-request-failed', fields)
    if (error instanceof InvariantError) onBroken(error)
    return answer
  }
  const refusal = makeOriginCheck(options.origins)
  const api = makeApi({ needs, metrics, clock, health, refusal, answerFailure })
  const listener = getRequestListener(api.fetch, {
    overrideGlobalObjects: false,
    // Stands in for a missing Host, which the API itself then refuses.
    hostname: 'localhost',
    errorHandler: (error) => {
      const told =
        error instanceof RequestError ? new OperatingError('bad-request', unreadable, { cause: error }) : error
      const { status, headers, body } = answerFailure(told, {})
      return new Response(body, { status, headers })
    },
  })
  const keys = new KvKeys({ kv: needs.kv, clock, refusal, answerFailure })
  return {
    listener(incoming, outgoing) {
      if (keys.serves(incoming)) keys.handle(incoming, outgoing)
      else void listener(incoming, outgoing)
    },
  }
}
const unreadable = 'the request target or the Host header is not well formed'
const loggedPathMax = 200
