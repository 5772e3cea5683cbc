import type { SessionRecord } from '../state/command.ts'
import { assert } from '../std/assert.ts'
import type { JsonText } from '../std/json-text.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import type { ListDigests } from './event-ids.ts'
import type { RequestId } from './json-rpc.ts'
import { LevelsTold } from './levels-told.ts'
import { scopeOfPath } from './scope.ts'
import type { Scope } from './scope.ts'

/**
 * What is there of a client's session on this node: its requests under way here, and the stream on which it listens here.
 * The session itself is the cluster's (its record); any node may have a part of it at any time, and most have none.
 */

/** What there is of a session before its client has said anything. */
export type SessionPlace = Pick<SessionRecord, 'id' | 'path'>

/** A request of the session that has no answer yet. */
export type RequestUnderWay = {
  readonly id: RequestId
  /** The client does not want it any more and says so with `params`, or its session has ended: no answer follows. */
  cancel(params: JsonText | null): void
  /** The node stops: the client comes back for it to another node, or gets an error. */
  abandon(): void
}

/**
 * The one stream of the session that brings what belongs to no request: the standalone stream of Streamable HTTP, or the
 * stream of HTTP+SSE. Each is a `SessionFeed` with a sink of its transport.
 */
export type ListeningStream = {
  /** The catalog may be another one now. */
  catalogChanged(): void
  /** The session has ended, another stream takes the place of this one, or the node stops. */
  end(): void
}

export class LocalSession {
  readonly id: SessionId
  readonly scope: Scope
  /** The lists that the client was told of last by this node; null: by none that this node knows of. */
  told: ListDigests | null = null
  readonly levels = new LevelsTold()
  /** The cluster did not have it when it was last looked for. */
  isMissing = false
  /** Mostly one, and it changes with every request: a Set would be made anew each time. */
  readonly #requests: RequestUnderWay[] = []
  #stream: ListeningStream | null = null

  constructor(record: SessionPlace) {
    const scope = scopeOfPath(record.path)
    assert(scope !== undefined, 'a session begins at an address of ours')
    this.id = record.id
    this.scope = scope
  }

  get requests(): number {
    return this.#requests.length
  }

  get isListening(): boolean {
    return this.#stream !== null
  }

  begin(request: RequestUnderWay): void {
    this.#requests.push(request)
  }

  end(request: RequestUnderWay): void {
    const at = this.#requests.indexOf(request)
    if (at !== -1) this.#requests.splice(at, 1)
  }

  /** Cancels the requests with exactly this id; answers how many. */
  cancel(key: RequestId['key'], params: JsonText): number {
    const meant = this.#requests.filter((request) => request.id.key === key)
    for (const request of meant) request.cancel(params)
    return meant.length
  }

  /** The newer stream takes the place of the older one. */
  listen(stream: ListeningStream): void {
    const before = this.#stream
    this.#stream = stream
    before?.end()
  }

  hungUp(stream: ListeningStream): void {
    if (this.#stream === stream) this.#stream = null
  }

  catalogChanged(): void {
    this.#stream?.catalogChanged()
  }

  /** The session has ended: nothing of it is left here. */
  close(): void {
    this.#stream?.end()
    for (const request of this.#requests.slice()) request.cancel(null)
  }

  /** The node stops: the session goes on elsewhere. */
  abandon(): void {
    // Their answers may be on the stream.
    for (const request of this.#requests.slice()) request.abandon()
    this.#stream?.end()
  }
}
