import type { SessionPins } from '../gateway/sessions-port.ts'
import { RoundRobin } from '../routing/choose.ts'
import type { View } from '../routing/view.ts'
import type { StateReader } from '../state/reader.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { ServerName, SessionId } from '../vocabulary/ids.ts'

/**
 * Subscriptions outlive the node that keeps them: where that has no replica of the server that can take calls, look after
 * look, the leader pins the session to another node, which subscribes anew. A call of the session may do the same sooner.
 */
export class SubscriptionPins {
  readonly #options: SubscriptionPinsOptions
  readonly #choice = new RoundRobin()
  #timer: Timer | null = null
  /** Whose node could not keep them at the last look: at most all sessions that are subscribed to something. */
  #doubtful: ReadonlySet<string> = new Set()

  constructor(options: SubscriptionPinsOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = this.#options.clock.after(lookMs, () => {
      this.#look()
      this.start()
    })
  }

  stop(): void {
    this.#timer?.cancel()
  }

  #look(): void {
    const { state, isLeader } = this.#options
    const doubtful = new Set<string>()
    const sessions = isLeader() ? state.clientSessions() : []
    for (const { id, subscriptions } of sessions) {
      if (subscriptions.length === 0) continue
      for (const server of new Set(subscriptions.map((subscription) => subscription.server)))
        if (!this.#isKept(id, server)) doubtful.add(`${id} ${server}`)
    }
    this.#doubtful = doubtful
  }

  /** Pins the session anew where it was not kept at the last look either. */
  #isKept(session: SessionId, server: ServerName): boolean {
    const { view, sessions } = this.#options
    const pin = sessions.pinOf(session, server)
    const route = this.#choice.chooseReplicas(view, server, { session, pin })
    const [best] = route.kind === 'nodes' ? route.nodes : []
    if (best === undefined || best === pin) return true
    if (this.#doubtful.has(`${session} ${server}`)) sessions.pin(session, server, best)
    return false
  }
}

export type SubscriptionPinsOptions = {
  readonly state: Pick<StateReader, 'clientSessions'>
  readonly view: View
  readonly sessions: SessionPins
  readonly isLeader: () => boolean
  readonly clock: Pick<Clock, 'after'>
}

const lookMs = 2000
