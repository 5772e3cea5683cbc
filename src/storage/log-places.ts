import { assert } from '../std/assert.ts'
import type { Index, Term } from '../raft/entry.ts'
import { sameBytes } from './log-record.ts'

/**
 * Term and chain hash of each entry of the log, in memory (16 bytes each): what a new entry is chained to, what the log
 * begins with after a compaction, and what a scrub must find on the disk.
 */
export class LogPlaces {
  #bytes = new Uint8Array(64 * placeBytes)
  #view = new DataView(this.#bytes.buffer)
  /** Place of the first entry in the memory. */
  #from = 0
  #count = 0
  #firstIndex: Index
  #anchor: Uint8Array

  /** An empty log that begins at the index, its first entry chained to the anchor. */
  constructor(firstIndex: Index, anchor: Uint8Array) {
    this.#firstIndex = firstIndex
    this.#anchor = anchor
  }

  get firstIndex(): Index {
    return this.#firstIndex
  }

  get lastIndex(): Index {
    return this.#firstIndex + this.#count - 1
  }

  get anchor(): Uint8Array {
    return this.#anchor
  }

  append(term: Term, hash: Uint8Array): void {
    if ((this.#from + this.#count + 1) * placeBytes > this.#bytes.length) this.#makeRoom()
    const at = (this.#from + this.#count) * placeBytes
    this.#view.setFloat64(at, term)
    this.#bytes.set(hash, at + 8)
    this.#count += 1
  }

  /** Entries behind the index are gone. */
  truncate(lastIndex: Index): void {
    if (lastIndex < this.lastIndex) this.#count = lastIndex - this.#firstIndex + 1
  }

  /** The log begins at that index from now on, which is one of it or the one behind its end. */
  begin(firstIndex: Index): void {
    if (firstIndex === this.#firstIndex) return
    this.#anchor = this.hash(firstIndex - 1)
    this.#from += firstIndex - this.#firstIndex
    this.#count -= firstIndex - this.#firstIndex
    this.#firstIndex = firstIndex
  }

  term(index: Index): Term {
    return this.#view.getFloat64(this.#at(index))
  }

  /** A copy; of the index before the first one too. */
  hash(index: Index): Uint8Array {
    if (index === this.#firstIndex - 1) return this.#anchor
    const at = this.#at(index)
    return this.#bytes.slice(at + 8, at + placeBytes)
  }

  isHash(index: Index, hash: Uint8Array): boolean {
    const at = this.#at(index)
    return sameBytes(this.#bytes.subarray(at + 8, at + placeBytes), hash)
  }

  #at(index: Index): number {
    assert(index >= this.#firstIndex && index <= this.lastIndex, `no entry ${index} in the log`)
    return (this.#from + index - this.#firstIndex) * placeBytes
  }

  #makeRoom(): void {
    const used = this.#bytes.subarray(this.#from * placeBytes, (this.#from + this.#count) * placeBytes)
    const bytes =
      this.#count * 2 > this.#bytes.length / placeBytes ? new Uint8Array(this.#bytes.length * 2) : this.#bytes
    bytes.set(used)
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer)
    this.#from = 0
  }
}

const placeBytes = 16
