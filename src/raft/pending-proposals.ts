import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { Entry, Term } from './entry.ts'

/** One proposal of this node on its way: the term it was made in, and the leader of that term that decides about it. */
type Pending = { readonly term: Term; readonly leader: NodeId; readonly tick: number }

/**
 * The proposals of this node whose outcome is open. A proposal leaves when its entry is applied, when it is refused, or
 * when it is too old: then its outcome stays unknown, and whoever waits has a deadline of its own. How many there may be
 * is checked by who adds (`pendingProposalsMax`).
 */
export class PendingProposals {
  /** In the order of proposing, so terms and ticks never fall from first to last. */
  readonly #pending = new Map<ProposalId, Pending>()

  get size(): number {
    return this.#pending.size
  }

  has(id: ProposalId): boolean {
    return this.#pending.has(id)
  }

  add(id: ProposalId, pending: Pending): void {
    this.#pending.set(id, pending)
  }

  /** Takes out a proposal that `from` refused in `term`; false when that was not its to decide. */
  refusedBy(id: ProposalId, by: { from: NodeId; term: Term }): boolean {
    const pending = this.#pending.get(id)
    if (pending === undefined || pending.leader !== by.from || by.term < pending.term) return false
    return this.#pending.delete(id)
  }

  /** Takes out a proposal that never left this node; false when it is not pending. */
  unsent(id: ProposalId): boolean {
    return this.#pending.delete(id)
  }

  /**
   * The entry is applied. Takes out the proposal that it carries, and returns those that can now never be committed: a
   * proposal made in term t is appended by the leader of t only, as an entry of term t, because a leader refuses what was
   * forwarded in another term than its own. Terms never fall along the log, so behind a committed entry of a higher term
   * none of term t can follow, and what stood before it has been applied already.
   */
  applied(entry: Entry): readonly ProposalId[] {
    this.#pending.delete(entry.id)
    const overwritten: ProposalId[] = []
    for (const [id, { term }] of this.#pending) {
      if (term >= entry.term) break
      this.#pending.delete(id)
      overwritten.push(id)
    }
    return overwritten
  }

  /** A snapshot takes the place of entries: whether they carried one of these is not known here, and never will be. */
  forgetAll(): void {
    this.#pending.clear()
  }

  /** Forgets what was proposed at `tick` or before: a lost message must not keep its place for ever. */
  forgetUntil(tick: number): void {
    for (const [id, pending] of this.#pending) {
      if (pending.tick > tick) return
      this.#pending.delete(id)
    }
  }
}
