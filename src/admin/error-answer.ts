import { OperatingError } from '../vocabulary/operating-error.ts'
import { httpStatus } from './http-status.ts'
import type { HttpErrorStatus } from './http-status.ts'

/** An error as the API answers it. Of an accident nothing is shown but the trace id under which the log has its cause. */
export type ErrorAnswer = {
  readonly status: HttpErrorStatus
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export function answerError(thrown: unknown, traceId: string): ErrorAnswer {
  const error = isAccident(thrown) ? new OperatingError('internal', 'an internal error; the log has the cause') : thrown
  const status = httpStatus[error.code]
  // What was not begun may be tried again, whatever the thrower thought of that.
  const retry = status === 503 && error.retry === 'never' ? 'after' : error.retry
  const retryAfterMs = status === 503 ? (error.retryAfterMs ?? retryAfterDefaultMs) : error.retryAfterMs
  const { code, message, details } = error
  return {
    status,
    headers: {
      'content-type': 'application/json',
      ...(retryAfterMs === undefined ? {} : { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) }),
    },
    body: JSON.stringify({ error: { code, message, retry, retryAfterMs, details, traceId } }),
  }
}

/** True for what only the log may tell. */
export function isAccident(thrown: unknown): thrown is Exclude<unknown, OperatingError> {
  return !(thrown instanceof OperatingError) || thrown.code === 'internal'
}

const retryAfterDefaultMs = 1000
