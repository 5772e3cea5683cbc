import type { Mail, MailPosition, Mailroom } from '../calls/call.ts'
import type { JsonText } from '../std/json-text.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { positionsMax, printFeedEventId } from './event-ids.ts'
import type { FeedEventId, ListDigests } from './event-ids.ts'
import { notificationMessage } from './json-rpc.ts'
import { changingLists } from './list-digests.ts'
import type { ListeningStream, LocalSession } from './local-session.ts'

/**
 * All that comes to a session outside of its requests: the mail of all nodes, and which lists have changed. Each message
 * comes with the event id from which any node goes on with exactly what follows it. Transports give it a sink.
 */
export type SessionFeedOptions = {
  readonly session: LocalSession
  readonly mailroom: Mailroom
  /** Of the session's scope now. */
  digests(): ListDigests
  /** A server's message with the names that the client knows. */
  translate(mail: Mail): JsonText
  readonly sink: FeedSink
  /** Up to where the client has been told; null: what nobody has told it yet. */
  readonly from: FeedEventId | null
}

export type FeedSink = {
  /** `id` is for transports whose clients can come back with it. */
  send(message: JsonText, id: string): void
  /** There is nothing to say, but this is where the client is now. */
  move(id: string): void
  /** Nothing more is sent: close the client's stream. */
  end(): void
}

export class SessionFeed implements ListeningStream {
  readonly #options: SessionFeedOptions
  readonly #positions: Map<NodeId, MailPosition>
  #told: ListDigests
  #stopReading: (() => void) | null = null
  #isOpen = false
  #closed = false

  constructor(options: SessionFeedOptions) {
    this.#options = options
    this.#positions = new Map(options.from?.positions)
    this.#told = options.from?.told ?? options.session.told ?? options.digests()
  }

  /** Where the client is now. */
  get eventId(): string {
    return printFeedEventId({ told: this.#told, positions: this.#positions })
  }

  /** From now on the session listens here, and nowhere else. It is told nothing yet. */
  attach(): void {
    this.#options.session.listen(this)
  }

  /** Its client has the answer to initialize: from now on it is told what has come, and what comes. */
  open(): void {
    if (this.#closed) return
    const { session, mailroom, from } = this.#options
    this.#told = from?.told ?? session.told ?? this.#told
    this.#isOpen = true
    this.catalogChanged()
    this.#stopReading = mailroom.read(session.id, new Map(this.#positions), {
      at: (node, position) => {
        this.#move(node, position)
        if (!this.#closed) this.#options.sink.move(this.eventId)
      },
      mail: (node, epoch, mail) => this.#mail(node, epoch, mail),
      displaced: () => this.end(),
    })
  }

  /** Tells each list that is another one than the client was told of. */
  catalogChanged(): void {
    if (!this.#isOpen) return
    const now = this.#options.digests()
    for (const list of changingLists) {
      if (now[list] === this.#told[list]) continue
      this.#told = { ...this.#told, [list]: now[list] }
      this.#send(notificationMessage(`notifications/${list}/list_changed`))
    }
    this.#options.session.told = this.#told
  }

  /** By our side. */
  end(): void {
    if (this.close()) this.#options.sink.end()
  }

  /** The client has gone. False: the feed was closed before. */
  close(): boolean {
    if (this.#closed) return false
    this.#closed = true
    this.#stopReading?.()
    this.#options.session.hungUp(this)
    return true
  }

  #mail(node: NodeId, epoch: number, mail: Mail): void {
    if (this.#closed) return
    this.#move(node, { epoch, seq: mail.seq })
    this.#send(this.#options.translate(mail))
  }

  #move(node: NodeId, position: MailPosition): void {
    // Behind the others: those heard of longest ago are the first to be forgotten.
    this.#positions.delete(node)
    this.#positions.set(node, position)
    for (const oldest of this.#positions.keys()) {
      if (this.#positions.size <= positionsMax) break
      this.#positions.delete(oldest)
    }
  }

  #send(message: JsonText): void {
    if (!this.#closed) this.#options.sink.send(message, this.eventId)
  }
}
