import { ChurningMap } from '../std/churning-map.ts'
import type { CallId } from '../vocabulary/ids.ts'

/** The calls under way with one peer in one direction, and whether one more may be, by number and by the bytes they came in. */
export class CallsUnderWay<T> {
  readonly #limits: CallLimits
  readonly #calls = new ChurningMap<CallId, { readonly call: T; readonly bytes: number }>()
  #bytes = 0

  constructor(limits: CallLimits) {
    this.#limits = limits
  }

  get(id: CallId): T | undefined {
    return this.#calls.get(id)?.call
  }

  add(id: CallId, call: T, bytes: number): void {
    this.#calls.set(id, { call, bytes })
    this.#bytes += bytes
  }

  delete(id: CallId): void {
    this.#bytes -= this.#calls.get(id)?.bytes ?? 0
    this.#calls.delete(id)
  }

  entries(): [CallId, T][] {
    return [...this.#calls.entries()].map(([id, { call }]) => [id, call])
  }

  all(): T[] {
    return [...this.#calls.values()].map(({ call }) => call)
  }

  /** Which limit one more call of so many bytes would pass; null: none. One alone always may be. */
  limitReached(bytes: number): string | null {
    const { callsPerPeerMax, callBytesPerPeerMax } = this.#limits
    if (this.#calls.size >= callsPerPeerMax) return `${callsPerPeerMax} calls`
    if (this.#calls.size > 0 && this.#bytes + bytes > callBytesPerPeerMax)
      return `${callBytesPerPeerMax} bytes of calls`
    return null
  }
}

/** In each direction: of calls to one peer, and of calls of one peer. */
export type CallLimits = {
  readonly callsPerPeerMax: number
  /** Of the frames that started the calls under way: their params stay in memory until they end. */
  readonly callBytesPerPeerMax: number
}
