import type { Call, Caller, CallRef, Outcome, Peers } from '../calls/call.ts'
import { cancellationOf } from '../calls/cancellation.ts'
import type { JsonText } from '../std/json-text.ts'
import type { CallId, NodeId, SessionId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { encodeCallMessage } from '../wire/call-codec.ts'
import type { CallMessage } from '../wire/call-codec.ts'
import { CallsUnderWay } from './calls-under-way.ts'
import type { CallLimits } from './calls-under-way.ts'
import type { EncodedFrame, LaneSender } from './lane-sender.ts'
import { LinkWaits } from './link-waits.ts'
import type { LinkWaitsOptions } from './link-waits.ts'

/**
 * Calls that peers perform for this node. A call is started once; its events arrive in order, each once, and before its
 * outcome; nothing follows the outcome. What provably did not leave is `not-sent`. A call whose link breaks is resumed when the
 * link is there again soon, if it can be; else its outcome is `unknown`. Never starts a call twice and never routes.
 */
export class AskedCalls implements Peers {
  readonly #options: AskedCallsOptions
  readonly #asked = new Map<NodeId, CallsUnderWay<Asked>>()
  readonly #links: LinkWaits
  #resumed = 0

  constructor(options: AskedCallsOptions) {
    this.#options = options
    this.#links = new LinkWaits(options)
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
  async resume(node: NodeId, ref: CallRef, caller: Caller): Promise<Outcome> {
    if (!this.#options.sender.isOpen(node)) await this.#links.wait(node, caller)
    if (caller.cancelled.aborted) return { kind: 'cancelled' }
    if (caller.left?.aborted === true) return { kind: 'left' }
    this.#resumed += 1
    // Its own name, as frames of the one that is taken over may still be on their way.
    const id = `resume.${this.#resumed}` as CallId
    const { session, after } = ref
    const asking: Question = { id, what: `call ${ref.id}`, ref: { id: ref.id, session }, requestId: null, after }
    const frame = encodeCallMessage({ kind: 'call-resume', id, ref })
    const refused = this.#refusal(node, asking, frame)
    if (refused === null) return this.#ask(node, asking, { caller, bytes: frame.payload.length })
    return unknown(`${asking.what} may have been done, but node ${node} can not be asked`, refused)
  }

  /** The client does not want that request any more, on whichever node it says so. */
  cancelRequest(session: SessionId, requestId: JsonText, params: JsonText): void {
    for (const asked of this.#asked.values())
      for (const [, each] of asked.entries())
        if (each.question.requestId === requestId && each.question.ref?.session === session) each.cancel(params)
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

  peerOpened(peer: NodeId): void {
    this.#links.opened(peer)
  }

  peerClosed(peer: NodeId): void {
    const asked = this.#asked.get(peer)
    this.#asked.delete(peer)
    for (const each of asked?.all() ?? []) void this.#goOn(peer, each)
  }

  /** The link broke while the call was there. */
  async #goOn(node: NodeId, each: Asked): Promise<void> {
    const { question, caller } = each
    const { id, what } = question
    const broke = `${what}: the link to node ${node} broke while the call was there`
    if (question.ref === null) return each.settle(unknown(broke))
    await this.#links.wait(node, caller)
    // Who has gone has settled it.
    if (caller.cancelled.aborted || caller.left?.aborted === true) return undefined
    const frame = encodeCallMessage({ kind: 'call-resume', id, ref: { ...question.ref, after: each.heardSeq() } })
    const refused = this.#refusal(node, question, frame)
    if (refused !== null) return each.settle(unknown(broke, refused))
    return this.#underWay(node).add(id, each, frame.payload.length)
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
      let heard = question.after
      const settle = (outcome: Outcome): void => {
        this.#asked.get(node)?.delete(id)
        caller.cancelled.removeEventListener('abort', onCancelled)
        caller.left?.removeEventListener('abort', leave)
        resolve(outcome)
      }
      const cancel = (params: JsonText | null): void => {
        sender.send(node, encodeCallMessage({ kind: 'call-cancel', id, params }))
        settle({ kind: 'cancelled' })
      }
      const onCancelled = (): void => cancel(cancellationOf(caller.cancelled))
      const leave = (): void => {
        sender.send(node, encodeCallMessage({ kind: 'call-leave', id }))
        settle({ kind: 'left' })
      }
      caller.cancelled.addEventListener('abort', onCancelled)
      caller.left?.addEventListener('abort', leave)
      const each: Asked = {
        question,
        caller,
        heardSeq: () => heard,
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
      this.#underWay(node).add(id, each, bytes)
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

export type AskedCallsOptions = CallLimits & LinkWaitsOptions & { readonly sender: LaneSender }

/** A call that a peer performs for this node, from this node's question on. */
type Asked = {
  readonly question: Question
  readonly caller: Caller
  /** Of the last event that was heard. */
  readonly heardSeq: () => number
  readonly hear: Caller['hear']
  /** The peer could not send all that arose. */
  readonly catchUp: () => void
  readonly cancel: (params: JsonText | null) => void
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

function unknown(message: string, cause?: OperatingError): Outcome {
  return { kind: 'unknown', error: new OperatingError('outcome-unknown', message, { cause }) }
}
