import { toJsonText } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import type { ErrorCode, OperatingError } from '../vocabulary/operating-error.ts'

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
  /** A server's node refused the call before any work. */
  rejected: -31_002,
  /** The call may have been done. */
  outcomeUnknown: -31_003,
  /** A stated limit is reached. */
  overloaded: -31_004,
  /** An accident of ours, masked: the log has it under the trace id. */
  accident: -31_005,
} as const

/** The classes of operating errors on a call that was provably not done. */
export const codeOfError: Readonly<Record<ErrorCode, number>> = {
  'bad-request': rpcCodes.rejected,
  'bad-config': rpcCodes.rejected,
  'not-found': rpcCodes.rejected,
  'method-not-allowed': rpcCodes.rejected,
  'too-large': rpcCodes.rejected,
  'unsupported-media-type': rpcCodes.rejected,
  'not-acceptable': rpcCodes.rejected,
  'forbidden-host': rpcCodes.rejected,
  denied: rpcCodes.rejected,
  'revision-mismatch': rpcCodes.rejected,
  compacted: rpcCodes.rejected,
  'change-under-way': rpcCodes.rejected,
  'change-refused': rpcCodes.rejected,
  'not-leader': rpcCodes.rejected,
  'no-leader': rpcCodes.unavailable,
  'no-quorum': rpcCodes.unavailable,
  overloaded: rpcCodes.overloaded,
  'outcome-unknown': rpcCodes.outcomeUnknown,
  'not-here': rpcCodes.rejected,
  'server-unavailable': rpcCodes.unavailable,
  'server-failed': rpcCodes.unavailable,
  timeout: rpcCodes.unavailable,
  cancelled: rpcCodes.rejected,
  locked: rpcCodes.unavailable,
  'duplicate-node': rpcCodes.unavailable,
  'wiped-node': rpcCodes.unavailable,
  'wrong-cluster': rpcCodes.unavailable,
  'wrong-secret': rpcCodes.unavailable,
  'incompatible-version': rpcCodes.unavailable,
  'storage-failed': rpcCodes.unavailable,
  'listen-failed': rpcCodes.unavailable,
  stopped: rpcCodes.unavailable,
  internal: rpcCodes.accident,
}

export function rpcError(code: number, message: string, data?: Readonly<Record<string, unknown>>): JsonText {
  return toJsonText(data === undefined ? { code, message } : { code, message, data })
}

/** The error object for a call that got no word from a server. The message names no cause: that is for the log. */
export function outcomeError(
  kind: 'not-sent' | 'rejected' | 'unknown',
  error: OperatingError,
  traceId: string,
): JsonText {
  if (error.code === 'internal' && kind !== 'unknown') return accidentError(traceId)
  const message = error.code === 'internal' ? 'the outcome of the call is unknown' : error.message
  return rpcError(kind === 'unknown' ? rpcCodes.outcomeUnknown : codeOfError[error.code], message, {
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
