import { asJsonText, type JsonText } from '../std/json-text.ts'
import type { Signal } from '../std/signal.ts'

/**
 * A call's cancellation is a signal; what its client said with it, the params of its own notification, travels as the
 * signal's reason, so that the server reads what the client wrote. Without a word of the client's it is null: it went away.
 */
export function cancellationOf({ reason }: Signal): JsonText | null {
  return typeof reason === 'string' ? asJsonText(reason) : null
}
