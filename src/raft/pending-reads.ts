import type { NodeId } from '../vocabulary/ids.ts'
import type { Index } from './entry.ts'

/** A read of another node: who asked, and by which of its ids. */
export type RemoteRead = { readonly from: NodeId; readonly id: number }

/** Reads that came in together, and with what they will be answered. */
type Batch = { readonly own: readonly number[]; readonly remote: readonly RemoteRead[] }

/** A leader's question to its voters whether it still leads. */
export type ReadRound = Batch & { readonly context: number; readonly index: Index; readonly sentAtTick: number }

/**
 * The reads that wait: at the leader for a majority's answer, elsewhere for the leader's. How many there may be is checked by
 * who adds (`pendingReadsMax`). All of them end with the role and the term (R9); nothing of a term is known in the next.
 */
export class PendingReads {
  /** Came in since the last take, or wait until the leader has committed something of its own term. */
  #own: number[] = []
  #remote: RemoteRead[] = []
  /** Oldest first, so contexts, ticks and indexes never fall. */
  #rounds: ReadRound[] = []
  /** The newest context of this term: minted here, never used twice. */
  #context = 0
  /** By the id of the request to the leader, oldest first. */
  readonly #forwarded = new Map<number, { readonly own: readonly number[]; readonly tick: number }>()
  /** Of requests to leaders. Goes on through all terms, from a place that the next life of this node does not share. */
  #nextRequest: number
  #size = 0

  constructor(firstRequest: number) {
    this.#nextRequest = firstRequest
  }

  /** Reads, wherever they wait. */
  get size(): number {
    return this.#size
  }

  /** The newest context that was minted in this term. */
  get context(): number {
    return this.#context
  }

  /** The newest context that reads, or the lease, wait for; 0: none. */
  get awaitedContext(): number {
    return this.#rounds.at(-1)?.context ?? 0
  }

  get hasNew(): boolean {
    return this.#own.length > 0 || this.#remote.length > 0
  }

  add(id: number): void {
    this.#own.push(id)
    this.#size += 1
  }

  addRemote(read: RemoteRead): void {
    this.#remote.push(read)
    this.#size += 1
  }

  /** Begins a round with everything that is new, which may be nothing (for the lease). */
  beginRound(index: Index, tick: number): ReadRound {
    this.#context += 1
    const round = { ...this.#takeNew(), context: this.#context, index, sentAtTick: tick }
    this.#rounds.push(round)
    return round
  }

  /** Takes out the rounds that are answered when `context` is. */
  endRounds(context: number): readonly ReadRound[] {
    const kept = this.#rounds.findIndex((round) => round.context > context)
    const ended = this.#rounds.splice(0, kept === -1 ? this.#rounds.length : kept)
    for (const { own, remote } of ended) this.#size -= own.length + remote.length
    return ended
  }

  /** Everything that is new, answered without a round. */
  endNew(): Batch {
    const batch = this.#takeNew()
    this.#size -= batch.own.length + batch.remote.length
    return batch
  }

  /** Puts everything that is new into one request to the leader. */
  forward(tick: number): number {
    const request = this.#nextRequest
    this.#nextRequest += 1
    this.#forwarded.set(request, { own: this.#takeNew().own, tick })
    return request
  }

  /** Takes out the reads of a request; none when it is not open. */
  endForwarded(request: number): readonly number[] {
    const own = this.#forwarded.get(request)?.own ?? []
    this.#forwarded.delete(request)
    this.#size -= own.length
    return own
  }

  /** Takes out the reads of requests that left at `tick` or before. */
  endForwardedUntil(tick: number): readonly number[] {
    const ended: number[] = []
    for (const [request, forwarded] of this.#forwarded) {
      if (forwarded.tick > tick) break
      ended.push(...this.endForwarded(request))
    }
    return ended
  }

  /** Takes out everything, and begins counting contexts anew: the role or the term has changed. */
  endAll(): Batch {
    const forwarded = this.endForwardedUntil(Infinity)
    const batches = [...this.#rounds, this.#takeNew()]
    this.#rounds = []
    this.#context = 0
    this.#size = 0
    return {
      own: [...forwarded, ...batches.flatMap((batch) => batch.own)],
      remote: batches.flatMap((batch) => batch.remote),
    }
  }

  #takeNew(): Batch {
    const batch = { own: this.#own, remote: this.#remote }
    this.#own = []
    this.#remote = []
    return batch
  }
}
