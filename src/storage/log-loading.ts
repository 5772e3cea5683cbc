import type { SnapshotMeta } from '../raft/effects.ts'
import type { Entry, Index } from '../raft/entry.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { decodeEntry } from './entry-record.ts'
import * as record from './log-record.ts'
import type { Damage, Head, Meta } from './log-record.ts'
import { LogPlaces } from './log-places.ts'
import { RecordsDamaged } from './records.ts'
import type { RecordReader, Row } from './records.ts'

/**
 * Reads the whole log and proves it: each record by its checksum, the entries by their places and their hash chain from the
 * anchor to the end that the head states, head and snapshot record by each other. Damage is told by its place, and what
 * stands before it is kept. Nothing is ever cut away to make the rest look whole: what is missing may be committed.
 */
export type LoadedLog = {
  readonly meta: Meta | null
  readonly head: Head | null
  readonly snapshot: SnapshotMeta | null
  /** From the beginning that the head states; with damage, up to there. */
  readonly entries: readonly Entry[]
  readonly places: LogPlaces
  /** No record at all. */
  readonly isEmpty: boolean
  /** The first damage found, as a sentence. */
  readonly why: string | null
}

/** Error `storage-failed`: a newer, or much older, version wrote it. */
export async function loadLog(reader: RecordReader, where: string): Promise<LoadedLog> {
  const loader = new Loader(reader, where)
  try {
    await loader.load()
  } catch (error) {
    if (!(error instanceof RecordsDamaged)) throw error
    loader.why ??= error.message
  }
  const { meta, head, snapshot, entries, places, isEmpty, why } = loader
  return { meta, head, snapshot, entries, places, isEmpty, why }
}

/** The end of the keys of entries: no index reaches it. */
export const entriesEnd: Uint8Array = Uint8Array.of(record.entryPrefix + 1)

class Loader {
  readonly #reader: RecordReader
  readonly #where: string
  meta: Meta | null = null
  head: Head | null = null
  snapshot: SnapshotMeta | null = null
  readonly entries: Entry[] = []
  places = new LogPlaces(1, record.chainStart)
  isEmpty = true
  why: string | null = null

  constructor(reader: RecordReader, where: string) {
    this.#reader = reader
    this.#where = where
  }

  async load(): Promise<void> {
    this.meta = await this.#record('the meta record', record.metaKey, record.decodeMeta)
    this.head = await this.#record('the head record', record.headKey, record.decodeHead)
    this.snapshot = await this.#record('the snapshot record', record.snapshotKey, record.decodeSnapshotMeta)
    if (this.head === null) {
      const isAny = await this.#isAnyEntry()
      if (isAny) this.isEmpty = false
      if (!this.isEmpty) this.#damage('the head record', 'it is missing')
      return
    }
    if (this.meta === null) this.#damage('the meta record', 'it is missing')
    this.places = new LogPlaces(this.head.firstIndex, this.head.anchor)
    await this.#loadEntries(this.head)
    this.#checkEnd(this.head)
    this.#checkSnapshot(this.head)
  }

  async #record<Value extends object>(
    what: string,
    key: Uint8Array,
    decode: (bytes: Uint8Array) => Value | Damage,
  ): Promise<Value | null> {
    const bytes = await this.#reader.get(key)
    if (bytes === undefined) return null
    this.isEmpty = false
    const value = decode(bytes)
    if (!record.isDamage(value)) return value
    this.#refuse(what, value)
    return null
  }

  async #isAnyEntry(): Promise<boolean> {
    const rows = this.#reader.iterate(record.entryKey(0), entriesEnd)
    try {
      return (await rows.next()).length > 0
    } finally {
      await rows.close()
    }
  }

  async #loadEntries({ firstIndex, lastIndex }: Head): Promise<void> {
    const iterator = this.#reader.iterate(record.entryKey(firstIndex), entriesEnd)
    try {
      for (;;) {
        const rows = await iterator.next()
        if (rows.length === 0) break
        for (const row of rows) if (!this.#take(row, lastIndex)) return
      }
    } finally {
      await iterator.close()
    }
    const end = this.places.lastIndex
    if (end < lastIndex) this.#damage(`entry ${end + 1}`, `it is missing; the log must reach ${lastIndex}`)
  }

  /** False at the first one that is not what must follow. */
  #take([key, value]: Row, lastIndex: Index): boolean {
    const { places } = this
    const expected = places.lastIndex + 1
    const index = record.indexOfKey(key)
    if (index === undefined) return this.#damage(`the entry after ${expected - 1}`, 'its key is no index')
    if (index > lastIndex)
      return this.#damage(`entry ${index}`, `it stands behind the end that the head record states (${lastIndex})`)
    if (index !== expected) return this.#damage(`entry ${expected}`, `it is missing; the next one is ${index}`)
    const stored = decodeEntry(value)
    if (record.isDamage(stored)) return this.#refuse(`entry ${index}`, stored)
    const { entry, prevHash, hash } = stored
    if (entry.index !== index) return this.#damage(`entry ${index}`, `entry ${entry.index} stands there`)
    if (entry.term < (this.entries.at(-1)?.term ?? 0))
      return this.#damage(`entry ${index}`, `its term ${entry.term} is below the term of the one before`)
    if (!record.sameBytes(prevHash, places.hash(index - 1)))
      return this.#damage(`entry ${index}`, 'the hash chain breaks there: it was not written after the entry before it')
    this.entries.push(entry)
    places.append(entry.term, hash)
    return true
  }

  #checkEnd({ lastIndex, lastHash, hardState }: Head): void {
    const { places } = this
    const lastTerm = this.entries.at(-1)?.term ?? 0
    if (places.lastIndex === lastIndex && !record.sameBytes(places.hash(lastIndex), lastHash))
      this.#damage(`entry ${lastIndex}`, 'the hash chain does not end at the hash of the head record')
    if (hardState.commit > lastIndex)
      this.#damage('the head record', `it says that ${hardState.commit} is committed, the log ends at ${lastIndex}`)
    if (hardState.term < lastTerm)
      this.#damage('the head record', `its term ${hardState.term} is below the last entry's ${lastTerm}`)
  }

  /** The snapshot stands for all that is gone, and for nothing that the log contradicts. */
  #checkSnapshot({ firstIndex, lastIndex, snapshotIndex, hardState }: Head): void {
    if (this.snapshot === null) {
      if (snapshotIndex > 0 || firstIndex > 1) this.#damage('the snapshot record', 'it is missing')
      return
    }
    const { index, term } = this.snapshot
    const there = this.entries[index - firstIndex]?.term ?? term
    const fits = index >= firstIndex - 1 && index <= lastIndex && index <= hardState.commit && there === term
    if (index === snapshotIndex && fits) return
    this.snapshot = null
    this.#damage('the snapshot record', `it does not fit a log of ${firstIndex} to ${lastIndex}`)
  }

  #refuse(what: string, damage: Damage): false {
    if (damage.isForeign) throw foreignError(this.#where, what, damage)
    return this.#damage(what, damage.damage)
  }

  #damage(what: string, why: string): false {
    this.why ??= `${what} is damaged: ${why}`
    return false
  }
}

export function foreignError(where: string, what: string, { damage }: Damage): OperatingError {
  return new OperatingError(
    'storage-failed',
    `open ${where}: another version wrote ${what}: ${damage}: start the node with that version`,
  )
}
