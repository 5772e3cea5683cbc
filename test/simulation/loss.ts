import type { Index } from '../../src/raft/entry.ts'
import { decodeHead, decodeMeta, headKey, isDamage, metaKey } from '../../src/storage/log-record.ts'
import { decodeSlots } from '../../src/storage/vote-record.ts'
import type { VoteRecord } from '../../src/storage/vote-record.ts'
import type { SimDisk } from './sim-disk.ts'
import type { RecordLookup } from './sim-records.ts'

/** Entries of a node's log that it was promised to have, from the one on up to its end; nothing else is lost. */
export type Lost = { readonly from: Index }

const [head, meta] = [headKey, metaKey].map((key) => String.fromCharCode(...key)) as [string, string]

/**
 * Whether the loss of durable records can be told: by a later record, which says what must be there, or by the vote file, when
 * it repeats a batch that is gone. Of what a disk loses at once, when both homes were only just given it, a node knows
 * nothing by itself: it may be dealt where nobody is hurt by that (`Lost`), and never when identity, term or vote are among it.
 */
export function judgeLoss({ votes, image }: SimDisk, left: RecordLookup, now: RecordLookup): 'told' | 'hidden' | Lost {
  const file = votes.readDurable()
  const slots = file === null ? null : decodeSlots(file)
  const vote = slots === null || isDamage(slots) ? null : slots.record
  const isMetaKept = left(meta) === now(meta)
  if (left(head) === now(head) && isMetaKept) return 'told'
  if (vote !== null && isBehind(left, vote)) return 'told'
  const bytes = left(head)
  const found = bytes === undefined ? null : decodeHead(bytes)
  if (!isMetaKept || found === null || isDamage(found)) return 'hidden'
  const { term, vote: votedFor, isRecovering } = image.hardState
  const { hardState } = found
  const isSame = hardState.term === term && hardState.vote === votedFor && hardState.isRecovering === isRecovering
  return isSame ? { from: found.lastIndex + 1 } : 'hidden'
}

function isBehind(left: RecordLookup, vote: VoteRecord): boolean {
  const [headBytes, metaBytes] = [left(head), left(meta)]
  if (headBytes === undefined || metaBytes === undefined) return vote.generation > 0
  const [foundHead, foundMeta] = [decodeHead(headBytes), decodeMeta(metaBytes)]
  if (isDamage(foundHead) || isDamage(foundMeta)) return true
  if (foundHead.seq < vote.seq || foundMeta.generation < vote.generation) return true
  return (vote.promise !== null && foundMeta.promise === null) || (vote.joined !== null && foundMeta.joined === null)
}
