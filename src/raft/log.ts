import { assert } from '../std/assert.ts'
import { decodeConfiguration } from './configuration.ts'
import type { Configuration } from './configuration.ts'
import { entryBytes } from './entry.ts'
import type { Entry, Index, Term } from './entry.ts'

/**
 * The log in memory: entries from index 1 on, which of them were handed to the disk, and which are durable there. It
 * guarantees contiguous indexes and non-decreasing terms, and that a finished write counts only for entries that still
 * stand where that write put them. What may be truncated, and what is committed, is its owner's decision.
 */
export class RaftLog {
  readonly #entries: Entry[] = []
  /** At the position of an entry: the bytes of the log up to and including it. */
  readonly #bytesUpTo: number[] = []
  /** Every configuration entry of the log, oldest first: the last one rules from the moment it is appended (R13). */
  readonly #configurations: { readonly index: Index; readonly configuration: Configuration }[] = []
  #durableIndex: Index
  /** The last index that some taken batch contains; what is above waits for the next one. */
  #writtenIndex: Index
  /** What the next batch has to delete first, because an earlier batch may have put it on the disk. */
  #truncateFrom: Index | null = null
  /** For each batch under way: up to where the log will be durable when it ends. Truncation lowers it. */
  readonly #writes: { readonly seq: number; upTo: Index }[] = []

  /** `entries` are durable and begin with a configuration. */
  constructor(entries: readonly Entry[]) {
    assert(entries[0]?.kind === 'configuration', 'the first entry of a log is a configuration')
    this.append(entries)
    this.#durableIndex = this.lastIndex
    this.#writtenIndex = this.lastIndex
  }

  get lastIndex(): Index {
    return this.#entries.length
  }

  get lastTerm(): Term {
    return this.term(this.lastIndex)
  }

  get bytes(): number {
    return this.#bytesUpTo.at(-1) ?? 0
  }

  /** Everything up to here is on this node's disk as it stands here. */
  get durableIndex(): Index {
    return this.#durableIndex
  }

  get configuration(): Configuration {
    const newest = this.#configurations.at(-1)
    assert(newest !== undefined, 'a log has a configuration')
    return newest.configuration
  }

  /** The term of the entry at `index`; 0 for index 0. */
  term(index: Index): Term {
    return index === 0 ? 0 : this.entry(index).term
  }

  entry(index: Index): Entry {
    const entry = this.#entries[index - 1]
    assert(entry !== undefined, `the log has an entry ${index}`)
    return entry
  }

  /** True when the log holds an entry of this term at this index; (0, 0) is the place before the first. */
  matches(index: Index, term: Term): boolean {
    return index <= this.lastIndex && this.term(index) === term
  }

  /** True when a log that ends in (lastIndex, lastTerm) is at least as up to date as this one (paper 5.4.1). */
  isUpToDate(lastIndex: Index, lastTerm: Term): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex)
  }

  /** The entries of [from, to]. */
  between(from: Index, to: Index): readonly Entry[] {
    return this.#entries.slice(from - 1, to)
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
    return this.bytes - this.#bytesBefore(index + 1)
  }

  /** The highest index at or below `upTo` whose term is at most `term`: terms never fall, so a binary search finds it. */
  lastIndexWithTermAtMost(term: Term, upTo: Index): Index {
    let low = 0
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
      if (entry.kind === 'configuration') {
        const configuration = decodeConfiguration(entry.data)
        assert(configuration !== undefined, `entry ${entry.index} holds a configuration`)
        this.#configurations.push({ index: entry.index, configuration })
      }
      this.#bytesUpTo.push(this.bytes + entryBytes(entry))
      this.#entries.push(entry)
    }
  }

  truncateFrom(index: Index): void {
    assert(index > 1 && index <= this.lastIndex, `entry ${index} can be truncated`)
    this.#entries.length = index - 1
    this.#bytesUpTo.length = index - 1
    while ((this.#configurations.at(-1)?.index ?? 0) >= index) this.#configurations.pop()
    if (index <= this.#writtenIndex) {
      this.#truncateFrom = Math.min(this.#truncateFrom ?? index, index)
      this.#writtenIndex = index - 1
    }
    this.#durableIndex = Math.min(this.#durableIndex, index - 1)
    for (const write of this.#writes) write.upTo = Math.min(write.upTo, index - 1)
  }

  get hasUnwritten(): boolean {
    return this.#truncateFrom !== null || this.#writtenIndex < this.lastIndex
  }

  /** What batch `seq` has to write of the log: all that no batch contains yet. */
  takeUnwritten(seq: number): { truncateFrom: Index | null; entries: readonly Entry[] } {
    const unwritten = {
      truncateFrom: this.#truncateFrom,
      entries: this.between(this.#writtenIndex + 1, this.lastIndex),
    }
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

  #bytesBefore(index: Index): number {
    return this.#bytesUpTo[index - 2] ?? 0
  }
}
