import { assert } from '../std/assert.ts'
import type { CommandResult } from './command.ts'
import type { RecordChange } from './content-sum.ts'

/**
 * What writes under an idempotency key answered, so that a repeated one is answered alike and applied only once.
 *
 * A record is kept for `answerWindowMs` of log time, and while there are no more than `answersMax` newer ones. Both
 * depend on the applied entries alone, so every node forgets at the same entry.
 */
export class Answers {
  /** In the order of first application; log time never falls, so the oldest is the first to expire. */
  #records = new Map<string, AnswerRecord>()
  readonly #changing: (key: string, change: RecordChange<AnswerRecord>) => void

  /** `changing` is told of each record that is about to come or go, except in `restore`. */
  constructor(changing: (key: string, change: RecordChange<AnswerRecord>) => void) {
    this.#changing = changing
  }

  get size(): number {
    return this.#records.size
  }

  /** Log time, which never falls, has come to here: forgets what has expired. */
  advance(time: number): void {
    for (const record of this.#records.values()) {
      if (record.time + answerWindowMs > time) return
      this.#forget(record)
    }
  }

  find(key: string): AnswerRecord | undefined {
    return this.#records.get(key)
  }

  /** A key that is not there. One too many, and the oldest is forgotten. */
  add(record: AnswerRecord): void {
    assert(!this.#records.has(record.key), 'an idempotency key is recorded once')
    this.#changing(record.key, { before: undefined, after: record })
    this.#records.set(record.key, record)
    if (this.#records.size <= answersMax) return
    const [oldest] = this.#records.values()
    if (oldest !== undefined) this.#forget(oldest)
  }

  /** Oldest first. */
  all(): AnswerRecord[] {
    return [...this.#records.values()]
  }

  /** Begins anew with these records, by their keys, oldest first. */
  restore(records: Map<string, AnswerRecord>): void {
    this.#records = records
  }

  #forget(record: AnswerRecord): void {
    this.#changing(record.key, { before: record, after: undefined })
    this.#records.delete(record.key)
  }
}

export type AnswerRecord = {
  readonly key: string
  /** Of the command, so that the key of one request is not taken for another's. */
  readonly fingerprint: string
  readonly result: CommandResult
  /** Log time of the entry. */
  readonly time: number
}

/** How long a result is kept, in log time. */
export const answerWindowMs = 24 * 60 * 60 * 1000
/** Results that are kept; the oldest is forgotten for a newer one. */
export const answersMax = 100_000

/** 1 to 255 visible ASCII characters. */
export function isIdempotencyKey(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{1,255}$/.test(value)
}
