import type { ServerResponse } from 'node:http'
import type { Clock } from '../std/clock.ts'

/** What is in flight on this node: requests of its clients, and calls that it performs for other nodes. */
export class Traffic {
  readonly #clock: Pick<Clock, 'monotonic'>
  #active = 0
  #lastEndMs = -Infinity
  #listener: (() => void) | null = null

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
  }

  get active(): number {
    return this.#active
  }

  /** Of the monotonic clock; -Infinity: nothing has ended yet. */
  get lastEndMs(): number {
    return this.#lastEndMs
  }

  begin(): void {
    this.#active += 1
  }

  end(): void {
    this.#active -= 1
    this.#lastEndMs = this.#clock.monotonic()
    this.#listener?.()
  }

  async during<T>(work: () => Promise<T>): Promise<T> {
    this.begin()
    try {
      return await work()
    } finally {
      this.end()
    }
  }

  /** A request, until its answer is complete or its client is gone. */
  beginUntilClosed(answer: Pick<ServerResponse, 'on'>): void {
    this.begin()
    answer.on('close', () => this.end())
  }

  /** Told each time that something has ended; null: nobody is. */
  listen(listener: (() => void) | null): void {
    this.#listener = listener
  }
}
