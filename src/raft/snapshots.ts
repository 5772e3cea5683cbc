import { assert } from '../std/assert.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import type { SnapshotMeta } from './effects.ts'
import type { Index, Term } from './entry.ts'
import { follow } from './follower.ts'
import { endRecovery, isHeldBack } from './recovery.ts'

/**
 * What snapshots do to the log (paper 7): a node's own lets the log begin later, a leader's takes the place of a log that
 * ends too early, or conflicts. What is not applied here is never compacted; what is committed here is never replaced.
 */

/** What a snapshot of the state machine after it applied `index` stands for; null when it would stand for nothing new. */
export function snapshotMeta(core: Core, index: Index): SnapshotMeta | null {
  const { log } = core
  if (index <= log.snapshotIndex || index > core.handedOutIndex) return null
  return { index, term: log.term(index), time: log.time(index), configuration: log.configurationAt(index) }
}

/** This node's own snapshot is durable. Some entries stay behind it, for members that are a little behind. */
export function onSnapshotted(core: Core, snapshot: SnapshotMeta): void {
  const { log } = core
  if (snapshot.index <= log.snapshotIndex) return
  assert(snapshot.index <= core.handedOutIndex, 'a snapshot holds what was applied')
  const firstIndex = beginningBehind(core, snapshot)
  for (const entry of log.compact(firstIndex, snapshot)) core.ownTermIds.delete(entry.id)
}

/**
 * At a start the snapshot may be newer than the log on the disk knows, because the node ended in between: once the state
 * machine stands on it, the log lets go of what it stands for.
 */
export function compactFromStart(core: Core): void {
  const snapshot = core.startSnapshot
  if (snapshot === null || core.appliedIndex < snapshot.index) return
  core.startSnapshot = null
  if (core.log.snapshotIndex !== snapshot.index) return
  const firstIndex = beginningBehind(core, snapshot)
  if (firstIndex > core.log.baseIndex + 1) core.log.compact(firstIndex, snapshot)
}

function beginningBehind({ log, options }: Core, snapshot: SnapshotMeta): Index {
  let firstIndex = Math.max(log.baseIndex + 1, snapshot.index - options.trailingEntries + 1)
  const bytesBehind = log.bytesAfter(snapshot.index)
  const isTooMuch = (): boolean => log.bytesAfter(firstIndex - 1) - bytesBehind > options.logBytesMax / trailingShare
  while (firstIndex <= snapshot.index && isTooMuch()) firstIndex += 1
  return firstIndex
}

/**
 * A leader's snapshot is durable here. A log that has its last entry has all that it stands for: nothing is lost, and what
 * follows may be acknowledged already. Else it takes the place of the whole log.
 */
export function onSnapshotReceived(core: Core, received: { from: NodeId; term: Term; snapshot: SnapshotMeta }): void {
  const { from, term, snapshot } = received
  const { index } = snapshot
  // A deposed leader's: the present one knows what this node needs.
  if (from === core.id || term < core.term || snapshot.term > term) return
  if (term > core.term) core.becomeFollower(term, null)
  if (!follow(core, received)) return
  if (index > core.commitIndex) {
    if (!core.log.matches(index, snapshot.term)) {
      core.log.install(snapshot)
      core.pending.forgetAll()
    }
    core.commitTo(index)
  }
  if (isHeldBack(core)) return
  core.matchedIndex = Math.max(core.matchedIndex, index)
  endRecovery(core)
  core.sendWhenDurable(from, { kind: 'snapshot-installed', index })
}

/** What stays behind a snapshot is at most this part of the bytes that the log may hold, however large its entries. */
const trailingShare = 4
