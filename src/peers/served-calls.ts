import type { Call, Caller, CallEvent, CallRef, Calls, Outcome, Resumable } from '../calls/call.ts'
import type { Log } from '../log/log.ts'
import { InvariantError } from '../std/assert.ts'
import type { JsonText } from '../std/json-text.ts'
import { LightSignal } from '../std/signal.ts'
import type { CallId, NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { encodeCallMessage } from '../wire/call-codec.ts'
import type { CallMessage } from '../wire/call-codec.ts'
import { CallsUnderWay } from './calls-under-way.ts'
import type { CallLimits } from './calls-under-way.ts'
import type { LaneSender } from './lane-sender.ts'

/**
 * Calls that this node performs for peers. Every question is answered once while its link stands. A link that breaks cancels
 * what nobody can come back for, and leaves the rest. When events come faster than a peer takes them, it is told once that
 * it is behind, and resumes the call where it stands; so nothing is missed and little waits.
 */
export class ServedCalls {
  readonly #options: ServedCallsOptions
  readonly #served = new Map<NodeId, CallsUnderWay<Served>>()
  readonly #counters = { eventsDropped: 0, peersBehind: 0 }

  constructor(options: ServedCallsOptions) {
    this.#options = options
  }

  get counters(): Readonly<ServedCallsCounters> {
    return this.#counters
  }

  start(peer: NodeId, call: Call, bytes: number): boolean {
    const { id, method, server, origin } = call
    if (this.#underWay(peer).get(id) !== undefined) return false
    const what = `${method} on ${server}`
    const limit = this.#underWay(peer).limitReached(bytes)
    if (limit !== null) {
      const message = `${what}: ${limit} of one node are under way already`
      const error = new OperatingError('overloaded', message, { retry: 'elsewhere' })
      this.#end(peer, { id, what }, { kind: 'rejected', error })
      return true
    }
    const ref = origin === null ? null : { id, session: origin.session }
    this.#perform(peer, { id, what, ref, bytes }, (caller) => this.#options.serve.call(call, caller))
    return true
  }

  resume(peer: NodeId, { id, ref }: { id: CallId; ref: CallRef }, bytes: number): boolean {
    const served = this.#underWay(peer)
    if (served.get(id)?.isBehind === false) return false
    served.delete(id)
    const what = `call ${ref.id}`
    const limit = served.limitReached(bytes)
    if (limit !== null) {
      this.#end(peer, { id, what }, unknown(`${what}: ${limit} of one node are under way already`))
      return true
    }
    const asked = { id, what, ref: { id: ref.id, session: ref.session }, bytes }
    this.#perform(peer, asked, (caller) => this.#options.serve.resume(ref, caller))
    return true
  }

  /** False: there is no such call, as after its end. */
  cancel(peer: NodeId, id: CallId, params: JsonText | null): boolean {
    const served = this.#served.get(peer)
    const each = served?.get(id)
    if (each === undefined) return false
    if (each.isBehind) {
      served?.delete(id)
      this.#cancelBehind(each, params)
    }
    each.isSilent = true
    each.cancelled.abort(params)
    return true
  }

  leave(peer: NodeId, id: CallId): boolean {
    const served = this.#served.get(peer)
    const each = served?.get(id)
    if (each === undefined) return false
    served?.delete(id)
    goneFrom(each)
    return true
  }

  /** Else its peer would wait for what never began. */
  refuseUnreadable(peer: NodeId, id: CallId, kind: 'rejected' | 'unknown'): void {
    if (this.#served.get(peer)?.get(id) !== undefined) return
    const error = new OperatingError('bad-request', `call ${id}: the node that it was sent to can not read it`)
    this.#options.sender.send(peer, encodeCallMessage({ kind: 'call-end', id, outcome: { kind, error } }))
  }

  peerClosed(peer: NodeId): void {
    const served = this.#served.get(peer)
    this.#served.delete(peer)
    for (const each of served?.all() ?? []) goneFrom(each)
  }

  /** Ends what this node performs for its peers: they are told that the outcome is unknown. */
  abandon(why: OperatingError): void {
    for (const [peer, served] of this.#served) {
      for (const [id, each] of served.entries()) {
        served.delete(id)
        if (each.isSilent && !each.isBehind) continue
        each.isSilent = true
        if (each.isBehind) this.#cancelBehind(each, null)
        each.cancelled.abort()
        const outcome: Outcome = { kind: 'unknown', error: why }
        this.#options.sender.send(peer, encodeCallMessage({ kind: 'call-end', id, outcome }))
      }
    }
  }

  #perform(peer: NodeId, asked: Question, begin: (caller: Caller) => Promise<Outcome>): void {
    const served = this.#underWay(peer)
    const { id, ref, bytes } = asked
    const each: Served = {
      ref,
      cancelled: new LightSignal(),
      left: ref === null ? null : new LightSignal(),
      isSilent: false,
      isBehind: false,
    }
    served.add(id, each, bytes)
    const caller: Caller = {
      hear: (event) => {
        if (!each.isSilent) this.#send(peer, id, { each, event })
      },
      cancelled: each.cancelled,
      left: each.left,
    }
    void this.#outcomeOf(asked, () => begin(caller)).then((outcome) => {
      if (served.get(id) === each && !each.isBehind) served.delete(id)
      if (each.isSilent) return
      each.isSilent = true
      this.#end(peer, asked, outcome)
    })
  }

  async #outcomeOf({ id, what }: Pick<Question, 'id' | 'what'>, begin: () => Promise<Outcome>): Promise<Outcome> {
    try {
      return await begin()
    } catch (error) {
      if (error instanceof InvariantError) throw error
      this.#options.log.error('call-serve-failed', { call: id, what, error })
      const message = `${what}: failed by accident, see the log for call ${id}`
      return { kind: 'unknown', error: new OperatingError('internal', message, { retry: 'outcome-unknown' }) }
    }
  }

  #send(peer: NodeId, id: CallId, { each, event }: { each: Served; event: CallEvent }): void {
    const { sender } = this.#options
    const frame = encodeCallMessage({ kind: 'call-event', id, event })
    const fits = frame.payload.length <= sender.payloadBytesMax
    if (fits && sender.sendIfRoom(peer, frame)) return
    if (!fits || each.left === null) {
      this.#counters.eventsDropped += 1
      return
    }
    this.#counters.peersBehind += 1
    each.isSilent = true
    each.isBehind = true
    sender.send(peer, encodeCallMessage({ kind: 'call-behind', id }))
    each.left.abort()
  }

  /** Nobody listens to it at the moment: whoever cancels it has to come back for it first. */
  #cancelBehind({ ref }: Served, params: JsonText | null): void {
    if (ref === null) return
    const cancelled = new LightSignal()
    cancelled.abort(params)
    const caller: Caller = { hear: () => undefined, cancelled, left: null }
    void this.#options.serve.resume({ ...ref, after: Number.MAX_SAFE_INTEGER }, caller)
  }

  /** The outcome always leaves while the link stands; one that can not is replaced by one that says so. */
  #end(peer: NodeId, { id, what }: Pick<Question, 'id' | 'what'>, outcome: Outcome): void {
    const { sender, outboxBytesMax, log } = this.#options
    if (!sender.isOpen(peer)) return
    const frame = encodeCallMessage({ kind: 'call-end', id, outcome })
    const { length } = frame.payload
    const fits = length <= sender.payloadBytesMax
    if (fits && sender.sendWithin(peer, frame)) return
    const limit = fits
      ? `more than ${outboxBytesMax} bytes wait for node ${peer} already`
      : `a frame between nodes holds ${sender.payloadBytesMax}`
    log.warn('call-answer-too-large', { peer, call: id, what, bytes: length })
    const told = unknown(`${what} was done, but its answer has ${length} bytes and ${limit}`)
    sender.send(peer, encodeCallMessage({ kind: 'call-end', id, outcome: told } satisfies CallMessage))
  }

  #underWay(node: NodeId): CallsUnderWay<Served> {
    const known = this.#served.get(node)
    if (known !== undefined) return known
    const made = new CallsUnderWay<Served>(this.#options)
    this.#served.set(node, made)
    return made
  }
}

