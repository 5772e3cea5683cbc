import type { Call, Caller, CallRef, Outcome, Peers } from '../calls/call.ts'
import type { JsonText } from '../std/json-text.ts'
import type { CallId, NodeId, SessionId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { encodeCallMessage } from '../wire/call-codec.ts'
import type { CallMessage } from '../wire/call-codec.ts'
import { CallsUnderWay } from './calls-under-way.ts'
import type { CallLimits } from './calls-under-way.ts'
import type { EncodedFrame, LaneSender } from './lane-sender.ts'

/**
 * Calls that peers perform for this node. A call is started once; its events arrive in order, each once, and before its
 * outcome; nothing follows the outcome. What provably did not leave is `not-sent`; a link that breaks afterwards makes the
 * outcome `unknown` at once, whatever becomes of the call there. Never retries and never routes.
 */
export class AskedCalls implements Peers {
  readonly #options: AskedCallsOptions
  readonly #asked = new Map<NodeId, CallsUnderWay<Asked>>()
  #resumed = 0

  constructor(options: AskedCallsOptions) {
    this.#options = options
  }

  call(node: NodeId, call: Call, caller: Caller): Promise<Outcome> {
    if (caller.cancelled.aborted) return Promise.resolve({ kind: 'cancelled' })
    const { id, method, server, origin } = call
    const question: Question = { id, what: `${method} on ${server}`, ref: null, requestId: null, after: 0 }
    const asking =
      origin === null ? question : { ...question, ref: { id, session: origin.session }, requestId: origin.requestId }
    const frame = encodeCallMessage({ kind: 'call-start', call })
    const refused = this.#refusal(node, asking, frame)
    if (refused !== null) return Promise.resolve({ kind: 'not-sent', error: refused })
    return this.#ask(node, asking, { caller, bytes: frame.payload.length })
  }

  /** Of a call that may have been done nothing says that it was not: what can not be asked for is `unknown`. */
  resume(node: NodeId, ref: CallRef, caller: Caller): Promise<Outcome> {
    if (caller.cancelled.aborted) return Promise.resolve({ kind: 'cancelled' })
    this.#resumed += 1
    // Its own name, as frames of the one that is taken over may still be on their way.
    const id = `resume.${this.#resumed}` as CallId
    const { session, after } = ref
    const asking: Question = { id, what: `call ${ref.id}`, ref: { id: ref.id, session }, requestId: null, after }
    const frame = encodeCallMessage({ kind: 'call-resume', id, ref })
    const refused = this.#refusal(node, asking, frame)
    if (refused === null) return this.#ask(node, asking, { caller, bytes: frame.payload.length })
    const message = `${asking.what} may have been done, but node ${node} can not be asked`
    const error = new OperatingError('outcome-unknown', message, { cause: refused })
    return Promise.resolve({ kind: 'unknown', error })
  }

  /** The client does not want that request any more, on whichever node it says so. */
  cancelRequest(session: SessionId, requestId: JsonText): void {
    for (const asked of this.#asked.values())
      for (const [, each] of asked.entries())
        if (each.question.requestId === requestId && each.question.ref?.session === session) each.cancel()
  }

  /** False: nobody waits for that. */
  receive(peer: NodeId, message: CallMessage & { kind: 'call-event' | 'call-behind' | 'call-end' }): boolean {
    const asked = this.#asked.get(peer)?.get(message.id)
    if (asked === undefined) return false
    if (message.kind === 'call-end') asked.settle(message.outcome)
    else if (message.kind === 'call-event') asked.hear(message.event)
    else asked.catchUp()
    return true
  }

  /** The call is over, but how can not be read: waiting longer would tell nothing more. */
  endUnreadable(peer: NodeId, id: CallId): void {
    const asked = this.#asked.get(peer)?.get(id)
    asked?.settle(unknown(`${asked.question.what}: the answer of node ${peer} can not be read`))
  }

  peerClosed(peer: NodeId): void {
    const asked = this.#asked.get(peer)
    this.#asked.delete(peer)
    for (const { question, settle } of asked?.all() ?? [])
      settle(unknown(`${question.what}: the link to node ${peer} broke while the call was there`))
  }

  /** Null: the question has left this node. */
  #refusal(node: NodeId, { id, what }: Question, frame: EncodedFrame): OperatingError | null {
    const { sender } = this.#options
    const doing = `send ${what} to node ${node}`
    const { length } = frame.payload
    if (!sender.isOpen(node)) {
      return new OperatingError('server-unavailable', `${doing}: not connected`, { retry: 'elsewhere' })
    }
    const asked = this.#asked.get(node)
    const limit = asked?.limitReached(length) ?? null
    if (limit !== null) {
      return new OperatingError('overloaded', `${doing}: ${limit} wait for it already`, { retry: 'elsewhere' })
    }
    if (asked?.get(id) !== undefined) return new OperatingError('internal', `${doing}: call ${id} is under way already`)
    if (length > sender.payloadBytesMax) {
      const message = `${doing}: ${length} bytes, a frame between nodes holds ${sender.payloadBytesMax}`
      return new OperatingError('too-large', message)
    }
    if (sender.sendNow(node, frame)) return null
    return new OperatingError('overloaded', `${doing}: the send buffer is full`, { retry: 'elsewhere' })
  }

  #ask(node: NodeId, question: Question, { caller, bytes }: { caller: Caller; bytes: number }): Promise<Outcome> {
    const { sender } = this.#options
    const { id, ref } = question
    return new Promise((resolve) => {
      const asked = this.#underWay(node)
      let heard = question.after
      const settle = (outcome: Outcome): void => {
        asked.delete(id)
        caller.cancelled.removeEventListener('abort', cancel)
        caller.left?.removeEventListener('abort', leave)
        resolve(outcome)
      }
      const cancel = (): void => {
        sender.send(node, encodeCallMessage({ kind: 'call-cancel', id }))
        settle({ kind: 'cancelled' })
      }
      const leave = (): void => {
        sender.send(node, encodeCallMessage({ kind: 'call-leave', id }))
        settle({ kind: 'left' })
      }
      caller.cancelled.addEventListener('abort', cancel)
      caller.left?.addEventListener('abort', leave)
      const each: Asked = {
        question,
        cancel,
        settle,
        hear(event) {
          heard = event.seq
          caller.hear(event)
        },
        catchUp() {
          if (ref !== null)
            sender.send(node, encodeCallMessage({ kind: 'call-resume', id, ref: { ...ref, after: heard } }))
        },
      }
      asked.add(id, each, bytes)
      if (caller.left?.aborted === true) leave()
    })
  }

  #underWay(node: NodeId): CallsUnderWay<Asked> {
    const known = this.#asked.get(node)
    if (known !== undefined) return known
    const made = new CallsUnderWay<Asked>(this.#options)
    this.#asked.set(node, made)
    return made
  }
}

export type AskedCallsOptions = CallLimits & { readonly sender: LaneSender }

/** A call that a peer performs for this node, from this node's question on. */
type Asked = {
  readonly question: Question
  readonly hear: Caller['hear']
  /** The peer could not send all that arose. */
  readonly catchUp: () => void
  readonly cancel: () => void
  readonly settle: (outcome: Outcome) => void
}

type Question = {
  /** Of its frames. */
  readonly id: CallId
  readonly what: string
  /** Null: it can not be resumed. */
  readonly ref: Omit<CallRef, 'after'> | null
  /** Null: of a call that is resumed, which its own node finds by it. */
  readonly requestId: JsonText | null
  readonly after: number
}

function unknown(message: string): Outcome {
  return { kind: 'unknown', error: new OperatingError('outcome-unknown', message) }
}
