/**
 * The one class of expected errors, and the closed union of their codes. Each edge maps the codes outward by a table of
 * its own (HTTP status, JSON-RPC error, exit code). A broken invariant is not an operating error: see std/assert.
 */

export const errorCodes = [
  'bad-request', // the input is not what the operation takes; the message names the part
  'bad-config', // the configuration can not be used; the message names file, key and line
  'not-found', // the named thing does not exist
  'method-not-allowed',
  'too-large', // a stated size limit was passed; the message names it
  'unsupported-media-type',
  'not-acceptable',
  'forbidden-host', // Host or Origin is not allowed
  'denied', // authentication or authorization failed
  'revision-mismatch', // compare-and-set found another revision; details.revision is today's
  'compacted', // changes from that revision on are no longer kept; details.revision is the oldest that are
  'change-under-way', // another change of the configuration is not committed yet
  'change-refused', // the change of the configuration makes no sense now; nothing was changed
  'not-leader', // only the leader does this; details.leader and details.address say who it is, as far as known
  'no-leader', // no leader is known, or the proposal provably never reached one
  'no-quorum', // a leader may be known, but a majority does not answer
  'disk-full', // the leader's disk has no room but what it keeps for itself; nothing was done
  'overloaded', // a stated limit of queue, bytes or sessions is reached
  'outcome-unknown', // it may or may not have happened, and nobody can tell now
  'draining', // this node is being drained and takes nothing new, or nothing at all; nothing was done
  'not-here', // a forwarded call reached a node that does not run the server
  'server-unavailable', // no replica of the server can take the call now
  'server-failed', // the server died, broke the protocol or could not start
  'timeout', // a read or a connection attempt did not end in time (never said of a write)
  'cancelled', // the caller went away or cancelled
  'locked', // another process holds the data directory
  'duplicate-node', // another live process has the same node id
  'wiped-node', // a known id came with an empty data directory
  'wrong-cluster', // another cluster's name or id
  'wrong-secret', // the peer could not prove the cluster's secret
  'incompatible-version', // no common wire version
  'token-refused', // the join token is unknown, expired, used up or revoked, or none of this cluster
  'clock-skew', // the wall clocks of two nodes are too far apart
  'removed', // this node was taken out of the cluster
  'storage-failed', // the disk refused a write or returned damage
  'state-diverged', // this node's state is another than the cluster's; it repairs itself at its next start
  'listen-failed', // an address could not be listened on
  'stopped', // this node is stopping
  'internal', // an accident of ours; the log has the cause under the trace id
] as const

export type ErrorCode = (typeof errorCodes)[number]

/** Whether and where a retry makes sense. `outcome-unknown` means: only if doing it twice does no harm. */
export type Retry = 'never' | 'elsewhere' | 'after' | 'outcome-unknown'

export type OperatingErrorOptions = {
  retry?: Retry
  retryAfterMs?: number
  details?: Readonly<Record<string, unknown>>
  cause?: unknown
}

/** `message` names the operation and on what, lower case, and never repeats the cause's text. */
export class OperatingError extends Error {
  override readonly name = 'OperatingError'
  readonly code: ErrorCode
  readonly retry: Retry
  readonly retryAfterMs: number | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(code: ErrorCode, message: string, options: OperatingErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retry = options.retry ?? (code === 'outcome-unknown' ? 'outcome-unknown' : 'never')
    this.retryAfterMs = options.retryAfterMs
    this.details = options.details
  }
}

/** The chain of messages, outermost first, for the one place where an error is printed. */
export function describeError(error: unknown): string {
  const parts: string[] = []
  for (let at: unknown = error; at !== undefined && at !== null && parts.length < 8;) {
    if (!(at instanceof Error)) {
      parts.push(typeof at === 'string' ? at : JSON.stringify(at))
      break
    }
    if (at.message !== '') parts.push(at.message)
    at = at.cause
  }
  return parts.join(': ')
}
