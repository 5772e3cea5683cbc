import { toJsonText } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * How the gateway says errors in JSON-RPC. Codes of the protocol itself are in its range; what goes wrong in the cluster
 * has codes outside of -32768..-32000, so that nobody takes it for the server's or the protocol's word.
 */
export const rpcCodes = {
  parseError: -32_700,
  invalidRequest: -32_600,
  methodNotFound: -32_601,
  invalidParams: -32_602,
  internalError: -32_603,
  /** MCP: the resource does not exist. */
  resourceNotFound: -32_002,
  /** Of a refused HTTP request (wrong headers, too large, ...): the server-defined code that MCP SDKs use for it. */
  refusedRequest: -32_000,
  /** The call reached no server. */
  unavailable: -31_001,
  /** The server or its node refused the call before any work. */
  rejected: -31_002,
  /** The call may have been done. */
  outcomeUnknown: -31_003,
  /** A stated limit is reached; nothing was done. */
  overloaded: -31_004,
  /** An accident of ours, masked: the log has it under the trace id. */
  accident: -31_005,
} as const

export function rpcError(code: number, message: string, data?: Readonly<Record<string, unknown>>): JsonText {
  return toJsonText(data === undefined ? { code, message } : { code, message, data })
}

const codeOfOutcome = {
  'not-sent': rpcCodes.unavailable,
  rejected: rpcCodes.rejected,
  unknown: rpcCodes.outcomeUnknown,
} as const

/** The error object for a call that got no word from a server. The message names no cause: that is for the log. */
export function outcomeError(
  kind: 'not-sent' | 'rejected' | 'unknown',
  error: OperatingError,
  traceId: string,
): JsonText {
  if (error.code === 'internal' && kind !== 'unknown') return accidentError(traceId)
  const message = error.code === 'internal' ? 'the outcome of the call is unknown' : error.message
  const code = kind !== 'unknown' && error.code === 'overloaded' ? rpcCodes.overloaded : codeOfOutcome[kind]
  return rpcError(code, message, {
    code: error.code,
    retry: kind === 'unknown' ? 'outcome-unknown' : error.retry,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
    ...(error.details === undefined ? {} : { details: error.details }),
    traceId,
  })
}

export function accidentError(traceId: string): JsonText {
  return rpcError(rpcCodes.accident, 'internal error', { code: 'internal', retry: 'never', traceId })
}
