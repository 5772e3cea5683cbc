/**
 * What must be true of a cluster at any time, kept by an observer that sees all nodes: the claims of Raft's figure 3, those of
 * the ordering rules, and what a client may rely on (a refused proposal is never applied, a read sees what was committed
 * before it).
 */
import { decodeConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration } from '../../src/raft/configuration.ts'
import type { RaftEffects, RaftStatus } from '../../src/raft/effects.ts'
import type { Entry, Index } from '../../src/raft/entry.ts'
import { assert } from '../../src/std/assert.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import type { Lab, LabNode } from './lab.ts'
import { entryAt, lastIndexOf, termAt } from './lab-disk.ts'

type Place = { readonly content: string; readonly time: number }

export class Invariants {
  /** By index - 1: what some node has applied; never changes. */
  readonly committed: Entry[] = []
  readonly refused = new Set<ProposalId>()
  readonly readsAnswered = new Set<number>()
  readonly #committedIds = new Set<ProposalId>()
  readonly #leaderOfTerm = new Map<number, NodeId>()
  /** For each (index, term) ever appended: what it is and the term before it. */
  readonly #places = new Map<string, Place>()
  /** Each node's commit index, in its present life and term as leader. */
  readonly #leading = new Map<NodeId, { key: string; commit: Index }>()
  /** Who recovers, in its present life. */
  readonly #recovering = new Set<NodeId>()
  #recovered = 0
  /** The highest index that any node knew to be committed. */
  #commitIndex = 0
  /** For each read that was asked for: what was committed by then. */
  readonly #reads = new Map<number, Index>()
  readonly #readsEnded = new Set<number>()

  get terms(): number {
    return this.#leaderOfTerm.size
  }

  /** How often a node came to count again that was a member before. */
  get recovered(): number {
    return this.#recovered
  }

  /** The configuration that the committed entries make. */
  get configuration(): Configuration | undefined {
    const entry = this.committed.findLast(({ kind }) => kind === 'configuration')
    return entry && decodeConfiguration(entry.data)
  }

  readAsked(id: number): void {
    this.#reads.set(id, this.#commitIndex)
  }

  check(lab: Lab, node: LabNode, effects: RaftEffects): void {
    const { persist, restore, apply, reads, readsRefused, refused } = effects
    const status = lab.raft(node.id).status()
    for (const entry of persist?.entries ?? []) this.#checkMatching(node, entry)
    if (restore !== null) this.#checkRestored(node, restore.index)
    for (const entry of apply) this.#checkApplied(node, entry)
    for (const { id } of refused) {
      this.refused.add(id)
      assert(!this.#committedIds.has(id), `refused proposal ${id} is not committed`)
    }
    this.#commitIndex = Math.max(this.#commitIndex, status.commitIndex)
    this.#checkBounds(node, status)
    this.#checkRecovery(node, status)
    if (status.role === 'leader') this.#checkLeader(lab, node, status)
    for (const { id, index } of reads) this.#checkRead(id, index)
    for (const id of readsRefused) this.#endRead(id)
  }

  /** Log matching: same index and term, same content and same term before; the rest follows by induction. */
  #checkMatching(node: LabNode, entry: Entry): void {
    const { index, term, kind, id, time } = entry
    const before = index === 1 ? 0 : termAt(node.memory, index - 1)
    // What is before an entry that follows a snapshot is not always known.
    if (before === undefined) return
    const content = `${kind} ${id} at ${time} after term ${before}`
    const known = this.#places.get(`${index}/${term}`)
    assert(known === undefined || known.content === content, `log matching at ${index}/${term}: ${content}`)
    const previous = this.#places.get(`${index - 1}/${before}`)
    assert(previous === undefined || previous.time <= time, `log time does not fall at ${index}/${term}`)
    this.#places.set(`${index}/${term}`, { content, time })
  }

