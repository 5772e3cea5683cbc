import { decodeConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration } from '../../src/raft/configuration.ts'
import type { RaftStatus, SnapshotMeta } from '../../src/raft/effects.ts'
import type { Entry, Index, Term } from '../../src/raft/entry.ts'
import type { StoredNode } from '../../src/storage/log-store.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { mix, mixBytes, mixText } from './streams.ts'

export type CommittedEntry = {
  readonly term: Term
  /** The leader's term in which it was committed. */
  readonly inTerm: Term
  readonly hash: number
  readonly id: ProposalId
  readonly configuration: Configuration | null
}

/** One node's log as its core has it, and the past it is held against. */
export type NodeView = {
  readonly node: NodeId
  firstIndex: Index
  /** From `firstIndex` on. */
  entries: Entry[]
  /** Where the snapshot ends. */
  base: SnapshotMeta | null
  term: Term
  vote: NodeId | null
  commit: Index
  role: RaftStatus['role']
  isRecovering: boolean
  applied: Index
  configurations: Index[]
  configuration: Configuration | null
}

/** What a core begins with. */
export function viewOf({ nodeId, hardState, snapshot, entries }: StoredNode): NodeView {
  return {
    node: nodeId,
    firstIndex: entries[0]?.index ?? (snapshot?.index ?? 0) + 1,
    entries: [...entries],
    base: snapshot,
    term: hardState.term,
    vote: hardState.vote,
    commit: 0,
    role: 'follower',
    // Who begins with nothing may have had its id before.
    isRecovering: hardState.isRecovering || (entries.length === 0 && snapshot === null),
    applied: 0,
    configurations: entries.filter(({ kind }) => kind === 'configuration').map(({ index }) => index),
    configuration: null,
  }
}

/** The configurations in the log that may still be committed, or truncated. */
export function openConfigurations(view: NodeView, commitIndex: Index): readonly Configuration[] {
  return view.configurations.flatMap((index) => {
    const entry = index > commitIndex ? view.entries[index - view.firstIndex] : undefined
    return entry === undefined ? [] : (decodeConfiguration(entry.data) ?? [])
  })
}

export type Place = { readonly term: Term; readonly time: number }

export function placeOf(view: NodeView, index: Index): Place | undefined {
  if (index === 0) return { term: 0, time: 0 }
  if (view.base?.index === index) return view.base
  return view.entries[index - view.firstIndex]
}

export function termOf(view: NodeView, index: Index): Term | undefined {
  return placeOf(view, index)?.term
}

export function hashOf(entry: Entry): number {
  let hash = mixText(entry.index, entry.kind)
  hash = mixText(hash, entry.id)
  return mixBytes(mix(hash, entry.time), entry.data)
}
