import type { RaftEvent } from '../raft/effects.ts'
import { queuedBytesMax, queuedEventsMax } from './limits.ts'

/** What Raft will be told at the next turn of the loop, in the order of its coming. */
export class EventQueue {
  #events: RaftEvent[] = []
  #bytes = 0

  /** Whether something of that length has no room; `share` is the part of the limits that it may fill. */
  isFull(bytes: number, share = 1): boolean {
    return this.#events.length >= queuedEventsMax * share || this.#bytes + bytes > queuedBytesMax * share
  }

  push(event: RaftEvent, bytes: number): void {
    this.#events.push(event)
    this.#bytes += bytes
  }

  takeAll(): readonly RaftEvent[] {
    const events = this.#events
    this.#events = []
    this.#bytes = 0
    return events
  }
}
