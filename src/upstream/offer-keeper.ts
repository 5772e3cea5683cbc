import type { Clock, Timer } from '../std/clock.ts'
import { deferred, type Deferred } from '../std/deferred.ts'
import type { JsonText } from '../std/json-text.ts'
import type { Offer } from '../vocabulary/offer.ts'
import type { Log } from '../log/log.ts'
import type { UpstreamLimits } from './limits.ts'
import { allLists, emptyOffer, listOffer, type ListKind, type ListReply } from './offer-lists.ts'

/**
 * Keeps what a server offers true, over one connection: all lists at first, and those again that the server says have
 * changed. A burst of changes asks once; a list that can not be had leaves the one before.
 */
export type OfferKeeperOptions = {
  readonly server: string
  readonly log: Log
  readonly clock: Clock
  readonly limits: UpstreamLimits
  ask(method: string, params: JsonText): Promise<ListReply>
  /** The offer has changed since `start`. */
  changed(offer: Offer): void
}

export class OfferKeeper {
  readonly #options: OfferKeeperOptions
  readonly #stale = new Set<ListKind>()
  #offer: Offer | null = null
  #timer: Timer | null = null
  #isListing = false
  #hasEnded = false
  /** The end of the asking under way, or of the next. Null: nobody waits for it. */
  #asked: Deferred<void> | null = null

  constructor(options: OfferKeeperOptions) {
    this.#options = options
  }

  /** Rejects with an OperatingError. */
  async start(initialize: JsonText): Promise<Offer> {
    const offer = await this.#list(emptyOffer(initialize), allLists)
    this.#offer = offer
    this.#listSoon()
    return offer
  }

  markStale(kinds: readonly ListKind[]): void {
    for (const kind of kinds) this.#stale.add(kind)
    this.#listSoon()
  }

  /** Settles when all that is known by now to have changed has been asked for, or can not be any more. */
  async settled(): Promise<void> {
    // What was said while it is asked for is for the next time; what is said after that nobody here waits for.
    if (this.#isListing && this.#stale.size > 0) await this.#nextAsked()
    if (this.#isWaiting) await this.#nextAsked()
  }

  end(): void {
    this.#hasEnded = true
    this.#timer?.cancel()
    this.#timer = null
    this.#tellAsked()
  }

  get #isWaiting(): boolean {
    return this.#timer !== null || this.#isListing
  }

  #nextAsked(): Promise<void> {
    this.#asked ??= deferred()
    return this.#asked.promise
  }

  #tellAsked(): void {
    this.#asked?.resolve()
    this.#asked = null
  }

  async #list(offer: Offer, kinds: Iterable<ListKind>): Promise<Offer> {
    const { server, limits } = this.#options
    return listOffer({ server, offer, kinds, limits, ask: (...request) => this.#options.ask(...request) })
  }

  #listSoon(): void {
    if (this.#stale.size === 0 || this.#offer === null || this.#hasEnded || this.#isWaiting) return
    this.#timer = this.#options.clock.after(this.#options.limits.relistDelayMs, () => {
      this.#timer = null
      void this.#listAgain()
    })
  }

  async #listAgain(): Promise<void> {
    const known = this.#offer
    if (known === null) return
    this.#isListing = true
    const kinds = [...this.#stale]
    this.#stale.clear()
    try {
      const offer = await this.#list(known, kinds)
      if (!this.#hasEnded && kinds.some((kind) => offer[kind] !== known[kind])) {
        this.#offer = offer
        this.#options.changed(offer)
      }
    } catch (error) {
      // The server works; what it offered before stays until it offers something better.
      if (!this.#hasEnded) this.#options.log.warn('upstream-offer-refused', { error })
    } finally {
      this.#isListing = false
      this.#listSoon()
      this.#tellAsked()
    }
  }
}
