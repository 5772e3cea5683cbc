import type { IncomingHttpHeaders } from 'node:http'
import { Backoff } from '../std/backoff.ts'
import { toJsonText, type JsonText } from '../std/json-text.ts'
import type { Random } from '../std/random.ts'
import type { ExchangeEnd } from '../upstream/http-exchange.ts'
import { pause } from './pause.ts'
import { bridgeCodes, errorIn, readNodeLine, type NodeLine } from './stdio-lines.ts'
import type { BridgedNodes, NodeAnswer, NodeExchange } from './stdio-nodes.ts'

/**
 * Carries one message to whichever node takes it, up to its answer: from node to node while it was provably not taken, and
 * from where its stream broke off when that can be resumed. What may have been done is done again only where that is
 * harmless; otherwise its outcome is unknown.
 */
export type Parcel = {
  readonly text: string
  readonly headers: Readonly<Record<string, string>>
  /** Twice is as good as once. */
  readonly isRepeatable: boolean
  /** False: it is delivered when it is accepted. */
  readonly isRequest: boolean
  /** False ends the delivery as `given-up`. */
  isWanted(): boolean
  /** The try that is under way. */
  tries?(exchange: NodeExchange): void
  accepted?(headers: IncomingHttpHeaders): void
  /** The answer is the last of them. */
  hear(text: string, line: NodeLine): void
}

export type Delivered =
  /** The answer was heard, or the message was accepted. */
  | { readonly kind: 'delivered' | 'given-up' }
  /** Nothing was done: nobody knows the session. */
  | { readonly kind: 'session-lost' }
  /** A JSON-RPC error object: a node's, or ours. */
  | { readonly kind: 'failed'; readonly error: JsonText }

/** What follows from the end of one try. Again: unless patience is over, then it is `failed` with this error. */
type Judgement = Delivered | { readonly kind: 'again'; readonly error: JsonText; readonly turns: boolean }

const retryMinMs = 50
const retryMaxMs = 2000
/** A node's own word about when to come back counts up to this. */
const askedPauseMaxMs = 30_000
/** A notification or an answer; a node accepts one at once. */
const tellLimitMs = 10_000

export type DeliveriesOptions = {
  readonly nodes: BridgedNodes
  readonly stop: AbortSignal
  readonly random: Random
  /** How long a message waits for a node that takes it. */
  readonly patienceMs: number
  say(text: string): void
}

export class Deliveries {
  readonly #options: DeliveriesOptions
  readonly #nodes: BridgedNodes

  constructor(options: DeliveriesOptions) {
    this.#options = options
    this.#nodes = options.nodes
  }

