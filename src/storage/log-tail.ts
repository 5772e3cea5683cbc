import { assert } from '../std/assert.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { HardState, Index, Term } from '../raft/entry.ts'
import type { ClusterId } from '../vocabulary/ids.ts'
import type { FormingPromise, LogBatch } from './log-store.ts'

/**
 * The rules that every batch must keep, whatever the store: no term goes back, no vote changes within a term, nothing
 * committed is truncated (R5) or lost to a snapshot, no gap, no unsorted terms, and nothing is compacted away that no
 * snapshot stands for. A batch that breaks one is a bug of the caller, never written.
 */

/** Where a log begins and ends. `lastIndex` is `firstIndex - 1` while it is empty, `lastTerm` then the snapshot's, or 0. */
export type LogTail = {
  readonly hardState: HardState
  readonly snapshot: SnapshotMeta | null
  readonly firstIndex: Index
  readonly lastIndex: Index
  readonly lastTerm: Term
}

/** The last index that stays of the entries that are there when the batch installs or truncates. */
export function keptIndex(tail: LogTail, batch: LogBatch): Index {
  if (batch.install !== null) return batch.install.index
  return batch.truncateFrom === null ? tail.lastIndex : Math.min(tail.lastIndex, batch.truncateFrom - 1)
}

/** The tail after the batch. `keptTerm` is the term at `keptIndex`. */
export function advanceTail(tail: LogTail, batch: LogBatch, keptTerm: Term): LogTail {
  const { hardState: before } = tail
  const { hardState, install, compact, truncateFrom, entries } = batch
  assert(hardState.term >= before.term, `term ${hardState.term} after ${before.term}`)
  if (hardState.term === before.term && before.vote !== null)
    assert(hardState.vote === before.vote, `a second vote in term ${hardState.term}`)
  assert(hardState.commit >= before.commit, `commit ${hardState.commit} after ${before.commit}`)
  if (truncateFrom !== null) {
    const floor = Math.max(before.commit, tail.firstIndex - 1, install?.index ?? 0)
    assert(truncateFrom > floor, `truncate from ${truncateFrom}, committed up to ${floor}`)
  }
  if (install !== null) checkInstall(tail, batch, install)
  let lastIndex = keptIndex(tail, batch)
  let lastTerm = install?.term ?? keptTerm
  for (const entry of entries) {
    assert(entry.index === lastIndex + 1, `append of ${entry.index} after ${lastIndex}`)
    assert(entry.term >= lastTerm, `entry ${entry.index} of term ${entry.term} after term ${lastTerm}`)
    lastIndex = entry.index
    lastTerm = entry.term
  }
  assert(hardState.commit <= lastIndex, `commit ${hardState.commit} behind the end ${lastIndex}`)
  assert(hardState.term >= lastTerm, `an entry of term ${lastTerm} in term ${hardState.term}`)
  if (compact !== null) checkCompact(tail, batch, compact)
  return {
    hardState,
    snapshot: compact?.snapshot ?? install ?? tail.snapshot,
    firstIndex: compact?.firstIndex ?? (install === null ? tail.firstIndex : install.index + 1),
    lastIndex,
    lastTerm,
  }
}

function checkInstall(tail: LogTail, { hardState, compact }: LogBatch, install: SnapshotMeta): void {
  assert(compact === null, 'a batch that installs a snapshot does not compact')
  assert(install.index >= tail.hardState.commit, `a snapshot of ${install.index} would lose what is committed`)
  assert(hardState.commit >= install.index, `commit ${hardState.commit} below the snapshot of ${install.index}`)
}

function checkCompact(tail: LogTail, batch: LogBatch, compact: NonNullable<LogBatch['compact']>): void {
  const { firstIndex, snapshot } = compact
  const before = tail.snapshot?.index ?? 0
  assert(firstIndex >= tail.firstIndex, `the log begins at ${tail.firstIndex} and can not at ${firstIndex}`)
  assert(
    firstIndex <= snapshot.index + 1,
    `the log can not begin at ${firstIndex} after a snapshot of ${snapshot.index}`,
  )
  assert(snapshot.index >= before, `a snapshot of ${snapshot.index} after one of ${before}`)
  const end = Math.min(batch.hardState.commit, keptIndex(tail, batch))
  assert(snapshot.index <= end, `a snapshot of ${snapshot.index}, durable and committed is ${end}`)
}

/** What binds a data directory to a cluster is said once in its life. */
export function assertSamePromise(stored: FormingPromise | null, promise: FormingPromise): void {
  if (stored === null) return
  assert(
    stored.clusterId === promise.clusterId && stored.voters.join() === promise.voters.join(),
    `promised to form ${stored.clusterId} of ${stored.voters.join(', ')}, now ${promise.clusterId} of ${promise.voters.join(', ')}`,
  )
}

export function assertFree(bound: { promise: FormingPromise | null; joined: ClusterId | null }, to: ClusterId): void {
  assert(bound.promise === null, `promised to form ${bound.promise?.clusterId}, now to join ${to}`)
  assert(bound.joined === null || bound.joined === to, `joined ${bound.joined}, now ${to}`)
}
