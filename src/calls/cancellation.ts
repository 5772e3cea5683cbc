import { asJsonText, type JsonText } from '../std/json-text.ts'

/**
 * A call's cancellation is a signal; what its client said with it, the params of its own notification, travels as the
 * signal's reason, so that the server reads what the client wrote. Without a word of the client's it is null: it went away.
 */
export function abortWith(controller: AbortController, params: JsonText | null): void {
  if (params === null) controller.abort()
  else controller.abort(params)
}

export function cancellationOf(signal: AbortSignal): JsonText | null {
  const reason: unknown = signal.reason
  return typeof reason === 'string' ? asJsonText(reason) : null
}
