import type { SessionId } from '../vocabulary/ids.ts'
import type { Clock } from '../std/clock.ts'
import { isObject } from '../std/is-object.ts'
import type { JsonText } from '../std/json-text.ts'
import { paramOf, parseObject, type ServerNotification, type ServerRequest } from './json-rpc.ts'

/**
 * Whose the elicitations by URL are, on an upstream that sessions share: that one is complete is told after its call, on no
 * call's stream. A server announces one by a question, or by the error with which it ends a call. Bounded: of more, and after
 * `keptMs`, the oldest are forgotten.
 */
export class ElicitationOwners {
  readonly #options: ElicitationOwnersOptions
  /** By the server's own id, the oldest first. */
  readonly #byId = new Map<string, { readonly session: SessionId; readonly untilMs: number }>()

  constructor(options: ElicitationOwnersOptions) {
    this.#options = options
  }

  asked(request: ServerRequest, session: SessionId): void {
    if (request.method === 'elicitation/create') this.#remember(paramOf(request, 'elicitationId'), session)
  }

  /** A call of the session was answered with this error. */
  refused(error: JsonText, session: SessionId): void {
    if (!error.includes(urlElicitationRequired)) return
    const { code, data } = parseObject(error) ?? {}
    const elicitations: unknown = isObject(data) ? data['elicitations'] : undefined
    if (String(code) !== urlElicitationRequired || !Array.isArray(elicitations)) return
    for (const elicitation of elicitations.slice(0, perErrorMax))
      if (isObject(elicitation)) this.#remember(elicitation['elicitationId'], session)
  }

  /** Whose the elicitation is that the notification is about; undefined: nobody's that is known. */
  ownerOf(notification: ServerNotification): SessionId | undefined {
    this.#forgetOld()
    return this.#byId.get(String(paramOf(notification, 'elicitationId')))?.session
  }

  sessionsEnded(ended: ReadonlySet<SessionId>): void {
    for (const [id, { session }] of this.#byId) if (ended.has(session)) this.#byId.delete(id)
  }

  #remember(id: unknown, session: SessionId): void {
    if (typeof id !== 'string' || id.length > idLengthMax) return
    this.#byId.delete(id)
    this.#byId.set(id, { session, untilMs: this.#options.clock.monotonic() + this.#options.keptMs })
    this.#forgetOld()
  }

  #forgetOld(): void {
    const { clock, max } = this.#options
    for (const [id, { untilMs }] of this.#byId) {
      if (this.#byId.size <= max && untilMs > clock.monotonic()) break
      this.#byId.delete(id)
    }
  }
}

export type ElicitationOwnersOptions = {
  readonly clock: Pick<Clock, 'monotonic'>
  readonly max: number
  readonly keptMs: number
}

/** The code of the error that says: first the user has to go to these URLs. */
const urlElicitationRequired = '-32042'
/** Of one error. */
const perErrorMax = 64
/** Longer ids are not remembered. */
const idLengthMax = 256
