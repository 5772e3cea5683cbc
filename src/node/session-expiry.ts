import type { Clock, Timer } from '../std/clock.ts'
import type { Command, CommandResult } from '../state/command.ts'
import type { StateReader } from '../state/reader.ts'
import type { Log } from '../log/log.ts'

/**
 * Sessions expire in log time, which stands still while nothing is logged. The leader, whose clock it is, logs a word that
 * changes nothing when a session would have expired otherwise.
 */
export class SessionExpiry {
  readonly #options: SessionExpiryOptions
  #timer: Timer | null = null
  #isStopped = false

  constructor(options: SessionExpiryOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = this.#options.clock.after(lookMs, () => void this.#look())
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  async #look(): Promise<void> {
    const { state, isLeader, propose, clock, log } = this.#options
    const endsAt = state.nextSessionEnd
    if (endsAt !== null && endsAt <= clock.now() && isLeader()) {
      await propose({ kind: 'session-touch', ids: [] }, proposeTimeoutMs).catch((error: unknown) =>
        log.debug('session-expiry-deferred', { error }),
      )
    }
    if (!this.#isStopped) this.start()
  }
}

export type SessionExpiryOptions = {
  readonly state: StateReader
  readonly isLeader: () => boolean
  readonly propose: (command: Command, timeoutMs: number) => Promise<CommandResult>
  readonly clock: Clock
  readonly log: Log
}

const lookMs = 1000
const proposeTimeoutMs = 5000
