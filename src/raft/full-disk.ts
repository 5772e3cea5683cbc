import type { NodeId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import type { RaftEvent } from './effects.ts'
import { entryBytes } from './entry.ts'
import type { Entry } from './entry.ts'
import { tallyVotes } from './quorum.ts'
import { isActive } from './replication.ts'
import { furthestVoter, startTransfer } from './transfer.ts'

/**
 * What disks without room change. A majority has to be able to agree still: on what was under way when it ran out of room, on a
 * leader's noop, so that there can be reads, and on changes, so that nodes with room can come. Only commands can wait. So a
 * leader takes no more of them while its own disk is full, or so many that no majority has room; and a follower takes, out of
 * what its node keeps for itself, a bounded part (`spareBytes`) of commands, and the rest always: it is as small as the
 * votes that it writes. A few full disks stop nobody: those nodes fall behind when they have taken that part, and catch up when there is room.
 */

export function onDiskFull(core: Core, { isFull, spareBytes }: RaftEvent & { kind: 'disk-full' }): void {
  const isOnset = isFull && !core.isDiskFull
  core.isHandOverDue = isFull && (core.isHandOverDue || isOnset)
  core.spareBytes = isOnset ? spareBytes : Math.min(core.spareBytes, spareBytes)
  core.isDiskFull = isFull
}

/** Whether this leader may take commands. A member that has not said that its disk is full has room. */
export function isRoomForCommands(core: Core): boolean {
  if (core.isDiskFull) return false
  const full = new Map<NodeId, boolean>()
  for (const [member, { isDiskFull }] of core.progress) if (isDiskFull === true) full.set(member, false)
  return full.size === 0 || tallyVotes(core.log.configuration, full) !== 'lost'
}

/** Whether this follower may take the entries, of which it has none yet. */
export function isRoomFor(core: Core, entries: readonly Entry[]): boolean {
  return !core.isDiskFull || core.spareBytes > 0 || entries.every(({ kind }) => kind !== 'command')
}

/** It has taken them. */
export function spend(core: Core, entries: readonly Entry[]): void {
  if (core.isDiskFull) for (const entry of entries) core.spareBytes -= entryBytes(entry)
}

/**
 * A leader whose disk is full hands over to a voter that is known to have room, as soon as the others that live are a majority
 * without it. It tries that once.
 */
export function handOverForRoom(core: Core): void {
  if (!core.isHandOverDue || core.transfer !== null) return
  const others = [...core.progress].filter(([, progress]) => isActive(core, progress))
  const answers = new Map(others.map(([member]) => [member, true]))
  if (tallyVotes(core.log.configuration, answers) !== 'won') return
  const heir = furthestVoter(core, ({ isDiskFull }) => isDiskFull === false)
  if (heir !== null) startTransfer(core, heir)
  core.isHandOverDue = core.transfer === null
}
