import type { ToolAnswer, ToolCall } from '../admin/needs.ts'
import type { Call, Caller, Calls } from '../calls/call.ts'
import type { Catalog } from '../routing/catalog.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/** Calls of tools that operators make without a session. */
export class ToolCalls {
  readonly #options: ToolCallsOptions
  readonly #active = new Set<AbortController>()

  constructor(options: ToolCallsOptions) {
    this.#options = options
  }

  async call({ name, arguments: given, timeoutMs, signal }: ToolCall): Promise<ToolAnswer> {
    const { catalog, nextCallId, calls } = this.#options
    const tool = catalog().all.tools.find(name)
    if (tool === undefined) throw new OperatingError('not-found', `there is no tool ${JSON.stringify(name)}`)
    const params = `{"name":${JSON.stringify(tool.own)},"arguments":${given}}` as Call['params']
    const call: Call = { id: nextCallId(), server: tool.server, method: 'tools/call', params, timeoutMs, origin: null }
    const abandonment = new AbortController()
    this.#active.add(abandonment)
    const cancelled = AbortSignal.any([signal, abandonment.signal])
    const caller: Caller = { hear: () => undefined, cancelled, left: null }
    const outcome = await calls.call(call, caller).finally(() => this.#active.delete(abandonment))
    switch (outcome.kind) {
      case 'result':
        return { kind: 'result', result: outcome.result }
      case 'error':
        return { kind: 'error', error: outcome.error }
      case 'not-sent':
      case 'rejected':
      case 'unknown':
        throw outcome.error
      case 'left':
      case 'cancelled':
        if (abandonment.signal.aborted)
          throw new OperatingError('outcome-unknown', `call of ${name}: the node ended it; it may have been done`)
        throw new OperatingError('cancelled', `call of ${name}: whoever asked went away`)
    }
  }

  /** Ends them all: they may have been done. */
  abandon(): void {
    for (const abandonment of this.#active) abandonment.abort()
  }
}

export type ToolCallsOptions = {
  readonly calls: Calls
  readonly catalog: () => Catalog
  readonly nextCallId: () => Call['id']
}
