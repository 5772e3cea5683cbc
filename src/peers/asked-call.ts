import type { CallEvent, Caller, CallRef, Outcome } from '../calls/call.ts'
import { cancellationOf } from '../calls/cancellation.ts'
import type { JsonText } from '../std/json-text.ts'
import type { CallId, NodeId } from '../vocabulary/ids.ts'

/** A call that a peer performs for this node, from this node's question on until its caller has an outcome. */
export class AskedCall {
  readonly node: NodeId
  readonly question: CallQuestion
  readonly caller: Caller
  readonly #owner: AskedCallOwner
  readonly #resolve: (outcome: Outcome) => void
  #heardSeq: number
  #isSettled = false

  constructor(
    { node, question, caller }: Pick<AskedCall, 'node' | 'question' | 'caller'>,
    owner: AskedCallOwner,
    resolve: (outcome: Outcome) => void,
  ) {
    this.node = node
    this.question = question
    this.caller = caller
    this.#owner = owner
    this.#resolve = resolve
    this.#heardSeq = question.after
  }

  get isSettled(): boolean {
    return this.#isSettled
  }

  /** What is left of it at its node; null: nobody can come back for it. */
  get rest(): CallRef | null {
    return this.question.ref && { ...this.question.ref, after: this.#heardSeq }
  }

  /** Follows what becomes of its caller. */
  watch(): void {
    const { cancelled, left } = this.caller
    if (left?.aborted === true) return this.#leave()
    cancelled.addEventListener('abort', this.#cancel)
    left?.addEventListener('abort', this.#leave)
  }

  hear(event: CallEvent): void {
    this.#heardSeq = event.seq
    this.caller.hear(event)
  }

  /** `params`: what its client said; null: nothing. */
  cancel(params: JsonText | null): void {
    this.#owner.cancelled(this, params)
    this.settle({ kind: 'cancelled' })
  }

  settle(outcome: Outcome): void {
    this.#isSettled = true
    this.caller.cancelled.removeEventListener('abort', this.#cancel)
    this.caller.left?.removeEventListener('abort', this.#leave)
    this.#owner.settled(this)
    this.#resolve(outcome)
  }

  readonly #cancel = (): void => this.cancel(cancellationOf(this.caller.cancelled))

  readonly #leave = (): void => {
    this.#owner.left(this)
    this.settle({ kind: 'left' })
  }
}

export type CallQuestion = {
  /** Of its frames. */
  readonly id: CallId
  readonly what: string
  /** Null: it can not be resumed. */
  readonly ref: Omit<CallRef, 'after'> | null
  /** Null: of a call that is resumed, which its own node finds by it. */
  readonly requestId: JsonText | null
  readonly after: number
}

export type AskedCallOwner = {
  /** Its caller does not want it any more. */
  cancelled(call: AskedCall, params: JsonText | null): void
  left(call: AskedCall): void
  settled(call: AskedCall): void
}
