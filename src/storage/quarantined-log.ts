import { assert } from '../std/assert.ts'
import type { Entry, Index } from '../raft/entry.ts'
import { encodeEntries, hashOfEntry } from './entry-record.ts'
import type { LoadedLog } from './log-loading.ts'
import * as record from './log-record.ts'
import type { Head, Meta, StoredQuarantine } from './log-record.ts'
import { LogPlaces } from './log-places.ts'
import type { QuarantinedLog } from './log-store.ts'
import type { Row } from './records.ts'

/**
 * How a log begins anew after damage, and whether it comes to be what the damaged one was: where the new one is chained to
 * the beginning of the old, the hash at the old one's end tells. It does not when the end was never committed, and came
 * out different.
 */

export function quarantinedRecords(options: {
  begin: QuarantinedLog
  log: LoadedLog
  /** Where the damaged log is known to have ended. */
  end: { readonly index: Index; readonly hash: Uint8Array } | null
  seq: number
  identity: Omit<Meta, 'quarantine'>
}): { readonly rows: Iterable<Row>; readonly meta: Meta; readonly head: Head; readonly places: LogPlaces } {
  const { begin, log, seq, identity } = options
  const { hardState, snapshot, entries } = begin
  const firstIndex = entries[0]?.index ?? (snapshot?.index ?? 0) + 1
  const lastIndex = firstIndex + entries.length - 1
  const snapshotIndex = snapshot?.index ?? 0
  assert(hardState.isRecovering, 'a log begins anew as one that is recovering')
  assert(
    firstIndex <= snapshotIndex + 1 && snapshotIndex <= lastIndex,
    `entries ${firstIndex} to ${lastIndex} do not connect to a snapshot of ${snapshotIndex}`,
  )
  assert(
    snapshotIndex <= hardState.commit && hardState.commit <= lastIndex,
    `commit ${hardState.commit} in a log of ${lastIndex}`,
  )
  const chainedTo = hashBefore(log, begin, firstIndex)
  const anchor = chainedTo ?? record.chainStart
  const places = new LogPlaces(firstIndex, anchor)
  for (const [entry, bytes] of encoded(entries, anchor)) {
    assert(entry.index === places.lastIndex + 1, `entry ${entry.index} in the place of ${places.lastIndex + 1}`)
    places.append(entry.term, hashOfEntry(bytes))
  }
  const quarantine = quarantineAfter(beginQuarantine(options, chainedTo !== null), places, false)
  const meta: Meta = { ...identity, quarantine }
  const head: Head = { seq, hardState, firstIndex, lastIndex, snapshotIndex, lastHash: places.hash(lastIndex), anchor }
  return { rows: rowsOf(begin, meta, head), meta, head, places }
}

/** Encoded as they are taken: all of them together may be as long as the log is in memory. */
function* rowsOf({ entries, snapshot }: QuarantinedLog, meta: Meta, head: Head): Generator<Row> {
  for (const [{ index }, bytes] of encoded(entries, head.anchor)) yield [record.entryKey(index), bytes]
  if (snapshot !== null) yield [record.snapshotKey, record.encodeSnapshotMeta(snapshot)]
  yield [record.metaKey, record.encodeMeta(meta)]
  yield [record.headKey, record.encodeHead(head)]
}

function* encoded(entries: readonly Entry[], anchor: Uint8Array): Generator<[Entry, Uint8Array]> {
  let before = anchor
  for (const entry of entries) {
    for (const bytes of encodeEntries([entry], before)) {
      before = hashOfEntry(bytes)
      yield [entry, bytes]
    }
  }
}

/** What the damaged log had before that index; null: that is not known, or not of the same history. */
function hashBefore(
  { head, places }: LoadedLog,
  { snapshot, entries }: QuarantinedLog,
  firstIndex: Index,
): Uint8Array | null {
  const before = firstIndex - 1
  if (head === null || before < places.firstIndex - 1 || before > places.lastIndex) return null
  if (before >= places.firstIndex && entries.length === 0 && places.term(before) !== snapshot?.term) return null
  return places.hash(before)
}

function beginQuarantine(
  { begin, log, end }: { begin: QuarantinedLog; log: LoadedLog; end: { index: Index; hash: Uint8Array } | null },
  isChained: boolean,
): StoredQuarantine {
  // What an earlier quarantine has lost, and this one not come to again.
  const earlier = log.meta?.quarantine ?? null
  const isEarlier = earlier !== null && earlier.lostUpTo > (end?.index ?? 0)
  const lostHash = isEarlier ? earlier.lostHash : (end?.hash ?? null)
  const lostUpTo = isEarlier ? earlier.lostUpTo : (end?.index ?? 0)
  return { why: begin.why, lostUpTo, lostHash: isChained ? lostHash : null, verified: null }
}

/** The quarantine as it is known now; the same object when that is nothing new. */
export function quarantineAfter(quarantine: StoredQuarantine, places: LogPlaces, isBegun: boolean): StoredQuarantine {
  const { lostHash, lostUpTo } = quarantine
  if (lostHash === null) return quarantine
  // A log that a snapshot has replaced is chained to nothing before it.
  if (isBegun) return { ...quarantine, lostHash: null }
  if (lostUpTo < places.firstIndex - 1) return quarantine
  const verified = lostUpTo > places.lastIndex ? null : record.sameBytes(places.hash(lostUpTo), lostHash)
  return verified === quarantine.verified ? quarantine : { ...quarantine, verified }
}
