import { describeError, OperatingError } from '../vocabulary/operating-error.ts'
import type { Offer } from '../vocabulary/offer.ts'
import { Backoff } from '../std/backoff.ts'
import type { Clock } from '../std/clock.ts'
import { deferred, type Deferred } from '../std/deferred.ts'
import type { Random } from '../std/random.ts'
import type { JsonText } from '../std/json-text.ts'
import type { Signal } from '../std/signal.ts'
import type { Isolation } from '../vocabulary/isolation.ts'
import type { Call, Outcome } from '../calls/call.ts'
import type { Log } from '../log/log.ts'
import { isolationOf } from './isolation-of.ts'
import type { UpstreamLimits } from './limits.ts'
import type { LinkEnd, LinkSource } from './link.ts'
import { McpConnection, ownIdentity, type Audience } from './mcp-connection.ts'
import { OfferKeeper } from './offer-keeper.ts'
import type { ListKind } from './offer-lists.ts'
import type { CallTime } from './requests.ts'
import type { UpstreamStatus } from './upstream.ts'
import type { ConfiguredServer } from '../vocabulary/configured-server.ts'

/**
 * One server kept running and connected: connects, waits with back-off after each end, and gives a child process up that
 * ends too often. A session that the server forgot is renewed at once, and the calls that met it are made once more.
 */
export type SupervisedOptions = {
  readonly server: ConfiguredServer
  readonly links: LinkSource
  readonly mask: (text: string) => string
  readonly log: Log
  readonly clock: Clock
  readonly random: Random
  readonly version: string
  readonly limits: UpstreamLimits
  readonly audience: Audience
  onStatus(status: UpstreamStatus): void
  /** A connection takes calls from now on. */
  ready(connection: McpConnection): void
  /** It takes none any more. */
  lost(connection: McpConnection): void
  /** The server answered the call with an error. */
  refused(call: Call, error: JsonText): void
}

export class SupervisedUpstream {
  readonly #options: SupervisedOptions
  readonly #backoff: Backoff
  readonly #stopping = new AbortController()
  /** Connections that take no new call and whose last calls have not ended. */
  readonly #retired = new Set<McpConnection>()
  /** When children were started again, monotonic ms; only those within the window count. */
  #restarts: number[] = []
  #connection: McpConnection | null = null
  /** Of the connection. */
  #keeper: OfferKeeper | null = null
  #isolation: Isolation
  #isReady = false
  /** Set while a forgotten session is being renewed: calls wait for it. */
  #renewal: Deferred<void> | null = null
  #status: UpstreamStatus
  #running: Promise<void> | null = null

