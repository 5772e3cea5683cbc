import type { CallEvent } from '../calls/call.ts'
import type { JsonText } from '../std/json-text.ts'
import type { CallId, NodeId, ServerName } from '../vocabulary/ids.ts'
import type { ResultKind } from './translation.ts'

/**
 * Where the answer to one request goes, and what its server says before it: what each transport makes of a request.
 * `finish`, `drop` or `release` is the last word; what is said after it is ignored. A request that needs no server gets
 * `finish` alone.
 */
export type Reply = {
  /**
   * A call begins for the request. `gone` is told at most once, before the last word. Answers whether what arises has to be
   * kept from the start, since the client is given event ids.
   */
  begin(call: CallOfReply, gone: (how: Gone) => void): boolean
  /** Before each try of the call: the node that performs it now. */
  routed(node: NodeId): void
  /** With the client's names in it. */
  hear(event: CallEvent): void
  /** The answer: a whole JSON-RPC response. */
  finish(message: JsonText): void
  /** There is no answer: the client cancelled the request, or gets it on another stream. */
  drop(): void
  /** This node stops: lets the client go so that it comes back for the rest to another. False: it could not. */
  release(): boolean
}

export type CallOfReply = {
  readonly id: CallId
  readonly server: ServerName
  readonly result: ResultKind
  /** The client expects messages before the answer. */
  readonly wantsEvents: boolean
}

/** `left`: the client may come back for the rest by an event id; else its going away cancels. */
export type Gone = { readonly how: 'left' | 'cancelled'; readonly why: 'closed' | 'slow' }
