import type { Clock, Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Takes } from '../gateway/gateway-options.ts'
import type { Log } from '../log/log.ts'
import type { Drain } from '../state/command.ts'
import type { SaidDraining } from './draining-members.ts'
import { firstLife, lookAgainMs, nextLife } from './life.ts'
import type { Life, Phase, Sight, Wish } from './life.ts'
import type { Traffic } from './traffic.ts'

/**
 * Drives a node's life (life.ts): looks at what is wanted of it and what is in flight, tells everybody of each new phase,
 * hands leadership over while it drains, answers what is left at the end of the time, and leaves the cluster when it is to.
 */
export class Draining {
  readonly #options: DrainingOptions
  readonly #drained = deferred<void>()
  #life: Life = firstLife
  #isStopping = false
  #isClosed = false
  #isHandingOver = false
  #timer: Timer | null = null
  #handoverRetry: Timer | null = null
  #leaveRetry: Timer | null = null
  #hasLeft = false
  /** Whether a removal of this node may be under way, or have been made without its knowledge. */
  #mayBeOut = false
  /** Why this node has not left yet. */
  #whyHere: string | null = null

  constructor(options: DrainingOptions) {
    this.#options = options
  }

  get phase(): Phase {
    return this.#life.phase
  }

  get takes(): Takes {
    return takesIn[this.#life.phase]
  }

  /** Whether calls of other nodes are performed; what was sent before they knew of the drain is. */
  get takesCalls(): boolean {
    return this.takes === 'everything' || this.takes === 'known-sessions'
  }

  /** A stop now would break something off, or may. */
  get isBusy(): boolean {
    const { limitMs } = this.#options
    const sight: Sight = { ...this.#sight(), wish: 'stop' }
    return nextLife({ phase: 'draining', sinceMs: sight.nowMs }, sight, limitMs).phase !== 'drained'
  }

  /** Why this node is not ready; null: it does not drain. */
  get reason(): string | null {
    const { phase } = this
    const { node } = this.#options
    if (phase === 'serving') return null
    if (this.#isStopping) return 'this node is stopping: it takes no new sessions, and ends when nothing is in flight'
    if (phase === 'leaving') {
      if (this.#whyHere === null) return 'this node leaves the cluster'
      return `this node is to leave the cluster and can not yet: ${this.#whyHere}; to have it stay: quorate node drain ${node} --cancel`
    }
    const how = phase === 'drained' ? 'is drained: it takes nothing' : 'is being drained: it takes no new sessions'
    return `this node ${how}; to take that back: quorate node drain ${node} --cancel`
  }

  /** What is wanted of this node may be another, or who leads, or what is in flight. */
  look(): void {
    if (this.#isClosed) return
    const { limitMs, clock } = this.#options
    for (let life = this.#next(); life !== this.#life; life = this.#next()) this.#enter(life)
    this.#timer?.cancel()
    const againMs = lookAgainMs(this.#life, this.#sight(), limitMs)
    this.#timer = againMs === null ? null : clock.after(Math.max(1, againMs), () => this.look())
    if (this.#isStopping && takesIn[this.phase] === 'nothing') this.#drained.resolve()
    else if (this.phase !== 'serving') void this.#handOver()
  }

  /** Drains because the process is to stop; resolves when it may. */
  async stop(): Promise<void> {
    this.#isStopping = true
    this.look()
    await this.#drained.promise
  }

  /** The others have taken this node out. True: that is what it was about to do, and it has left. */
  removed(): boolean {
    if (this.phase !== 'leaving') return false
    this.#left()
    return true
  }

  /** Nothing is done afterwards. */
  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    this.#handoverRetry?.cancel()
    this.#leaveRetry?.cancel()
    this.#options.traffic.listen(null)
    this.#drained.resolve()
  }

  #next(): Life {
    return nextLife(this.#life, this.#sight(), this.#options.limitMs)
  }

  #sight(): Sight {
    const { clock, traffic, sessions, successors } = this.#options
    const { active: inFlight, lastEndMs } = traffic
    const hasToHandOver = successors().length > 0
    const nowMs = clock.monotonic()
    const mayStay = !this.#mayBeOut
    return { nowMs, wish: this.#wish(), inFlight, lastEndMs, sessions: sessions(), hasToHandOver, mayStay }
  }

  #wish(): Wish | null {
    return this.#isStopping ? 'stop' : this.#options.wanted()
  }

  #enter(life: Life): void {
    const { traffic, log, said, abandon, limitMs } = this.#options
    const before = this.#life.phase
    this.#life = life
    const { phase } = life
    traffic.listen(phase === 'draining' || phase === 'closing' ? () => this.look() : null)
    log.info(`node-${phase}`, { before, wish: this.#wish(), inFlight: traffic.active, limitMs })
    if (saidIn[phase] !== saidIn[before]) said(saidIn[phase])
    if (before === 'leaving') {
      this.#leaveRetry?.cancel()
      this.#whyHere = null
    } else if (phase === 'drained') abandon()
    if (phase === 'leaving') void this.#leave()
  }

  /** Again whenever this node leads: it may be elected while it drains. */
  async #handOver(): Promise<void> {
    const { successors, handOver, clock, log } = this.#options
    const [to] = this.#isHandingOver ? [] : successors()
    if (to === undefined) return
    this.#isHandingOver = true
    try {
      await handOver(to)
      this.#handedOver()
    } catch (error) {
      log.info('drain-handover-deferred', { to, error, retryMs })
      if (!this.#isClosed) this.#handoverRetry = clock.after(retryMs, () => this.#handedOver())
    }
  }

  #handedOver(): void {
    this.#isHandingOver = false
    this.look()
  }

  /** Until it is done, or taken back: whoever is asked to leave leaves. */
  async #leave(): Promise<void> {
    const mayHaveBeenOut = this.#mayBeOut
    this.#mayBeOut = true
    try {
      await this.#options.leave()
    } catch (error) {
      // Once the outcome of one try is not known, what is said of another says nothing about that one.
      this.#mayBeOut = mayHaveBeenOut || !isUndone(error)
      return this.#leaveLater(error)
    }
    this.#left()
  }

  #leaveLater(error: unknown): void {
    if (this.#isClosed || this.#hasLeft) return
    const { clock, log } = this.#options
    const why = error instanceof OperatingError ? error.message : 'something broke'
    const isRefused = error instanceof OperatingError && error.code === 'change-refused'
    // Each reason once for as long as it lasts.
    if (why !== this.#whyHere) log[isRefused ? 'warn' : 'info']('leave-deferred', { error, retryMs })
    this.#whyHere = why
    this.#leaveRetry = clock.after(retryMs, () => void this.#leave())
    this.look()
  }

  #left(): void {
    if (this.#hasLeft) return
    this.#hasLeft = true
    this.#leaveRetry?.cancel()
    this.#options.left()
  }
}

const takesIn: Readonly<Record<Phase, Takes>> = {
  serving: 'everything',
  draining: 'known-sessions',
  closing: 'endings',
  drained: 'nothing',
  leaving: 'nothing',
}

const saidIn: Readonly<Record<Phase, SaidDraining>> = {
  serving: 'serving',
  draining: 'draining',
  closing: 'draining',
  drained: 'drained',
  leaving: 'drained',
}

const retryMs = 1000

/** A removal that was refused before it was begun. */
function isUndone(error: unknown): boolean {
  return error instanceof OperatingError && undone.has(error.code)
}

const undone: ReadonlySet<OperatingError['code']> = new Set([
  'change-refused',
  'change-under-way',
  'no-quorum',
  'no-leader',
  'overloaded',
])

export type DrainingOptions = {
  readonly node: NodeId
  readonly limitMs: number
  readonly traffic: Traffic
  readonly sessions: () => number
  /** By operators. */
  readonly wanted: () => Drain | null
  /** While this node leads: the voters that could in its place, the best first; else empty. */
  readonly successors: () => readonly NodeId[]
  readonly handOver: (to: NodeId) => Promise<unknown>
  /** Tells the other nodes. */
  readonly said: (how: SaidDraining) => void
  /** Ends the sessions, and answers what is still in flight as of unknown outcome. */
  readonly abandon: () => void
  /** Resolves when this node counts no more in the cluster's configuration. */
  readonly leave: () => Promise<void>
  /** Called once at most. */
  readonly left: () => void
  readonly clock: Clock
  readonly log: Log
}
