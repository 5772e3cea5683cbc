import type { Log } from '../log/log.ts'
import { ChurningMap } from '../std/churning-map.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { JsonText } from '../std/json-text.ts'
import type { CallId, NodeId, SessionId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Call, Caller, CallRef, Calls, Outcome, Resumable, Upstreams } from './call.ts'
import { KeptCall } from './kept-call.ts'
import type { KeptCallOwner } from './kept-call.ts'

/**
 * The calls that this node performs on its own upstreams, here or for other nodes: what arises of a call with an origin is
 * numbered and kept, so that the call outlives its caller, and whoever comes back for it misses nothing and hears nothing
 * twice. A call that ends soon, without events and with its caller, leaves nothing behind. Never routes.
 */
export class KeptCalls implements Calls, Resumable {
  readonly #options: KeptCallsOptions
  readonly #limits: KeptCallsLimits
  /** Those with an origin; as many as the upstreams take. */
  readonly #inWork = new ChurningMap<CallId, KeptCall>()
  /** Calls in work that nobody waits for, with the time they have for that. */
  readonly #unattended = new Map<KeptCall, Timer>()
  /** Ended ones, least recently used first. */
  readonly #ended = new Map<CallId, Ended>()
  readonly #counters = { resumed: 0, givenUp: 0, eventsLost: 0 }
  #bytes = 0
  #expiry: Timer | null = null

  constructor(options: KeptCallsOptions) {
    this.#options = options
    this.#limits = { ...keptCallsDefaults, ...options.limits }
  }

  /** `inWork`, `unattended`, `ended`, `bytes` are gauges. */
  get counters(): KeptCallsCounters {
    const { size: unattended } = this.#unattended
    return {
      ...this.#counters,
      inWork: this.#inWork.size,
      unattended,
      ended: this.#ended.size,
      bytes: this.#bytes,
    }
  }

