import type { SnapshotMeta } from '../../src/raft/effects.ts'
import type { Entry, HardState, Index, Term } from '../../src/raft/entry.ts'
import type { FormingPromise, LogBatch, QuarantinedLog, StoredNode } from '../../src/storage/log-store.ts'
import type { ClusterId } from '../../src/vocabulary/ids.ts'
import { mixBytes } from './streams.ts'

/**
 * What the platter is meant to hold: the node's durable state as its writes say, whatever became of the bytes. Changed only
 * by whole batches, when they are durable.
 */
export class DiskImage {
  promise: FormingPromise | null = null
  joined: ClusterId | null = null
  hardState: HardState = nothing
  snapshot: SnapshotMeta | null = null
  firstIndex: Index = 1
  /** From `firstIndex` on. */
  entries: Entry[] = []

  get lastIndex(): Index {
    return this.entries.length === 0 ? Math.max(this.firstIndex - 1, 0) : this.firstIndex + this.entries.length - 1
  }

  /** Undefined for what is not there; a compacted place is known only at the snapshot's own index. */
  term(index: Index): Term | undefined {
    if (this.snapshot?.index === index) return this.snapshot.term
    return this.entries[index - this.firstIndex]?.term
  }

  /** Begins anew from what a start found, or made of it. */
  become({ hardState, snapshot, entries }: QuarantinedLog | StoredNode): void {
    this.hardState = hardState
    this.snapshot = snapshot
    this.firstIndex = entries[0]?.index ?? (snapshot?.index ?? 0) + 1
    this.entries = [...entries]
  }

  wipe(): void {
    this.promise = null
    this.joined = null
    this.become({ why: '', hardState: nothing, snapshot: null, entries: [] })
  }

  /** What a start found that is not so; null: it found all as it is. */
  difference(stored: StoredNode): string | null {
    const { promise, joined, hardState, snapshot, entries } = stored
    const own = JSON.stringify([this.promise, this.joined, this.hardState, this.snapshot])
    const found = JSON.stringify([promise, joined, hardState, snapshot])
    if (own !== found) return `it has ${found}, not ${own}`
    return differentEntries(entries, this.entries)
  }

  /** Whether what a quarantine began with is what was found. */
  static isOf({ hardState, snapshot, entries }: QuarantinedLog, stored: StoredNode): boolean {
    return (
      JSON.stringify([hardState, snapshot]) === JSON.stringify([stored.hardState, stored.snapshot]) &&
      differentEntries(stored.entries, entries) === null
    )
  }
}

function differentEntries(found: readonly Entry[], own: readonly Entry[]): string | null {
  if (found.length !== own.length) return `it has ${found.length} entries, not ${own.length}`
  for (const [at, entry] of own.entries()) {
    const other = found[at]
    const isEqual =
      other !== undefined &&
      other.index === entry.index &&
      other.term === entry.term &&
      other.kind === entry.kind &&
      other.id === entry.id &&
      other.time === entry.time &&
      other.data.length === entry.data.length &&
      mixBytes(0, other.data) === mixBytes(0, entry.data)
    if (!isEqual) return `entry ${entry.index}/${entry.term} is another: ${other?.index}/${other?.term}`
  }
  return null
}

const nothing = { term: 0, vote: null, commit: 0, isRecovering: false }

/** The rules of the log store's contract, written down a second time. */
export function applyBatch(image: DiskImage, batch: LogBatch, broken: (what: string) => void): void {
  const before = image.hardState
  const { hardState, entries, install, compact } = batch
  if (hardState.term < before.term) broken(`term ${hardState.term} after ${before.term}`)
  if (hardState.term === before.term && before.vote !== null && hardState.vote !== before.vote)
    broken(`vote for ${hardState.vote} after ${before.vote} in term ${before.term}`)
  if (hardState.commit < before.commit) broken(`commit ${hardState.commit} after ${before.commit}`)
  if (install !== null) {
    if (install.index < before.commit) broken(`snapshot ${install.index} installed over commit ${before.commit}`)
    image.entries = []
    image.snapshot = install
    image.firstIndex = install.index + 1
  }
  if (batch.truncateFrom !== null) {
    if (batch.truncateFrom <= before.commit) broken(`truncates from ${batch.truncateFrom}, committed ${before.commit}`)
    if (batch.truncateFrom <= image.lastIndex) image.entries.length = Math.max(0, batch.truncateFrom - image.firstIndex)
  }
  for (const entry of entries) {
    const last = image.lastIndex
    if (entry.index !== last + 1) broken(`entry ${entry.index} behind ${last}`)
    if (entry.term < (image.term(last) ?? 0)) broken(`entry ${entry.index} of term ${entry.term} behind a higher term`)
    image.entries.push(entry)
  }
  if (compact !== null) {
    if (compact.firstIndex > compact.snapshot.index + 1)
      broken(`the log begins at ${compact.firstIndex}, the snapshot ends at ${compact.snapshot.index}`)
    if (compact.snapshot.index < (image.snapshot?.index ?? 0)) broken('an older snapshot stands for the log')
    if (compact.firstIndex > image.firstIndex) {
      image.entries = image.entries.slice(compact.firstIndex - image.firstIndex)
      image.firstIndex = compact.firstIndex
    }
    image.snapshot = compact.snapshot
  }
  image.hardState = hardState
  if (hardState.commit > image.lastIndex) broken(`commit ${hardState.commit} behind the end ${image.lastIndex}`)
}
