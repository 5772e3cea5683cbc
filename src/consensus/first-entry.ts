import { decodeConfiguration } from '../raft/configuration.ts'
import type { Configuration } from '../raft/configuration.ts'
import type { Entry } from '../raft/entry.ts'
import type { StoredNode } from '../storage/log-store.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * What entry 1 says: the cluster that this node's log belongs to. Error `storage-failed` when the log begins otherwise, or
 * belongs to another cluster than the data directory promised to form.
 */

/** Null while there is no log. */
export function formedIn({ entries, promise }: StoredNode): Configuration | null {
  const [first] = entries
  if (first === undefined) return null
  const configuration = formedBy(first)
  if (promise !== null && promise.clusterId !== configuration.clusterId) {
    throw new OperatingError(
      'storage-failed',
      `start from the log: it is of cluster ${configuration.clusterId}, the data directory promised ${promise.clusterId}: restore the data directory`,
    )
  }
  return configuration
}

export function formedBy(first: Entry): Configuration {
  const configuration = first.kind === 'configuration' ? decodeConfiguration(first.data) : undefined
  if (configuration !== undefined) return configuration
  throw new OperatingError(
    'storage-failed',
    `start from the log: entry ${first.index} must be the cluster's configuration and is not: restore the data directory`,
  )
}
