import type { Call, Caller, CallOrigin, Outcome } from '../calls/call.ts'
import { InvariantError } from '../std/assert.ts'
import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
import type { JsonText } from '../std/json-text.ts'
import { LightSignal } from '../std/signal.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { accidentError, outcomeError } from './errors.ts'
import type { CallEventId } from './event-ids.ts'
import type { EraOptions } from './gateway-options.ts'
import { errorMessage, resultMessage } from './json-rpc.ts'
import type { RequestId } from './json-rpc.ts'
import type { LocalSession, RequestUnderWay } from './local-session.ts'
import { performList } from './own-lists.ts'
import type { OwnList } from './own-lists.ts'
import type { CallOfReply, Gone, Reply } from './reply.ts'
import type { Scope } from './scope.ts'
import { messageToClient, resultToClient } from './translation.ts'

/**
 * The calls that clients wait for on this node, new ones and those that they come back for, within their limits: what a
 * call brings goes to the reply of its request, and what becomes of the client goes to the call.
 */
export class ClientCalls {
  readonly counters: CallCounters = {
    cancelled: 0,
    clientsGone: 0,
    clientsLeft: 0,
    clientsTooSlow: 0,
    resumed: 0,
    accidents: 0,
  }
  readonly #options: EraOptions
  #active = 0
  #idle: Deferred<void> | null = null

  constructor(options: EraOptions) {
    this.#options = options
  }

  get active(): number {
    return this.#active
  }

