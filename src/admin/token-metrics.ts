import { Gauge } from 'prom-client'
import type { Registry } from 'prom-client'
import type { TokenSample } from './token-needs.ts'

/** What `/metrics` tells of the join tokens that the cluster knows. */
export class TokenMetrics {
  readonly #tokens: Gauge<'status'>
  readonly #uses: Gauge

  constructor(registry: Registry) {
    const registers = [registry]
    const labelNames = ['status'] as const
    this.#tokens = new Gauge({ name: 'quorate_join_tokens', help: 'Join tokens, by status.', labelNames, registers })
    this.#uses = new Gauge({ name: 'quorate_join_token_uses', help: 'Nodes that these tokens let in.', registers })
  }

  set({ statusNow, usesNow }: TokenSample): void {
    for (const [status, count] of Object.entries(statusNow)) this.#tokens.set({ status }, count)
    this.#uses.set(usesNow)
  }
}
