import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { GossipPhase } from '../gossip/effects.ts'

/** Why a node ends that the others take for gone: as gossip tells it. */
export function ended(node: NodeId, phase: Extract<GossipPhase, 'removed' | 'superseded'>): OperatingError {
  if (phase === 'superseded')
    return new OperatingError(
      'duplicate-node',
      `node ${node}: another process has its id, and was started later; stop one of the two, and give each a node.id and a node.dataDir of its own`,
    )
  return new OperatingError(
    'removed',
    `node ${node} was taken out of the cluster by an operator; to take it in again: run "quorate token create" on a member, and start it with --join, --token-file and an empty node.dataDir; or, with the data that it has, run "quorate raft add-learner ${node}" on a member, and start it again`,
  )
}
