import type { NodeId, SessionId } from '../vocabulary/ids.ts'
import type { Mail, MailPosition, MailReader, Mailroom } from './call.ts'
import type { BoxReader, Mailboxes, MailOpening } from './mailboxes.ts'

/**
 * The mail of all nodes for the sessions whose stream is on this one: reads the boxes of this node and of every node that
 * there is a link to, opens them again where it stood when a link comes back, and ends when another stream of the session
 * takes over. A session has one reading here; a later one displaces it.
 */
export class ClusterMailroom implements Mailroom {
  readonly #options: MailroomOptions
  readonly #readings = new Map<number, Reading>()
  readonly #bySession = new Map<SessionId, Reading>()
  #lastNumber = 0

  constructor(options: MailroomOptions) {
    this.#options = options
  }

  /** A gauge. */
  get size(): number {
    return this.#readings.size
  }

  /** Nothing is told before this has returned. */
  read(session: SessionId, positions: ReadonlyMap<NodeId, MailPosition>, reader: MailReader): () => void {
    const before = this.#bySession.get(session)
    if (before !== undefined) this.#displace(before)
    this.#lastNumber += 1
    const reading: Reading = {
      number: this.#lastNumber,
      session,
      reader,
      positions: new Map(positions),
      hasPositions: positions.size > 0,
      opened: new Set(),
      isOpen: false,
      closeHere: () => undefined,
    }
    this.#readings.set(reading.number, reading)
    this.#bySession.set(session, reading)
    queueMicrotask(() => this.#open(reading))
    return () => this.#end(reading)
  }

  /** There is a link to the node now. */
  linked(node: NodeId): void {
    for (const reading of this.#readings.values()) if (reading.isOpen) this.#openAt(node, reading, true)
  }

  /** What comes from the node's boxes, each under the number of its reading; of readings that are over it is ignored. */
  opened(node: NodeId, number: number, position: MailPosition): void {
    const reading = this.#readings.get(number)
    reading?.positions.set(node, position)
    reading?.reader.at(node, position)
  }

  mail(node: NodeId, number: number, { epoch, mail }: { readonly epoch: number; readonly mail: Mail }): void {
    const reading = this.#readings.get(number)
    reading?.positions.set(node, { epoch, seq: mail.seq })
    reading?.reader.mail(node, epoch, mail)
  }

  /** The node could not send all and has closed the box. */
  behind(node: NodeId, number: number): void {
    const reading = this.#readings.get(number)
    if (reading !== undefined) this.#openAt(node, reading, true)
  }

  displaced(number: number): void {
    const reading = this.#readings.get(number)
    if (reading !== undefined) this.#displace(reading)
  }

  #open(reading: Reading): void {
    const { self, boxes, links } = this.#options
    if (this.#readings.get(reading.number) !== reading) return
    reading.isOpen = true
    const { number } = reading
    let epoch = 0
    const box: BoxReader = {
      at: (position) => {
        epoch = position.epoch
        this.opened(self, number, position)
      },
      mail: (mail) => {
        this.mail(self, number, { epoch, mail })
        return true
      },
      displaced: () => this.displaced(number),
    }
    reading.closeHere = boxes.open(openingOf(self, reading, false), box)
    for (const node of links.nodes()) this.#openAt(node, reading, false)
  }

  #openAt(node: NodeId, reading: Reading, isAgain: boolean): void {
    this.#options.links.open(node, reading.number, openingOf(node, reading, isAgain))
    reading.opened.add(node)
  }

  #displace(reading: Reading): void {
    this.#end(reading)
    reading.reader.displaced()
  }

  #end(reading: Reading): void {
    if (!this.#readings.delete(reading.number)) return
    if (this.#bySession.get(reading.session) === reading) this.#bySession.delete(reading.session)
    reading.closeHere()
    const { links } = this.#options
    for (const node of links.nodes()) links.close(node, reading.number, reading.positions.get(node)?.seq ?? null)
  }
}

export type MailroomOptions = {
  readonly self: NodeId
  readonly boxes: Pick<Mailboxes, 'open'>
  readonly links: MailLinks
}

/** The boxes of other nodes. What comes of them is told to the mailroom. */
export type MailLinks = {
  /** To which there is a link now. */
  nodes(): Iterable<NodeId>
  open(node: NodeId, reading: number, opening: MailOpening): void
  /** `arrived`: up to which of its mail has come; null: none, nor from where on it would. */
  close(node: NodeId, reading: number, arrived: number | null): void
}

/** One stream of a client; as many as the gateway has streams. */
type Reading = {
  readonly number: number
  readonly session: SessionId
  readonly reader: MailReader
  /** Up to where mail has come, by node. */
  readonly positions: Map<NodeId, MailPosition>
  /** Its client came with an event id. */
  readonly hasPositions: boolean
  /** Nodes whose boxes it has asked for. */
  readonly opened: Set<NodeId>
  /** The boxes of this node and of those that were linked then have been asked for. */
  isOpen: boolean
  closeHere: () => void
}

function openingOf(node: NodeId, { session, positions, hasPositions, opened }: Reading, isAgain: boolean): MailOpening {
  const isFresh = !hasPositions && !opened.has(node)
  return { session, position: positions.get(node) ?? null, isFresh, isAgain }
}
