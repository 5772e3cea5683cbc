import { assert } from '../std/assert.ts'
import { decodeConfiguration, noConfiguration } from './configuration.ts'
import type { Configuration } from './configuration.ts'
import type { Persist, SnapshotMeta } from './effects.ts'
import { entryBytes } from './entry.ts'
import type { Entry, Index, Term } from './entry.ts'

/** What a batch has to write of the log. */
type Unwritten = Pick<Persist, 'install' | 'compact' | 'truncateFrom' | 'entries'>

/**
 * The log in memory: the entries behind its base, which of them were handed to the disk, and which are durable there. It
 * guarantees contiguous indexes and non-decreasing terms, and that a finished write counts only for entries that still
 * stand where that write put them. A snapshot stands for what is gone; all of that was committed. What may be truncated,
 * compacted or replaced is its owner's decision.
 */
export class RaftLog {
  /** The place before the first entry that is held. Of all that is gone, only its term and time are still known. */
  #base: { readonly index: Index; readonly term: Term; readonly time: number }
  #snapshot: SnapshotMeta | null
  #entries: Entry[] = []
  /** At the position of an entry: the bytes up to and including it, counted from some place at or before the base. */
  #bytesUpTo: number[] = []
  #bytesUpToBase = 0
  /** The configuration at the base, or of the snapshot, then all later ones: the last one rules from its append on (R13). */
  #configurations: { readonly index: Index; readonly configuration: Configuration }[]
  #durableIndex: Index
  /** The last index that some taken batch contains; what is above waits for the next one. */
  #writtenIndex: Index
  /** What the next batch has to do first: see `Persist`. */
  #install: SnapshotMeta | null = null
  #compact: Persist['compact'] = null
  #truncateFrom: Index | null = null
  /** For each batch under way: up to where the log will be durable when it ends. Truncation lowers it. */
  readonly #writes: { readonly seq: number; upTo: Index }[] = []

  /** Both are durable, and of one log; that begins with a configuration, or is empty because this node only joins. */
  constructor({ snapshot, entries }: { snapshot: SnapshotMeta | null; entries: readonly Entry[] }) {
    const [first] = entries
    this.#snapshot = snapshot
    this.#configurations = [{ index: snapshot?.index ?? 0, configuration: snapshot?.configuration ?? noConfiguration }]
    if (first === undefined || first.index === 1 || first.index === (snapshot?.index ?? 0) + 1) {
      assert(
        snapshot !== null || first === undefined || first.kind === 'configuration',
        'a log begins with a configuration',
      )
      this.#base = first?.index === 1 ? start : (snapshot ?? start)
      this.append(entries)
    } else {
      assert(snapshot !== null && first.index <= snapshot.index, 'there is no gap behind the snapshot')
      // Nobody knows the term before it any more, so it is the base itself.
      this.#base = first
      this.append(entries.slice(1))
    }
    this.#durableIndex = this.lastIndex
    this.#writtenIndex = this.lastIndex
    if (snapshot === null) return
    assert(snapshot.index <= this.lastIndex, 'the log reaches the snapshot')
    assert(this.term(snapshot.index) === snapshot.term, 'the log holds what the snapshot stands for')
  }

  /** Of the place before the first entry that is held. */
  get baseIndex(): Index {
    return this.#base.index
  }

  /** The newest snapshot of this node: everything up to it may be gone, and nothing behind it is. */
  get snapshot(): SnapshotMeta | null {
    return this.#snapshot
  }

  get snapshotIndex(): Index {
    return this.#snapshot?.index ?? 0
  }

  get lastIndex(): Index {
    return this.#base.index + this.#entries.length
  }

  get lastTerm(): Term {
    return this.term(this.lastIndex)
  }

