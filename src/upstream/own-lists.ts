import type { SessionId } from '../vocabulary/ids.ts'
import { sha256Hex } from '../std/hash.ts'
import { asJsonText, jsonElements, jsonMembers, sliceJson, type JsonText } from '../std/json-text.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { Signal } from '../std/signal.ts'
import type { Offer } from '../vocabulary/offer.ts'
import type { Outcome } from '../calls/call.ts'
import { cancellationOf } from '../calls/cancellation.ts'
import type { Log } from '../log/log.ts'
import { notificationText } from './json-rpc.ts'
import type { UpstreamLimits } from './limits.ts'
import type { McpConnection } from './mcp-connection.ts'
import { changeOf, emptyOffer, listOffer, type ListKind } from './offer-lists.ts'

/**
 * What sessions know of the lists of their own upstreams of one server. A change of what all are offered is told by the
 * catalog; here is told when a session's own upstream offers something else beside that than the session knows of. It knows
 * what it was answered, and where its upstream did not answer in time, the catalog's.
 */
export type OwnListsOptions = {
  readonly server: string
  readonly clock: Clock
  readonly log: Log
  readonly limits: UpstreamLimits
  /** The session's upstream, while it takes calls. */
  find(session: SessionId): Listed | undefined
  /** What the shared upstream offers; settles when that has been asked for all that is said to have changed. */
  offered(): Promise<Offer | null>
  /** Of a list, what clients may see. */
  allowed(kind: ListKind, list: JsonText): JsonText
  mail(session: SessionId, message: JsonText): void
}

export type Asker = { readonly session: SessionId; readonly cancelled: Signal }

export type Listed = { readonly connection: McpConnection; readonly initialize: JsonText }

export class OwnLists {
  readonly #options: OwnListsOptions
  /** Of sessions that asked for lists, or whose lists have changed, until they end. */
  readonly #bySession = new Map<SessionId, Known>()

  constructor(options: OwnListsOptions) {
    this.#options = options
  }

  /** The session asks for the beginning of a list, and gets what comes of it or, if that is no answer, the catalog's. */
  async during({ session, cancelled }: Asker, kind: ListKind, perform: () => Promise<Outcome>): Promise<Outcome> {
    const known = this.#of(session)
    const outcome = await perform()
    // Its own error is what the session was answered, and what its client has cancelled by a word has no answer.
    const isNews = outcome.kind !== 'error' && (outcome.kind !== 'cancelled' || cancellationOf(cancelled) === null)
    if (isNews) void this.#ended(known, kind, outcome).then(() => this.lookAgain(session))
    return outcome
  }

  /** As its upstream says. */
  changed(session: SessionId, kinds: readonly ListKind[]): void {
    const known = this.#of(session)
    for (const kind of kinds) {
      known.stale.add(kind)
      known.unmeasured.delete(kind)
    }
    this.lookAgain(session)
  }

  /** Its upstream may have been opened just now. */
  lookAgain(session: SessionId): void {
    const known = this.#bySession.get(session)
    if (known === undefined || known.stale.size === 0 || known.isLooking || known.timer !== null) return
    const { clock, limits } = this.#options
    known.timer = clock.after(limits.relistDelayMs, () => {
      known.timer = null
      void this.#look(session, known)
    })
  }

  /** It has ended, or another node serves it. */
  forget(session: SessionId): void {
    this.#bySession.get(session)?.timer?.cancel()
    this.#bySession.delete(session)
  }

  stop(): void {
    for (const session of this.#bySession.keys()) this.forget(session)
  }

  #of(session: SessionId): Known {
    let known = this.#bySession.get(session)
    if (known === undefined) {
      known = { beside: new Map(), stale: new Set(), unmeasured: new Set(), isLooking: false, timer: null }
      this.#bySession.set(session, known)
    }
    return known
  }

  /** Where the answer was only a page, the rest has to be asked for. */
  async #ended(known: Known, kind: ListKind, outcome: Outcome): Promise<void> {
    if (outcome.kind !== 'result') {
      // It was answered what all are offered, whatever it knew before.
      known.beside.delete(kind)
      known.unmeasured.delete(kind)
      known.stale.add(kind)
      return
    }
    const members = jsonMembers(outcome.result)
    const list = members.get(kind)
    if (list === undefined) return
    if (!members.has('nextCursor')) {
      const shared = await this.#options.offered()
      known.beside.set(kind, this.#beside(kind, sliceJson(outcome.result, list), shared))
      return
    }
    known.stale.add(kind)
    known.unmeasured.add(kind)
  }

  async #look(session: SessionId, known: Known): Promise<void> {
    const { server, limits, log } = this.#options
    const listed = this.#options.find(session)
    if (listed === undefined) return
    const kinds = [...known.stale]
    known.stale.clear()
    known.isLooking = true
    const { connection, initialize } = listed
    try {
      const shared = await this.#options.offered()
      const ask = (method: string, params: JsonText): ReturnType<McpConnection['ask']> => connection.ask(method, params)
      const offer = await listOffer({ server, offer: emptyOffer(initialize), kinds, limits, ask })
      if (this.#bySession.get(session) === known) this.#tell(session, known, { kinds, offer, shared })
      known.isLooking = false
      this.lookAgain(session)
    } catch (error) {
      // Until its upstream says once more that something has changed, or is another one.
      log.debug('own-lists-unknown', { error })
      for (const kind of kinds) known.stale.add(kind)
      known.isLooking = false
      if (this.#options.find(session)?.connection !== connection) this.lookAgain(session)
    }
  }

  #tell(
    session: SessionId,
    known: Known,
    {
      kinds,
      offer,
      shared,
    }: { readonly kinds: readonly ListKind[]; readonly offer: Offer; readonly shared: Offer | null },
  ): void {
    const changes = new Set<string>()
    for (const kind of kinds) {
      const beside = this.#beside(kind, offer[kind], shared)
      if (!known.unmeasured.delete(kind) && beside !== (known.beside.get(kind) ?? '')) changes.add(changeOf(kind))
      known.beside.set(kind, beside)
    }
    for (const method of changes) this.#options.mail(session, notificationText(method))
  }

  #beside(kind: ListKind, own: JsonText, shared: Offer | null): string {
    return difference(this.#options.allowed(kind, own), shared?.[kind] ?? asJsonText('[]'))
  }
}

type Known = {
  /** Digests of what its lists differ in from the shared upstream's; '', also where there is none: in nothing. */
  readonly beside: Map<ListKind, string>
  /** To be looked at as soon as its upstream takes calls. */
  readonly stale: Set<ListKind>
  /** Of these, those of which it knows all that there is, but we do not. */
  readonly unmeasured: Set<ListKind>
  isLooking: boolean
  timer: Timer | null
}

function difference(own: JsonText, shared: JsonText): string {
  if (own === shared) return ''
  const [a, b] = [itemsOf(own), itemsOf(shared)]
  const more = [...a].filter((item) => !b.has(item))
  const less = [...b].filter((item) => !a.has(item))
  return more.length + less.length === 0 ? '' : sha256Hex(JSON.stringify([more.sort(), less.sort()]))
}

function itemsOf(list: JsonText): Set<string> {
  return new Set(jsonElements(list).map((range) => sliceJson(list, range)))
}
