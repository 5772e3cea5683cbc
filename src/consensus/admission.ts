import type { Configuration } from '../raft/configuration.ts'
import type { PeerHello } from '../transport/transport.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * Who may connect to the raft listener, beyond what the transport checks of everyone: once the cluster has formed, only
 * its nodes, and no voter that has lost its data directory, since it could vote a second time.
 */
export function admitPeer(options: {
  readonly hello: PeerHello
  /** Null until the cluster has formed. */
  readonly configuration: Configuration | null
  readonly clusterName: string
}): OperatingError | null {
  const { hello, configuration, clusterName } = options
  if (configuration === null) return null
  if (!isMember(configuration, hello.node)) {
    return new OperatingError(
      'denied',
      `node ${hello.node} is not part of cluster "${clusterName}", which has formed of ${configuration.voters.join(', ')}`,
    )
  }
  if (hello.clusterId !== null || hello.promised === configuration.clusterId) return null
  return new OperatingError(
    'wiped-node',
    `node ${hello.node} is a voter of this cluster but comes with an empty data directory: it would vote twice; restore its data directory, or remove it and join under a new id`,
  )
}

export function isMember(configuration: Configuration, id: NodeId): boolean {
  const { voters, votersOutgoing, learners } = configuration
  return voters.includes(id) || votersOutgoing.includes(id) || learners.includes(id)
}
