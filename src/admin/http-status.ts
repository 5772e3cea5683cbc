import type { ErrorCode } from '../vocabulary/operating-error.ts'

/**
 * The one table from error codes to HTTP status. 503 stays for what provably was not begun, so that whoever reads it may
 * simply try again; what may have been done is 504.
 */
export const httpStatus: Readonly<Record<ErrorCode, HttpErrorStatus>> = {
  'bad-request': 400,
  'bad-config': 400,
  'not-found': 404,
  'method-not-allowed': 405,
  'too-large': 413,
  'unsupported-media-type': 415,
  'not-acceptable': 406,
  'forbidden-host': 403,
  denied: 403,
  'revision-mismatch': 412,
  compacted: 410,
  'change-under-way': 409,
  'change-refused': 409,
  'not-leader': 421,
  'no-leader': 503,
  'no-quorum': 503,
  'disk-full': 503,
  overloaded: 503,
  'outcome-unknown': 504,
  draining: 503,
  'not-here': 502,
  'server-unavailable': 502,
  'server-failed': 502,
  timeout: 504,
  cancelled: 499,
  locked: 500,
  'duplicate-node': 500,
  'wiped-node': 500,
  'wrong-cluster': 500,
  'wrong-secret': 500,
  'incompatible-version': 500,
  'token-refused': 403,
  'clock-skew': 500,
  removed: 500,
  'storage-failed': 500,
  'state-diverged': 500,
  'listen-failed': 500,
  stopped: 503,
  internal: 500,
}

/** 499 is nginx's: whoever asked is gone, so nobody reads it but the log. */
export type HttpErrorStatus =
  | 400
  | 403
  | 404
  | 405
  | 406
  | 409
  | 410
  | 412
  | 413
  | 415
  | 421
  | 499
  | 500
  | 502
  | 503
  | 504
