import type { Log } from '../log/log.ts'
import type { RoundRobin } from '../routing/choose.ts'
import type { View } from '../routing/view.ts'
import { assert } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import { affinityOf } from './affinity.ts'
import type { CallSessions } from './affinity.ts'
import type { Call, Caller, CallRef, Calls, Outcome, Peers, Resumable } from './call.ts'

/**
 * The sending side of a call: asks routing once, then performs the call here or on the one node that runs its server.
 * A call hops at most once. Only outcomes that say "no work was done" (not-sent, rejected) are tried on the next
 * replica; everything else is returned as it came. A call that goes where the session's other calls go is pinned there.
 */
export type DispatchOptions = {
  readonly view: View
  readonly roundRobin: RoundRobin
  /** The calls that this node performs. */
  readonly here: Calls & Resumable
  readonly peers: Peers
  readonly sessions: CallSessions
  readonly clock: Pick<Clock, 'monotonic'>
  readonly log: Log
  /** Told once of every call that ended. */
  observe(end: CallEnd): void
}

export type CallEnd = {
  readonly server: ServerName
  readonly method: string
  readonly outcome: Outcome['kind']
  readonly durationMs: number
  /** Where the last try went; null when no node could take the call. */
  readonly node: NodeId | null
  readonly remote: boolean
}

/** Monotone but `active` and, of these, `forwarded`, which wait for another node: gauges. */
export type DispatchCounters = {
  readonly active: number
  readonly forwarded: number
  readonly retries: number
  readonly byOutcome: Readonly<Record<Outcome['kind'], number>>
}

/** A call is offered to so many replicas at most. */
export const triesMax = 3
/** With less time left there is no further try: timers fire early, and a try moves the pin of the session. */
const tryLeastMs = 50

export class Dispatch implements Calls {
  readonly #options: DispatchOptions
  #active = 0
  #forwarded = 0
  #retries = 0
  readonly #byOutcome: Record<Outcome['kind'], number> = {
    result: 0,
    error: 0,
    'not-sent': 0,
    rejected: 0,
    unknown: 0,
    cancelled: 0,
    left: 0,
  }

  constructor(options: DispatchOptions) {
    this.#options = options
  }

  async call(call: Call, caller: Caller): Promise<Outcome> {
    const { clock, view } = this.#options
    const startedAt = clock.monotonic()
    this.#active += 1
    try {
      const { outcome, node } = await this.#route(call, startedAt, caller)
      this.#byOutcome[outcome.kind] += 1
      this.#options.observe({
        server: call.server,
        method: call.method,
        outcome: outcome.kind,
        durationMs: clock.monotonic() - startedAt,
        node,
        remote: node !== null && node !== view.self,
      })
      return outcome
    } finally {
      this.#active -= 1
    }
  }

  /** Of a call that the node performs or has performed; `unknown` at once when it can not be asked. */
  async resume(node: NodeId, ref: CallRef, caller: Caller): Promise<Outcome> {
    const { view, here, peers } = this.#options
    this.#active += 1
    try {
      return await (node === view.self ? here.resume(ref, caller) : peers.resume(node, ref, caller))
    } finally {
      this.#active -= 1
    }
  }

  get counters(): DispatchCounters {
    return {
      active: this.#active,
      forwarded: this.#forwarded,
      retries: this.#retries,
      byOutcome: { ...this.#byOutcome },
    }
  }

  async #route(
    call: Call,
    startedAt: number,
    caller: Caller,
  ): Promise<{ readonly outcome: Outcome; readonly node: NodeId | null }> {
    const { view, roundRobin, sessions, log, clock } = this.#options
    const affinity = affinityOf(call, view, sessions)
    const route = roundRobin.chooseReplicas(view, call.server, affinity)
    if (route.kind === 'nobody') return { outcome: { kind: 'not-sent', error: route.error }, node: null }
    let last: { outcome: Outcome; node: NodeId } | undefined
    for (const node of route.nodes.slice(0, triesMax)) {
      if (caller.cancelled.aborted) return { outcome: { kind: 'cancelled' }, node: last?.node ?? null }
      let tried = call
      if (last !== undefined) {
        const timeoutMs = call.timeoutMs && call.timeoutMs - (clock.monotonic() - startedAt)
        if (timeoutMs !== null && timeoutMs < tryLeastMs) return last
        this.#retries += 1
        tried = { ...call, timeoutMs }
      }
      if (affinity !== null && affinity.pin !== node) sessions.pin(affinity.session, call.server, node)
      caller.routed?.(node)
      const outcome = await this.#perform(node, tried, caller)
      last = { outcome, node }
      if (outcome.kind !== 'not-sent' && outcome.kind !== 'rejected') return last
      log.debug('call-not-taken', { call: call.id, server: call.server, node, code: outcome.error.code })
    }
    assert(last !== undefined, 'a route to nodes names at least one')
    return last
  }

  #perform(node: NodeId, call: Call, caller: Caller): Promise<Outcome> {
    const { view, here } = this.#options
    return node === view.self ? here.call(call, caller) : this.#forward(node, call, caller)
  }

  async #forward(node: NodeId, call: Call, caller: Caller): Promise<Outcome> {
    this.#forwarded += 1
    try {
      return await this.#options.peers.call(node, call, caller)
    } finally {
      this.#forwarded -= 1
    }
  }
}
