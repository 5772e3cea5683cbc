import type { Index } from '../raft/entry.ts'
import { decodeEntry } from './entry-record.ts'
import { entriesEnd } from './log-loading.ts'
import type { LogPlaces } from './log-places.ts'
import { entryKey, entryPrefix, indexOfKey, isDamage, readUint64, sameBytes, viewOf } from './log-record.ts'
import type { ScrubDamage, ScrubReport } from './log-store.ts'
import { RecordsDamaged } from './records.ts'
import type { FilesReport, Records, Row } from './records.ts'
import type { VoteFile } from './vote-file.ts'

/**
 * The rounds of a scrub: the files below the records, each record by what memory knows of it, the vote file. It goes on
 * beside the writes: what looks wrong counts only when it still does while nothing was being written.
 */
export class LogScrub {
  readonly #records: Records
  readonly #vote: VoteFile
  readonly #log: ScrubbedLog
  #stage: 'files' | 'others' | 'entries' | 'vote' = 'files'
  #next: Index = 0
  #writes = 0
  #waiting: (() => void)[] = []
  #concerned: { from: Uint8Array; to: Uint8Array } | null = null

  constructor(records: Records, vote: VoteFile, log: ScrubbedLog) {
    this.#records = records
    this.#vote = vote
    this.#log = log
  }

  next(): Promise<ScrubReport> {
    switch (this.#stage) {
      case 'files':
        return this.#verifyFiles()
      case 'others':
        return this.#verifyOthers()
      case 'entries':
        return this.#verifyEntries()
      case 'vote':
        return this.#verifyVote()
    }
  }

