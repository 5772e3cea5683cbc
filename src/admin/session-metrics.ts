import { Counter, Gauge } from 'prom-client'
import type { Registry } from 'prom-client'
import type { MetricsSample } from './metrics-sample.ts'
import { setTotal } from './set-total.ts'

/** What `/metrics` tells of the sessions of MCP clients. */
export class SessionMetrics {
  readonly #sessions: Gauge
  readonly #opened: Counter
  readonly #seeks: Counter
  readonly #touches: Counter

  constructor(registry: Registry) {
    const registers = [registry]
    this.#sessions = new Gauge({ name: 'quorate_sessions', help: 'MCP sessions of the whole cluster.', registers })
    const counter = (name: string, help: string): Counter => new Counter({ name, help, registers })
    this.#opened = counter('quorate_sessions_opened_total', 'MCP sessions that clients opened at this node.')
    this.#seeks = counter(
      'quorate_session_seeks_total',
      'Sessions that this node did not know and looked for after it had caught up with the leader.',
    )
    this.#touches = counter(
      'quorate_session_touches_total',
      'How often this node told the cluster that a session is in use; many go in one entry of the log.',
    )
  }

  set({ now, opened, seeks, touched }: MetricsSample['sessions']): void {
    this.#sessions.set(now)
    setTotal(this.#opened, opened)
    setTotal(this.#seeks, seeks)
    setTotal(this.#touches, touched)
  }
}
