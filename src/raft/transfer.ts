import type { NodeId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import { counts } from './progress.ts'
import type { Progress } from './progress.ts'
import { isActive } from './replication.ts'

/**
 * How a leader hands over (thesis 3.10): it takes no more proposals, brings the target's log to the end of its own, and tells
 * it to campaign at once. When no other leader came of it within an election timeout, it goes on leading.
 */

/** To the node, or to the furthest voter (null). Of no leader, or to no other voter that counts, nothing comes. */
export function startTransfer(core: Core, to: NodeId | null): void {
  const target = to ?? furthestVoter(core)
  if (core.role !== 'leader' || target === null || target === core.transfer?.to) return
  const progress = core.progress.get(target)
  if (progress === undefined || !counts(progress) || !core.log.configuration.voters.includes(target)) return
  core.transfer = { to: target, untilTick: core.ticks + core.options.electionTicks, isTold: false }
}

/** The next step of the transfer under way, if it is due. */
export function continueTransfer(core: Core): void {
  const { transfer } = core
  if (transfer === null || transfer.isTold) return
  if (core.progress.get(transfer.to)?.match === core.log.lastIndex) {
    transfer.isTold = true
    tellToCampaign(core, transfer.to)
  }
}

export function tickTransfer(core: Core): void {
  if (core.transfer !== null && core.ticks >= core.transfer.untilTick) core.transfer = null
}

/** The target can not be reached, so nothing comes of it. */
export function onTargetUnreachable(core: Core, peer: NodeId): void {
  if (core.transfer?.to === peer) core.transfer = null
}

export function tellToCampaign(core: Core, voter: NodeId): void {
  // It may campaign at any time in this term; no lease holds against that.
  core.endLease(Infinity)
  core.sendNow(voter, { kind: 'timeout-now' })
}

/** The other voter that lives, counts and may lead, and whose log is longest, the first by id of several. */
export function furthestVoter(core: Core, mayLead: (voter: Progress) => boolean = wouldLead): NodeId | null {
  let furthest: { node: NodeId; match: number } | null = null
  for (const [node, progress] of core.progress) {
    if (!core.log.configuration.voters.includes(node) || !isActive(core, progress)) continue
    if (!counts(progress) || !mayLead(progress)) continue
    if (furthest === null || progress.match > furthest.match) furthest = { node, match: progress.match }
  }
  return furthest?.node ?? null
}

/** A voter whose disk is full does not take leadership over. */
function wouldLead({ isDiskFull }: Progress): boolean {
  return isDiskFull !== true
}
