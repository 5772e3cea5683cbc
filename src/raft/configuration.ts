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

/** Of a node that joins and has got nothing of the log yet: it belongs to no cluster and counts nobody. */
export const noConfiguration: Configuration = {
  clusterId: '' as ClusterId,
  voters: [],
  votersOutgoing: [],
  learners: [],
  promotable: [],
}

export function makeConfiguration(clusterId: ClusterId, voters: readonly NodeId[]): Configuration {
  return { ...noConfiguration, clusterId, voters: [...voters].sort(compareIds) }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const { clusterId, voters, votersOutgoing, learners, promotable } = configuration
  return encoder.encode(JSON.stringify({ clusterId, voters, votersOutgoing, learners, promotable }))
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
  const { clusterId, voters, votersOutgoing, learners, promotable } = value as Record<string, unknown>
  if (typeof clusterId !== 'string' || clusterId === '') return undefined
  if (!isIdList(voters) || voters.length === 0 || !isIdList(votersOutgoing)) return undefined
  if (!isIdList(learners) || !isIdList(promotable)) return undefined
  const voting = new Set([...voters, ...votersOutgoing])
  const learning = new Set(learners)
  if (learners.some((id) => voting.has(id)) || promotable.some((id) => !learning.has(id))) return undefined
  return { clusterId: clusterId as ClusterId, voters, votersOutgoing, learners, promotable }
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

/**
 * What the change makes of a configuration that is not joint. What touches the voters becomes a joint one, to be left by
 * `leaveJoint`; learners may come and go directly, as nobody counts them. Undefined: it is so already, or makes no sense.
 */
export function changeConfiguration(from: Configuration, change: ConfigurationChange): Configuration | undefined {
  const { voters, learners, promotable } = from
  const { node } = change
  switch (change.kind) {
    case 'add-learner': {
      if (voters.includes(node) || !isNodeId(node)) return undefined
      if (learners.includes(node) && promotable.includes(node) === change.promote) return undefined
      const others = without(promotable, node)
      return {
        ...from,
        learners: including(learners, node),
        promotable: change.promote ? including(others, node) : others,
      }
    }
    case 'promote':
      if (!learners.includes(node)) return undefined
      return { ...withoutNode(from, node), voters: including(voters, node), votersOutgoing: voters }
    case 'remove':
      if (learners.includes(node)) return withoutNode(from, node)
      if (!voters.includes(node) || voters.length === 1) return undefined
      return { ...withoutNode(from, node), votersOutgoing: voters }
    default:
      return undefined
  }
}

export function isJoint(configuration: Configuration): boolean {
  return configuration.votersOutgoing.length > 0
}

/** What follows a joint configuration once that is committed. */
export function leaveJoint(configuration: Configuration): Configuration {
  return { ...configuration, votersOutgoing: [] }
}

function withoutNode(from: Configuration, node: NodeId): Configuration {
  const { voters, learners, promotable } = from
  return {
    ...from,
    voters: without(voters, node),
    learners: without(learners, node),
    promotable: without(promotable, node),
  }
}

function without(ids: readonly NodeId[], node: NodeId): readonly NodeId[] {
  return ids.filter((id) => id !== node)
}

function including(ids: readonly NodeId[], node: NodeId): readonly NodeId[] {
  return [...without(ids, node), node].sort(compareIds)
}
