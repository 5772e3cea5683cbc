import type { CallId, NodeId, QuestionId, ServerName, SessionId } from '../vocabulary/ids.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'
import type { JsonText } from '../std/json-text.ts'
import type { Signal } from '../std/signal.ts'

/** One MCP request, on its way to the one server that answers it. */
export type Call = {
  readonly id: CallId
  readonly server: ServerName
  /** MCP method: `tools/call`, `resources/read`, `prompts/get`, ... */
  readonly method: string
  /**
   * The client's params with the server's own names in them, otherwise byte for byte. A `_meta.progressToken` is the
   * client's: the upstream replaces it on its way down and restores it on its way back.
   */
  readonly params: JsonText
  /** From start to result; at its end the call is cancelled upstream and its outcome is unknown. Null: the server's own. */
  readonly timeoutMs: number | null
  /** Whose it is; null: nobody's, as an operator's, and then nothing is asked and nothing kept. */
  readonly origin: CallOrigin | null
}

export type CallOrigin = {
  readonly session: SessionId
  /** The client's own id of the request: what its cancellation names. */
  readonly requestId: JsonText
  /** What arises is kept from the start, since the client is given event ids from the start. */
  readonly isKept: boolean
}

/**
 * What a server says to the client before the result: a whole JSON-RPC message, a notification or a question, with the
 * client's progress token and our question ids in it and otherwise as the server wrote it. `seq` counts from 1 in its call.
 */
export type CallEvent = { readonly seq: number; readonly message: JsonText }

/** Who waits for a call. Nothing is told after the outcome has settled. */
export type Caller = {
  hear(event: CallEvent): void
  /** Before each try: where it goes now. What follows, and what is kept of it, comes from that node. */
  routed?(node: NodeId): void
  /** The client does not want it any more; what it said is the reason, see `cancellationOf`. */
  readonly cancelled: Signal
  /** The client has gone and may come back for it: the call goes on, and what arises is kept. Null: it never does. */
  readonly left: Signal | null
}

/**
 * How a call ended. Only `not-sent` and `rejected` may be tried elsewhere; a `result` or `error` is the server's own word
 * and passes untouched; `unknown` means that the work may have been done.
 */
export type Outcome =
  | { readonly kind: 'result'; readonly result: JsonText }
  /** The server's JSON-RPC error object, untouched. */
  | { readonly kind: 'error'; readonly error: JsonText }
  /** Provably never reached a server. */
  | { readonly kind: 'not-sent'; readonly error: OperatingError }
  /** Reached one that refused before it did any work. */
  | { readonly kind: 'rejected'; readonly error: OperatingError }
  | { readonly kind: 'unknown'; readonly error: OperatingError }
  /** The caller cancelled; nobody waits for an answer. */
  | { readonly kind: 'cancelled' }
  /** The caller left; the call goes on without it. */
  | { readonly kind: 'left' }

/**
 * Performs calls on servers that run on this node. Never throws; nothing is heard after the promise has settled, and
 * `left` is none of its outcomes. What is heard are messages as in `CallEvent`.
 */
export type Upstreams = {
  call(call: Call, hear: (message: JsonText) => void, cancelled: Signal): Promise<Outcome>
}

/** Performs calls. Never throws; nothing is told after the promise has settled. */
export type Calls = {
  call(call: Call, caller: Caller): Promise<Outcome>
}

/** What is left of a call on the node that performs it: its events after `after`, and its outcome. */
export type CallRef = {
  readonly id: CallId
  readonly session: SessionId
  /** Seq of the last event that the client has; 0: none. */
  readonly after: number
}

/**
 * Calls that go on, or have just ended, without their caller. Whoever resumes one takes it over: its caller before learns
 * `left`. Of what is not kept, or not of this session, the outcome is `unknown`.
 */
export type Resumable = {
  resume(ref: CallRef, caller: Caller): Promise<Outcome>
}

/** Performs calls on other nodes, over the peer link. The same contract; a call hops once. */
export type Peers = {
  call(node: NodeId, call: Call, caller: Caller): Promise<Outcome>
  resume(node: NodeId, ref: CallRef, caller: Caller): Promise<Outcome>
}

/** What a client says that is no request: of its session, on whichever node it says so. */
export type ClientWord =
  /** To the question's node: `{"result":...}` or `{"error":...}`, members as the client wrote them. */
  | { readonly kind: 'answer'; readonly question: QuestionId; readonly result: JsonText }
  | { readonly kind: 'refusal'; readonly question: QuestionId; readonly error: JsonText }
  /** Of its answer to a question; params with the question's id as `progressToken`. To the question's node. */
  | { readonly kind: 'progress'; readonly question: QuestionId; readonly params: JsonText }
  /** To every node: the one that has the request ends it. `params`: the whole of what the client said. */
  | { readonly kind: 'cancel'; readonly requestId: JsonText; readonly params: JsonText }
  /** To every node: those with upstreams of the session's own pass it on. Null: to the upstreams of all servers. */
  | {
      readonly kind: 'notification'
      readonly server: ServerName | null
      readonly method: string
      /** Null: it has none. */
      readonly params: JsonText | null
    }

/** Takes what a client says; unknown questions and requests are ignored. */
export type ClientWords = {
  say(session: SessionId, word: ClientWord): void
}

/**
 * Messages of clients whose one stream is on another node than the one that took them: the stream's node does with them all
 * that is to be done, and what it answers is the answer to the client.
 */
export type Handing = {
  /** Rejects with an OperatingError; with `outcome-unknown` when the node may have taken it. */
  hand(node: NodeId, session: SessionId, message: Uint8Array): Promise<HandAnswer>
  /** Takes what other nodes hand to this one; the bytes are its own until it returns. Answers how to stop. */
  onHanded(take: TakeHanded): () => void
}

export type TakeHanded = (session: SessionId, message: Uint8Array) => Promise<HandAnswer>

/** In terms of HTTP. A body of null: accepted. */
export type HandAnswer = {
  readonly status: number
  readonly retryAfterS: number | null
  readonly body: JsonText | null
}

/** A server's message to a client outside of any call: a whole JSON-RPC message, as in `CallEvent`. */
export type Mail = {
  /** Rises from mail to mail in the session's box on its node, within one life (`epoch`) of that node's process. */
  readonly seq: number
  readonly server: ServerName
  readonly message: JsonText
}

/** Up to where a client has a node's mail. A box of another epoch is read from its start. */
export type MailPosition = { readonly epoch: number; readonly seq: number }

export type MailReader = {
  /**
   * From where on a node's mail comes, before its first: what the client has of it. To stand in the event id from now on, so
   * that a mail that gets lost on its way to the client is not taken for read.
   */
  at(node: NodeId, position: MailPosition): void
  /** In order, per node. */
  mail(node: NodeId, epoch: number, mail: Mail): void
  /** Another stream of the session, perhaps on another node, reads the mail now; nothing more comes here. */
  displaced(): void
}

/**
 * The mail of all nodes for one session. Without positions: what nobody has read yet. With those of an event id: what is
 * behind them, and of a node that is not among them all that came since the client had none. So the first event id that a
 * client is given has this node's position in it, as told by `at`.
 */
export type Mailroom = {
  /** Answers how to stop. Nothing is told before this has returned. */
  read(session: SessionId, positions: ReadonlyMap<NodeId, MailPosition>, reader: MailReader): () => void
}
