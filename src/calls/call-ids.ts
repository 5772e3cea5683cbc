import type { CallId, NodeId } from '../vocabulary/ids.ts'

/** Ids of the calls that begin on this node: unique in the cluster as long as a generation is never used twice. */
export function makeCallIds(node: NodeId, generation: number): () => CallId {
  let counter = 0
  return () => {
    counter += 1
    return `${node}.${generation}.${counter}` as CallId
  }
}