/** Performs peers' calls here; given by calls/serve. It never routes further: `rejected` with `not-here` instead. */
export type ServeCalls = Calls & Resumable

export type ServedCallsOptions = CallLimits & {
  readonly sender: LaneSender
  readonly serve: ServeCalls
  readonly log: Log
  /** What may wait for one peer: an outcome beyond it becomes `unknown`. */
  readonly outboxBytesMax: number
}

/** Events too large for a frame, or of calls that can not be resumed. */
export type ServedCallsCounters = { eventsDropped: number; peersBehind: number }

type Question = {
  /** Of its frames. */
  readonly id: CallId
  readonly what: string
  readonly ref: Omit<CallRef, 'after'> | null
  readonly bytes: number
}

/** A call that this node performs for a peer. */
type Served = {
  /** Null: nobody can come back for it. */
  readonly ref: Omit<CallRef, 'after'> | null
  readonly cancelled: LightSignal
  readonly left: LightSignal | null
  /** Nothing may be sent for it any more. */
  isSilent: boolean
  /** The peer has been told that it has to resume it. */
  isBehind: boolean
}

/** Its peer is there no more. */
function goneFrom(each: Served): void {
  each.isSilent = true
  if (each.left === null) each.cancelled.abort()
  else each.left.abort()
}

function unknown(message: string): Outcome {
  return { kind: 'unknown', error: new OperatingError('outcome-unknown', message) }
}