  async deliver(parcel: Parcel): Promise<Delivered> {
    const backoff = this.backoff()
    let resumeFrom: string | null = null
    let failingSince: number | null = null
    let isAnswered = false
    const isOver = (): boolean => this.#options.stop.aborted || !parcel.isWanted()
    if (isOver()) return { kind: 'given-up' }
    for (;;) {
      const from: string | null = resumeFrom
      const exchange = this.#nodes.perform({
        ...(from === null ? posted(parcel) : resumed(parcel, from)),
        accepted: (headers) => {
          failingSince = null
          parcel.accepted?.(headers)
        },
        message: (text) => {
          const line = readNodeLine(text)
          if (isAnswered || line.kind === 'rubbish') return
          backoff.reset()
          isAnswered = line.kind === 'answer'
          parcel.hear(text, line)
        },
      })
      parcel.tries?.(exchange)
      const answer = await exchange.ended
      if (isAnswered) return { kind: 'delivered' }
      if (isOver()) return { kind: 'given-up' }
      resumeFrom = answer.lastEventId ?? from
      const judgement = this.#judge(answer.end, { parcel, resumeFrom })
      if (judgement.kind !== 'again') return judgement
      if (judgement.turns) this.turn(answer)
      failingSince ??= performance.now()
      if (performance.now() - failingSince > this.#options.patienceMs) return { kind: 'failed', error: judgement.error }
      await this.wait(answer, backoff)
      if (isOver()) return { kind: 'given-up' }
    }
  }

  /** The node that gave this answer, or none, is not the present one any more, if there is another. */
  turn({ node, end }: NodeAnswer): void {
    const next = this.#nodes.turn(node)
    if (next === undefined) return
    const why = end.kind === 'refused' ? `HTTP status ${end.status}` : 'reason' in end ? end.reason : 'it ended'
    this.#options.say(`${this.#nodes.names[node] ?? ''} does not serve (${why}); going on at ${next}`)
  }

  async wait({ end, retryMs }: NodeAnswer, backoff: Backoff): Promise<void> {
    const asked = end.kind === 'done' && retryMs !== null ? Math.min(retryMs, askedPauseMaxMs) : 0
    await pause(this.#options.stop, Math.max(asked, backoff.next()))
  }

  backoff(): Backoff {
    return new Backoff({ minMs: retryMinMs, maxMs: retryMaxMs }, this.#options.random)
  }

  #judge(end: ExchangeEnd, { parcel, resumeFrom }: { parcel: Parcel; resumeFrom: string | null }): Judgement {
    const mayBeRepeated = resumeFrom !== null || parcel.isRepeatable
    switch (end.kind) {
      case 'done':
        if (!parcel.isRequest) return { kind: 'delivered' }
        return this.#unfinished('the node ended its answer before the result', { mayBeRepeated, turns: false })
      // It would be so again.
      case 'too-large':
        return { kind: 'failed', error: unknown(end.reason) }
      case 'broken':
        return this.#unfinished(`the connection broke (${end.reason})`, { mayBeRepeated, turns: true })
      case 'not-sent':
        if (resumeFrom !== null) return this.#unfinished(this.#nothingAnswers(), { mayBeRepeated, turns: true })
        return { kind: 'again', error: unavailable(this.#nothingAnswers()), turns: true }
      case 'refused':
        return this.#judgeRefusal(end, { mayBeRepeated, isResumption: resumeFrom !== null, parcel })
    }
  }

  #judgeRefusal(
    { status, body }: Extract<ExchangeEnd, { kind: 'refused' }>,
    at: { readonly mayBeRepeated: boolean; readonly isResumption: boolean; readonly parcel: Parcel },
  ): Judgement {
    const theirs = errorIn(body)
    // Said only when nothing was begun.
    if (status === 503 || status === 429) {
      const error = theirs ?? unavailable(`the node answers with HTTP status ${status}`)
      return { kind: 'again', error: at.isResumption ? unknown('no node resumes it now') : error, turns: true }
    }
    // Theirs is about coming back, and says nothing of what may have been done before.
    if (at.isResumption && status < 500) return { kind: 'failed', error: unknown('no node knows it any more') }
    if (status === 404 && at.parcel.headers[sessionHeader] !== undefined) return { kind: 'session-lost' }
    if (theirs !== undefined && !at.isResumption) return { kind: 'failed', error: theirs }
    if (status < 500)
      return { kind: 'failed', error: unavailable(`HTTP status ${status}: is that the MCP address of a Quorate node?`) }
    return this.#unfinished(`the node answers with HTTP status ${status}`, {
      mayBeRepeated: at.mayBeRepeated,
      turns: true,
    })
  }

  #unfinished(clause: string, { mayBeRepeated, turns }: { mayBeRepeated: boolean; turns: boolean }): Judgement {
    return mayBeRepeated ? { kind: 'again', error: unknown(clause), turns } : { kind: 'failed', error: unknown(clause) }
  }

  #nothingAnswers(): string {
    return `nothing answers at ${this.#nodes.names.join(', ')}`
  }
}

export const sessionHeader = 'mcp-session-id'

function posted({ text, headers, isRequest }: Parcel) {
  return {
    method: 'POST' as const,
    body: text,
    headers: {
      ...headers,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    },
    limitMs: isRequest ? 0 : tellLimitMs,
  }
}

function resumed({ headers }: Parcel, lastEventId: string) {
  return { method: 'GET' as const, body: null, headers: listening(headers, lastEventId), limitMs: 0 }
}

/** Headers of a GET; null: from now on. */
export function listening(
  headers: Readonly<Record<string, string>>,
  lastEventId: string | null,
): Readonly<Record<string, string>> {
  const resumption = lastEventId === null ? {} : { 'last-event-id': lastEventId }
  return { ...headers, accept: 'text/event-stream', ...resumption }
}

function unavailable(clause: string): JsonText {
  const data = { code: 'server-unavailable', retry: 'after' }
  return toJsonText({ code: bridgeCodes.unavailable, message: clause, data })
}

function unknown(clause: string): JsonText {
  const data = { code: 'outcome-unknown', retry: 'outcome-unknown' }
  return toJsonText({ code: bridgeCodes.outcomeUnknown, message: `${clause}; it may have been done or not`, data })
}
