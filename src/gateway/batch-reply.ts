import type { ServerResponse } from 'node:http'
import type { Clock } from '../std/clock.ts'
import { EventStream } from './event-stream.ts'
import type { GatewayLimits } from './limits.ts'
import type { Gone, Reply } from './reply.ts'

/**
 * The replies to a batch of requests (revision 2025-03-26) on one event stream, each in its own time. The stream carries no
 * event ids: who loses it has cancelled what is not answered yet.
 */
export class BatchReply {
  readonly #stream: EventStream
  readonly #open = new Set<(gone: Gone) => void>()
  #unanswered: number

  constructor(options: BatchReplyOptions) {
    const { res, clock, limits, requests } = options
    this.#unanswered = requests
    this.#stream = new EventStream({
      res,
      clock,
      keepAliveMs: limits.keepAliveMs,
      bytesMax: limits.streamBytesMax,
      overflowed: () => this.#lose('slow'),
    })
    res.once('close', () => this.#lose('closed'))
  }

  /** One for each request of the batch. */
  reply(): Reply {
    let done = false
    let lose: ((gone: Gone) => void) | null = null
    const end = (): boolean => {
      if (done) return false
      done = true
      if (lose !== null) this.#open.delete(lose)
      this.#unanswered -= 1
      return true
    }
    const endAnd = (said: () => void): void => {
      if (!end()) return
      said()
      if (this.#unanswered === 0) this.#stream.end()
    }
    return {
      begin: (_, gone) => {
        lose = (how) => {
          if (end()) gone(how)
        }
        this.#open.add(lose)
        return false
      },
      routed: () => undefined,
      hear: ({ message }) => {
        if (!done) this.#stream.send(message)
      },
      finish: (message) => endAnd(() => this.#stream.send(message)),
      drop: () => endAnd(() => undefined),
      release: () => false,
    }
  }

  #lose(why: Gone['why']): void {
    for (const lose of this.#open) lose({ how: 'cancelled', why })
  }
}

export type BatchReplyOptions = {
  readonly res: ServerResponse
  readonly requests: number
  readonly clock: Clock
  readonly limits: Pick<GatewayLimits, 'keepAliveMs' | 'streamBytesMax'>
}