  #checkRestored(node: LabNode, index: Index): void {
    for (const [at, entry] of node.applied.slice(0, index).entries()) this.#checkSame(entry, this.committed[at])
  }

  #checkApplied(node: LabNode, entry: Entry): void {
    assert(node.applied[entry.index - 1] === entry, `${node.id} applies ${entry.index} in its place`)
    assert(
      entryAt(node.disk, entry.index)?.term === entry.term,
      `${node.id} applies ${entry.index} only when it is on its disk`,
    )
    const known = this.committed[entry.index - 1]
    if (known !== undefined) {
      this.#checkSame(entry, known)
      return
    }
    assert(entry.index === this.committed.length + 1, 'committed without a gap')
    this.committed.push(entry)
    if (entry.id === '') return
    assert(!this.#committedIds.has(entry.id), `proposal ${entry.id} is applied once`)
    assert(!this.refused.has(entry.id), `refused proposal ${entry.id} is not applied`)
    this.#committedIds.add(entry.id)
  }

  #checkSame(entry: Entry, known: Entry | undefined): void {
    const isSame = known?.term === entry.term && known.id === entry.id && known.kind === entry.kind
    assert(isSame, `state machine safety at ${entry.index}: ${known?.term}/${known?.id}, ${entry.term}/${entry.id}`)
  }

  #checkBounds(node: LabNode, { firstIndex, snapshotIndex, commitIndex, lastIndex }: RaftStatus): void {
    const isOrdered = firstIndex <= snapshotIndex + 1 && snapshotIndex <= commitIndex && commitIndex <= lastIndex
    assert(isOrdered, `${node.id}: first ${firstIndex}, snapshot ${snapshotIndex}, commit ${commitIndex}, ${lastIndex}`)
  }

  /** Who counts again has all that was committed of what it had before: it may have been one of those who had it. */
  #checkRecovery(node: LabNode, { isRecovering, snapshotIndex }: RaftStatus): void {
    if (isRecovering) {
      this.#recovering.add(node.id)
      return
    }
    if (!this.#recovering.delete(node.id) || node.lostUpTo === 0) return
    this.#recovered += 1
    for (const entry of this.committed.slice(0, node.lostUpTo)) {
      const own = termAt(node.memory, entry.index)
      const isGone = own === undefined && entry.index <= snapshotIndex
      assert(isGone || own === entry.term, `${node.id} counts again without entry ${entry.index}, which it had`)
    }
  }

  #checkLeader(lab: Lab, node: LabNode, status: RaftStatus): void {
    const { term, commitIndex } = status
    const leader = this.#leaderOfTerm.get(term)
    assert(leader === undefined || leader === node.id, `election safety: ${leader} and ${node.id} lead term ${term}`)
    this.#leaderOfTerm.set(term, node.id)
    const key = `${node.lives} ${term}`
    const before = this.#leading.get(node.id)
    if (before?.key !== key) {
      for (const entry of this.committed) {
        const own = termAt(node.memory, entry.index)
        const isGone = own === undefined && entry.index <= status.snapshotIndex
        assert(isGone || own === entry.term, `leader completeness: ${node.id} lacks ${entry.index}`)
      }
    } else if (commitIndex > before.commit) {
      const own = termAt(node.memory, commitIndex)
      assert(own === term, `${node.id} commits ${commitIndex} by an entry of its own term`)
      const uncounted = status.progress.filter((one) => one.isRecovering).map((one) => one.node)
      const holds = (id: NodeId): boolean =>
        !uncounted.includes(id) &&
        (isLost(lab.nodes.get(id), commitIndex) || isHeld(lab.nodes.get(id), commitIndex, term))
      const { voters, votersOutgoing } = status.configuration
      assert(isMajority(voters, holds), `what ${node.id} commits at ${commitIndex} is on a majority of disks`)
      assert(
        votersOutgoing.length === 0 || isMajority(votersOutgoing, holds),
        `what ${node.id} commits at ${commitIndex} is on a majority of the outgoing disks`,
      )
    }
    this.#leading.set(node.id, { key, commit: commitIndex })
    this.#checkConfigurations(node, status)
  }

  /** One uncommitted change at a time, and none before something of the leader's own term is committed. */
  #checkConfigurations(node: LabNode, { commitIndex, term }: RaftStatus): void {
    const open = node.log.filter((entry) => entry.kind === 'configuration' && entry.index > commitIndex)
    assert(open.length <= 1, `${node.id} has ${open.length} configurations that are not committed`)
    const own = open.find((entry) => entry.term === term)
    const isOwnTermCommitted = termAt(node.memory, commitIndex) === term
    assert(own === undefined || isOwnTermCommitted, `${node.id} changes who counts before it has committed of its term`)
  }

  #checkRead(id: number, index: Index): void {
    const committed = this.#reads.get(id)
    assert(
      committed !== undefined && index >= committed,
      `read ${id} at ${index} sees what was committed, ${committed}`,
    )
    this.readsAnswered.add(id)
    this.#endRead(id)
  }

  #endRead(id: number): void {
    assert(!this.#readsEnded.has(id), `read ${id} ends once`)
    this.#readsEnded.add(id)
  }
}

function isHeld(node: LabNode | undefined, index: Index, term: number): boolean {
  if (node === undefined) return false
  const { disk } = node
  // A snapshot was committed before; it can only be of the same entries.
  return termAt(disk, index) === term || (disk.snapshot !== null && disk.snapshot.index > index)
}

/** It may have acknowledged that before it lost it, and gives no vote to who has it not. */
function isLost(node: LabNode | undefined, index: Index): boolean {
  return node !== undefined && node.disk.hardState.isRecovering && node.lostUpTo >= index
}

function isMajority(ids: readonly NodeId[], has: (id: NodeId) => boolean): boolean {
  return ids.filter(has).length * 2 > ids.length
}

/** Everything that the node's disk and snapshots hold fits together, as its next start will find it. */
export function checkDisk({ id, disk, snapshots }: LabNode): void {
  const { snapshot, entries, hardState } = disk
  if (snapshot !== null) {
    assert(snapshots.has(snapshot.index), `${id} has the snapshot that its log begins with`)
    assert((entries[0]?.index ?? 0) <= snapshot.index + 1, `${id} has no gap behind its snapshot`)
    assert(lastIndexOf(disk) >= snapshot.index, `${id} has a log that reaches its snapshot`)
  }
  assert(hardState.commit <= lastIndexOf(disk), `${id} knows to be committed only what it has`)
}
