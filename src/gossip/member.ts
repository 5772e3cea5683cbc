import type { NodeId } from '../vocabulary/ids.ts'
import type { Claim, MemberStatus } from './messages.ts'
import type { Suspicion } from './suspicion.ts'

/** One other node as this one sees it. Changed only by membership.ts, and only to what `isNewer`. */
export type Member = {
  readonly node: NodeId
  readonly generation: number
  readonly incarnation: number
  readonly status: MemberStatus
  readonly address: string
  /** Who said what holds now. */
  readonly by: NodeId
  /** The tick since which the status holds; of the dead and left it may be before this node's start. */
  readonly sinceTick: number
  /** While suspect. */
  readonly suspicion: Suspicion | null
}

/** What remains of a member that was reaped, so that no hearsay brings it back. */
export type Grave = Pick<Member, 'generation' | 'incarnation' | 'status'>

type Standing = Pick<Claim, 'generation' | 'incarnation' | 'status'>

/**
 * The one order in which claims about a node stand: a later generation beats all of the earlier ones; having left is final for
 * its generation; then the higher incarnation; then what is worse. All nodes take the highest that they hear, so their
 * views become equal whatever the order in which they hear it, and an incarnation never falls. What was found dead lives
 * again only by a higher incarnation, which only the process itself can have given: by showing that it lives.
 */
export function isNewer(claim: Standing, known: Standing): boolean {
  if (claim.generation !== known.generation) return claim.generation > known.generation
  if (known.status === 'left' || claim.status === 'left') return known.status !== 'left'
  if (claim.incarnation !== known.incarnation) return claim.incarnation > known.incarnation
  return severity(claim.status) > severity(known.status)
}

function severity(status: MemberStatus): number {
  return status === 'alive' ? 0 : status === 'suspect' ? 1 : 2
}

/** A suspect is live until it is found dead: it is probed, told things and counted. */
export function isLive({ status }: { readonly status: MemberStatus }): boolean {
  return status === 'alive' || status === 'suspect'
}
