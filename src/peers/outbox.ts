import type { Clock, Timer } from '../std/clock.ts'

/**
 * Frames on their way to one peer that must not overtake each other or get lost while the link stands: what the send
 * buffer does not take now waits here, in order. Each frame comes with the limit of waiting bytes that holds for its kind,
 * so that what may be dropped never crowds out what may not; `clear` forgets all when the link is gone.
 */
export class Outbox {
  readonly #options: OutboxOptions
  #waiting: { type: number; payload: Uint8Array }[] = []
  #bytes = 0
  #timer: Timer | null = null

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  /** False: more than `bytesMax` would wait. */
  push(type: number, payload: Uint8Array, bytesMax: number): boolean {
    if (this.#waiting.length === 0 && this.#options.send(type, payload)) return true
    if (this.#bytes + payload.length > bytesMax) return false
    this.#waiting.push({ type, payload })
    this.#bytes += payload.length
    this.#retryLater()
    return true
  }

  clear(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#waiting = []
    this.#bytes = 0
  }

  #retryLater(): void {
    this.#timer ??= this.#options.clock.after(retryMs, () => {
      this.#timer = null
      this.#flush()
    })
  }

  #flush(): void {
    let sent = 0
    for (const frame of this.#waiting) {
      if (!this.#options.send(frame.type, frame.payload)) break
      this.#bytes -= frame.payload.length
      sent += 1
    }
    this.#waiting.splice(0, sent)
    if (this.#waiting.length > 0) this.#retryLater()
  }
}

export type OutboxOptions = {
  readonly send: (type: number, payload: Uint8Array) => boolean
  readonly clock: Clock
}

/** Short against any call, long against a turn of the event loop. */
const retryMs = 5
