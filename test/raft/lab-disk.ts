/** The disks of the lab: what lies on one, what a batch makes of it, what damage leaves, and what it allows to be said. */
import { decodeConfiguration, noConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration } from '../../src/raft/configuration.ts'
import type { Persist, SnapshotMeta } from '../../src/raft/effects.ts'
import type { Entry, HardState, Index } from '../../src/raft/entry.ts'
import type { Message } from '../../src/raft/messages.ts'
import { assert } from '../../src/std/assert.ts'

/** A log as it lies somewhere: what follows the snapshot, and maybe some entries before its end. */
export type LogImage = { snapshot: SnapshotMeta | null; entries: Entry[] }

export type Disk = LogImage & { hardState: HardState }

/** What damage leaves: of `left`, all up to `upTo`; that may be before its snapshot, which then is lost too. Told: the next start knows. */
export type Sound = {
  readonly left: LogImage
  readonly upTo: Index
  readonly term: number
  readonly isTold: boolean
}

/** The disk after damage; `commit` is what it knew to be committed. */
export function diskOf({ left, upTo, term, isTold }: Sound, commit: Index): Disk {
  const snapshot = upTo < (left.snapshot?.index ?? 0) ? null : left.snapshot
  const entries = left.entries.filter((entry) => entry.index <= upTo)
  // Without what comes before them, entries are worth nothing.
  const isWhole = snapshot !== null || entries[0]?.index === 1
  const image = { snapshot, entries: isWhole ? entries : [] }
  // The commit index is a hint of the log that was lost, and not of an older one.
  const known = Math.max(isTold ? 0 : commit, snapshot?.index ?? 0, 1)
  const hardState = { term, vote: null, commit: Math.min(known, lastIndexOf(image)), isRecovering: isTold }
  return { ...image, hardState }
}

/** The entry at the index, if the image holds it. */
export function entryAt({ entries }: LogImage, index: Index): Entry | undefined {
  const first = entries[0]?.index
  return first === undefined ? undefined : entries[index - first]
}

/** The term at the index, as far as the image tells. */
export function termAt(image: LogImage, index: Index): number | undefined {
  return index === image.snapshot?.index ? image.snapshot.term : entryAt(image, index)?.term
}

export function lastIndexOf({ snapshot, entries }: LogImage): Index {
  return entries.at(-1)?.index ?? snapshot?.index ?? 0
}

/** The newest of the image, committed or not. */
export function configurationOf({ snapshot, entries }: LogImage): Configuration {
  const entry = entries.findLast(({ kind }) => kind === 'configuration')
  return (entry && decodeConfiguration(entry.data)) ?? snapshot?.configuration ?? noConfiguration
}

export function writeInto(image: LogImage, batch: Persist): void {
  const { seq, install, compact, truncateFrom } = batch
  if (install !== null) {
    image.snapshot = install
    image.entries = []
  }
  if (compact !== null) {
    const { snapshot, firstIndex } = compact
    assert(snapshot.index >= firstIndex - 1 && snapshot.index <= lastIndexOf(image), `batch ${seq} compacts the log`)
    image.entries = image.entries.filter((entry) => entry.index >= firstIndex)
    image.snapshot = snapshot
  }
  if (truncateFrom !== null) {
    assert(truncateFrom > (image.snapshot?.index ?? 0), `batch ${seq} truncates behind the snapshot`)
    image.entries = image.entries.filter((entry) => entry.index < truncateFrom)
  }
  for (const entry of batch.entries) {
    assert(entry.index === lastIndexOf(image) + 1, `batch ${seq} leaves no gap before entry ${entry.index}`)
    image.entries.push(entry)
  }
}

/** No message may promise what the sender's disk does not hold (R1). */
export function assertKept(disk: Disk, message: Message): void {
  const { hardState } = disk
  const isTermOver = hardState.term > message.term
  const isTermKept = hardState.term === message.term
  if (message.kind === 'vote-request') {
    assert(hardState.term >= message.term, `${message.from} asks for votes before its own is durable`)
    assert(!hardState.isRecovering, `${message.from} asks for votes before it has recovered`)
  } else if (message.kind === 'vote-response') {
    const isKept = isTermOver || (isTermKept && hardState.vote === message.to)
    assert(!message.granted || isKept, `${message.from} votes before the vote is durable`)
    assert(!hardState.isRecovering, `${message.from} votes before it has recovered`)
  } else if (message.kind === 'append-accepted') {
    const isKept = isTermOver || (isTermKept && lastIndexOf(disk) >= message.match)
    assert(isKept, `${message.from} accepts up to ${message.match} before that is durable`)
  } else if (message.kind === 'snapshot-installed') {
    const isKept = isTermOver || (isTermKept && lastIndexOf(disk) >= message.index)
    assert(isKept, `${message.from} says that it has the snapshot at ${message.index} before that is durable`)
  }
}
