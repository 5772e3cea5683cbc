import type { QuestionId, SessionId } from '../vocabulary/ids.ts'
import { editJson, jsonMembers, sliceJson, toJsonText, type JsonText } from '../std/json-text.ts'
import {
  edited,
  errorObject,
  errorText,
  notificationText,
  paramRange,
  resultText,
  tokenRange,
  type ServerNotification,
  type ServerRequest,
} from './json-rpc.ts'
import type { UnderWay } from './requests.ts'

/**
 * What servers on this node ask clients and have no answer to yet. The client sees an id of ours, which finds this node
 * again from everywhere; the server gets its own id back. Only the session that was asked can answer.
 */
export class Questions {
  readonly #nextId: () => QuestionId
  readonly #openMax: number
  readonly #open = new Map<QuestionId, Question>()

  /** `openMax`: of one asker. Beyond, its oldest question is taken back. */
  constructor(nextId: () => QuestionId, openMax: number) {
    this.#nextId = nextId
    this.#openMax = openMax
  }

  ask(request: ServerRequest, asked: Asked): void {
    const { asker, call } = asked
    const id = this.#nextId()
    const key = keyOf(request.id, asked.on)
    const again = asker.open.get(key)
    if (again !== undefined) this.#withdraw(again, 'it was asked again')
    const [oldest] = asker.open.values()
    if (oldest !== undefined && asker.open.size >= this.#openMax) {
      const reason = `${this.#openMax} later questions are open`
      const serverId = this.#open.get(oldest)?.serverId
      this.#withdraw(oldest, reason)
      if (serverId !== undefined) asker.answer(errorText(serverId, errorObject(unanswered, reason)))
    }
    const idRange = request.members.get('id')
    const token = tokenRange(request)
    const ranges = [idRange, token].filter((range) => range !== undefined)
    const serverToken = token === undefined ? null : sliceJson(request.text, token)
    this.#open.set(id, { ...asked, key, serverId: request.id, serverToken })
    asker.open.set(key, id)
    call?.pause()
    asked.deliver(
      edited(
        request,
        ranges.map((range) => ({ ...range, text: JSON.stringify(id) })),
      ),
    )
  }

  /** `result`, or else `error`: the client's own. */
  answer(
    session: SessionId,
    id: QuestionId,
    answer: { readonly result: JsonText } | { readonly error: JsonText },
  ): void {
    if (this.#open.get(id)?.session !== session) return
    this.#close(id, ({ serverId }) =>
      'result' in answer ? resultText(serverId, answer.result) : errorText(serverId, answer.error),
    )
  }

  /** The client tells how far it is with its answer. */
  progress(session: SessionId, id: QuestionId, params: JsonText): void {
    const question = this.#open.get(id)
    const range = jsonMembers(params).get('progressToken')
    if (question?.session !== session || question.serverToken === null || range === undefined) return
    const restored = editJson(params, [{ ...range, text: question.serverToken }])
    question.asker.tell(notificationText('notifications/progress', restored))
  }

  /** The server does not want an answer any more. */
  cancelled(asker: Asker, notification: ServerNotification, on: UnderWay | null): void {
    const range = paramRange(notification, 'requestId')
    if (range === undefined) return
    const serverId = sliceJson(notification.text, range)
    const key = keyOf(serverId, null)
    const id = asker.open.get(keyOf(serverId, on)) ?? asker.open.get(key) ?? onlyOf(asker, key)
    const question = id === undefined ? undefined : this.#open.get(id)
    if (id === undefined || question === undefined) return
    this.#close(id, null)
    question.deliver(edited(notification, [{ ...range, text: JSON.stringify(id) }]))
  }

  /** Nobody hears the answers to its questions any more. */
  lost(asker: Asker): void {
    for (const id of asker.open.values()) this.#withdraw(id, 'the server is gone')
  }

  /** Nobody will answer what this session was asked. */
  sessionsEnded(ended: ReadonlySet<SessionId>): void {
    const error = errorObject(unanswered, 'the client is gone')
    for (const [id, { session }] of this.#open)
      if (ended.has(session)) this.#close(id, ({ serverId }) => errorText(serverId, error))
  }

  /** How many wait for an answer. */
  get count(): number {
    return this.#open.size
  }

  #withdraw(id: QuestionId, reason: string): void {
    const question = this.#open.get(id)
    if (question === undefined) return
    this.#close(id, null)
    question.deliver(notificationText('notifications/cancelled', toJsonText({ requestId: id, reason })))
  }

  #close(id: QuestionId, answer: ((question: Question) => string) | null): void {
    const question = this.#open.get(id)
    if (question === undefined) return
    this.#open.delete(id)
    question.asker.open.delete(question.key)
    question.call?.resume()
    if (answer !== null) question.asker.answer(answer(question))
  }
}

/** One connection, as one that asks. */
export type Asker = {
  /** By the server's own id, and the stream that it came on. */
  readonly open: Map<string, QuestionId>
  answer(text: string): void
  /** A notification. */
  tell(text: string): void
}

export type Asked = {
  readonly asker: Asker
  /** The call on whose own stream it came. */
  readonly on: UnderWay | null
  readonly session: SessionId
  /** What the question belongs to; null: to no call, as far as can be told. */
  readonly call: UnderWay | null
  /** Takes it to the client, and what follows of it. */
  deliver(message: JsonText): void
}

type Question = Asked & {
  readonly key: string
  /** As the server wrote them. */
  readonly serverId: JsonText
  readonly serverToken: JsonText | null
}

/** JSON-RPC's internal error: the server asked rightly, and nobody answers. */
const unanswered = -32_603

/** A cancel may come on another stream than its question, where that leaves no doubt which is meant. */
function onlyOf(asker: Asker, key: string): QuestionId | undefined {
  const [only, ...others] = [...asker.open].filter(([known]) => known.endsWith(key))
  return others.length === 0 ? only?.[1] : undefined
}

/**
 * Equal for equal ids, however they are written; a string is never equal to a number. Servers that give no session count
 * anew on each stream.
 */
function keyOf(id: JsonText, on: UnderWay | null): string {
  return `${on?.id ?? ''} ${JSON.stringify(JSON.parse(id))}`
}
