import type { Log } from '../log/log.ts'
import type { ExchangeEnd } from './http-exchange.ts'
import { isPassing } from './http-request.ts'
import type { UpstreamLimits } from './limits.ts'

/**
 * What is said to one HTTP server that it does not answer, each a POST of its own, so many at once. Notifications beyond are
 * dropped. Answers to what the server asked never are, since it waits for them: they wait for their turn and are tried
 * again, and a link that can not deliver them ends.
 */
export type HttpTellsOptions = {
  readonly limits: UpstreamLimits
  readonly log: Log
  /** Null: it did not end in time. */
  readonly post: (text: string) => Promise<ExchangeEnd | null>
  readonly pause: (ms: number) => Promise<void>
  /** The link is of no use to who asks. One clause. */
  readonly failed: (reason: string) => void
}

export class HttpTells {
  readonly #options: HttpTellsOptions
  /** Answers. */
  #waiting: string[] = []
  #waitingBytes = 0
  #underWay = 0
  #isClosed = false

  constructor(options: HttpTellsOptions) {
    this.#options = options
  }

  async tell(text: string): Promise<void> {
    if (this.#isClosed) return
    if (this.#isFull) {
      this.#options.log.warn('upstream-message-dropped', { reason: 'too many are under way' })
      return
    }
    this.#underWay += 1
    await this.#options.post(text)
    this.#freed()
  }

  answer(text: string): void {
    if (this.#isClosed) return
    if (!this.#isFull) {
      void this.#deliver(text)
      return
    }
    const bytes = Buffer.byteLength(text)
    if (this.#waiting.length > 0 && this.#waitingBytes + bytes > this.#options.limits.answersWaitingBytesMax) {
      this.#lost('does not take the answers to what it asks')
      return
    }
    this.#waiting.push(text)
    this.#waitingBytes += bytes
  }

  close(): void {
    this.#isClosed = true
    this.#waiting = []
    this.#waitingBytes = 0
  }

  get #isFull(): boolean {
    return this.#underWay >= this.#options.limits.tellsInFlightMax
  }

  async #deliver(text: string): Promise<void> {
    const { limits, log, post, pause } = this.#options
    this.#underWay += 1
    for (let attempt = 1; ; attempt += 1) {
      const fate = fateOf(await post(text))
      if (this.#isClosed) return
      if (fate === 'refused') log.warn('upstream-answer-refused')
      if (fate !== 'lost') break
      if (attempt === limits.answerTriesMax) {
        this.#lost('could not be given an answer to what it asked')
        break
      }
      // A server that has it already does not know it any more: nothing is done twice.
      await pause(limits.resumeDelayMs)
    }
    this.#freed()
  }

  /** Said here, too: a link that takes no calls any more does not end again. */
  #lost(reason: string): void {
    this.#options.log.warn('upstream-answer-lost', { reason })
    this.#options.failed(reason)
  }

  #freed(): void {
    this.#underWay -= 1
    const next = this.#waiting.shift()
    if (next === undefined) return
    this.#waitingBytes -= Buffer.byteLength(next)
    void this.#deliver(next)
  }
}

function fateOf(end: ExchangeEnd | null): 'taken' | 'refused' | 'lost' {
  if (end?.kind === 'refused') return isPassing(end.status) ? 'lost' : 'refused'
  // What a server says to an answer is not read, but only a server that took it says anything.
  return end?.kind === 'done' || end?.kind === 'too-large' ? 'taken' : 'lost'
}
