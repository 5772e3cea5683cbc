import type { Configuration } from '../raft/configuration.ts'
import type { Message, MessageKind } from '../raft/messages.ts'
import { isMember } from '../raft/quorum.ts'
import type { PeerHello } from '../transport/transport.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * Who may connect to the raft listener, beyond what the transport checks of everyone: members of the configuration, of which
 * only a learner may come without data, since a voter without would vote twice. A node that does not hear a leader may lag
 * behind the configuration, so it also lets in who is of its cluster: the present leader may be among them.
 */
export function admitPeer(options: {
  readonly hello: PeerHello
  /** Null while this node has no log. */
  readonly configuration: Configuration | null
  /** The cluster that this node joins, while it has no log. */
  readonly joined: ClusterId | null
  /** This node has no `cluster.bootstrapExpect`: nobody may count it as a founder. */
  readonly neverForms: boolean
  readonly leader: NodeId | null
  /** The configuration is committed: until then nobody is told that it was removed. */
  readonly isCommitted: boolean
  readonly clusterName: string
}): OperatingError | null {
  const { hello, configuration, leader, isCommitted, clusterName } = options
  if (configuration === null) return admitToNobody(options)
  if (!isMember(configuration, hello.node)) {
    if (hello.clusterId === null) {
      return new OperatingError(
        'denied',
        `node ${hello.node} is not part of cluster "${clusterName}", which has formed of ${configuration.voters.join(', ')}; to take it in, start it with a join token ("quorate token create" on one of them makes one), or, as it has the secret, run "quorate raft add-learner ${hello.node}" there`,
      )
    }
    if (leader === null || leader === hello.node || !isCommitted) return null
    return new OperatingError(
      'denied',
      `node ${hello.node} is not part of cluster "${clusterName}" any more: it was removed; stop it; to take it in again, start it with an empty data directory and a join token ("quorate token create")`,
    )
  }
  if (hello.clusterId !== null || hello.promised === configuration.clusterId) return null
  if (configuration.learners.includes(hello.node)) return null
  return new OperatingError(
    'wiped-node',
    `node ${hello.node} is a voter of this cluster but comes with an empty data directory: it would vote twice; bring its data directory back, or run "quorate node remove ${hello.node}" on another and start it with a join token ("quorate token create")`,
  )
}

/** As a node that has no log yet. */
function admitToNobody({
  hello,
  joined,
  neverForms,
}: {
  hello: PeerHello
  joined: ClusterId | null
  neverForms: boolean
}): OperatingError | null {
  if (joined !== null && hello.clusterId !== null && hello.clusterId !== joined) {
    return new OperatingError(
      'wrong-cluster',
      `this node has joined cluster ${joined}, node ${hello.node} is of ${hello.clusterId}`,
    )
  }
  if (!neverForms || hello.clusterId !== null) return null
  return new OperatingError(
    'denied',
    `node ${hello.node} belongs to no cluster yet, and this node never forms one: it waits to be let into one that has formed`,
  )
}

/** Members are; of others, who may lead a configuration that this node has not got yet. */
export function isHeard(configuration: Configuration | null, { from, kind }: Message): boolean {
  return configuration === null || isMember(configuration, from) || mayLead.has(kind)
}

const mayLead: ReadonlySet<MessageKind> = new Set<MessageKind>([
  'pre-vote-request',
  'vote-request',
  'append-request',
  'heartbeat-request',
  'recovery-response',
])