  /** Log time of the last entry. */
  get lastTime(): number {
    return (this.#entries.at(-1) ?? this.#base).time
  }

  /** Of the entries that are held. */
  get bytes(): number {
    return this.#bytesUpToLast - this.#bytesUpToBase
  }

  /** Everything up to here is on this node's disk as it stands here. */
  get durableIndex(): Index {
    return this.#durableIndex
  }

  get configuration(): Configuration {
    return this.#newestConfiguration.configuration
  }

  /** Where the newest configuration stands; of one that came with a snapshot, at the latest there. */
  get configurationIndex(): Index {
    return this.#newestConfiguration.index
  }

  /** The configuration that rules at the entry, which is not before the snapshot. */
  configurationAt(index: Index): Configuration {
    const ruling = this.#configurations.findLast((one) => one.index <= index)
    assert(ruling !== undefined, `the configuration at ${index} is known`)
    return ruling.configuration
  }

  /** The term of the entry at `index`, which is not before the base; 0 for index 0. */
  term(index: Index): Term {
    return index === this.#base.index ? this.#base.term : this.entry(index).term
  }

  /** Log time of the entry at `index`, which is not before the base. */
  time(index: Index): number {
    return index === this.#base.index ? this.#base.time : this.entry(index).time
  }

  entry(index: Index): Entry {
    const entry = this.#entries[index - this.#base.index - 1]
    assert(entry !== undefined, `the log has an entry ${index}`)
    return entry
  }

  /**
   * True when the log holds an entry of this term at this index; (0, 0) is the place before the first. What is before the base
   * was committed, so every leader has it: it is no conflict, though nobody can compare any more.
   */
  matches(index: Index, term: Term): boolean {
    return index < this.#base.index || (index <= this.lastIndex && this.term(index) === term)
  }

  /** True when a log that ends in (lastIndex, lastTerm) is at least as up to date as this one (paper 5.4.1). */
  isUpToDate(lastIndex: Index, lastTerm: Term): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex)
  }

  /** True when this log is at least as up to date as one that ends in (lastIndex, lastTerm). */
  reaches(lastIndex: Index, lastTerm: Term): boolean {
    return this.lastTerm > lastTerm || (this.lastTerm === lastTerm && this.lastIndex >= lastIndex)
  }

  /** The entries of [from, to], which are behind the base. */
  between(from: Index, to: Index): readonly Entry[] {
    assert(from > this.#base.index || to < from, `entry ${from} is not compacted`)
    return this.#entries.slice(from - this.#base.index - 1, Math.max(0, to - this.#base.index))
  }

  /** The entries from `from` on that fit into `bytesMax` together, at least one if there is one. */
  batch(from: Index, bytesMax: number): readonly Entry[] {
    const before = this.#bytesBefore(from)
    let to = from
    while (to < this.lastIndex && this.#bytesBefore(to + 2) - before <= bytesMax) to += 1
    return this.between(from, to)
  }

  /** Bytes of the entries above `index`. */
  bytesAfter(index: Index): number {
    return this.#bytesUpToLast - this.#bytesBefore(index + 1)
  }

  /**
   * The highest index at or below `upTo` whose term is at most `term`: terms never fall, so a binary search finds it. An
   * index before the base, where that lies in what is gone.
   */
  lastIndexWithTermAtMost(term: Term, upTo: Index): Index {
    let low = Math.max(0, Math.min(upTo, this.#base.index - 1))
    let high = Math.min(upTo, this.lastIndex)
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if (this.term(middle) <= term) low = middle
      else high = middle - 1
    }
    return low
  }

  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      assert(entry.index === this.lastIndex + 1, `entry ${entry.index} follows ${this.lastIndex}`)
      assert(entry.term >= Math.max(1, this.lastTerm), `the term of entry ${entry.index} does not fall`)
      if (entry.kind === 'configuration' && entry.index > this.configurationIndex) {
        const configuration = decodeConfiguration(entry.data)
        assert(configuration !== undefined, `entry ${entry.index} holds a configuration`)
        this.#configurations.push({ index: entry.index, configuration })
      }
      this.#bytesUpTo.push(this.#bytesUpToLast + entryBytes(entry))
      this.#entries.push(entry)
    }
  }

  truncateFrom(index: Index): void {
    const kept = index - 1 - this.#base.index
    assert(kept >= 0 && index > 1 && index <= this.lastIndex, `entry ${index} can be truncated`)
    this.#entries.length = kept
    this.#bytesUpTo.length = kept
    while (this.configurationIndex >= index) this.#configurations.pop()
    if (index <= this.#writtenIndex) {
      this.#truncateFrom = Math.min(this.#truncateFrom ?? index, index)
      this.#writtenIndex = index - 1
    }
    this.#undurableFrom(index)
  }

  /**
   * The snapshot, of this node's own state machine, stands for everything up to it; the log begins at `firstIndex` from now
   * on, which is at or before what follows the snapshot. Returns the entries that go.
   */
  compact(firstIndex: Index, snapshot: SnapshotMeta): readonly Entry[] {
    assert(firstIndex > this.#base.index && firstIndex <= snapshot.index + 1, `the log can begin at ${firstIndex}`)
    assert(snapshot.index >= this.snapshotIndex && snapshot.index <= this.#durableIndex, 'a snapshot never moves back')
    assert(this.term(snapshot.index) === snapshot.term, 'the snapshot is of this log')
    const { index, term, time } = {
      index: firstIndex - 1,
      term: this.term(firstIndex - 1),
      time: this.time(firstIndex - 1),
    }
    const gone = this.#entries.splice(0, index - this.#base.index)
    this.#bytesUpToBase = this.#bytesUpTo.splice(0, gone.length).at(-1) ?? this.#bytesUpToBase
    this.#base = { index, term, time }
    this.#snapshot = snapshot
    const ruling = this.#configurations.findLastIndex((one) => one.index <= snapshot.index)
    this.#configurations = this.#configurations.slice(ruling)
    this.#compact = { firstIndex, snapshot }
    return gone
  }

  /** The whole log is replaced by a leader's snapshot. What was being written before counts for nothing any more. */
  install(snapshot: SnapshotMeta): void {
    this.#base = snapshot
    this.#snapshot = snapshot
    this.#entries = []
    this.#bytesUpTo = []
    this.#bytesUpToBase = 0
    this.#configurations = [{ index: snapshot.index, configuration: snapshot.configuration }]
    this.#install = snapshot
    this.#compact = null
    this.#truncateFrom = null
    this.#writtenIndex = snapshot.index
    this.#undurableFrom(snapshot.index)
  }

  /** Whether there is something to write that others may come to depend on. */
  get hasUnwritten(): boolean {
    return this.#install !== null || this.#truncateFrom !== null || this.#writtenIndex < this.lastIndex
  }

  /** Whether the log's beginning moved: nobody depends on that. */
  get hasUnwrittenBeginning(): boolean {
    return this.#compact !== null
  }

  /** What batch `seq` has to write of the log: all that no batch contains yet. */
  takeUnwritten(seq: number): Unwritten {
    const unwritten = {
      install: this.#install,
      compact: this.#compact,
      truncateFrom: this.#truncateFrom,
      entries: this.between(this.#writtenIndex + 1, this.lastIndex),
    }
    this.#install = null
    this.#compact = null
    this.#truncateFrom = null
    this.#writtenIndex = this.lastIndex
    this.#writes.push({ seq, upTo: this.lastIndex })
    return unwritten
  }

  /** Batch `seq` is durable; batches end in the order in which they were taken. */
  written(seq: number): void {
    const write = this.#writes.shift()
    assert(write?.seq === seq, `write ${seq} is the oldest one under way`)
    this.#durableIndex = Math.max(this.#durableIndex, write.upTo)
  }

  get #newestConfiguration(): { readonly index: Index; readonly configuration: Configuration } {
    const newest = this.#configurations.at(-1)
    assert(newest !== undefined, 'a log has a configuration')
    return newest
  }

  get #bytesUpToLast(): number {
    return this.#bytesUpTo.at(-1) ?? this.#bytesUpToBase
  }

  #bytesBefore(index: Index): number {
    return this.#bytesUpTo[index - this.#base.index - 2] ?? this.#bytesUpToBase
  }

  #undurableFrom(index: Index): void {
    this.#durableIndex = Math.min(this.#durableIndex, index - 1)
    for (const write of this.#writes) write.upTo = Math.min(write.upTo, index - 1)
  }
}

const start = { index: 0, term: 0, time: 0 }
