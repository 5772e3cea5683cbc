import type { CallEvent } from '../calls/call.ts'
import type { JsonText } from '../std/json-text.ts'
import type { EventStream } from './event-stream.ts'
import type { Reply } from './reply.ts'

/**
 * The answer to a request whose client hears everything on one stream. Such a client never goes away from a request alone:
 * its requests end with its session.
 */
export class StreamReply implements Reply {
  readonly #stream: EventStream
  #done = false

  constructor(stream: EventStream) {
    this.#stream = stream
  }

  begin(): boolean {
    return false
  }

  routed(): void {
    // Nothing that the client is given names a node.
  }

  hear({ message }: CallEvent): void {
    if (!this.#done) this.#stream.send(message)
  }

  finish(message: JsonText): void {
    if (!this.#done) this.#stream.send(message)
    this.#done = true
  }

  drop(): void {
    this.#done = true
  }

  release(): boolean {
    return false
  }
}
