import { OperatingError } from '../vocabulary/operating-error.ts'
import { isIsolated } from '../vocabulary/isolation.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import type { JsonText } from '../std/json-text.ts'
import type { Signal } from '../std/signal.ts'
import type { Offer } from '../vocabulary/offer.ts'
import type { Call, Outcome } from '../calls/call.ts'
import { Allowance } from './allowance.ts'
import { OwnUpstreams, type OwnOptions } from './own-upstreams.ts'
import { SharedUpstream, type SharedOptions } from './shared-upstream.ts'
import type { ClientSession, UpstreamStatus } from './upstream.ts'

/**
 * One server on this node: the upstream that is shared, and those of sessions that have one to themselves. Which of them
 * a call takes follows from the server and the client alone, so that the calls of a session always meet the same one.
 */
export type ServerOptions = SharedOptions & Omit<OwnOptions, 'listsChanged' | 'offered' | 'allowed'>

export class ServerUpstreams {
  readonly #options: ServerOptions
  readonly #shared: SharedUpstream
  readonly #own: OwnUpstreams
  readonly #allowance: Allowance
  /** What it once offered stays known while it is not ready. */
  #offer: Offer | null = null
  #wasReady = false

  constructor(options: ServerOptions) {
    this.#options = options
    this.#allowance = new Allowance(options.server)
    this.#shared = new SharedUpstream({ ...options, onStatus: (status) => this.#onStatus(status) })
    this.#own = new OwnUpstreams({
      ...options,
      listsChanged: (kinds) => this.#shared.markStale(kinds),
      offered: () => this.#shared.settled().then(() => this.#offer),
      allowed: (kind, list) => this.#allowance.listed(kind, list),
    })
  }

  get status(): UpstreamStatus {
    return this.#shared.status
  }

  /** Sessions that have an upstream to themselves now. */
  get ownCount(): number {
    return this.#own.count
  }

  start(): void {
    this.#shared.start()
  }

  async stop(): Promise<void> {
    await this.#own.stop()
    await this.#shared.stop()
  }

  call(call: Call, hear: (message: JsonText) => void, cancelled: Signal): Promise<Outcome> {
    const refusal = this.#allowance.refusal(call)
    if (refusal !== null) return Promise.resolve(refusal)
    return this.#allowance.answered(call.method, this.#perform(call, hear, cancelled))
  }

  async #perform(call: Call, hear: (message: JsonText) => void, cancelled: Signal): Promise<Outcome> {
    const { origin } = call
    const asksForNone = this.#shared.isolation === 'shared' && !keptOfSession.has(call.method)
    if (origin === null || asksForNone) return this.#shared.call(call, hear, cancelled)
    const { session } = origin
    const client = this.#options.clients.find(session) ?? (await this.#seek(session))
    if (cancelled.aborted) return { kind: 'cancelled' }
    if (client instanceof OperatingError) return { kind: 'rejected', error: client }
    if (!this.#isIsolated(client)) return this.#shared.call(call, hear, cancelled)
    return this.#own.call(call, { session, client, party: { origin, hear }, cancelled })
  }

  /** This node keeps what the server keeps for the session. */
  adopt(session: SessionId): void {
    const client = this.#options.clients.find(session)
    if (client === undefined) return
    if (this.#isIsolated(client)) this.#own.adopt(session)
    else this.#shared.adopt(session)
  }

  /** Another node keeps it. */
  release(session: SessionId): void {
    this.#own.release(session)
    this.#shared.release(session)
  }

  tell(session: SessionId, text: string): void {
    this.#own.tell(session, text)
  }

  sessionsEnded(ended: ReadonlySet<SessionId>): void {
    this.#shared.sessionsEnded(ended)
    this.#own.sessionsEnded(ended)
  }

  #onStatus(status: UpstreamStatus): void {
    if (status.offer !== null) this.#offer = this.#allowance.offered(status.offer)
    this.#options.onStatus({ ...status, offer: this.#offer })
    if (status.status !== 'ready' || this.#wasReady) return
    this.#wasReady = true
    // What an earlier life of this node kept.
    const { clients, server, node } = this.#options
    for (const session of clients.subscribers(server.name, node)) this.adopt(session)
  }

  async #seek(session: SessionId): Promise<ClientSession | OperatingError> {
    const { clients, server } = this.#options
    try {
      const client = await clients.seek(session)
      if (client !== undefined) return client
      return new OperatingError('not-found', `the session of the call to server ${server.name} has ended`)
    } catch (error) {
      if (error instanceof OperatingError) return error
      throw error
    }
  }

  #isIsolated(client: ClientSession): boolean {
    return isIsolated(this.#shared.isolation, { asks: this.#options.clients.asks(client) })
  }
}

/** Of what a session says by these something stays until it ends: one that has ended already would leave it for ever. */
const keptOfSession: ReadonlySet<string> = new Set(['logging/setLevel', 'resources/subscribe', 'resources/unsubscribe'])
