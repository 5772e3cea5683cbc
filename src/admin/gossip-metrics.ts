import { Counter, Gauge } from 'prom-client'
import type { Registry } from 'prom-client'
import type { MetricsSample } from './metrics-sample.ts'
import { setTotal } from './set-total.ts'

/** What `/metrics` tells of gossip: whom it sees how, how this node fares in it, and what it costs. */
export class GossipMetrics {
  readonly #registry: Registry
  readonly #members: Gauge<'status'>
  readonly #health: Gauge
  readonly #lanes: Gauge
  readonly #probes: Counter
  readonly #probesFailed: Counter
  readonly #indirect: Counter
  readonly #refutations: Counter
  readonly #messages: Counter<'direction'>
  readonly #bytes: Counter<'direction'>

  constructor(registry: Registry) {
    this.#registry = registry
    const registers = [registry]
    const labelNames = ['status'] as const
    this.#members = new Gauge({ name: 'quorate_members', help: 'Other nodes, by status.', labelNames, registers })
    this.#health = new Gauge({
      name: 'quorate_gossip_local_health',
      help: '0: this node is healthy; to 7: it is slow or badly connected.',
      registers,
    })
    this.#lanes = new Gauge({ name: 'quorate_gossip_lanes', help: 'Connections for gossip that are open.', registers })
    this.#probes = this.#counter('quorate_gossip_probes_total', 'Probes of other nodes.')
    this.#probesFailed = this.#counter('quorate_gossip_probes_failed_total', 'Of these, those that nobody answered.')
    this.#indirect = this.#counter('quorate_gossip_indirect_probes_total', 'Times that others were asked to probe.')
    this.#refutations = this.#counter('quorate_gossip_refutations_total', 'Accusations that this node refuted.')
    this.#messages = this.#counter('quorate_gossip_messages_total', 'Messages of gossip.', 'direction')
    this.#bytes = this.#counter('quorate_gossip_bytes_total', 'Bytes of these messages.', 'direction')
  }

  set(gossip: MetricsSample['gossip']): void {
    for (const [status, count] of Object.entries(gossip.membersNow)) this.#members.set({ status }, count)
    this.#health.set(gossip.localHealthNow)
    this.#lanes.set(gossip.lanesNow)
    setTotal(this.#probes, gossip.probes)
    setTotal(this.#probesFailed, gossip.probesFailed)
    setTotal(this.#indirect, gossip.indirectProbes)
    setTotal(this.#refutations, gossip.refutations)
    this.#messages.reset()
    this.#messages.inc({ direction: 'in' }, gossip.messagesIn)
    this.#messages.inc({ direction: 'out' }, gossip.messagesOut)
    this.#messages.inc({ direction: 'refused' }, gossip.messagesRefused)
    this.#bytes.reset()
    this.#bytes.inc({ direction: 'in' }, gossip.bytesIn)
    this.#bytes.inc({ direction: 'out' }, gossip.bytesOut)
  }

  #counter<Label extends string = never>(name: string, help: string, ...labelNames: readonly Label[]): Counter<Label> {
    return new Counter({ name, help, labelNames, registers: [this.#registry] })
  }
}
