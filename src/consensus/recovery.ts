import type { SnapshotMeta } from '../raft/effects.ts'
import type { Entry, HardState } from '../raft/entry.ts'
import type { QuarantinedLog, StoredNode } from '../storage/log-store.ts'

/** What Raft starts from: the log, and a snapshot that is there and stands for what the log does not hold. */
export type Recovered = {
  readonly snapshot: SnapshotMeta | null
  readonly entries: readonly Entry[]
  readonly hardState: HardState
}

/** What the snapshot store found. `hasNamed`: the one that the log names is there and sound. */
export type FoundSnapshots = {
  readonly newest: SnapshotMeta | null
  readonly damaged: readonly string[]
  readonly hasNamed: boolean
}

/**
 * `start`: from what is stored; `lost` is a sentence when a snapshot was lost that the log can do without.
 * `quarantine`: something that this node promised may be lost, and it begins with what is surely true.
 */
export type Recovery =
  | { readonly kind: 'start'; readonly recovered: Recovered; readonly lost: string | null }
  | { readonly kind: 'quarantine'; readonly begin: QuarantinedLog }

/**
 * Brings log and snapshots together after a start (R6). A snapshot becomes durable before the log hears of it, so a crash in
 * between leaves one that is newer than the log says: one that the log contains stands for its part of the log from now on;
 * one that the log does not reach was a leader's and was not installed, and will be offered again. Every other disagreement is
 * damage. Then surely true is what a sound snapshot stands for, since it was committed, and the sound entries that follow it.
 */
export function decideRecovery(stored: StoredNode, found: FoundSnapshots): Recovery {
  const { entries, hardState, damage, snapshot: named } = stored
  if (damage !== null) return quarantine(stored, damage.condemned ? null : found.newest, damage.why)
  const { newest } = found
  const isNewer = newest !== null && newest.index > (named?.index ?? 0) && isIn(entries, newest)
  if (isNewer) return start({ snapshot: newest, entries, hardState })
  if (named === null) return start({ snapshot: null, entries, hardState: ofJoiner(stored) })
  if (found.hasNamed) return start({ snapshot: named, entries, hardState })
  const details = found.damaged.length === 0 ? 'it is missing' : found.damaged.join('; ')
  const why = `the snapshot of entries 1 to ${named.index}, on which the log stands, is lost: ${details}`
  if (entries[0]?.index === 1) return start({ snapshot: null, entries, hardState }, why)
  return quarantine(stored, newest, why)
}

function start({ snapshot, entries, hardState }: Recovered, lost: string | null = null): Recovery {
  // The stored commit index is a hint and may lag; what a snapshot holds was committed.
  const commit = Math.max(hardState.commit, snapshot?.index ?? 0)
  return { kind: 'start', recovered: { snapshot, entries, hardState: { ...hardState, commit } }, lost }
}

function quarantine(stored: StoredNode, snapshot: SnapshotMeta | null, why: string): Recovery {
  const isTrusted = stored.damage?.condemned !== true
  const entries = isTrusted ? following(stored.entries, snapshot) : []
  const from = snapshot?.index ?? 0
  const last = entries.at(-1)
  const term = Math.max(stored.hardState.term, last?.term ?? 0, snapshot?.term ?? 0)
  const vote = term === stored.hardState.term ? stored.hardState.vote : null
  const commit = Math.max(from, Math.min(stored.hardState.commit, last?.index ?? from))
  return {
    kind: 'quarantine',
    begin: { why, hardState: { term, vote, commit, isRecovering: true }, snapshot, entries },
  }
}

/** The entries that come after the snapshot, if they are of the log that it stands for; without one, those from entry 1 on. */
function following(entries: readonly Entry[], snapshot: SnapshotMeta | null): readonly Entry[] {
  const first = entries[0]?.index
  if (snapshot === null) return first === 1 ? entries : []
  const isNext = first === snapshot.index + 1
  return isNext || isIn(entries, snapshot) ? entries.filter(({ index }) => index > snapshot.index) : []
}

/** A node that joins with nothing may have had its id before, and be counted on for what it has forgotten. */
function ofJoiner({ joined, entries, hardState }: StoredNode): HardState {
  return joined !== null && entries.length === 0 ? { ...hardState, isRecovering: true } : hardState
}

function isIn(entries: readonly Entry[], { index, term }: SnapshotMeta): boolean {
  const [first] = entries
  return first !== undefined && entries[index - first.index]?.term === term
}
