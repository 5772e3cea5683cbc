import type { CallEvent } from '../calls/call.ts'
import type { JsonText } from '../std/json-text.ts'
import type { Reply } from './reply.ts'

/**
 * The answer to a request whose client hears everything on one stream, which another node may hold: it goes, as all that is
 * said before it, into the session's mail on this node. Its client never goes away from a request alone: its requests end
 * with its session.
 */
export class MailReply implements Reply {
  readonly #put: (message: JsonText) => void
  #done = false

  constructor(put: (message: JsonText) => void) {
    this.#put = put
  }

  begin(): boolean {
    return false
  }

  routed(): void {
    // Nothing that the client is given names a node.
  }

  hear({ message }: CallEvent): void {
    if (!this.#done) this.#put(message)
  }

  finish(message: JsonText): void {
    if (this.#done) return
    this.#done = true
    this.#put(message)
  }

  drop(): void {
    this.#done = true
  }

  release(): boolean {
    return false
  }
}
