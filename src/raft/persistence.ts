import { assert } from '../std/assert.ts'
import type { Persist } from './effects.ts'
import type { HardState } from './entry.ts'
import type { RaftLog } from './log.ts'
import type { Message } from './messages.ts'

/**
 * Turns what the core has decided since the last take into one batch, and keeps messages back until all that was decided
 * before them is durable (R1). Batches end in the order in which they were taken; how many are under way is up to the
 * driver, each holds only what is new.
 */
export class Persistence {
  /** Of the newest batch taken, or of the start. */
  #hardState: HardState
  #takenSeq = 0
  #persistedSeq = 0
  /** The newest batch with more in it than the commit hint and the log's beginning: no message depends on those. */
  #syncSeq = 0
  readonly #underWay: { readonly seq: number; readonly hardState: HardState; readonly tick: number }[] = []
  /** Said since the last take; they depend on everything decided so far. */
  #waiting: Message[] = []
  /** Said while a batch was under way and nothing new was to be written: they leave when it ends. */
  #held: { readonly untilSeq: number; readonly message: Message }[] = []

  constructor(hardState: HardState) {
    this.#hardState = hardState
  }

  /** The tick at which the oldest batch that is still under way was taken; null: the disk has done everything. */
  get underWaySinceTick(): number | null {
    return this.#underWay[0]?.tick ?? null
  }

  /** Sends the message once everything decided before it is durable. */
  sendWhenDurable(message: Message): void {
    this.#waiting.push(message)
  }

  /** The batch to write, if any, and the messages that need not wait for one. */
  take(hardState: HardState, log: RaftLog, tick: number): { persist: Persist | null; send: Message[] } {
    const before = this.#hardState
    // A new beginning too: the snapshots before it are deleted when this batch is durable.
    const mustSync =
      log.hasUnwritten ||
      log.hasUnwrittenBeginning ||
      hardState.term !== before.term ||
      hardState.vote !== before.vote ||
      hardState.isRecovering !== before.isRecovering
    const waiting = this.#waiting
    this.#waiting = []
    let persist: Persist | null = null
    if (mustSync || hardState.commit !== before.commit) {
      this.#takenSeq += 1
      const seq = this.#takenSeq
      if (mustSync) this.#syncSeq = seq
      // oxlint-disable-next-line unicorn/no-thenable -- a list of messages, never a function: nothing can await it
      persist = { seq, hardState, ...log.takeUnwritten(seq), mustSync, then: mustSync ? waiting : [] }
      this.#underWay.push({ seq, hardState, tick })
      this.#hardState = hardState
    }
    if (!mustSync) for (const message of waiting) this.#held.push({ untilSeq: this.#syncSeq, message })
    return { persist, send: this.#release() }
  }

  /** The batch is durable: the hard state that it brought to the disk. */
  persisted(seq: number): HardState {
    const batch = this.#underWay.shift()
    assert(batch?.seq === seq, `batch ${seq} is the oldest one under way`)
    this.#persistedSeq = seq
    return batch.hardState
  }

  #release(): Message[] {
    const released = this.#held.filter((held) => held.untilSeq <= this.#persistedSeq).map((held) => held.message)
    if (released.length > 0) this.#held = this.#held.filter((held) => held.untilSeq > this.#persistedSeq)
    return released
  }
}
