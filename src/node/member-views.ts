import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { MemberView } from '../admin/needs.ts'
import type { MemberView as GossipMember } from '../gossip/effects.ts'
import type { GossipDriver } from '../peers/gossip-driver.ts'
import type { RaftStatus } from '../raft/effects.ts'
import type { Drain, Member } from '../state/command.ts'
import { saidCapacity } from './capacity.ts'
import { drainingKey } from './draining-members.ts'

/**
 * Gossip's view of the members beside Raft's: everyone whom either knows, or the directory, but for who has left and counts
 * no more. Of what a node is, its own word by gossip counts before the directory's, which is older.
 */
export function memberViews(sources: MemberSources): MemberView[] {
  const { self, directory, gossip, raft } = sources
  const gossiped = new Map(gossip.members().map((member) => [member.node, member]))
  const listed = new Map(directory.map((member) => [member.node, member]))
  const { voters = [], votersOutgoing = [], learners = [] } = raft?.configuration ?? {}
  const ids = new Set([self, ...listed.keys(), ...gossiped.keys(), ...voters, ...votersOutgoing, ...learners])
  const views = [...ids].sort(compareIds).map((id): MemberView & { readonly id: NodeId } => {
    const seen = gossiped.get(id)
    const status = id === self ? 'alive' : (seen?.status ?? 'unknown')
    const role = roleOf(id, raft)
    const says = gossip.said(id).state.get('role') ?? null
    const isSilent = id !== self && raft?.progress?.find(({ node }) => node === id)?.isActive === false
    return {
      id,
      status,
      raft: role,
      disagrees: disagreement({ status, role, says, isSilent, isFormed: raft !== null }),
      draining: drainingOf(id, sources),
      ...describe(id, { sources, listed: listed.get(id), seen }),
      incarnation: id === self ? gossip.status().incarnation : (seen?.incarnation ?? 0),
      metrics: Object.fromEntries(gossip.said(id).gauges),
    }
  })
  return views.filter(({ id, status, raft: role }) => status !== 'left' || role !== 'none' || listed.has(id))
}

export type MemberSources = {
  readonly self: NodeId
  readonly generation: number
  readonly directory: readonly Member[]
  /** What operators want. */
  readonly drains: ReadonlyMap<NodeId, Drain>
  /** Null before the cluster has formed. */
  readonly raft: RaftStatus | null
  readonly gossip: Pick<GossipDriver, 'members' | 'said' | 'status'>
}

type Known = {
  readonly sources: MemberSources
  readonly listed: Member | undefined
  readonly seen: GossipMember | undefined
}

function describe(
  id: NodeId,
  { sources, listed, seen }: Known,
): Pick<MemberView, 'addresses' | 'generation' | 'labels' | 'capacity' | 'version' | 'startedAt'> {
  const { state } = sources.gossip.said(id)
  const generation = id === sources.self ? sources.generation : (seen?.generation ?? listed?.generation ?? 0)
  const of = (name: 'http' | 'peer' | 'raft'): string =>
    state.get(`address.${name}`) ?? (name === 'peer' ? seen?.address : undefined) ?? listed?.addresses[name] ?? ''
  const labels = [...state].flatMap(([key, value]) =>
    key.startsWith(labelPrefix) ? [[key.slice(labelPrefix.length), value] as const] : [],
  )
  return {
    addresses: { http: of('http'), peer: of('peer'), raft: of('raft') },
    generation,
    labels: state.size > 0 ? Object.fromEntries(labels) : (listed?.labels ?? {}),
    capacity: saidCapacity(state),
    version: state.get('version') ?? listed?.version ?? '',
    startedAt: Number(state.get('startedAt') ?? listed?.startedAt ?? 0),
  }
}

function drainingOf(id: NodeId, { drains, gossip }: MemberSources): MemberView['draining'] {
  const says = gossip.said(id).state.get(drainingKey)
  if (says === 'draining' || says === 'drained') return says
  return drains.has(id) ? 'draining' : 'no'
}

const labelPrefix = 'label.'

function roleOf(id: NodeId, raft: RaftStatus | null): MemberView['raft'] {
  if (raft === null) return 'none'
  const { voters, votersOutgoing, learners } = raft.configuration
  if (raft.leader === id) return 'leader'
  if (voters.includes(id) || votersOutgoing.includes(id)) return 'voter'
  return learners.includes(id) ? 'learner' : 'none'
}

type Views = {
  readonly status: MemberView['status']
  readonly role: MemberView['raft']
  /** Its own word of its role; null: none is known. */
  readonly says: string | null
  /** This node leads, and heard nothing from it lately. */
  readonly isSilent: boolean
  readonly isFormed: boolean
}

/** Where gossip and Raft differ about a member, as a sentence; null: they do not. */
function disagreement({ status, role, says, isSilent, isFormed }: Views): string | null {
  if (!isFormed) return null
  const isLive = status === 'alive' || status === 'suspect'
  if (role !== 'none' && !isLive) {
    const gossip = status === 'unknown' ? 'gossip does not know it' : status === 'left' ? 'it has left' : 'it is dead'
    return `Raft counts it as a ${role}, and ${gossip}`
  }
  if (role !== 'none' && isSilent) return `it is ${status} by gossip, and the leader of Raft hears nothing from it`
  if (role === 'none' && isLive && says !== null && says !== 'gossip')
    return `it says that it is a ${says}, and Raft does not count it`
  return null
}
