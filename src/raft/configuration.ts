import { compareIds, isNodeId } from '../vocabulary/ids.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'

/**
 * Who counts. Carried as the data of `configuration` entries; the first entry of every log is one, written alike by
 * every founding node (see consensus/forming). All lists are sorted bytewise and hold no id twice.
 */
export type Configuration = {
  readonly clusterId: ClusterId
  readonly voters: readonly NodeId[]
  /** While a joint change is under way: the voters of the old configuration; else empty (thesis 4.3). */
  readonly votersOutgoing: readonly NodeId[]
  readonly learners: readonly NodeId[]
  /** The learners that become voters by themselves once they have caught up. */
  readonly promotable: readonly NodeId[]
}

export function makeConfiguration(clusterId: ClusterId, voters: readonly NodeId[]): Configuration {
  return { clusterId, voters: [...voters].sort(compareIds), votersOutgoing: [], learners: [] }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const { clusterId, voters, votersOutgoing, learners } = configuration
  return encoder.encode(JSON.stringify({ clusterId, voters, votersOutgoing, learners }))
}

/** Undefined when the bytes are no configuration. */
export function decodeConfiguration(data: Uint8Array): Configuration | undefined {
  let value: unknown
  try {
    value = JSON.parse(decoder.decode(data))
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { clusterId, voters, votersOutgoing, learners } = value as Record<string, unknown>
  if (typeof clusterId !== 'string' || clusterId === '') return undefined
  if (!isIdList(voters) || voters.length === 0 || !isIdList(votersOutgoing) || !isIdList(learners)) return undefined
  return { clusterId: clusterId as ClusterId, voters, votersOutgoing, learners }
}

function isIdList(value: unknown): value is NodeId[] {
  if (!Array.isArray(value)) return false
  return value.every(
    (id: unknown, at) =>
      typeof id === 'string' && isNodeId(id) && (at === 0 || compareIds(value[at - 1] as string, id) < 0),
  )
}

/** One change of who counts. Each is made through a joint configuration when it touches the voters (thesis 4.3). */
export type ConfigurationChange =
  /** Adds a node that gets the log but does not count; `promote`: it becomes a voter by itself once it has caught up. */
  | { readonly kind: 'add-learner'; readonly node: NodeId; readonly promote: boolean }
  | { readonly kind: 'promote'; readonly node: NodeId }
  /** Voter or learner. A leader that removes itself steps down when that is committed. */
  | { readonly kind: 'remove'; readonly node: NodeId }
