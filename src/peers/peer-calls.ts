import { InvariantError, unreachable } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import { Paced } from '../std/paced.ts'
import type { Call, NotifyCaller, Outcome, Peers } from '../calls/call.ts'
import type { Log } from '../log/log.ts'
import type { CallId, NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { decodeCallMessage, encodeCallMessage } from '../wire/call-codec.ts'
import type { CallMessage } from '../wire/call-codec.ts'
import { frameTypes } from '../wire/frame-types.ts'
import { payloadBytesMax } from '../wire/limits.ts'
import type { LaneLimits } from '../wire/limits.ts'
import type { Transport } from '../transport/transport.ts'
import { CallsUnderWay } from './calls-under-way.ts'
import type { CallLimits } from './calls-under-way.ts'
import { Outbox } from './outbox.ts'

/**
 * Calls between nodes, over the lane `calls`: asks peers, and answers them by `serve`. A call is started once; its
 * notifications arrive in order and before its outcome; nothing follows the outcome. What provably did not leave is
 * `not-sent`; a link that breaks afterwards makes the outcome `unknown` at once. It never retries and never routes.
 */
export class PeerCalls implements Peers {
  readonly #options: PeerCallsOptions
  readonly #payloadBytesMax: number
  readonly #asked = new Map<NodeId, CallsUnderWay<Asked>>()
  readonly #served = new Map<NodeId, CallsUnderWay<Served>>()
  readonly #outboxes = new Map<NodeId, Outbox>()
  readonly #malformed: Paced
  readonly #counters = { framesIgnored: 0, framesMalformed: 0, notificationsDropped: 0 }

  constructor(options: PeerCallsOptions) {
    this.#options = options
    this.#malformed = new Paced(options.clock)
    this.#payloadBytesMax = payloadBytesMax(options.limits)
  }

  /** Monotone. Ignored: frames of calls that nobody waits for, as after a cancellation. */
  get counters(): Readonly<PeerCallCounters> {
    return this.#counters
  }

  call(node: NodeId, call: Call, notify: NotifyCaller, signal: AbortSignal): Promise<Outcome> {
    if (signal.aborted) return Promise.resolve({ kind: 'cancelled' })
    const [type, payload] = frame({ kind: 'call-start', call })
    const refused = this.#start(node, call, { type, payload })
    if (refused !== null) return Promise.resolve({ kind: 'not-sent', error: refused })
    return new Promise((resolve) => {
      const asked = this.#underWay(this.#asked, node)
      const cancel = (): void => {
        this.#outbox(node).push(...frame({ kind: 'call-cancel', id: call.id }), always)
        settle({ kind: 'cancelled' })
      }
      const settle = (outcome: Outcome): void => {
        asked.delete(call.id)
        signal.removeEventListener('abort', cancel)
        resolve(outcome)
      }
      signal.addEventListener('abort', cancel, { once: true })
      asked.add(call.id, { call, notify, settle }, payload.length)
    })
  }

  /** A frame of the lane has come from the peer. */
  receive(peer: NodeId, type: number, payload: Uint8Array): void {
    const message = decodeCallMessage(type, payload)
    if ('malformed' in message) {
      this.#counters.framesMalformed += 1
      const count = this.#malformed.count()
      if (count !== null) this.#options.log.warn('call-frame-malformed', { peer, why: message.malformed, count })
      if (message.id === null) return
      if (type === frameTypes['call-start']) this.#refuseUnreadable(peer, message.id)
      if (type === frameTypes['call-end']) this.#endUnreadable(peer, message.id)
      return
    }
    switch (message.kind) {
      case 'call-start':
        return this.#serve(peer, message.call, payload.length)
      case 'call-cancel':
        return this.#cancelServed(peer, message.id)
      case 'call-notify': {
        const asked = this.#asked.get(peer)?.get(message.id)
        return asked === undefined ? this.#ignore() : asked.notify(message.notification)
      }
      case 'call-end': {
        const asked = this.#asked.get(peer)?.get(message.id)
        return asked === undefined ? this.#ignore() : asked.settle(message.outcome)
      }
      default:
        return unreachable(message)
    }
  }

  /** The lane to the peer is gone, and with it every call in either direction. */
  peerClosed(peer: NodeId): void {
    this.#outboxes.get(peer)?.clear()
    this.#outboxes.delete(peer)
    const asked = this.#asked.get(peer)
    const served = this.#served.get(peer)
    this.#asked.delete(peer)
    this.#served.delete(peer)
    for (const { call, settle } of asked?.all() ?? []) {
      const message = `${call.method} on ${call.server}: the link to node ${peer} broke while the call was there`
      settle({ kind: 'unknown', error: new OperatingError('outcome-unknown', message) })
    }
    for (const each of served?.all() ?? []) {
      each.silent = true
      each.controller.abort()
    }
  }

  /** Ends what this node performs for its peers: they are told that the outcome is unknown. */
  abandonServed(why: OperatingError): void {
    for (const [peer, served] of this.#served) {
      for (const [id, each] of served.entries()) {
        served.delete(id)
        if (each.silent) continue
        each.silent = true
        each.controller.abort()
        this.#outbox(peer).push(...frame({ kind: 'call-end', id, outcome: { kind: 'unknown', error: why } }), always)
      }
    }
  }

  /** The call is over, but how can not be read: waiting longer would tell nothing more. */
  #endUnreadable(peer: NodeId, id: CallId): void {
    const asked = this.#asked.get(peer)?.get(id)
    if (asked === undefined) return
    const message = `${asked.call.method} on ${asked.call.server}: the answer of node ${peer} can not be read`
    asked.settle({ kind: 'unknown', error: new OperatingError('outcome-unknown', message) })
  }

  /** Else its peer would wait for what never began. */
  #refuseUnreadable(peer: NodeId, id: CallId): void {
    if (this.#served.get(peer)?.get(id) !== undefined) return
    const error = new OperatingError('bad-request', `call ${id}: the node that it was sent to can not read it`)
    this.#outbox(peer).push(...frame({ kind: 'call-end', id, outcome: { kind: 'rejected', error } }), always)
  }

  /** Null: the call has left this node. */
  #start(node: NodeId, call: Call, { type, payload }: { type: number; payload: Uint8Array }): OperatingError | null {
    const what = `send ${call.method} on ${call.server} to node ${node}`
    const { transport } = this.#options
    if (!transport.isOpen(node, callsLane)) {
      return new OperatingError('server-unavailable', `${what}: not connected`, { retry: 'elsewhere' })
    }
    const asked = this.#asked.get(node)
    const limit = asked?.limitReached(payload.length) ?? null
    if (limit !== null) {
      return new OperatingError('overloaded', `${what}: ${limit} wait for it already`, { retry: 'elsewhere' })
    }
    if (asked?.get(call.id) !== undefined) {
      return new OperatingError('internal', `${what}: call ${call.id} is under way already`)
    }
    if (payload.length > this.#payloadBytesMax) {
      const message = `${what}: ${payload.length} bytes, a frame between nodes holds ${this.#payloadBytesMax}`
      return new OperatingError('too-large', message)
    }
    if (transport.send(node, callsLane, type, payload)) return null
    return new OperatingError('overloaded', `${what}: the send buffer is full`, { retry: 'elsewhere' })
  }

  #serve(peer: NodeId, call: Call, bytes: number): void {
    const served = this.#underWay(this.#served, peer)
    if (served.get(call.id) !== undefined) return this.#ignore()
    const limit = served.limitReached(bytes)
    if (limit !== null) {
      const message = `${call.method} on ${call.server}: ${limit} of one node are under way already`
      const error = new OperatingError('overloaded', message, { retry: 'elsewhere' })
      return this.#sendEnd(peer, call, { kind: 'rejected', error })
    }
    const each: Served = { controller: new AbortController(), silent: false }
    served.add(call.id, each, bytes)
    const notify: NotifyCaller = (notification) => {
      if (!each.silent) this.#sendNotification(peer, { kind: 'call-notify', id: call.id, notification })
    }
    const end = (outcome: Outcome): void => {
      if (served.get(call.id) === each) served.delete(call.id)
      if (each.silent) return
      each.silent = true
      this.#sendEnd(peer, call, outcome)
    }
    void this.#outcomeOf(call, notify, each.controller.signal).then(end)
  }

  async #outcomeOf(call: Call, notify: NotifyCaller, signal: AbortSignal): Promise<Outcome> {
    try {
      return await this.#options.serve(call, notify, signal)
    } catch (error) {
      if (error instanceof InvariantError) throw error
      this.#options.log.error('call-serve-failed', { call: call.id, server: call.server, error })
      const message = `${call.method} on ${call.server}: failed by accident, see the log for call ${call.id}`
      return { kind: 'unknown', error: new OperatingError('internal', message, { retry: 'outcome-unknown' }) }
    }
  }

  #cancelServed(peer: NodeId, id: CallId): void {
    const served = this.#served.get(peer)?.get(id)
    if (served === undefined) return this.#ignore()
    served.silent = true
    served.controller.abort()
  }

  #sendNotification(peer: NodeId, message: CallMessage): void {
    const [type, payload] = frame(message)
    if (
      payload.length <= this.#payloadBytesMax &&
      this.#outbox(peer).push(type, payload, this.#options.outboxBytesMax / 2)
    )
      return
    this.#counters.notificationsDropped += 1
  }

  /** The outcome always leaves while the link stands; one that can not is replaced by one that says so. */
  #sendEnd(peer: NodeId, call: Call, outcome: Outcome): void {
    if (!this.#options.transport.isOpen(peer, callsLane)) return
    const [type, payload] = frame({ kind: 'call-end', id: call.id, outcome })
    const fits = payload.length <= this.#payloadBytesMax
    if (fits && this.#outbox(peer).push(type, payload, this.#options.outboxBytesMax)) return
    const limit = fits
      ? `more than ${this.#options.outboxBytesMax} bytes wait for node ${peer} already`
      : `a frame between nodes holds ${this.#payloadBytesMax}`
    const message = `${call.method} on ${call.server} was done, but its answer has ${payload.length} bytes and ${limit}`
    const error = new OperatingError('outcome-unknown', message)
    this.#options.log.warn('call-answer-too-large', { peer, call: call.id, server: call.server, bytes: payload.length })
    this.#outbox(peer).push(...frame({ kind: 'call-end', id: call.id, outcome: { kind: 'unknown', error } }), always)
  }

  #outbox(peer: NodeId): Outbox {
    const known = this.#outboxes.get(peer)
    if (known !== undefined) return known
    const { transport, clock } = this.#options
    const send = (type: number, payload: Uint8Array): boolean => transport.send(peer, callsLane, type, payload)
    const outbox = new Outbox({ send, clock })
    this.#outboxes.set(peer, outbox)
    return outbox
  }

  #underWay<T>(calls: Map<NodeId, CallsUnderWay<T>>, node: NodeId): CallsUnderWay<T> {
    const known = calls.get(node)
    if (known !== undefined) return known
    const made = new CallsUnderWay<T>(this.#options)
    calls.set(node, made)
    return made
  }

  #ignore(): void {
    this.#counters.framesIgnored += 1
  }
}

