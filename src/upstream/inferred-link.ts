import { HttpLink } from './http-link.ts'
import type { HttpServer, HttpServerOptions } from './http-server.ts'
import type { Link, LinkEnd, LinkEvents, LinkFailure } from './link.ts'
import { SseLink } from './sse-link.ts'

/**
 * A session with a server of which nobody knows whether it speaks Streamable HTTP or HTTP+SSE: initialize is posted, and
 * where that is refused as by a server that has no such thing, an event stream is asked for. What is found out is kept for
 * the links that follow, until it proves wrong.
 */
export type Inference = { isSse: boolean }

export type InferredLinkOptions = HttpServerOptions & { readonly http: HttpServer; readonly inference: Inference }

/** How servers of the older transport refuse a POST to their URL. */
const refusals: readonly (number | undefined)[] = [400, 404, 405]

export class InferredLink implements Link {
  readonly #options: InferredLinkOptions
  readonly #events: LinkEvents
  #link: Link
  /** Of the first request, until the handshake is done. */
  #initialize: { readonly id: number; readonly text: string } | null = null
  #isSettled = false
  /** How the POST was refused, when the event stream is tried. */
  #refusedStatus: number | null = null

  constructor(options: InferredLinkOptions, events: LinkEvents) {
    this.#options = options
    this.#events = events
    const { http, inference } = options
    this.#link = inference.isSse
      ? new SseLink(options, http, this.#watched())
      : new HttpLink(options, http, this.#watched())
  }

  get hasSession(): boolean {
    return this.#link.hasSession
  }

  get hasStreams(): boolean {
    return this.#link.hasStreams
  }

  request(id: number, text: string): void {
    if (!this.#isSettled) this.#initialize ??= { id, text }
    this.#link.request(id, text)
  }

  tell(text: string): Promise<void> {
    return this.#link.tell(text)
  }

  answer(text: string): void {
    this.#link.answer(text)
  }

  abandon(id: number, cancelText: string): 'withdrawn' | 'sent' {
    return this.#link.abandon(id, cancelText)
  }

  release(id: number): void {
    this.#link.release(id)
  }

  negotiated(protocolVersion: string): void {
    this.#isSettled = true
    this.#initialize = null
    this.#options.inference.isSse = !this.#link.hasStreams
    this.#link.negotiated(protocolVersion)
  }

  listen(): void {
    this.#link.listen()
  }

  close(): Promise<void> {
    return this.#link.close()
  }

  #watched(): LinkEvents {
    return {
      message: (text, requestId) => this.#events.message(text, requestId),
      failed: (id, failure) => {
        if (this.#isOther(id, failure)) this.#trySse(failure.status)
        else this.#events.failed(id, failure)
      },
      missed: () => this.#events.missed(),
      ended: (end) => {
        if (!this.#isSettled) this.#options.inference.isSse = false
        this.#events.ended(this.#refusedStatus === null || this.#isSettled ? end : this.#neither(end))
      },
    }
  }

  #isOther(id: number, failure: LinkFailure): failure is LinkFailure & { status: number } {
    const isFirst = !this.#isSettled && id === this.#initialize?.id && this.#refusedStatus === null
    return isFirst && this.#link.hasStreams && failure.kind === 'rejected' && refusals.includes(failure.status)
  }

  #trySse(status: number): void {
    const initialize = this.#initialize
    this.#refusedStatus = status
    // It has no session, so nothing is said and nothing waited for.
    void this.#link.close()
    this.#link = new SseLink(this.#options, this.#options.http, this.#watched())
    if (initialize !== null) this.#link.request(initialize.id, initialize.text)
  }

  #neither({ kind, reason }: LinkEnd): LinkEnd {
    return { kind, reason: `refused Streamable HTTP with HTTP status ${this.#refusedStatus}, and ${reason}` }
  }
}
