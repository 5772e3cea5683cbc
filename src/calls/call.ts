import type { CallId, NodeId, ServerName } from '../vocabulary/ids.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'
import type { JsonText } from '../std/json-text.ts'

/** One MCP request, on its way to the one server that answers it. */
export type Call = {
  readonly id: CallId
  readonly server: ServerName
  /** MCP method: `tools/call`, `resources/read`, `prompts/get`, ... */
  readonly method: string
  /**
   * The client's params with the server's own names in them, otherwise byte for byte. A `_meta.progressToken` is the
   * client's: the upstream replaces it on its way down and restores it on its way back.
   */
  readonly params: JsonText
  /** From start to result; at its end the call is cancelled upstream and its outcome is unknown. Null: the server's own. */
  readonly timeoutMs: number | null
}

/** What comes back before the result, in order: progress and log messages that belong to this call. */
export type CallNotification = { readonly method: string; readonly params: JsonText }
export type NotifyCaller = (notification: CallNotification) => void

/**
 * How a call ended. Only `not-sent` and `rejected` may be tried elsewhere; a `result` or `error` is the server's own word
 * and passes untouched; `unknown` means that the work may have been done.
 */
export type Outcome =
  | { readonly kind: 'result'; readonly result: JsonText }
  /** The server's JSON-RPC error object, untouched. */
  | { readonly kind: 'error'; readonly error: JsonText }
  /** Provably never reached a server. */
  | { readonly kind: 'not-sent'; readonly error: OperatingError }
  /** Reached one that refused before it did any work. */
  | { readonly kind: 'rejected'; readonly error: OperatingError }
  | { readonly kind: 'unknown'; readonly error: OperatingError }
  /** The caller cancelled; nobody waits for an answer. */
  | { readonly kind: 'cancelled' }

/** Performs calls on servers that run on this node. Never throws; nothing is notified after the promise has settled. */
export type Upstreams = {
  call(call: Call, notify: NotifyCaller, signal: AbortSignal): Promise<Outcome>
}

/** Performs calls on another node, over the peer link. The same contract; the call hops once. */
export type Peers = {
  call(node: NodeId, call: Call, notify: NotifyCaller, signal: AbortSignal): Promise<Outcome>
}
