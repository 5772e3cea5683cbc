import { Counter, Gauge } from 'prom-client'
import type { Registry } from 'prom-client'
import type { MetricsSample } from './metrics-sample.ts'
import { setTotal } from './set-total.ts'

/** What `/metrics` tells of autopilot: what it wants, and what it has done. The gauges are of a leader, else 0. */
export class AutopilotMetrics {
  readonly #registry: Registry
  readonly #active: Gauge
  readonly #target: Gauge
  readonly #tolerance: Gauge
  readonly #holds: Gauge
  readonly #changes: Counter<'change'>
  readonly #refusals: Counter

  constructor(registry: Registry) {
    this.#registry = registry
    const registers = [registry]
    this.#active = this.#gauge('active', '1 while this node leads and decides who votes.')
    this.#target = this.#gauge('voter_target', 'How many voters it wants.')
    this.#tolerance = this.#gauge('failure_tolerance', 'How many of the voters that are well may fail.')
    this.#holds = this.#gauge('holds', 'Reasons why it does not do what one might expect.')
    const labelNames = ['change'] as const
    const name = 'quorate_autopilot_changes_total'
    this.#changes = new Counter({ name, help: 'Changes that it has made.', labelNames, registers })
    const refused = 'quorate_autopilot_refusals_total'
    this.#refusals = new Counter({ name: refused, help: 'Changes that were refused, or are not known.', registers })
  }

  set(autopilot: MetricsSample['autopilot']): void {
    this.#active.set(autopilot.isActiveNow ? 1 : 0)
    this.#target.set(autopilot.voterTargetNow)
    this.#tolerance.set(autopilot.failureToleranceNow)
    this.#holds.set(autopilot.holdsNow)
    this.#changes.reset()
    this.#changes.inc({ change: 'promote' }, autopilot.promotions)
    this.#changes.inc({ change: 'remove' }, autopilot.removals)
    setTotal(this.#refusals, autopilot.refusals)
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name: `quorate_autopilot_${name}`, help, registers: [this.#registry] })
  }
}
