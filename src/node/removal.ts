import { removedError } from '../consensus/removals.ts'
import type { GossipPhase } from '../gossip/effects.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/** Why a node ends whom the others take for gone, as gossip tells it. */
export function goneByGossip(node: NodeId, phase: Extract<GossipPhase, 'removed' | 'superseded'>): OperatingError {
  if (phase === 'removed') return removedError(node)
  return new OperatingError(
    'duplicate-node',
    `run node ${node}: another process has its id and was started later; stop one of the two, or give it a node.id and a node.dataDir of its own`,
  )
}