  constructor(options: SupervisedOptions) {
    this.#options = options
    const { restartDelayMinMs: minMs, restartDelayMaxMs: maxMs } = options.limits
    this.#backoff = new Backoff({ minMs, maxMs }, options.random)
    this.#isolation = isolationOf(options.server, null)
    this.#status = {
      status: 'starting',
      reason: `server ${options.server.name} is starting`,
      offer: null,
      isolation: this.#isolation,
    }
  }

  get status(): UpstreamStatus {
    return this.#status
  }

  /** As far as is known by now. */
  get isolation(): Isolation {
    return this.#isolation
  }

  /** The connection that takes calls; null: none does. */
  get connection(): McpConnection | null {
    return this.#isReady ? this.#connection : null
  }

  markStale(kinds: readonly ListKind[]): void {
    this.#keeper?.markStale(kinds)
  }

  /** Settles when the offer is what the server has said by now. */
  settled(): Promise<void> {
    return this.#keeper?.settled() ?? Promise.resolve()
  }

  start(): void {
    this.#options.onStatus(this.#status)
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#endRenewal()
    await Promise.all([...this.#retired].map((connection) => connection.close()))
    await this.#connection?.close()
    await this.#running
    await this.#options.links.close()
  }

  async call(call: Call, hear: (message: JsonText) => void, signal: Signal): Promise<Outcome> {
    const { clock, server } = this.#options
    const timeoutMs = call.timeoutMs ?? server.timeoutMs
    const deadline = clock.monotonic() + timeoutMs
    for (let attempt = 1; attempt <= 2; attempt += 1) {
      if (this.#renewal !== null) await this.#renewed(this.#renewal, deadline, signal)
      if (signal.aborted) return { kind: 'cancelled' }
      const { connection } = this
      if (connection === null) return { kind: 'not-sent', error: this.#unavailable(this.#whyNotReady()) }
      const time = callTime(call, server, deadline - clock.monotonic())
      const outcome = await connection.call(call, time, { origin: call.origin, hear }, signal)
      if (outcome.kind === 'error') this.#options.refused(call, outcome.error)
      if (outcome.kind !== 'session-lost') return outcome
    }
    return { kind: 'rejected', error: this.#unavailable(`server ${server.name} has forgotten two sessions in a row`) }
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      await this.#live()
      if (this.#isStopping) return
      const isRenewal = this.#renewal !== null
      if (!isRenewal && this.#isGivenUp()) return
      const isFirst = this.#backoff.attempt === 0
      const delayMs = this.#backoff.next()
      // A forgotten session is renewed without a wait, but not again and again.
      if (!(isRenewal && isFirst)) await this.#pause(delayMs)
    }
  }

  /** One connection from its opening to its end. */
  async #live(): Promise<void> {
    const ended = deferred<LinkEnd>()
    const connection = this.#connect((end) => ended.resolve(end))
    if (connection === null) return
    let readyAt = Infinity
    try {
      const keeper = this.#keep(connection)
      const initialize = await connection.start()
      const offer = await keeper.start(initialize)
      if (this.#connection === connection) this.#becomeReady(connection, offer)
      readyAt = this.#options.clock.monotonic()
    } catch (error) {
      // When the link has ended, that has been told already and says more than the handshake that it broke.
      this.#lose('dead', describeError(error))
      ended.resolve({ kind: 'dead', reason: '' })
    }
    const end = await ended.promise
    if (this.#options.clock.monotonic() - readyAt >= this.#options.limits.healthyAfterMs) {
      this.#backoff.reset()
      this.#restarts = []
    }
    if (end.kind === 'dead' || this.#isStopping) await connection.close()
    else this.#retire(connection)
  }

  #keep(connection: McpConnection): OfferKeeper {
    const { server, log, clock, limits } = this.#options
    this.#keeper = new OfferKeeper({
      server: server.name,
      log,
      clock,
      limits,
      ask: (method, params) => connection.ask(method, params),
      changed: (offer) => this.#publish({ status: 'ready', reason: '', offer }),
    })
    return this.#keeper
  }

  /** Null when it fails on the spot. */
  #connect(ended: (end: LinkEnd) => void): McpConnection | null {
    const { server, version, log, clock, limits, links, mask, audience } = this.#options
    try {
      this.#connection = new McpConnection({
        server: server.name,
        identity: ownIdentity(version),
        log,
        clock,
        limits,
        mask,
        audience,
        openLink: (events) => links.open(events),
        ended: (connection, end) => {
          this.#options.lost(connection)
          this.#lose(end.kind, `server ${server.name} ${end.reason}`)
          ended(end)
        },
      })
      return this.#connection
    } catch (error) {
      // The message of a refused argument repeats the argument.
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
      this.#endRenewal()
      this.#publish({
        status: 'failed',
        reason: `server ${server.name} can not be started (${code})`,
        offer: null,
      })
      return null
    }
  }

  #becomeReady(connection: McpConnection, offer: Offer): void {
    const { initialize } = offer
    this.#isolation = isolationOf(this.#options.server, { initialize, hasSession: connection.hasSession })
    this.#isReady = true
    this.#options.ready(connection)
    this.#endRenewal()
    this.#publish({ status: 'ready', reason: '', offer })
  }

  /** The current connection takes no call any more. Later reasons for the same end are not heard. */
  #lose(kind: LinkEnd['kind'], sentence: string): void {
    const connection = this.#connection
    if (connection === null) return
    const wasReady = this.#isReady
    this.#connection = null
    // What the handshake still asks for would be waited for.
    if (!wasReady) void connection.close()
    this.#keeper?.end()
    this.#keeper = null
    this.#isReady = false
    if (this.#isStopping) return
    this.#options.log.warn('upstream-ended', { reason: sentence })
    if (kind === 'session-lost' && wasReady) {
      this.#renewal = deferred()
      return
    }
    this.#endRenewal()
    this.#publish({ status: 'failed', reason: sentence, offer: null })
  }

  #retire(connection: McpConnection): void {
    this.#retired.add(connection)
    void connection.drained().then(async () => {
      await connection.close()
      this.#retired.delete(connection)
    })
  }

  /** Only child processes are given up: to ask whether a server listens again costs nothing. */
  #isGivenUp(): boolean {
    const { server, clock, limits, log } = this.#options
    if (server.link.kind !== 'stdio') return false
    const now = clock.monotonic()
    this.#restarts = this.#restarts.filter((at) => now - at < limits.restartsWindowMs)
    if (this.#restarts.length < limits.restartsMax) {
      this.#restarts.push(now)
      return false
    }
    const reason = `${this.#status.reason}; given up after ${limits.restartsMax} restarts within ${limits.restartsWindowMs / 60_000} minutes`
    log.error('upstream-given-up', { reason })
    this.#publish({ status: 'failed', reason, offer: null })
    return true
  }

  #publish(known: Omit<UpstreamStatus, 'isolation'>): void {
    const status = { ...known, isolation: this.#isolation }
    if (this.#isStopping || isSameStatus(this.#status, status)) return
    this.#status = status
    this.#options.onStatus(status)
  }

  #whyNotReady(): string {
    if (this.#isStopping) return `server ${this.#options.server.name} is being stopped`
    return this.#status.reason || `server ${this.#options.server.name} is renewing its session`
  }

  #unavailable(message: string): OperatingError {
    return new OperatingError('server-unavailable', message, { retry: 'elsewhere' })
  }

  #endRenewal(): void {
    this.#renewal?.resolve()
    this.#renewal = null
  }

  /** Waits for a renewal under way, but not past the deadline or the signal. */
  async #renewed(renewal: Deferred<void>, deadline: number, signal: Signal): Promise<void> {
    if (signal.aborted) return
    const { clock } = this.#options
    const waited = deferred<void>()
    const stopWaiting = (): void => waited.resolve()
    const timer = clock.after(Math.max(0, deadline - clock.monotonic()), stopWaiting)
    signal.addEventListener('abort', stopWaiting, { once: true })
    await Promise.race([renewal.promise, waited.promise])
    timer.cancel()
    signal.removeEventListener('abort', stopWaiting)
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.#stopping
    if (signal.aborted) return
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        timer.cancel()
        signal.removeEventListener('abort', wake)
        resolve()
      }
      const timer = this.#options.clock.after(ms, wake)
      signal.addEventListener('abort', wake, { once: true })
    })
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted
  }
}

/** The time that a call has left. One with a time of its own has that and no more. */
export function callTime(call: Call, server: ConfiguredServer, leftMs: number): CallTime {
  const timeoutMs = call.timeoutMs ?? server.timeoutMs
  const extensionMs = call.timeoutMs === null ? server.timeoutMaxMs - server.timeoutMs : 0
  return { leftMs: Math.max(0, leftMs), timeoutMs, leftMaxMs: Math.max(0, leftMs) + extensionMs }
}

function isSameStatus(a: UpstreamStatus, b: UpstreamStatus): boolean {
  if (a.status !== b.status || a.reason !== b.reason || a.isolation !== b.isolation) return false
  const [one, other] = [a.offer, b.offer]
  if (one === null || other === null) return one === other
  return (Object.keys(one) as (keyof Offer)[]).every((part) => one[part] === other[part])
}
