import { Backoff } from '../std/backoff.ts'
import type { BackoffLimits } from '../std/backoff.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { HandshakeEnd } from '../identity/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { ErrorCode } from '../vocabulary/operating-error.ts'

/**
 * When to try one lane of one address again: at once after a connection closed, then with back-off. It holds at most one
 * attempt or one timer at a time; while another connection of the same lane to the same node stands, it is parked without
 * either. Making the connection is the owner's.
 */
export class Dialer {
  readonly address: string
  readonly lane: string
  readonly #options: DialerOptions
  readonly #backoff: Backoff
  #timer: Timer | null = null
  #parkedOn: NodeId | null = null
  #parkedAtMs = 0
  #atOnceMs = -Infinity
  #lost: NodeId | null = null
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

  /** The node whose connection just closed, until the attempt that follows has ended. */
  get lost(): NodeId | null {
    return this.#lost
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

  /** The connection of the lane to the node, made by the other side, is gone. */
  wake(node: NodeId): void {
    if (this.#parkedOn !== node) return
    if (this.#options.clock.monotonic() - this.#parkedAtMs >= healthyMs) this.#backoff.reset()
    this.#dialAgain(node)
  }

  /** The attempt has ended without opening, or was another connection's to make. */
  ended(end: HandshakeEnd | null): void {
    this.#lost = null
    const hopeless = end?.why === 'refused' && slowCodes.has(end.error.code)
    this.#dialAfter(hopeless ? this.#options.refusedRetryMs : this.#backoff.next())
  }

  /** The connection to the node that the attempt made `openMs` ago is gone. */
  closed(node: NodeId, openMs: number): void {
    if (openMs >= healthyMs) this.#backoff.reset()
    this.#dialAgain(node)
  }

  /** At once, since what is found there says whether the peer's process lives; but no faster than this in a row. */
  #dialAgain(node: NodeId): void {
    const now = this.#options.clock.monotonic()
    const isAtOnce = now - this.#atOnceMs >= atOnceEveryMs
    this.#lost = node
    if (isAtOnce) this.#atOnceMs = now
    this.#dialAfter(isAtOnce ? 0 : this.#backoff.next())
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

/**
 * A connection, this dialler's or the one it was parked on, that stood for this long proves the way good: the next failure
 * starts from the shortest wait again.
 */
const healthyMs = 10_000
/** A connection that breaks again and again is not remade without a wait. */
const atOnceEveryMs = 1000

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