  /** A write has ended. */
  written(): void {
    this.#writes += 1
    for (const resume of this.#waiting.splice(0)) resume()
  }

  /** The keys whose bytes below them are damaged: once what they name was written anew, to be compacted. */
  takeConcerned(): { from: Uint8Array; to: Uint8Array } | null {
    const concerned = this.#concerned
    this.#concerned = null
    return concerned
  }

  async #verifyFiles(): Promise<ScrubReport> {
    const { bytes, isRoundDone, damage } = await this.#records.verify()
    if (isRoundDone) this.#stage = 'others'
    return { records: 0, bytes, isRoundDone: false, damage: damage === null ? null : this.#ofFiles(damage) }
  }

  #ofFiles(damage: NonNullable<FilesReport['damage']>): ScrubDamage {
    const { why, mend } = damage
    if (mend !== 'rewrite') return { why, mend }
    const { places } = this.#log.expected()
    const { from, to } = damage
    const before = this.#concerned
    this.#concerned = {
      from: before !== null && Buffer.compare(before.from, from) < 0 ? before.from : from,
      to: before !== null && Buffer.compare(before.to, to) > 0 ? before.to : to,
    }
    const first = Math.max(places.firstIndex, indexAt(from))
    return { why, mend: { first, last: Math.min(places.lastIndex, indexAt(to)) } }
  }

  async #verifyOthers(): Promise<ScrubReport> {
    this.#stage = 'entries'
    this.#next = this.#log.expected().places.firstIndex
    const { others } = this.#log.expected()
    let bytes = 0
    for (const [key] of others) {
      const isSound = await this.#isSound(key, (value) => {
        bytes += value?.length ?? 0
        const expected = this.#log.expected().others.find((other) => sameBytes(other[0], key))?.[1]
        return expected === undefined || (value !== undefined && sameBytes(value, expected))
      })
      if (isSound) continue
      const why = `the record of key ${key[0] ?? 0} is not what was written`
      return { records: others.length, bytes, isRoundDone: false, damage: { why, mend: { first: 1, last: 0 } } }
    }
    return { records: others.length, bytes, isRoundDone: false, damage: null }
  }

  async #verifyEntries(): Promise<ScrubReport> {
    const first = this.#log.expected().places.firstIndex
    this.#next = Math.max(this.#next, first)
    let rows: readonly Row[]
    try {
      rows = await this.#rowsFrom(this.#next)
    } catch (error) {
      if (!(error instanceof RecordsDamaged)) throw error
      this.#stage = 'vote'
      return { records: 0, bytes: 0, isRoundDone: false, damage: { why: error.message, mend: 'restart' } }
    }
    let [records, bytes] = [0, 0]
    for (const [key, value] of rows) {
      const index = indexOfKey(key) ?? this.#next
      const damage = await this.#missingBefore(index)
      if (damage !== null) return { records, bytes, isRoundDone: false, damage }
      this.#next = index + 1
      records += 1
      bytes += value.length
      if (isEntry(this.#log.expected().places, index, value)) continue
      if (await this.#isSound(key, (now) => isEntry(this.#log.expected().places, index, now))) continue
      return { records, bytes, isRoundDone: false, damage: this.#ofEntry(index) }
    }
    if (rows.length > 0) return { records, bytes, isRoundDone: false, damage: null }
    const damage = await this.#missingBefore(this.#log.expected().places.lastIndex + 1)
    if (damage === null) this.#stage = 'vote'
    return { records, bytes, isRoundDone: false, damage }
  }

  /** The first of the entries from the next one up to that index that has no record. */
  async #missingBefore(index: Index): Promise<ScrubDamage | null> {
    while (this.#next < index) {
      const missing = Math.max(this.#next, this.#log.expected().places.firstIndex)
      this.#next = missing + 1
      if (missing >= index) return null
      if (!(await this.#isSound(entryKey(missing), (now) => isEntry(this.#log.expected().places, missing, now))))
        return this.#ofEntry(missing)
    }
    return null
  }

  #ofEntry(index: Index): ScrubDamage {
    const why = `entry ${index} is not what was written`
    const isOfLog = index <= this.#log.expected().places.lastIndex
    return isOfLog
      ? { why, mend: { first: index, last: index } }
      : { why: `entry ${index} stands behind the end of the log`, mend: 'restart' }
  }

  async #rowsFrom(index: Index): Promise<readonly Row[]> {
    const iterator = this.#records.iterate(entryKey(index), entriesEnd)
    try {
      return await iterator.next()
    } finally {
      await iterator.close()
    }
  }

  async #verifyVote(): Promise<ScrubReport> {
    this.#stage = 'files'
    const { bytes, why } = await this.#vote.verify()
    return { records: 0, bytes, isRoundDone: true, damage: why === null ? null : { why, mend: 'done' } }
  }

  /** False only when the record was read, and found wrong, with no write under way; else the next round looks again. */
  async #isSound(key: Uint8Array, check: (value: Uint8Array | undefined) => boolean): Promise<boolean> {
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      if (!this.#log.atRest()) await new Promise<void>((resolve) => this.#waiting.push(resolve))
      if (!this.#log.atRest()) continue
      const before = this.#writes
      const value = await this.#records.get(key)
      if (check(value)) return true
      if (this.#log.atRest() && this.#writes === before) return false
    }
    return true
  }
}

/** What the records must be, by the memory of who wrote them. */
export type ScrubbedLog = {
  expected(): {
    readonly places: LogPlaces
    /** Key and value of the records that are not entries. */
    readonly others: readonly Row[]
  }
  /** No write is under way. */
  atRest(): boolean
}

const attemptsMax = 5

function isEntry(places: LogPlaces, index: Index, value: Uint8Array | undefined): boolean {
  // Compacted since.
  if (index < places.firstIndex) return true
  if (index > places.lastIndex) return value === undefined
  const stored = value === undefined ? null : decodeEntry(value)
  return stored !== null && !isDamage(stored) && stored.entry.index === index && places.isHash(index, stored.hash)
}

/** The lowest index that a key may stand for which begins like this: LevelDB shortens the bounds of a block. */
function indexAt(bound: Uint8Array): Index {
  const prefix = bound[0] ?? 0
  if (prefix !== entryPrefix) return prefix < entryPrefix ? 0 : Number.MAX_SAFE_INTEGER
  const padded = new Uint8Array(9)
  padded.set(bound.subarray(0, 9))
  return readUint64(viewOf(padded), 1) ?? Number.MAX_SAFE_INTEGER
}
