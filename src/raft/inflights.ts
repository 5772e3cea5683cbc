import type { Index } from './entry.ts'

/** The append requests that are out to one member and not acknowledged, oldest first: what the window counts. */
export class Inflights {
  #requests: { readonly upTo: Index; readonly bytes: number }[] = []
  #bytes = 0

  get isEmpty(): boolean {
    return this.#requests.length === 0
  }

  /** The request that goes over `bytesMax` is still let out: one larger than that must be able to leave, too. */
  isFull(countMax: number, bytesMax: number): boolean {
    return this.#requests.length >= countMax || this.#bytes >= bytesMax
  }

  /** A request left whose last entry is `upTo`, above those of all that are out. */
  add(upTo: Index, bytes: number): void {
    this.#requests.push({ upTo, bytes })
    this.#bytes += bytes
  }

  /** Everything up to `match` is acknowledged, by whichever answer. */
  freeUpTo(match: Index): void {
    const kept = this.#requests.findIndex((request) => request.upTo > match)
    const freed = this.#requests.splice(0, kept === -1 ? this.#requests.length : kept)
    for (const request of freed) this.#bytes -= request.bytes
  }

  clear(): void {
    this.#requests = []
    this.#bytes = 0
  }
}
