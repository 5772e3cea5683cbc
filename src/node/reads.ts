import type { Clock, Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Index } from '../raft/entry.ts'

/**
 * Linearizable reads: each waits for a read index that was asked for after it came in, and then until the state has
 * applied up to it. One request is under way at a time; reads that come meanwhile share the next. A read changes nothing,
 * so every error (`no-leader`, `no-quorum`, `overloaded`) may simply be tried again.
 */
export class Reads {
  readonly #options: ReadsOptions
  /** Not asked for yet. */
  #waiting = new Set<Read>()
  #asked: { readonly id: number; readonly reads: ReadonlySet<Read>; readonly timer: Timer } | null = null
  /** Confirmed, and not applied up to their index yet. */
  readonly #confirmed = new Map<Read, Index>()
  #nextId = 0
  #open = 0
  readonly #figures = { reads: 0, readsFailed: 0, readRequests: 0 }

  constructor(options: ReadsOptions) {
    this.#options = options
  }

  get figures(): ReadFigures {
    return this.#figures
  }

  /** Reads that are not answered. */
  get waiting(): number {
    return this.#open
  }

  read(timeoutMs: number): Promise<void> {
    this.#figures.reads += 1
    if (this.#open >= readsMax)
      return this.#fail(new OperatingError('overloaded', `read: ${readsMax} reads of this node wait already`, soon))
    const read: Read = { settled: deferred<void>(), isOver: false }
    this.#open += 1
    const timer = this.#options.clock.after(timeoutMs, () => {
      read.isOver = true
      this.#waiting.delete(read)
      this.#confirmed.delete(read)
      read.settled.reject(
        new OperatingError('no-quorum', `read: no majority confirmed it within ${timeoutMs} ms`, soon),
      )
    })
    this.#waiting.add(read)
    this.#ask()
    return read.settled.promise
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#open -= 1
        timer.cancel()
      })
  }

  /** From consensus: the request sees everything once `index` is applied. */
  readable(id: number, index: Index): void {
    for (const read of this.#take(id)) if (!read.isOver) this.#confirmed.set(read, index)
    this.applied(this.#options.appliedIndex())
    this.#ask()
  }

  /** From consensus: nobody confirmed the request, or nobody does any more. */
  refused(id: number): void {
    const why = new OperatingError('no-leader', 'read: no leader confirmed it; an election may be under way', soon)
    for (const read of this.#take(id)) read.settled.reject(why)
    this.#ask()
  }

  /** The state has applied up to here. */
  applied(index: Index): void {
    for (const [read, awaited] of this.#confirmed) {
      if (awaited > index) continue
      this.#confirmed.delete(read)
      read.settled.resolve()
    }
  }

  stop(why: OperatingError): void {
    const reads = [...this.#waiting, ...(this.#asked?.reads ?? []), ...this.#confirmed.keys()]
    this.#asked?.timer.cancel()
    this.#asked = null
    this.#waiting.clear()
    this.#confirmed.clear()
    for (const read of reads) read.settled.reject(why)
  }

  #ask(): void {
    if (this.#asked !== null || this.#waiting.size === 0) return
    const { clock, ask } = this.#options
    const id = (this.#nextId += 1)
    const timer = clock.after(answerMs, () => this.#askAgain(id))
    this.#asked = { id, reads: this.#waiting, timer }
    this.#waiting = new Set()
    this.#figures.readRequests += 1
    ask(id)
  }

  /** Request or answer may have been lost with a leader: the reads that still wait share the next request. */
  #askAgain(id: number): void {
    const lost = [...this.#take(id)].filter((read) => !read.isOver)
    this.#waiting = new Set([...lost, ...this.#waiting])
    this.#ask()
  }

  #take(id: number): ReadonlySet<Read> {
    if (this.#asked?.id !== id) return new Set()
    const { reads, timer } = this.#asked
    timer.cancel()
    this.#asked = null
    return reads
  }

  #fail(error: unknown): Promise<never> {
    this.#figures.readsFailed += 1
    return Promise.reject(error instanceof Error ? error : new Error(String(error)))
  }
}

export type ReadsOptions = {
  /** Asks consensus; `readable` or `refused` follows with the id, or neither. */
  readonly ask: (id: number) => void
  readonly appliedIndex: () => Index
  readonly clock: Clock
}

/** Monotone since the start of the process. */
export type ReadFigures = { readonly reads: number; readonly readsFailed: number; readonly readRequests: number }

/** `isOver`: its time is up. */
type Read = { readonly settled: Deferred<void>; isOver: boolean }

/** Linearizable reads of this node that wait. */
const readsMax = 16_384
/** After so long without an answer the request counts as lost. */
const answerMs = 1000
const soon = { retry: 'after', retryAfterMs: 1000 } as const