/** Performs a peer's call here; given by calls/serve. It never routes further: `rejected` with `not-here` instead. */
export type ServeCall = (call: Call, notify: NotifyCaller, signal: AbortSignal) => Promise<Outcome>

export type PeerCallsOptions = CallLimits & {
  readonly transport: Pick<Transport, 'send' | 'isOpen'>
  readonly serve: ServeCall
  readonly log: Log
  readonly clock: Clock
  /** Of the lane `calls`: wire/limits. */
  readonly limits: LaneLimits
  /**
   * What may wait for one peer besides the socket's own buffer. A result beyond it becomes `unknown`; notifications beyond
   * half of it are dropped and counted.
   */
  readonly outboxBytesMax: number
}

const MiB = 1024 * 1024

export const peerCallsDefaults = {
  callsPerPeerMax: 1024,
  callBytesPerPeerMax: 64 * MiB,
  outboxBytesMax: 64 * MiB,
} as const

export type PeerCallCounters = { framesIgnored: number; framesMalformed: number; notificationsDropped: number }

export const callsLane = 'calls'

/** For small frames of which there is at most one a call. */
const always = Number.POSITIVE_INFINITY

/** A call that a peer performs for this node. */
type Asked = { readonly call: Call; readonly notify: NotifyCaller; readonly settle: (outcome: Outcome) => void }

/** A call that this node performs for a peer. `silent`: nothing may be sent for it any more. */
type Served = { readonly controller: AbortController; silent: boolean }

function frame(message: CallMessage): [type: number, payload: Uint8Array] {
  const { type, payload } = encodeCallMessage(message)
  return [type, payload]
}