  /** Settles when the request has been answered, or needs no answer. */
  perform(at: ClientRequest, call: ClientCall): Promise<void> {
    const { session, id, reply } = at
    const { server, method, params } = call
    const callId = this.#options.nextCallId()
    const overload = this.overload(session)
    if (overload !== undefined) {
      reply.finish(errorMessage(id, outcomeError('rejected', overload, callId)))
      return Promise.resolve()
    }
    const { result, wantsEvents, first, confirm } = call
    const route: Route = { id: callId, server, result, wantsEvents, confirm, node: null, isResumed: false }
    return this.#wait(at, route, (caller, isKept) => {
      const origin: CallOrigin = { session: session.id, requestId: id.text, isKept }
      const whole: Call = { id: callId, server, method, params, timeoutMs: null, origin }
      return first === null ? this.#options.calls.call(whole, caller) : this.#performAfter(first, whole, caller)
    })
  }

  /** The same of a request for a list, that the session's own upstream answers. */
  list(at: ClientRequest, { instead, wantsEvents, ...asked }: ListCall): Promise<void> {
    const { session, id, reply } = at
    const { limits } = this.#options
    const callId = this.#options.nextCallId()
    const overload = this.overload(session)
    if (overload !== undefined) {
      const refusal = (): JsonText => errorMessage(id, outcomeError('rejected', overload, callId))
      reply.finish(instead === null ? refusal() : resultMessage(id, instead()))
      return Promise.resolve()
    }
    const { server } = asked
    const route: Route = {
      id: callId,
      server,
      result: 'plain',
      wantsEvents,
      confirm: null,
      node: null,
      isResumed: false,
    }
    return this.#wait(at, route, (caller, isKept) => {
      const origin: CallOrigin = { session: session.id, requestId: id.text, isKept }
      const call: Call = { ...asked, id: callId, timeoutMs: null, origin }
      return performList(this.#options, { call, caller, instead, withinMs: limits.ownListMs })
    })
  }

  /** Whatever comes of the first. */
  async #performAfter(first: AskedCall, call: Call, caller: Caller): Promise<Outcome> {
    const { cancelled } = caller
    const asked = { ...call, ...first, id: this.#options.nextCallId(), timeoutMs: gatherMs }
    await this.#options.calls.call(asked, { hear: () => undefined, cancelled, left: null })
    return cancelled.aborted ? { kind: 'cancelled' } : this.#options.calls.call(call, caller)
  }

  /** Settles when the request has been answered by what `work` makes of several calls, each of which ends soon. */
  async gather({ session, id, reply }: ClientRequest, work: (ask: Ask) => Promise<JsonText>): Promise<void> {
    const traceId = this.#options.nextCallId()
    const overload = this.overload(session)
    if (overload !== undefined) return reply.finish(errorMessage(id, outcomeError('rejected', overload, traceId)))
    const cancelled = new LightSignal()
    const end = (last: () => void, params: JsonText | null = null): void => {
      last()
      cancelled.abort(params)
    }
    const underWay: RequestUnderWay = {
      id,
      cancel: (params) => {
        this.counters.cancelled += 1
        end(() => reply.drop(), params)
      },
      abandon: () => end(() => reply.finish(errorMessage(id, outcomeError('unknown', abandonedError, traceId)))),
    }
    const origin: CallOrigin = { session: session.id, requestId: id.text, isKept: false }
    const caller: Caller = { hear: () => undefined, cancelled, left: null }
    const ask: Ask = (call) =>
      this.#options.calls.call({ ...call, id: this.#options.nextCallId(), timeoutMs: gatherMs, origin }, caller)
    await this.#during(
      session,
      underWay,
      { id: traceId, server: null },
      { reply, wait: async () => reply.finish(await work(ask)) },
    )
    return undefined
  }

  /** The client comes back for the rest of a call, wherever it was answered before. */
  resume(
    at: ClientRequest,
    { node, call, seq, server, result }: CallEventId & { readonly seq: number },
  ): Promise<void> {
    this.counters.resumed += 1
    const route: Route = { id: call, server, result, node, wantsEvents: true, confirm: null, isResumed: true }
    return this.#wait(at, route, (caller) =>
      this.#options.resume(node, { id: call, session: at.session.id, after: seq }, caller),
    )
  }

  /** Why no further call of the session is taken. */
  overload(session: LocalSession): OperatingError | undefined {
    const { sessionCallsMax, nodeCallsMax } = this.#options.limits
    const after = { retry: 'after', retryAfterMs: 1000 } as const
    if (session.requests >= sessionCallsMax)
      return new OperatingError('overloaded', `the session already has ${sessionCallsMax} calls in work`, after)
    if (this.#active >= nodeCallsMax)
      return new OperatingError('overloaded', `this node already has ${nodeCallsMax} calls in work`, after)
    return undefined
  }

  /** Waits, within its limit, until every call has ended. The sessions have told their calls to end before. */
  async stop(): Promise<void> {
    if (this.#active === 0) return
    this.#idle = deferred()
    const timer = this.#options.clock.after(this.#options.limits.stopMs, () => this.#idle?.resolve())
    await this.#idle.promise
    timer.cancel()
  }

  #wait(
    { session, id, reply }: ClientRequest,
    route: Route,
    start: (caller: Caller, isKept: boolean) => Promise<Outcome>,
  ): Promise<void> {
    const cancelled = new LightSignal()
    const left = new LightSignal()
    const names = namesOf(session.scope, route)
    const isKept = reply.begin(route, (gone) => {
      this.#count(gone)
      if (gone.how === 'left') left.abort()
      else cancelled.abort()
    })
    const underWay: RequestUnderWay = {
      id,
      cancel: (params) => {
        this.counters.cancelled += 1
        reply.drop()
        cancelled.abort(params)
      },
      abandon: () => {
        // What this node performs itself ends with it.
        if (route.node !== null && route.node !== this.#options.node && reply.release()) return left.abort()
        reply.finish(errorMessage(id, outcomeError('unknown', abandonedError, route.id)))
        return cancelled.abort()
      },
    }
    const caller: Caller = {
      hear: ({ seq, message }) => reply.hear({ seq, message: names.message(message) }),
      routed(node) {
        route.node = node
        reply.routed(node)
      },
      cancelled,
      left,
    }
    const wait = async (): Promise<void> => {
      const outcome = await start(caller, isKept)
      const { confirm } = route
      const failure = confirm !== null && outcome.kind === 'result' ? await failureOf(confirm) : null
      this.#settle(id, route, { outcome: failure ?? outcome, names, reply })
    }
    return this.#during(session, underWay, route, { reply, wait })
  }

  async #during(
    session: LocalSession,
    underWay: RequestUnderWay,
    { id, server }: Pick<Route, 'id'> & { readonly server: ServerName | null },
    { reply, wait }: { readonly reply: Reply; readonly wait: () => Promise<void> },
  ): Promise<void> {
    session.begin(underWay)
    this.#active += 1
    try {
      await wait()
    } catch (error) {
      if (error instanceof InvariantError) throw error
      this.counters.accidents += 1
      this.#options.log.error('mcp-call-accident', { traceId: id, server, error })
      reply.finish(errorMessage(underWay.id, accidentError(id)))
    } finally {
      session.end(underWay)
      this.#options.sessions.touch(session.id)
      this.#active -= 1
      if (this.#active === 0) this.#idle?.resolve()
    }
  }

  #settle(
    id: RequestId,
    route: Route,
    { outcome, names, reply }: { readonly outcome: Outcome; readonly names: Names; readonly reply: Reply },
  ): void {
    switch (outcome.kind) {
      case 'result':
        return reply.finish(resultMessage(id, names.result(outcome.result)))
      case 'error':
        return reply.finish(errorMessage(id, outcome.error))
      // By a cancellation that came to another node, or by the end of the session; or the client has come back elsewhere.
      case 'cancelled':
      case 'left':
        return reply.drop()
      case 'not-sent':
      case 'rejected':
      case 'unknown':
        return reply.finish(errorMessage(id, this.#failure(route, outcome.kind, outcome.error)))
    }
  }

  #failure(route: Route, kind: 'not-sent' | 'rejected' | 'unknown', error: OperatingError): JsonText {
    const { id, server, isResumed } = route
    const fields = { traceId: id, outcome: kind, server, isResumed, error }
    if (error.code === 'internal') this.#options.log.error('mcp-call-accident', fields)
    else this.#options.log.debug('mcp-call-failed', fields)
    // Of a call that had begun before its client came back nobody can say that it was not done.
    return outcomeError(isResumed ? 'unknown' : kind, error, id)
  }

  #count({ how, why }: Gone): void {
    if (why === 'slow') this.counters.clientsTooSlow += 1
    else if (how === 'cancelled') this.counters.clientsGone += 1
    else this.counters.clientsLeft += 1
  }
}

