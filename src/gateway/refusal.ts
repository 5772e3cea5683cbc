import type { ServerResponse } from 'node:http'
import type { HandAnswer } from '../calls/call.ts'
import type { JsonText } from '../std/json-text.ts'
import { rpcCodes, rpcError } from './errors.ts'
import { errorMessage } from './json-rpc.ts'
import type { RequestId } from './json-rpc.ts'
import type { GatewayLimits } from './limits.ts'
import { sendJson } from './send-json.ts'

/** An HTTP request that is refused as a whole: a status, and the reason as a JSON-RPC error that MCP clients can show. */
export type Refusal = {
  readonly status: number
  readonly message: string
  /** JSON-RPC code; the general one when absent. */
  readonly code?: number
  readonly data?: Readonly<Record<string, unknown>>
  readonly id?: RequestId | null
  readonly headers?: Readonly<Record<string, string>>
}

export function refuse(res: ServerResponse, refusal: Refusal): void {
  const { status, headers = {} } = refusal
  if (res.headersSent || res.destroyed) return
  sendJson(res, bodyOf(refusal), { status, headers })
}

/** The same for a client of another node. */
export function answerOf(refusal: Refusal): HandAnswer {
  const retryAfter = refusal.headers?.['Retry-After']
  return {
    status: refusal.status,
    retryAfterS: retryAfter === undefined ? null : Number(retryAfter),
    body: bodyOf(refusal),
  }
}

function bodyOf({ message, code = rpcCodes.refusedRequest, data, id = null }: Refusal): JsonText {
  return errorMessage(id, rpcError(code, message, data))
}

/** Provably nothing was begun, so the client may go elsewhere, or come back. */
export const drainingRefusal: Refusal = {
  status: 503,
  message: 'this node is being drained; another node of the cluster takes the request',
  code: rpcCodes.unavailable,
  data: { code: 'draining', retry: 'elsewhere', retryAfterMs: 1000 },
  headers: { 'Retry-After': '1', Connection: 'close' },
}

export const stoppedRefusal: Refusal = {
  status: 503,
  message: 'this node is stopping',
  code: rpcCodes.unavailable,
  headers: { 'Retry-After': '1', Connection: 'close' },
}

export function refusalOfBody(
  kind: 'too-large' | 'too-slow' | 'overloaded',
  { bodyBytesMax, bodyTimeoutMs }: Pick<GatewayLimits, 'bodyBytesMax' | 'bodyTimeoutMs'>,
): Refusal {
  const refusals: Readonly<Record<typeof kind, Refusal>> = {
    'too-large': { status: 413, message: `the body is larger than ${bodyBytesMax} bytes` },
    'too-slow': {
      status: 408,
      message: `the body took longer than ${bodyTimeoutMs} ms`,
      headers: { Connection: 'close' },
    },
    overloaded: {
      status: 503,
      message: 'this node holds too many bodies at once',
      code: rpcCodes.overloaded,
      headers: { 'Retry-After': '1' },
    },
  }
  return refusals[kind]
}
