import { decodeConfiguration } from '../raft/configuration.ts'
import type { Configuration } from '../raft/configuration.ts'
import type { Entry } from '../raft/entry.ts'
import type { StoredNode } from '../storage/log-store.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * Which cluster this node's log belongs to: its snapshot or its first entry says. Error `storage-failed` when neither does, or
 * the data directory is bound to another cluster.
 */

/** Null while there is no log. */
export function formedIn(
  stored: Pick<StoredNode, 'entries' | 'snapshot' | 'promise' | 'joined'>,
): Configuration | null {
  const { entries, snapshot, promise, joined } = stored
  const [first] = entries
  const configuration = snapshot?.configuration ?? (first === undefined ? null : formedBy(first))
  const bound = promise?.clusterId ?? joined
  if (configuration !== null && bound !== null && bound !== configuration.clusterId) {
    throw new OperatingError(
      'storage-failed',
      `start from the log: it is of cluster ${configuration.clusterId}, the data directory is bound to ${bound}: restore the data directory`,
    )
  }
  return configuration
}

export function formedBy(first: Entry): Configuration {
  const configuration = first.kind === 'configuration' ? decodeConfiguration(first.data) : undefined
  if (configuration !== undefined) return configuration
  throw new OperatingError(
    'storage-failed',
    `start from the log: entry 1 must be the cluster's configuration, and entry ${first.index} is none: restore the data directory`,
  )
}
