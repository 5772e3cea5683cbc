import type { ErrorCode } from '../vocabulary/operating-error.ts'

/** What a command's exit code says. Scripts rely on these numbers. */
export const exitCodes = {
  done: 0,
  failed: 1,
  badUsage: 2,
  notFound: 3,
  unavailable: 4,
  outcomeUnknown: 5,
  denied: 6,
  interrupted: 130,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** The one table from error codes to exit codes. */
export const exitCodeOf: Readonly<Record<ErrorCode, ExitCode>> = {
  'bad-request': exitCodes.badUsage,
  'bad-config': exitCodes.badUsage,
  'not-found': exitCodes.notFound,
  'method-not-allowed': exitCodes.failed,
  'too-large': exitCodes.failed,
  'unsupported-media-type': exitCodes.failed,
  'not-acceptable': exitCodes.failed,
  'forbidden-host': exitCodes.denied,
  denied: exitCodes.denied,
  'revision-mismatch': exitCodes.failed,
  compacted: exitCodes.failed,
  'change-under-way': exitCodes.failed,
  'change-refused': exitCodes.failed,
  'not-leader': exitCodes.unavailable,
  'no-leader': exitCodes.unavailable,
  'no-quorum': exitCodes.unavailable,
  'disk-full': exitCodes.unavailable,
  overloaded: exitCodes.unavailable,
  'outcome-unknown': exitCodes.outcomeUnknown,
  draining: exitCodes.unavailable,
  'not-here': exitCodes.unavailable,
  'server-unavailable': exitCodes.unavailable,
  'server-failed': exitCodes.failed,
  timeout: exitCodes.unavailable,
  cancelled: exitCodes.interrupted,
  locked: exitCodes.failed,
  'duplicate-node': exitCodes.failed,
  'wiped-node': exitCodes.failed,
  'wrong-cluster': exitCodes.failed,
  'wrong-secret': exitCodes.denied,
  'incompatible-version': exitCodes.failed,
  'token-refused': exitCodes.denied,
  'clock-skew': exitCodes.failed,
  removed: exitCodes.failed,
  'storage-failed': exitCodes.failed,
  'state-diverged': exitCodes.failed,
  'listen-failed': exitCodes.failed,
  stopped: exitCodes.unavailable,
  internal: exitCodes.failed,
}
