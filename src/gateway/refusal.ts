import type { ServerResponse } from 'node:http'
import { sendJson } from './call-answer.ts'
import { rpcCodes, rpcError } from './errors.ts'
import { errorMessage } from './json-rpc.ts'
import type { RequestId } from './json-rpc.ts'

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
  const { status, message, code = rpcCodes.refusedRequest, data, id = null, headers = {} } = refusal
  if (res.headersSent || res.destroyed) return
  sendJson(res, errorMessage(id, rpcError(code, message, data)), { status, headers })
}