/** Monotone since the start. */
export type CallCounters = {
  /** By the client's word, or by the end of its session. */
  cancelled: number
  /** Went away without a way back: their calls were cancelled. */
  clientsGone: number
  /** Went away and may come back for the rest. */
  clientsLeft: number
  clientsTooSlow: number
  /** Came back for the rest of a call. */
  resumed: number
  accidents: number
}

/** A request of a session, and where its answer goes. */
export type ClientRequest = { readonly session: LocalSession; readonly id: RequestId; readonly reply: Reply }

export type ClientCall = AskedCall &
  Pick<CallOfReply, 'result' | 'wantsEvents'> & {
    /** What the server is to be asked before. */
    readonly first: AskedCall | null
    /** What has to be done before a result is told; it rejects with an OperatingError. */
    readonly confirm: (() => Promise<void>) | null
  }

export type ListCall = AskedCall & Pick<CallOfReply, 'wantsEvents'> & Pick<OwnList, 'instead'>

/** One of the calls that answer a request together. */
export type Ask = (call: AskedCall) => Promise<Outcome>
export type AskedCall = Pick<Call, 'server' | 'method' | 'params'>

/** So long has each of them. */
const gatherMs = 5000

type Failure = { readonly kind: 'rejected' | 'unknown'; readonly error: OperatingError }

type Route = CallOfReply & {
  readonly confirm: ClientCall['confirm']
  /** Where it is performed, once that is known. */
  node: NodeId | null
  readonly isResumed: boolean
}

/** Null: what the result has to wait for is done. */
async function failureOf(confirm: () => Promise<void>): Promise<Failure | null> {
  try {
    await confirm()
    return null
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error
    return { kind: error.code === 'outcome-unknown' ? 'unknown' : 'rejected', error }
  }
}

/** The server's messages and results with the names in them that the client knows. */
type Names = { message(message: JsonText): JsonText; result(result: JsonText): JsonText }

function namesOf(scope: Scope, { server, result: kind }: Route): Names {
  if (scope.server !== null) return unchanged
  return {
    message: (message) => messageToClient(server, message),
    result: (result) => resultToClient(server, kind, result),
  }
}

const unchanged: Names = { message: (message) => message, result: (result) => result }

const abandonedError = new OperatingError('stopped', 'the node ended the call; it may have been done')
