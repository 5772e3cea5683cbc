import { assert } from '../std/assert.ts'
import type { HardState, Index, Term } from '../raft/entry.ts'
import type { FormingPromise, LogBatch } from './log-store.ts'

/**
 * The rules that every batch must keep, whatever the store: no term goes back, no vote changes within a term, nothing
 * committed is truncated (R5), no gap, no unsorted terms. A batch that breaks one is a bug of the caller, never written.
 */

/** Where a log ends. `lastIndex` and `lastTerm` are 0 while it is empty. */
export type LogTail = { readonly hardState: HardState; readonly lastIndex: Index; readonly lastTerm: Term }

/** The last index that stays when the batch truncates. */
export function keptIndex(tail: LogTail, batch: LogBatch): Index {
  return batch.truncateFrom === null ? tail.lastIndex : Math.min(tail.lastIndex, batch.truncateFrom - 1)
}

/** The tail after the batch. `keptTerm` is the term of the entry at `keptIndex`. */
export function advanceTail(tail: LogTail, batch: LogBatch, keptTerm: Term): LogTail {
  const { hardState: before } = tail
  const { hardState, truncateFrom, entries } = batch
  assert(hardState.term >= before.term, `term ${hardState.term} after ${before.term}`)
  if (hardState.term === before.term && before.vote !== null)
    assert(hardState.vote === before.vote, `a second vote in term ${hardState.term}`)
  assert(hardState.commit >= before.commit, `commit ${hardState.commit} after ${before.commit}`)
  if (truncateFrom !== null)
    assert(truncateFrom > before.commit, `truncate from ${truncateFrom}, committed up to ${before.commit}`)
  let lastIndex = keptIndex(tail, batch)
  let lastTerm = keptTerm
  for (const entry of entries) {
    assert(entry.index === lastIndex + 1, `append of ${entry.index} after ${lastIndex}`)
    assert(entry.term >= lastTerm, `entry ${entry.index} of term ${entry.term} after term ${lastTerm}`)
    lastIndex = entry.index
    lastTerm = entry.term
  }
  assert(hardState.commit <= lastIndex, `commit ${hardState.commit} behind the end ${lastIndex}`)
  assert(hardState.term >= lastTerm, `an entry of term ${lastTerm} in term ${hardState.term}`)
  return { hardState, lastIndex, lastTerm }
}

/** A promise to form a cluster is made once in the life of a data directory. */
export function assertSamePromise(stored: FormingPromise | null, promise: FormingPromise): void {
  if (stored === null) return
  assert(
    stored.clusterId === promise.clusterId && stored.voters.join() === promise.voters.join(),
    `promised to form ${stored.clusterId} of ${stored.voters.join(', ')}, now ${promise.clusterId} of ${promise.voters.join(', ')}`,
  )
}
