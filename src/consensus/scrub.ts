import type { Clock, Timer } from '../std/clock.ts'
import type { Index } from '../raft/entry.ts'
import type { Raft } from '../raft/raft.ts'
import type { LogStore, ScrubDamage, ScrubReport } from '../storage/log-store.ts'
import type { SnapshotStore } from '../storage/snapshot-store.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ConsensusEvents } from './consensus.ts'
import { mendedEntriesMax, mendsMax, scrubRestMs, scrubRoundMs } from './limits.ts'
import type { LogWriter } from './log-writer.ts'
import type { Snapshots } from './snapshots.ts'
import type { MutableCounters } from './status-report.ts'

/**
 * Reads log and snapshot once more while the node runs, slice by slice and never while writes wait, so that damage is found
 * while the others are sound. A damaged entry is written again as Raft has it in memory; a damaged snapshot is replaced by a
 * new one. What can not be mended, or is damaged again and again, ends the node: its next start repairs it.
 */
export class Scrub {
  readonly #options: ScrubOptions
  #timer: Timer | undefined
  #reading: Promise<unknown> | undefined
  #wakeUp = (): void => undefined
  #roundBytes = 0
  /** Of the last whole round; 0: there was none. */
  #lastRoundBytes = 0
  /** Ends of rounds until there is a rest again: after damage one round is read whole at once. */
  #hurriedEnds = 0
  #mended: Range[] = []
  #ended = false

  constructor(options: ScrubOptions) {
    this.#options = options
  }

  /** The first slice comes later: at the start all was read. */
  start(): void {
    this.#rest(scrubRoundMs / 100)
  }

  /** Resolves when nothing is read any more. */
  async end(): Promise<void> {
    this.#ended = true
    this.#timer?.cancel()
    this.#wakeUp()
    await this.#reading
  }

  #rest(ms: number): void {
    if (!this.#ended) this.#timer = this.#options.clock.after(ms, () => void this.#wake())
  }

  async #wake(): Promise<void> {
    const { writer, store, counters, failed } = this.#options
    if (writer.hasWaiting) return this.#rest(scrubRestMs)
    try {
      const report = await this.#read(store.scrub())
      counters.scrubbedBytes += report.bytes
      this.#roundBytes += report.bytes
      if (report.damage !== null) await this.#mend(report.damage)
      if (report.isRoundDone) await this.#endRound()
      return this.#rest(this.#restAfter(report))
    } catch (error) {
      if (!this.#ended) failed(error)
    }
    return undefined
  }

  async #read<Answer>(reading: Promise<Answer>): Promise<Answer> {
    this.#reading = reading.catch(() => undefined)
    const answer = await reading
    // Whoever ended this waits for the disk only; nothing is made of what it said.
    return this.#ended ? await new Promise<never>(() => undefined) : answer
  }

  #restAfter({ bytes, damage }: ScrubReport): number {
    if (this.#hurriedEnds > 0) return damage === null ? 0 : scrubRestMs
    const share = bytes / Math.max(1, bytes, this.#roundBytes, this.#lastRoundBytes)
    return Math.max(scrubRestMs, share * scrubRoundMs)
  }

  async #endRound(): Promise<void> {
    const { counters } = this.#options
    await this.#verifySnapshot()
    counters.scrubRounds += 1
    this.#lastRoundBytes = this.#roundBytes
    this.#roundBytes = 0
    if (this.#hurriedEnds === 0) return
    this.#hurriedEnds -= 1
    if (this.#hurriedEnds === 0) this.#mended = []
  }

  async #mend({ why, mend }: ScrubDamage): Promise<void> {
    this.#found(why)
    if (mend === 'restart') throw beyondMending(why)
    if (mend !== 'done') {
      const mends = this.#mended.filter((range) => overlap(range, mend)).length
      if (mends >= mendsMax) throw beyondMending(`${why} (it was written again ${mends} times)`)
      this.#hurriedEnds = 2
      const outcome = await this.#rewrite(mend)
      if (outcome !== 'changed') this.#mended.push(mend)
      if (outcome !== 'written') return
    }
    this.#options.counters.damageMended += 1
    this.#options.log('warn', 'damage-mended', { why })
  }

  async #rewrite({ first, last }: Range): Promise<Rewritten> {
    for (let from = first; from === first || from <= last; from += mendedEntriesMax) {
      const outcome = await this.#rewritePiece(from, Math.min(last, from + mendedEntriesMax - 1))
      if (outcome !== 'written') return outcome
    }
    return 'written'
  }

  #rewritePiece(first: Index, last: Index): Promise<Rewritten> {
    const { writer, raft } = this.#options
    return new Promise((resolve) => {
      let outcome: Rewritten = 'changed'
      const write = async (store: LogStore): Promise<void> => {
        if (!writer.isSettled(last)) return
        const entries = raft.entries(first, last)
        outcome = entries.length < last - first + 1 ? 'gone' : 'written'
        if (outcome === 'written') await store.rewrite(entries)
      }
      writer.perform(write, () => resolve(outcome))
    })
  }

  async #verifySnapshot(): Promise<void> {
    const { files, snapshots } = this.#options
    const { current } = snapshots
    if (current === null) return
    const verdict = await this.#read(files.verify(current, () => this.#pause()).catch((error: unknown) => ({ error })))
    // It may have gone while it was read, since there is a newer one.
    if (verdict === null || snapshots.current !== current) return
    if (typeof verdict !== 'string') throw verdict.error
    this.#found(verdict)
    snapshots.replace(current)
  }

  /** Between two pieces of a snapshot. Rejects when there is to be no other. */
  async #pause(): Promise<void> {
    const { writer, clock } = this.#options
    let hasRested = this.#hurriedEnds > 0
    while (!this.#ended && (!hasRested || writer.hasWaiting)) {
      await new Promise<void>((resume) => {
        this.#wakeUp = resume
        this.#timer = clock.after(scrubRestMs, resume)
      })
      hasRested = true
    }
    if (this.#ended) throw new Error('nothing is read any more')
  }

  #found(why: string): void {
    this.#options.counters.damageFound += 1
    this.#options.log('error', 'damage-found', { why })
  }
}

export type ScrubOptions = {
  readonly store: Pick<LogStore, 'scrub'>
  readonly files: Pick<SnapshotStore, 'verify'>
  readonly writer: Pick<LogWriter, 'hasWaiting' | 'isSettled' | 'perform'>
  readonly raft: Pick<Raft, 'entries'>
  readonly snapshots: Pick<Snapshots, 'current' | 'replace'>
  readonly clock: Clock
  readonly counters: MutableCounters
  readonly failed: (error: unknown) => void
  readonly log: ConsensusEvents['log']
}

/** `changed`: Raft has decided otherwise there, so it is to be read again. `gone`: nobody has those entries any more. */
type Rewritten = 'written' | 'changed' | 'gone'

type Range = { readonly first: Index; readonly last: Index }

/** A range without entries stands for the records that are none. */
function overlap(a: Range, b: Range): boolean {
  const areEmpty = a.first > a.last && b.first > b.last
  return areEmpty || (a.first <= b.last && b.first <= a.last)
}

function beyondMending(why: string): OperatingError {
  return new OperatingError(
    'storage-failed',
    `read the log once more while the node runs: ${why}; it can not be mended now: start the node again, and it repairs itself from the others; if that happens again, replace the disk`,
  )
}
