import type { Call, Caller, CallRef, Outcome, Peers } from '../calls/call.ts'
import { keptCallsDefaults } from '../calls/kept-calls.ts'
import type { JsonText } from '../std/json-text.ts'
import type { CallId, NodeId, SessionId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { encodeCallMessage } from '../wire/call-codec.ts'
import type { CallMessage } from '../wire/call-codec.ts'
import { AskedCall } from './asked-call.ts'
import type { AskedCallOwner, CallQuestion } from './asked-call.ts'
import { CallsUnderWay } from './calls-under-way.ts'
import type { CallLimits } from './calls-under-way.ts'
import type { EncodedFrame, LaneSender } from './lane-sender.ts'
import { LinkWaits } from './link-waits.ts'
import type { LinkWaitsOptions } from './link-waits.ts'

/**
 * Calls that peers perform for this node. A call is started once; its events arrive in order, each once, and before its
 * outcome; nothing follows the outcome. What provably did not leave is `not-sent`. A call whose link breaks is resumed when the
 * link is there again soon, if it can be; else its outcome is `unknown`. One that is cancelled meanwhile is cancelled there
 * when the link is there again. Never starts a call twice and never routes.
 */
export class AskedCalls implements Peers {
  readonly #options: AskedCallsOptions
  readonly #asked = new Map<NodeId, CallsUnderWay<AskedCall>>()
  /** Those that wait for the link to their node. */
  readonly #away = new Set<AskedCall>()
  readonly #links: LinkWaits
  #resumed = 0
  /** Cancellations that wait for a link: at most `lateCancelsMax`. */
  #lateCancels = 0

  constructor(options: AskedCallsOptions) {
    this.#options = options
    this.#links = new LinkWaits(options)
  }

  call(node: NodeId, call: Call, caller: Caller): Promise<Outcome> {
    if (caller.cancelled.aborted) return Promise.resolve({ kind: 'cancelled' })
    const { id, method, server, origin } = call
    const question: CallQuestion = { id, what: `${method} on ${server}`, ref: null, requestId: null, after: 0 }
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
    const id = this.#nextResumption()
    const { session, after } = ref
    const asking: CallQuestion = { id, what: `call ${ref.id}`, ref: { id: ref.id, session }, requestId: null, after }
    const frame = encodeCallMessage({ kind: 'call-resume', id, ref })
    const refused = this.#refusal(node, asking, frame)
    if (refused === null) return this.#ask(node, asking, { caller, bytes: frame.payload.length })
    return unknown(`${asking.what} may have been done, but node ${node} can not be asked`, refused)
  }

  /** The client does not want that request any more, on whichever node it says so. */
  cancelRequest(session: SessionId, requestId: JsonText, params: JsonText): void {
    const all = [...this.#away, ...[...this.#asked.values()].flatMap((asked) => asked.all())]
    for (const each of all)
      if (each.question.requestId === requestId && each.question.ref?.session === session) each.cancel(params)
  }

  /** False: nobody waits for that. */
  receive(peer: NodeId, message: CallMessage & { kind: 'call-event' | 'call-behind' | 'call-end' }): boolean {
    const asked = this.#asked.get(peer)?.get(message.id)
    if (asked === undefined) return false
    if (message.kind === 'call-end') asked.settle(message.outcome)
    else if (message.kind === 'call-event') asked.hear(message.event)
    else if (asked.rest !== null)
      this.#options.sender.send(peer, encodeCallMessage({ kind: 'call-resume', id: message.id, ref: asked.rest }))
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

  /** Nobody waits for a link any more. */
  stop(): void {
    this.#links.stop()
  }

  /** The link broke while the call was there. */
  async #goOn(node: NodeId, each: AskedCall): Promise<void> {
    const { question, caller } = each
    const { id, what, ref } = question
    const broke = `${what}: the link to node ${node} broke while the call was there`
    if (ref === null) return each.settle(unknown(broke))
    this.#away.add(each)
    await this.#links.wait(node, caller)
    this.#away.delete(each)
    const { rest, isSettled } = each
    if (isSettled || rest === null) return undefined
    const frame = encodeCallMessage({ kind: 'call-resume', id, ref: rest })
    const refused = this.#refusal(node, question, frame)
    if (refused !== null) return each.settle(unknown(broke, refused))
    return this.#underWay(node).add(id, each, frame.payload.length)
  }

  /** What goes on at the node without its caller ends as soon as the link is there again. */
  async #cancelLater(node: NodeId, ref: CallRef, params: JsonText | null): Promise<void> {
    if (this.#lateCancels >= lateCancelsMax) return
    this.#lateCancels += 1
    const { sender } = this.#options
    if (!sender.isOpen(node)) await this.#links.wait(node, null, () => keptCallsDefaults.resumeMs)
    this.#lateCancels -= 1
    const id = this.#nextResumption()
    sender.send(node, encodeCallMessage({ kind: 'call-resume', id, ref }))
    sender.send(node, encodeCallMessage({ kind: 'call-cancel', id, params }))
  }

  /** A name of its own, as frames of the one that is taken over may still be on their way. */
  #nextResumption(): CallId {
    this.#resumed += 1
    return `resume.${this.#resumed}` as CallId
  }

  /** Null: the question has left this node. */
  #refusal(node: NodeId, { id, what }: CallQuestion, frame: EncodedFrame): OperatingError | null {
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

  #ask(node: NodeId, question: CallQuestion, { caller, bytes }: { caller: Caller; bytes: number }): Promise<Outcome> {
    return new Promise((resolve) => {
      const each = new AskedCall({ node, question, caller }, this.#owner, resolve)
      this.#underWay(node).add(question.id, each, bytes)
      each.watch()
    })
  }

  readonly #owner: AskedCallOwner = {
    cancelled: (each, params) => {
      const { sender } = this.#options
      const { node, question, rest } = each
      if (sender.isOpen(node) && !this.#away.has(each))
        sender.send(node, encodeCallMessage({ kind: 'call-cancel', id: question.id, params }))
      else if (rest !== null) void this.#cancelLater(node, rest, params)
    },
    left: ({ node, question: { id } }) =>
      this.#options.sender.send(node, encodeCallMessage({ kind: 'call-leave', id })),
    settled: ({ node, question: { id } }) => this.#asked.get(node)?.delete(id),
  }

  #underWay(node: NodeId): CallsUnderWay<AskedCall> {
    const known = this.#asked.get(node)
    if (known !== undefined) return known
    const made = new CallsUnderWay<AskedCall>(this.#options)
    this.#asked.set(node, made)
    return made
  }
}

export type AskedCallsOptions = CallLimits & LinkWaitsOptions & { readonly sender: LaneSender }

/** Beyond it, a call that was cancelled goes on until its node gives it up. */
const lateCancelsMax = 1024

function unknown(message: string, cause?: OperatingError): Outcome {
  return { kind: 'unknown', error: new OperatingError('outcome-unknown', message, { cause }) }
}
