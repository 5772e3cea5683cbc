import type { NodeId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import type { MemberEvent } from './effects.ts'
import { membersMax } from './limits.ts'
import { isLive, isNewer } from './member.ts'
import type { Member } from './member.ts'
import type { Claim } from './messages.ts'
import { confirmSuspicion, startSuspicion, suspicionEndTick } from './suspicion.ts'

/**
 * What this node believes of the others (SWIM paper 4.2): it takes a claim that stands higher than what it knows, and passes
 * it on. A claim about itself it refutes by a higher incarnation. Nothing else changes a member.
 */
export function hear(core: Core, claim: Claim, through: 'gossip' | 'exchange'): void {
  if (claim.node === core.id) {
    hearOfSelf(core, claim)
    return
  }
  const known = core.members.get(claim.node)
  const grave = core.members.grave(claim.node)
  if (known === undefined) {
    if (grave !== undefined && !isNewer(claim, grave)) return
    admit(core, claim)
    return
  }
  const heard = through === 'exchange' ? softened(claim, known) : claim
  if (isNewer(heard, known)) replace(core, heard, known)
  else confirm(core, heard, known)
}

/** Accuses a member whose probe failed; says so to itself at once, as it may be the way to others that is cut. */
export function accuse(core: Core, member: Member): void {
  hear(core, { ...core.claimOf(member), status: 'suspect', by: core.id }, 'gossip')
  core.send(member.node, { kind: 'news' })
}

/** What the operator removed counts as having left, whatever it says itself. */
export function remove(core: Core, node: NodeId): void {
  const member = core.members.get(node)
  if (member === undefined) return
  hear(core, { ...core.claimOf(member), status: 'left', by: core.id, age: 0 }, 'gossip')
}

/** Suspects that have not refuted in time are dead; who was dead for long is forgotten. */
export function tickMembers(core: Core): void {
  for (const member of core.members.all()) {
    if (member.suspicion !== null && core.tick >= suspicionEndTick(member.suspicion)) {
      hear(core, { ...core.claimOf(member), status: 'dead', by: core.id }, 'gossip')
      core.send(member.node, { kind: 'news' })
    } else if (!isLive(member) && core.tick - member.sinceTick >= core.options.reapTicks) {
      core.members.bury(member)
      core.broadcasts.drop(member.node)
      core.changed.push(...core.keyValues.drop(member.node))
      core.memberEvents.push(eventOf('forgotten', member))
    }
  }
}

/**
 * In an exchange each side tells all that it believes, also what a partition made it believe. So who is dead there and lives
 * here is suspected here, and has the time to refute, rather than found dead by both sides when the partition heals.
 */
function softened(claim: Claim, known: Member): Claim {
  if (claim.status !== 'dead' || !isLive(known) || claim.generation !== known.generation) return claim
  return { ...claim, status: 'suspect', age: 0 }
}

function hearOfSelf(core: Core, claim: Claim): void {
  if (!core.isRunning) return
  if (claim.generation > core.generation) {
    core.phase = 'superseded'
  } else if (claim.generation < core.generation) {
    if (!core.broadcasts.has(core.id)) core.broadcasts.queue(core.selfClaim())
  } else if (claim.status === 'left') {
    core.phase = 'removed'
  } else if (claim.status !== 'alive' && claim.incarnation >= core.incarnation) {
    core.incarnation = claim.incarnation + 1
    core.counters.refutations += 1
    core.health.worsen(1)
    core.broadcasts.queue(core.selfClaim())
  }
}

/** Somebody who was not known, or is back from the grave with something new to say. */
function admit(core: Core, claim: Claim): void {
  if (claim.age >= core.options.reapTicks) return
  if (core.members.size >= membersMax) {
    core.counters.membersRefused += 1
    return
  }
  put(core, claim)
  if (isLive(claim)) join(core, claim.node)
  if (claim.status !== 'alive') tell(core, claim.status, claim)
}

function replace(core: Core, claim: Claim, known: Member): void {
  put(core, claim)
  if (claim.generation !== known.generation) {
    core.changed.push(...core.keyValues.drop(claim.node))
    if (isLive(claim)) join(core, claim.node)
    if (claim.status !== 'alive') tell(core, claim.status, claim)
    return
  }
  if (claim.status === 'left') core.changed.push(...core.keyValues.drop(claim.node))
  if (claim.status === known.status) return
  if (claim.status !== 'alive') tell(core, claim.status, claim)
  else tell(core, known.status === 'suspect' ? 'refuted' : 'alive', claim)
}

/** A live process that was not known before is probed somewhere in this round (SWIM 4.3). */
function join(core: Core, node: NodeId): void {
  const at = core.random.below(core.round.length + 1)
  core.round = [...core.round.slice(0, at), node, ...core.round.slice(at).filter((other) => other !== node)]
  const member = core.members.get(node)
  if (member !== undefined) core.memberEvents.push(eventOf('joined', member))
}

function put(core: Core, claim: Claim): void {
  const { node, generation, incarnation, status, address, by } = claim
  const { nodes, tick: nowTick, options } = core
  const suspicion = status === 'suspect' ? startSuspicion(by, { nowTick, nodes, options }) : null
  const sinceTick = nowTick - (isLive(claim) ? 0 : claim.age)
  core.members.put({ node, generation, incarnation, status, address, by, sinceTick, suspicion })
  core.broadcasts.queue(claim)
}

function tell(core: Core, kind: MemberEvent['kind'], { node }: Claim): void {
  const member = core.members.get(node)
  if (member !== undefined) core.memberEvents.push(eventOf(kind, member))
}

/** One more accuser of what is suspected already: that shortens the suspicion, and is worth passing on. */
function confirm(core: Core, claim: Claim, known: Member): void {
  const { suspicion } = known
  const isSame = claim.generation === known.generation && claim.incarnation === known.incarnation
  if (suspicion === null || claim.status !== 'suspect' || !isSame) return
  const confirmed = confirmSuspicion(suspicion, claim.by)
  if (confirmed === null) return
  core.members.put({ ...known, suspicion: confirmed })
  core.broadcasts.queue(claim)
}

function eventOf(kind: MemberEvent['kind'], member: Member): MemberEvent {
  const { node, generation, incarnation, address, by } = member
  return { kind, node, generation, incarnation, address, by }
}
