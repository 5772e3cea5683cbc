import type { Index } from '../../src/raft/entry.ts'
import { decodeHead, headKey, isDamage } from '../../src/storage/log-record.ts'
import { decodeSlots } from '../../src/storage/vote-record.ts'
import type { SimDisk } from './sim-disk.ts'
import type { RecordLookup } from './sim-records.ts'

/** Entries of a node's log that it was promised to have, from the one on up to its end; nothing else is lost. */
export type Lost = { readonly from: Index }

const head = String.fromCharCode(...headKey)

/**
 * Whether the loss of durable records can be told: by a later head, which says what must be there, or by the vote file, when
 * it repeats a batch that is gone. Of what a disk loses at once, when both homes were only just given it, a node knows
 * nothing by itself: it may be dealt where nobody is hurt by that (`Lost`), and never when term or vote are among it.
 */
export function judgeLoss({ votes, image }: SimDisk, left: RecordLookup, now: RecordLookup): 'told' | 'hidden' | Lost {
  const bytes = left(head)
  if (bytes === now(head)) return 'told'
  const file = votes.readDurable()
  const slots = file === null ? null : decodeSlots(file)
  if (bytes === undefined) return slots === null ? 'hidden' : 'told'
  const found = decodeHead(bytes)
  if (isDamage(found)) return 'told'
  if (slots !== null && !isDamage(slots) && found.seq < slots.record.seq) return 'told'
  const { term, vote, isRecovering } = image.hardState
  const isSame =
    found.hardState.term === term && found.hardState.vote === vote && found.hardState.isRecovering === isRecovering
  return isSame ? { from: found.lastIndex + 1 } : 'hidden'
}
