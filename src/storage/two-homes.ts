import type { HardState, Index } from '../raft/entry.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import type { LoadedLog } from './log-loading.ts'
import { isDamage, sameBytes } from './log-record.ts'
import type { Damage, Head, Meta } from './log-record.ts'
import type { FormingPromise } from './log-store.ts'
import type { VoteRecord } from './vote-record.ts'

/**
 * What log and vote file together say. Each batch is in the vote file only after it was durable in the log; so one that is
 * ahead of the log means that the log has lost what was durable. Behind, it is what a crash leaves.
 */

/** Why they can not both be what was written; null: they can. */
export function disagreement(log: LoadedLog, vote: VoteRecord | Damage | null): string | null {
  if (vote !== null && isDamage(vote)) return `the vote file is damaged: ${vote.damage}`
  if (log.isEmpty) return vote === null || vote.generation === 0 ? null : 'the log is gone: only the vote file is there'
  if (vote === null) return 'the vote file is missing'
  const { meta, head } = log
  // What is wrong is known already.
  if (meta === null || head === null) return null
  if (vote.generation > meta.generation) return behind(`start ${meta.generation}`, `start ${vote.generation}`)
  if (vote.promise !== null && vote.promise.clusterId !== meta.promise?.clusterId)
    return behind('no promise to form its cluster', 'one')
  if (vote.joined !== null && vote.joined !== meta.joined) return behind('not which cluster it joined', 'that')
  return vote.seq > head.seq ? behind(`batch ${head.seq}`, `batch ${vote.seq}`) : contradiction(head, vote)
}

function behind(log: string, vote: string): string {
  return `the log has lost what was durable: it holds ${log}, the vote file ${vote}`
}

function contradiction(head: Head, vote: VoteRecord): string | null {
  const { hardState, lastIndex, lastHash } = head
  const isSame = vote.seq === head.seq
  const terms = `term ${hardState.term} with the vote ${hardState.vote ?? 'not given'}, the vote file ${vote.term} with ${vote.vote ?? 'not given'}`
  const isVoteKept = vote.term < hardState.term || vote.vote === hardState.vote || (vote.vote === null && !isSame)
  if (vote.term > hardState.term || (isSame && vote.term !== hardState.term) || !isVoteKept)
    return `log and vote file contradict each other: the log says ${terms}`
  if (!isSame) return null
  const isEnd = vote.lastIndex === lastIndex && sameBytes(vote.lastHash, lastHash)
  return isEnd && vote.isRecovering === hardState.isRecovering
    ? null
    : `log and vote file contradict each other: the log ends at ${lastIndex}, the vote file says ${vote.lastIndex}`
}

/** Who this node is, as far as either home still says; null: neither does. `nodeId` null: they say two things. */
export function knownIdentity(
  { meta }: Pick<LoadedLog, 'meta'>,
  vote: VoteRecord | null,
): (Omit<Meta, 'nodeId' | 'quarantine'> & { readonly nodeId: NodeId | null }) | null {
  if (meta === null && vote === null) return null
  const ids = new Set([meta?.nodeId, vote?.nodeId].filter((id) => id !== undefined))
  const [nodeId = null] = ids
  return {
    nodeId: ids.size === 1 ? nodeId : null,
    generation: Math.max(meta?.generation ?? 0, vote?.generation ?? 0),
    promise: latest<FormingPromise>(meta?.promise, vote?.promise),
    joined: latest<ClusterId>(meta?.joined, vote?.joined),
  }
}

/** Both are said once in a life. */
function latest<Value>(a: Value | null | undefined, b: Value | null | undefined): Value | null {
  return a ?? b ?? null
}

/** Of a damaged log: the highest term that either home knows, and its vote if one of them knows it. */
export function knownHardState(log: LoadedLog, vote: VoteRecord | null): HardState {
  const said = log.head?.hardState
  const term = Math.max(said?.term ?? 0, vote?.term ?? 0, log.entries.at(-1)?.term ?? 0, log.snapshot?.term ?? 0)
  return {
    term,
    vote: (said?.term === term ? said.vote : null) ?? (vote?.term === term ? vote.vote : null),
    // What the head says of it is not proven to be about the entries that are left.
    commit: log.snapshot?.index ?? 0,
    isRecovering: (said?.isRecovering ?? false) || (vote?.isRecovering ?? false),
  }
}

/** Where the damaged log is known to have ended. */
export function knownEnd(
  log: LoadedLog,
  vote: VoteRecord | null,
): { readonly index: Index; readonly hash: Uint8Array } | null {
  const { head } = log
  if (head !== null && head.seq >= (vote?.seq ?? 0)) return { index: head.lastIndex, hash: head.lastHash }
  return vote === null ? null : { index: vote.lastIndex, hash: vote.lastHash }
}
