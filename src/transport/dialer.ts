import { Backoff } from '../std/backoff.ts'
import type { BackoffLimits } from '../std/backoff.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { HandshakeEnd } from '../identity/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { ErrorCode } from '../vocabulary/operating-error.ts'

/**
 * When to try one lane of one address again. It holds at most one attempt or one timer at a time; while another connection
 * of the same lane to the same node stands, it is parked without either. Making the connection is the owner's.
 */
export class Dialer {
  readonly address: string
  readonly lane: string
  readonly #options: DialerOptions
  readonly #backoff: Backoff
  #timer: Timer | null = null
  #parkedOn: NodeId | null = null
  #parkedAtMs = 0
  #stopped = false

  constructor(address: string, lane: string, options: DialerOptions) {
    this.address = address
    this.lane = lane
    this.#options = options
    this.#backoff = new Backoff(options.backoff, options.random)
  }

  get isStopped(): boolean {
    return this.#stopped
  }

  dialNow(): void {
    this.#dialAfter(0)
  }

  /** Another connection of the lane to the node is kept: wait until it is gone. */
  park(node: NodeId): void {
    this.#clear()
    this.#parkedOn = node
    this.#parkedAtMs = this.#options.clock.monotonic()
  }

  /** The connection of the lane to the node is gone. */
  wake(node: NodeId): void {
    if (this.#parkedOn !== node) return
    if (this.#options.clock.monotonic() - this.#parkedAtMs >= healthyMs) this.#backoff.reset()
    this.#dialAfter(this.#backoff.next())
  }

  /** The attempt, or the connection that it made `openMs` ago, has ended. */
  ended(end: HandshakeEnd | null, openMs: number): void {
    if (openMs >= healthyMs) this.#backoff.reset()
    const hopeless = end?.why === 'refused' && slowCodes.has(end.error.code)
    this.#dialAfter(hopeless ? this.#options.refusedRetryMs : this.#backoff.next())
  }

  stop(): void {
    this.#stopped = true
    this.#clear()
  }

  #dialAfter(ms: number): void {
    this.#clear()
    if (this.#stopped) return
    this.#timer = this.#options.clock.after(ms, () => {
      this.#timer = null
      this.#options.attempt(this)
    })
  }

  #clear(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#parkedOn = null
  }
}

export type DialerOptions = {
  readonly clock: Clock
  readonly random: Random
  readonly backoff: BackoffLimits
  /** The wait after a refusal that no quick retry can change. */
  readonly refusedRetryMs: number
  /** Makes the connection; `ended` or `park` follows when it is over. */
  readonly attempt: (dialer: Dialer) => void
}

/** A connection, this dialler's or the one it was parked on, that stood for this long proves the way good: the next failure starts from the shortest wait again. */
const healthyMs = 10_000

/**
 * What only an operator can change. `wiped-node` is not of them: who is rightly refused so ends, and who is refused because
 * it was just about to form its cluster is welcome at the next try.
 */
const slowCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'wrong-cluster',
  'wrong-secret',
  'incompatible-version',
  'duplicate-node',
])
