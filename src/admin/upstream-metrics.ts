import { Gauge, type Registry } from 'prom-client'
import { upstreamStates } from './needs.ts'
import type { MetricsSample } from './metrics-sample.ts'

/** What `/metrics` tells of the upstreams of this node. */
export class UpstreamMetrics {
  readonly #status: Gauge
  readonly #sessions: Gauge
  readonly #questions: Gauge

  constructor(registry: Registry) {
    const registers = [registry]
    this.#status = new Gauge({
      name: 'quorate_upstream_status',
      help: '1 for the status that the upstream has.',
      labelNames: ['server', 'status'],
      registers,
    })
    this.#sessions = new Gauge({
      name: 'quorate_upstream_sessions',
      help: 'Sessions that have an upstream of the server to themselves on this node.',
      labelNames: ['server'],
      registers,
    })
    this.#questions = new Gauge({
      name: 'quorate_questions',
      help: 'Questions of servers on this node that wait for the answer of a client.',
      registers,
    })
  }

  set({ servers, questionsNow }: MetricsSample['upstreams']): void {
    this.#status.reset()
    this.#sessions.reset()
    for (const { server, status, sessionsNow } of servers) {
      for (const each of upstreamStates) this.#status.set({ server, status: each }, each === status ? 1 : 0)
      this.#sessions.set({ server }, sessionsNow)
    }
    this.#questions.set(questionsNow)
  }
}
