import type { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * The port between an MCP connection and what carries its messages: a child's pipes, or HTTP. A link knows which
 * requests it has provably not delivered; it does not read messages.
 */
export type Link = {
  /** The server has given us a session: what it keeps, it keeps by it. Settled with `negotiated`. */
  readonly hasSession: boolean
  /** Each request has a stream of its own: what comes on none of them belongs to none of them. */
  readonly hasStreams: boolean
  /** Sends a request. What becomes of it arrives as events under its id. */
  request(id: number, text: string): void
  /** Sends a notification; settles when it is handed over or lost, and never rejects. Where too many wait it is dropped. */
  tell(text: string): Promise<void>
  /** Sends the answer to what the server asked. It is never dropped: a link that can not deliver it ends. */
  answer(text: string): void
  /**
   * Gives a request up: `withdrawn` when it never left, otherwise `cancelText` is sent after it and the request's own
   * stream is closed. No event under the id follows.
   */
  abandon(id: number, cancelText: string): 'withdrawn' | 'sent'
  /** The request has its answer; whatever is still open for it may go. */
  release(id: number): void
  /** The protocol version that initialize has settled. */
  negotiated(protocolVersion: string): void
  /** Opens what carries messages that belong to no request, where the link has such a thing. */
  listen(): void
  /** Ends everything, politely first; settles when nothing is left. */
  close(): Promise<void>
}

export type LinkEvents = {
  /** `requestId`: the request on whose own stream it came; null when the link can not tell. */
  message(text: string, requestId: number | null): void
  /** The request will have no answer. */
  failed(requestId: number, failure: LinkFailure): void
  /** Messages that belong to no request may have been missed. */
  missed(): void
  /** Once: no new request can be carried. */
  ended(end: LinkEnd): void
}

export type LinkFailure =
  | {
      readonly kind: 'not-sent' | 'rejected' | 'unknown'
      readonly error: OperatingError
      /** Of HTTP, where that is the reason. */
      readonly status?: number
    }
  | { readonly kind: 'session-lost' }

export type LinkEnd = {
  /**
   * `dead`: nothing will be answered any more. `session-lost`: the server has forgotten us and a new session may help
   * at once. `unreachable`: what is under way may still end by itself.
   */
  readonly kind: 'dead' | 'session-lost' | 'unreachable'
  /** One clause, without secrets. */
  readonly reason: string
}

/** Opens links to one server, one after the other. */
export type LinkSource = {
  /** May throw; then nothing is left open. */
  open(events: LinkEvents): Link
  /** Ends what the links shared. They are closed before. */
  close(): Promise<void>
}
