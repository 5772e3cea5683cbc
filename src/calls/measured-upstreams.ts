import type { Clock } from '../std/clock.ts'
import type { JsonText } from '../std/json-text.ts'
import type { Signal } from '../std/signal.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import type { Call, Outcome, Upstreams } from './call.ts'

/**
 * The upstreams of this node, watched: how each server fares here, whoever its caller is. What a server was not asked, or
 * did not answer because the caller had gone, says nothing of it and is not counted.
 */
export class MeasuredUpstreams implements Upstreams {
  readonly #upstreams: Upstreams
  readonly #clock: Pick<Clock, 'monotonic'>
  /** As many as servers run here. */
  #servers = new Map<ServerName, ServedCalls>()

  constructor(upstreams: Upstreams, clock: Pick<Clock, 'monotonic'>) {
    this.#upstreams = upstreams
    this.#clock = clock
  }

  async call(call: Call, hear: (message: JsonText) => void, cancelled: Signal): Promise<Outcome> {
    const startedAtMs = this.#clock.monotonic()
    const outcome = await this.#upstreams.call(call, hear, cancelled)
    const { kind } = outcome
    if (kind === 'result' || kind === 'error' || kind === 'unknown')
      this.#count(call.server, { isFailed: kind !== 'result', tookMs: this.#clock.monotonic() - startedAtMs })
    return outcome
  }

  /** Of the calls that ended since this was called last; a server without any is not in it. */
  take(): ReadonlyMap<ServerName, ServedCalls> {
    const taken = this.#servers
    this.#servers = new Map()
    return taken
  }

  #count(server: ServerName, { isFailed, tookMs }: { readonly isFailed: boolean; readonly tookMs: number }): void {
    const { calls, failed, totalMs } = this.#servers.get(server) ?? { calls: 0, failed: 0, totalMs: 0 }
    this.#servers.set(server, { calls: calls + 1, failed: failed + (isFailed ? 1 : 0), totalMs: totalMs + tookMs })
  }
}

/** `failed`: answered with an error of JSON-RPC, or of unknown outcome, as after a timeout. */
export type ServedCalls = { readonly calls: number; readonly failed: number; readonly totalMs: number }
