import { Counter, Gauge } from 'prom-client'
import type { Registry } from 'prom-client'
import type { MetricsSample } from './metrics-sample.ts'
import { setTotal } from './set-total.ts'

/** What `/metrics` tells of what this node keeps for clients that come back: calls of its servers, and their mail. */
export class KeptMetrics {
  readonly #calls: Gauge<'state'>
  readonly #callBytes: Gauge
  readonly #resumed: Counter
  readonly #givenUp: Counter
  readonly #eventsLost: Counter
  readonly #mails: Gauge
  readonly #mailBytes: Gauge
  readonly #mailsLost: Counter

  constructor(registry: Registry) {
    const registers = [registry]
    const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, registers })
    const counter = (name: string, help: string): Counter => new Counter({ name, help, registers })
    const help = 'Calls on servers of this node that clients can come back for: without a caller in work, or ended.'
    this.#calls = new Gauge({ name: 'quorate_kept_calls', help, labelNames: ['state'], registers })
    this.#callBytes = gauge('quorate_kept_call_bytes', 'Of the events and outcomes of calls that are kept.')
    this.#resumed = counter('quorate_calls_resumed_total', 'Times that a client came back for a call performed here.')
    this.#givenUp = counter(
      'quorate_calls_given_up_total',
      'Calls that were cancelled because nobody came back for them.',
    )
    this.#eventsLost = counter(
      'quorate_call_events_lost_total',
      'Events that a client which came back had missed, and which had to make room.',
    )
    this.#mails = gauge('quorate_mails', 'What servers of this node said to sessions outside of calls, and is kept.')
    this.#mailBytes = gauge('quorate_mail_bytes', 'Of all mail that is kept.')
    this.#mailsLost = counter(
      'quorate_mails_lost_total',
      'Mail that nobody had read when it expired or had to make room.',
    )
  }

  set({ calls, mail }: MetricsSample['kept']): void {
    this.#calls.set({ state: 'unattended' }, calls.unattendedNow)
    this.#calls.set({ state: 'ended' }, calls.endedNow)
    this.#callBytes.set(calls.bytesNow)
    setTotal(this.#resumed, calls.resumed)
    setTotal(this.#givenUp, calls.givenUp)
    setTotal(this.#eventsLost, calls.eventsLost)
    this.#mails.set(mail.mailsNow)
    this.#mailBytes.set(mail.bytesNow)
    setTotal(this.#mailsLost, mail.lost)
  }
}