  call(call: Call, caller: Caller): Promise<Outcome> {
    const { upstreams, clock } = this.#options
    const { id, origin } = call
    if (origin === null) {
      let seq = 0
      return upstreams.call(call, (message) => caller.hear({ seq: (seq += 1), message }), caller.cancelled)
    }
    if (this.#inWork.has(id)) {
      const error = new OperatingError('internal', `${call.method} on ${call.server}: call ${id} is in work already`)
      return Promise.resolve({ kind: 'rejected', error })
    }
    const kept = new KeptCall({ id, origin, startedAtMs: clock.monotonic() }, this.#owner)
    this.#inWork.set(id, kept)
    const outcome = kept.attach(caller, 0)
    if (!kept.isEnded)
      void upstreams.call(call, kept.hear, kept.cancelled).then(
        (each) => kept.end(each),
        (error: unknown) => kept.fail(error),
      )
    return outcome
  }

  resume(ref: CallRef, caller: Caller): Promise<Outcome> {
    const kept = this.#inWork.get(ref.id) ?? this.#ended.get(ref.id)?.call
    if (kept === undefined || kept.origin.session !== ref.session) {
      const message = `call ${ref.id} is not known any more on node ${this.#options.node}; it may have been done`
      return Promise.resolve({ kind: 'unknown', error: new OperatingError('outcome-unknown', message) })
    }
    this.#counters.resumed += 1
    this.#counters.eventsLost += Math.max(0, kept.droppedSeq - ref.after)
    this.#attend(kept)
    if (this.#ended.delete(kept.id)) this.#ended.set(kept.id, { call: kept, usedAtMs: this.#options.clock.monotonic() })
    return kept.attach(caller, ref.after)
  }

  /** The client does not want that request any more, on whichever node it says so. */
  cancelRequest(session: SessionId, requestId: JsonText, params: JsonText): void {
    for (const call of this.#inWork.values())
      if (call.origin.session === session && call.origin.requestId === requestId) call.cancel(params)
  }

  /** Nobody can ask for theirs any more. */
  sessionsEnded(ids: readonly SessionId[]): void {
    const ended = new Set(ids)
    for (const call of this.#inWork.values()) if (ended.has(call.origin.session)) call.cancel()
    for (const { call } of this.#ended.values()) if (ended.has(call.origin.session)) this.#forget(call)
  }

  /** Ends the calls in work that nobody waits for. */
  abandon(): void {
    for (const call of this.#unattended.keys()) call.cancel()
  }

  stop(): void {
    this.abandon()
    for (const { call } of this.#ended.values()) this.#forget(call)
    this.#expiry?.cancel()
    this.#expiry = null
  }

  readonly #owner: KeptCallOwner = {
    grew: (call, bytes) => {
      this.#bytes += bytes
      const { callBytesMax, bytesMax } = this.#limits
      while (call.eventBytes > callBytesMax) this.#bytes -= call.dropOldest()
      if (this.#bytes > bytesMax) this.#makeRoom()
      while (this.#bytes > bytesMax) {
        const dropped = call.dropOldest()
        if (dropped === 0) return
        this.#bytes -= dropped
      }
    },
    left: (call) => {
      const timer = this.#options.clock.after(this.#limits.resumeMs, () => {
        this.#counters.givenUp += 1
        this.#options.log.info('call-given-up', { call: call.id, afterMs: this.#limits.resumeMs })
        call.cancel()
      })
      this.#unattended.set(call, timer)
      this.#options.unattended?.begin()
    },
    ended: (call, outcome) => {
      this.#inWork.delete(call.id)
      this.#attend(call)
      this.#bytes -= call.eventBytes
      if (!this.#isToBeKept(call, outcome)) return
      this.#bytes += call.bytes
      this.#ended.set(call.id, { call, usedAtMs: this.#options.clock.monotonic() })
      this.#makeRoom()
      this.#expireLater()
    },
  }

  /** What did no work is told to the caller that waits, which goes elsewhere with it. */
  #isToBeKept(call: KeptCall, { kind }: Outcome): boolean {
    if (kind === 'cancelled') return false
    if (call.hasCaller && (kind === 'not-sent' || kind === 'rejected')) return false
    return call.mayBeAskedFor || this.#options.clock.monotonic() - call.startedAtMs >= this.#limits.keepAfterMs
  }

  #attend(call: KeptCall): void {
    this.#unattended.get(call)?.cancel()
    if (this.#unattended.delete(call)) this.#options.unattended?.end()
  }

  #makeRoom(): void {
    for (const { call } of this.#ended.values()) {
      if (this.#bytes <= this.#limits.bytesMax && this.#ended.size <= this.#limits.endedMax) return
      this.#forget(call)
    }
  }

  #forget(call: KeptCall): void {
    if (this.#ended.delete(call.id)) this.#bytes -= call.bytes
  }

  /** One timer for all, for the one that is due first. */
  #expireLater(): void {
    const [first] = this.#ended.values()
    if (this.#expiry !== null || first === undefined) return
    const { clock } = this.#options
    const leftMs = first.usedAtMs + this.#limits.keptMs - clock.monotonic()
    this.#expiry = clock.after(Math.max(expiryStepMs, leftMs), () => {
      this.#expiry = null
      for (const { call, usedAtMs } of this.#ended.values()) {
        if (usedAtMs + this.#limits.keptMs > clock.monotonic()) break
        this.#forget(call)
      }
      this.#expireLater()
    })
  }
}

type Ended = { readonly call: KeptCall; readonly usedAtMs: number }

export type KeptCallsOptions = {
  /** This one. */
  readonly node: NodeId
  readonly upstreams: Upstreams
  readonly clock: Pick<Clock, 'monotonic' | 'after'>
  readonly log: Log
  /** Told when a call in work is without a caller, and when it is so no more. */
  readonly unattended?: { begin(): void; end(): void }
  readonly limits?: Partial<KeptCallsLimits>
}

export type KeptCallsLimits = {
  /** A call in work that nobody waits for is cancelled after so long. */
  readonly resumeMs: number
  /** The outcome of a call that took longer is kept although no event arose: its client may have been given event ids. */
  readonly keepAfterMs: number
  /** An ended call is kept so long after it was last asked for. */
  readonly keptMs: number
  /** Ended calls that are kept; beyond, the least recently used is forgotten. */
  readonly endedMax: number
  /** Of all calls together: beyond, ended ones are forgotten, and then a call's own oldest events. */
  readonly bytesMax: number
  /** Of the events of one call in work: beyond, its oldest are forgotten, and missed by whoever resumes before them. */
  readonly callBytesMax: number
}

const MiB = 1024 * 1024

export const keptCallsDefaults: KeptCallsLimits = {
  resumeMs: 60_000,
  keepAfterMs: 1000,
  keptMs: 300_000,
  endedMax: 10_000,
  bytesMax: 64 * MiB,
  callBytesMax: 4 * MiB,
}

export type KeptCallsCounters = {
  readonly inWork: number
  readonly unattended: number
  readonly ended: number
  readonly bytes: number
  readonly resumed: number
  /** Cancelled, because nobody came back. */
  readonly givenUp: number
  /** That a caller who came back had missed, and which were kept no more. */
  readonly eventsLost: number
}

/** What expires within it expires together. */
const expiryStepMs = 1000
