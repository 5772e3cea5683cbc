import type { JsonText } from '../std/json-text.ts'
import { LightSignal } from '../std/signal.ts'
import type { Signal } from '../std/signal.ts'
import type { CallId } from '../vocabulary/ids.ts'
import type { CallEvent, Caller, CallOrigin, Outcome } from './call.ts'
import { cancellationOf } from './cancellation.ts'

/**
 * One call on the node that performs it, with what has arisen of it: tells its caller, if it has one, and repeats to one
 * that comes later what that one has missed. Which calls are kept, how much of them and for how long is decided by its owner.
 */
export class KeptCall {
  readonly id: CallId
  readonly origin: CallOrigin
  /** Of the monotonic clock. */
  readonly startedAtMs: number
  readonly #owner: KeptCallOwner
  readonly #cancelled = new LightSignal()
  #events: CallEvent[] = []
  #lastSeq = 0
  #droppedSeq = 0
  #eventBytes = 0
  #attached: Attached | null = null
  #wasLeft = false
  #outcome: Outcome | null = null

  constructor(begun: { id: CallId; origin: CallOrigin; startedAtMs: number }, owner: KeptCallOwner) {
    this.id = begun.id
    this.origin = begun.origin
    this.startedAtMs = begun.startedAtMs
    this.#owner = owner
  }

  /** For whoever performs it. */
  get cancelled(): Signal {
    return this.#cancelled
  }

  get isEnded(): boolean {
    return this.#outcome !== null
  }

  get hasCaller(): boolean {
    return this.#attached !== null
  }

  /** A client may know its id from an event, or has said that it may come back. */
  get mayBeAskedFor(): boolean {
    return this.origin.isKept || this.#wasLeft || this.#lastSeq > 0
  }

  /** Of its events that are kept: characters, each counted as a byte, and what each message costs besides. */
  get eventBytes(): number {
    return this.#eventBytes
  }

  /** With its outcome. */
  get bytes(): number {
    return this.#eventBytes + (this.#outcome === null ? 0 : bytesOf(textOf(this.#outcome)))
  }

  /** Seq of the newest event that is kept no more; 0: all are. */
  get droppedSeq(): number {
    return this.#droppedSeq
  }

  /** From the server. */
  readonly hear = (message: JsonText): void => {
    if (this.#outcome !== null) return
    this.#lastSeq += 1
    const event = { seq: this.#lastSeq, message }
    this.#events.push(event)
    this.#eventBytes += bytesOf(message)
    this.#owner.grew(this, bytesOf(message))
    this.#attached?.caller.hear(event)
  }

  /** The caller takes the call over: hears what is kept behind `after`, and then what comes. */
  attach(caller: Caller, after: number): Promise<Outcome> {
    this.#settle({ kind: 'left' })
    return new Promise((resolve, reject) => {
      const attached = new Attached(this, caller, { resolve, reject })
      this.#attached = attached
      attached.watch()
      for (const event of this.#events.slice(indexAfter(this.#events, after))) {
        // Who can take no more leaves while it is told.
        if (this.#attached !== attached) return
        caller.hear(event)
      }
      if (this.#outcome !== null && this.#attached === attached) this.#settle(this.#outcome)
    })
  }

  /** The first outcome counts. */
  end(outcome: Outcome): void {
    if (this.#outcome !== null) return
    this.#outcome = outcome
    // The owner first: what it does not keep is over before its caller acts on that.
    this.#owner.ended(this, outcome)
    this.#settle(outcome)
  }

  /** Whoever performs it has failed by accident, which is its caller's to report. */
  fail(error: unknown): void {
    const attached = this.#attached
    this.#attached = null
    this.end({ kind: 'cancelled' })
    if (attached === null) throw error
    attached.fail(error)
  }

  /** `params`: what its client said. */
  cancel(params: JsonText | null = null): void {
    this.end({ kind: 'cancelled' })
    // Of one that had ended before, too, its caller wants to hear no more.
    this.#settle({ kind: 'cancelled' })
    this.#cancelled.abort(params)
  }

  leave(): void {
    this.#wasLeft = true
    this.#settle({ kind: 'left' })
    if (this.#outcome === null) this.#owner.left(this)
  }

  /** Forgets its oldest event; answers how many bytes that gave. 0: there is none. */
  dropOldest(): number {
    const oldest = this.#events.shift()
    if (oldest === undefined) return 0
    const bytes = bytesOf(oldest.message)
    this.#droppedSeq = oldest.seq
    this.#eventBytes -= bytes
    return bytes
  }

  #settle(outcome: Outcome): void {
    const attached = this.#attached
    this.#attached = null
    attached?.settle(outcome)
  }
}

export type KeptCallOwner = {
  grew(call: KeptCall, bytes: number): void
  ended(call: KeptCall, outcome: Outcome): void
  /** Its caller has gone while it is in work. */
  left(call: KeptCall): void
}

/** A caller for as long as it waits. */
class Attached {
  readonly caller: Caller
  readonly #call: KeptCall
  readonly #ends: { resolve(outcome: Outcome): void; reject(error: unknown): void }

  constructor(call: KeptCall, caller: Caller, ends: { resolve(outcome: Outcome): void; reject(error: unknown): void }) {
    this.#call = call
    this.caller = caller
    this.#ends = ends
  }

  watch(): void {
    const { cancelled, left } = this.caller
    if (cancelled.aborted) return this.#cancel()
    if (left?.aborted === true) return this.#call.leave()
    cancelled.addEventListener('abort', this.#cancel)
    left?.addEventListener('abort', this.#leave)
  }

  settle(outcome: Outcome): void {
    this.#unwatch()
    this.#ends.resolve(outcome)
  }

  fail(error: unknown): void {
    this.#unwatch()
    this.#ends.reject(error)
  }

  #unwatch(): void {
    this.caller.cancelled.removeEventListener('abort', this.#cancel)
    this.caller.left?.removeEventListener('abort', this.#leave)
  }

  readonly #cancel = (): void => this.#call.cancel(cancellationOf(this.caller.cancelled))
  readonly #leave = (): void => this.#call.leave()
}

/** What a message costs beside its text, roughly: many small ones must not pass for nothing. */
const messageBytes = 100

function bytesOf(message: string): number {
  return message.length + messageBytes
}

function textOf(outcome: Outcome): string {
  if (outcome.kind === 'result') return outcome.result
  if (outcome.kind === 'error') return outcome.error
  return 'error' in outcome ? outcome.error.message : ''
}

/** Of the first event behind `after`; they are in order and without a gap. */
function indexAfter(events: readonly CallEvent[], after: number): number {
  const [first] = events
  return first === undefined ? 0 : Math.max(0, after - first.seq + 1)
}
