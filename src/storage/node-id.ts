import { randomBytes } from 'node:crypto'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/** A node's id is permanent: the first start decides it, every later one must agree. `where` names the store. */
export function settleNodeId(options: { given: NodeId | null; stored: NodeId | null; where: string }): NodeId {
  const { given, stored, where } = options
  if (stored === null) return given ?? (`node-${randomBytes(4).toString('hex')}` as NodeId)
  if (given === null || given === stored) return stored
  throw new OperatingError(
    'bad-config',
    `open ${where}: it belongs to node ${stored}, the configuration says ${given}: set node.id to ${stored}, or give ${given} its own node.dataDir`,
  )
}
