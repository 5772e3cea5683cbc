import type { ServerName } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Call, Caller, CallRef, Calls, Outcome, Resumable } from './call.ts'

/**
 * The receiving side of a forwarded call: performs it on this node's own upstream or refuses it before any work; a call that
 * is resumed has been taken before. Never routes, so a call hops at most once.
 */
export type ServeOptions = {
  /** The calls that this node performs. */
  readonly here: Calls & Resumable
  /** Whether this node runs the server now. */
  runs(server: ServerName): boolean
  /** Whether this node still performs calls of others. */
  takes(): boolean
  /** Calls of other nodes that may be in work here at once; more are rejected. */
  readonly activeMax?: number
}

/** Monotone but `active`, which is a gauge. */
export type ServeCounters = { readonly active: number; readonly served: number; readonly refused: number }

const defaultActiveMax = 4096

export class Serve implements Calls, Resumable {
  readonly #options: ServeOptions
  readonly #activeMax: number
  #active = 0
  #served = 0
  #refused = 0

  constructor(options: ServeOptions) {
    this.#options = options
    this.#activeMax = options.activeMax ?? defaultActiveMax
  }

  call(call: Call, caller: Caller): Promise<Outcome> {
    const refusal = this.#refusal(call)
    if (refusal !== undefined) {
      this.#refused += 1
      return Promise.resolve({ kind: 'rejected', error: refusal })
    }
    this.#served += 1
    return this.#during(this.#options.here.call(call, caller))
  }

  resume(ref: CallRef, caller: Caller): Promise<Outcome> {
    return this.#during(this.#options.here.resume(ref, caller))
  }

  get counters(): ServeCounters {
    return { active: this.#active, served: this.#served, refused: this.#refused }
  }

  async #during(outcome: Promise<Outcome>): Promise<Outcome> {
    this.#active += 1
    try {
      return await outcome
    } finally {
      this.#active -= 1
    }
  }

  #refusal(call: Call): OperatingError | undefined {
    if (!this.#options.takes())
      return new OperatingError('draining', 'this node is drained and takes no calls', { retry: 'elsewhere' })
    if (!this.#options.runs(call.server))
      return new OperatingError('not-here', `server ${call.server} does not run on this node`, { retry: 'elsewhere' })
    if (this.#active >= this.#activeMax)
      return new OperatingError('overloaded', `this node already performs ${this.#activeMax} calls of other nodes`, {
        retry: 'elsewhere',
      })
    return undefined
  }
}
