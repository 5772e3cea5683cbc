import { assert } from '../std/assert.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { SlotFile } from './records.ts'
import { isDamage, sameBytes } from './log-record.ts'
import type { Damage } from './log-record.ts'
import { decodeSlots, encodeSlot, slotBytes } from './vote-record.ts'
import type { VoteRecord } from './vote-record.ts'

/**
 * The writer of the second home of term, vote and identity. One write is under way at a time and the latest record wins.
 * What nobody waits for is synced once a second. The slot that was synced last is never written before the other one was
 * synced, so that a crash leaves one of them whole. After a failed write it is dead, and so is who writes here (R11).
 */
export class VoteFile {
  readonly #file: SlotFile
  readonly #clock: Clock
  readonly #failed: (error: unknown) => void
  /** The slot that is written next, and until a sync. */
  #slot: 0 | 1 = 0
  #count = 0
  /** What stands in each slot, as far as this process has written it. */
  readonly #slots: [Uint8Array | null, Uint8Array | null] = [null, null]
  #newest: VoteRecord | null = null
  #unwritten: VoteRecord | null = null
  #waiting: Waiting[] = []
  #hasOneSlot = false
  #isDirty = false
  #isSyncDue = false
  #timer: Timer | null = null
  #underWay: Promise<void> | null = null
  #dead: Error | null = null
  #isClosed = false

  constructor(options: { file: SlotFile; clock: Clock; failed: (error: unknown) => void }) {
    this.#file = options.file
    this.#clock = options.clock
    this.#failed = options.failed
  }

  /** What the file says; null when there is none. */
  async open(): Promise<VoteRecord | Damage | null> {
    const bytes = await this.#file.read()
    // A crash in the middle of the first write of all.
    if (bytes === null || bytes.length === 0) return null
    // What a killed process wrote last may stand in no more than memory, and the other slot is written over next.
    await this.#file.sync()
    const slots = decodeSlots(bytes)
    this.#hasOneSlot = bytes.length <= slotBytes
    if (isDamage(slots)) return slots
    this.#slot = slots.slot === 0 ? 1 : 0
    this.#count = slots.count
    return slots.record
  }

  /** When it was opened the second slot had never been written: of the first, a crash may have met the first write. */
  get hasOneSlot(): boolean {
    return this.#hasOneSlot
  }

  /** Written soon, in its turn, unless a newer one comes before. */
  save(record: VoteRecord): void {
    this.#newest = record
    this.#unwritten = record
    this.#kick()
  }

  /** Durable when resolved. */
  saveDurably(record: VoteRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.save(record)
    })
  }

  /** Durable in both slots: it holds even when one of them is damaged. */
  async saveTwice(record: VoteRecord): Promise<void> {
    await this.saveDurably(record)
    await this.saveDurably(this.#newest ?? record)
  }

  /** Compares the file with what was written; one that differs is written anew. The sentence says what was wrong. */
  async verify(): Promise<{ bytes: number; why: string | null }> {
    await this.#atRest()
    const before = this.#count
    const found = await this.#file.read()
    // Written in between: no comparison is fair; the next round makes one.
    if (this.#count !== before || this.#underWay !== null || this.#newest === null)
      return { bytes: found?.length ?? 0, why: null }
    const wrong = ([0, 1] as const).find((slot) => {
      const written = this.#slots[slot]
      const at = slot * slotBytes
      return written !== null && (found === null || !sameBytes(found.subarray(at, at + written.length), written))
    })
    if (wrong === undefined) return { bytes: found?.length ?? 0, why: null }
    // What is open may be another file than the one that stands there.
    await this.#file.close()
    // Not what was the newest before that: it may have been followed by another.
    await this.saveTwice(this.#newest)
    return { bytes: found?.length ?? 0, why: `slot ${wrong + 1} of the vote file is not what was written` }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#timer?.cancel()
    await this.#atRest()
    if (this.#isDirty && this.#dead === null) await this.#file.sync()
    await this.#file.close()
  }

  async #atRest(): Promise<void> {
    while (this.#underWay !== null) await this.#underWay
  }

  #kick(): void {
    if (this.#underWay !== null) return
    assert(!this.#isClosed, 'the vote file is closed')
    this.#underWay = this.#run().finally(() => {
      this.#underWay = null
      // Asked for by whom the end of this run woke.
      if (this.#unwritten !== null || this.#waiting.length > 0) this.#kick()
    })
  }

  async #run(): Promise<void> {
    let waiting: Waiting[] = []
    try {
      if (this.#dead !== null) throw this.#dead
      while (this.#unwritten !== null || this.#waiting.length > 0 || this.#isSyncDue) {
        waiting = this.#waiting
        this.#waiting = []
        await this.#writeNewest()
        if (waiting.length > 0 || this.#isSyncDue) await this.#sync()
        for (const { resolve } of waiting) resolve()
      }
      this.#armTimer()
    } catch (error) {
      this.#isSyncDue = false
      this.#unwritten = null
      if (this.#dead === null) {
        this.#dead = error instanceof Error ? error : new Error('write the vote file', { cause: error })
        this.#failed(error)
      }
      for (const { reject } of [...waiting, ...this.#waiting.splice(0)]) reject(error)
    }
  }

  async #writeNewest(): Promise<void> {
    const record = this.#unwritten
    if (record === null) return
    this.#unwritten = null
    this.#count += 1
    const bytes = encodeSlot(record, this.#count)
    this.#isDirty = true
    await this.#file.write(bytes, this.#slot * slotBytes)
    this.#slots[this.#slot] = bytes
  }

  async #sync(): Promise<void> {
    this.#isSyncDue = false
    this.#timer?.cancel()
    this.#timer = null
    await this.#file.sync()
    this.#isDirty = false
    this.#slot = this.#slot === 0 ? 1 : 0
  }

  #armTimer(): void {
    if (!this.#isDirty || this.#timer !== null || this.#isClosed) return
    this.#timer = this.#clock.after(syncEveryMs, () => {
      this.#timer = null
      this.#isSyncDue = true
      this.#kick()
    })
  }
}

type Waiting = { readonly resolve: () => void; readonly reject: (error: unknown) => void }

const syncEveryMs = 1000
