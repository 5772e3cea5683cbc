import { Backoff } from '../std/backoff.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Command, CommandResult } from '../state/command.ts'
import type { Log } from '../log/log.ts'

/**
 * Brings the agreed state to what one part of this node wants it to be. Level-triggered: it asks for the differences and
 * proposes them one by one, again and again until there are none, whatever was lost on the way. A difference that is
 * refused does not hold up the others; it is proposed again at the next trigger.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions
  readonly #backoff: Backoff
  #retry: Timer | null = null
  #running = false
  #dirty = false
  #stopped = false

  constructor(options: ReconcilerOptions) {
    this.#options = options
    this.#backoff = new Backoff({ minMs: 50, maxMs: 2000 }, options.random)
  }

  /** Looks for differences now: after a change here or in the state, or when a leader appears. */
  trigger(): void {
    if (this.#stopped) return
    this.#dirty = true
    this.#retry?.cancel()
    this.#retry = null
    if (!this.#running) void this.#reconcile()
  }

  /** Nothing is proposed afterwards. */
  stop(): void {
    this.#stopped = true
    this.#retry?.cancel()
  }

  /** Ends when nothing has changed since it looked: what it publishes is a change of the state too, and triggers again. */
  async #reconcile(): Promise<void> {
    this.#running = true
    while (this.#dirty && !this.#stopped) {
      this.#dirty = false
      for (const command of this.#options.differences()) {
        if (this.#stopped || !(await this.#publish(command))) break
      }
    }
    this.#running = false
  }

  /** False: nothing can be published now; a retry is armed. */
  async #publish(command: Command): Promise<boolean> {
    const { propose, log, clock } = this.#options
    try {
      const result = await propose(command, proposeTimeoutMs)
      this.#backoff.reset()
      if (result.kind === 'refused') log.warn('publish-refused', { command: command.kind, reason: result.reason })
      return true
    } catch (error) {
      if (error instanceof OperatingError && error.code === 'too-large') {
        log.warn('publish-refused', { command: command.kind, error })
        return true
      }
      log.debug('publish-deferred', { command: command.kind, error })
      this.#retry?.cancel()
      if (!this.#stopped) this.#retry = clock.after(this.#backoff.next(), () => this.trigger())
      return false
    }
  }
}

export type ReconcilerOptions = {
  /** What is to be proposed so that the state becomes what is wanted, in this order; empty when it is so. */
  readonly differences: () => readonly Command[]
  readonly propose: (command: Command, timeoutMs: number) => Promise<CommandResult>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

const proposeTimeoutMs = 5000
