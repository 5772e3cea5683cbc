import type { ClientWord, ClientWords } from '../calls/call.ts'
import type { WordLinks } from '../calls/client-words.ts'
import type { CloseBox, Mailboxes, MailOpening } from '../calls/mailboxes.ts'
import type { ClusterMailroom, MailLinks } from '../calls/mailroom.ts'
import type { Log } from '../log/log.ts'
import type { Clock } from '../std/clock.ts'
import { Paced } from '../std/paced.ts'
import type { NodeId, SessionId } from '../vocabulary/ids.ts'
import { encodeMailMessage } from '../wire/mail-codec.ts'
import type { MailMessage } from '../wire/mail-codec.ts'
import { encodeWord } from '../wire/word-codec.ts'
import type { SaidWord } from '../wire/word-codec.ts'
import type { EncodedFrame, LaneSender } from './lane-sender.ts'
import { LinkWaits } from './link-waits.ts'
import type { LinkWaitsOptions } from './link-waits.ts'

/**
 * Mail and clients' words between nodes: opens the boxes of this node to peers, and theirs to this node's mailroom. A peer
 * that does not take mail as fast as it comes is told once that it is behind, and opens the box again where it stands. What
 * a client says for a node whose link just broke waits for the next one.
 */
export class PeerMail implements MailLinks, WordLinks {
  readonly #options: PeerMailOptions
  readonly #peers = new Set<NodeId>()
  /** How to close the boxes that peers read, by the peer's number of its reading; as many as there are sessions. */
  readonly #opened = new Map<NodeId, Map<number, CloseBox>>()
  /** Words that wait for the link to their node, at most `wordsWaitingMax` with `wordBytesWaitingMax`. */
  readonly #links: LinkWaits
  #wordsWaiting = 0
  #wordBytesWaiting = 0
  readonly #dropped: Paced
  readonly #counters = { wordsDropped: 0, mailsDropped: 0, peersBehind: 0 }

  constructor(options: PeerMailOptions) {
    this.#options = options
    this.#links = new LinkWaits(options)
    this.#dropped = new Paced(options.clock)
  }

  get counters(): Readonly<PeerMailCounters> {
    return this.#counters
  }

  nodes(): Iterable<NodeId> {
    return this.#peers
  }

  open(node: NodeId, reading: number, opening: MailOpening): void {
    this.#send(node, { kind: 'mail-open', reading, ...opening })
  }

  close(node: NodeId, reading: number, arrived: number | null): void {
    this.#send(node, { kind: 'mail-close', reading, arrived })
  }

  say(node: NodeId, session: SessionId, word: ClientWord): void {
    const { sender } = this.#options
    const frame = encodeWord({ session, word })
    const { length } = frame.payload
    const hasRoom = this.#wordsWaiting < wordsWaitingMax && this.#wordBytesWaiting + length <= wordBytesWaitingMax
    if (!sender.isOpen(node) && hasRoom) void this.#sayLater(node, word.kind, frame)
    else this.#sayNow(node, word.kind, frame)
  }

  peerOpened(peer: NodeId): void {
    this.#peers.add(peer)
    this.#links.opened(peer)
    this.#options.mailroom().linked(peer)
  }

  peerClosed(peer: NodeId): void {
    this.#peers.delete(peer)
    const opened = this.#opened.get(peer)
    this.#opened.delete(peer)
    for (const close of opened?.values() ?? []) close()
  }

  /** Nobody waits for a link any more. */
  stop(): void {
    this.#links.stop()
  }

  receiveWord({ session, word }: SaidWord): void {
    this.#options.words.say(session, word)
  }

  receiveMail(peer: NodeId, message: MailMessage): void {
    const mailroom = this.#options.mailroom()
    switch (message.kind) {
      case 'mail-open':
        return this.#openBox(peer, message.reading, message)
      case 'mail-close':
        this.#opened.get(peer)?.get(message.reading)?.(message.arrived ?? undefined)
        this.#opened.get(peer)?.delete(message.reading)
        return
      case 'mail-opened':
        return mailroom.opened(peer, message.reading, message.position)
      case 'mail':
        return mailroom.mail(peer, message.reading, message)
      case 'mail-behind':
        return mailroom.behind(peer, message.reading)
      case 'mail-displaced':
        return mailroom.displaced(message.reading)
    }
  }

  async #sayLater(node: NodeId, kind: ClientWord['kind'], frame: EncodedFrame): Promise<void> {
    this.#wordsWaiting += 1
    this.#wordBytesWaiting += frame.payload.length
    await this.#links.wait(node, null)
    this.#wordsWaiting -= 1
    this.#wordBytesWaiting -= frame.payload.length
    this.#sayNow(node, kind, frame)
  }

  #sayNow(node: NodeId, kind: ClientWord['kind'], frame: EncodedFrame): void {
    const { sender, log } = this.#options
    const { length } = frame.payload
    if (length <= sender.payloadBytesMax && sender.sendWithin(node, frame)) return
    this.#counters.wordsDropped += 1
    // Clients choose to which node they answer, and how often.
    const count = this.#dropped.count()
    if (count !== null) log.warn('client-word-dropped', { peer: node, kind, bytes: length, count })
  }

  #openBox(peer: NodeId, reading: number, opening: MailOpening): void {
    const opened = this.#opened.get(peer) ?? new Map<number, CloseBox>()
    this.#opened.set(peer, opened)
    opened.get(reading)?.()
    opened.delete(reading)
    let epoch = 0
    let isOver = false
    const over = (message: MailMessage): void => {
      isOver = true
      opened.delete(reading)
      this.#send(peer, message)
    }
    const close = this.#options.boxes.open(opening, {
      at: (position) => {
        epoch = position.epoch
        this.#send(peer, { kind: 'mail-opened', reading, position })
      },
      mail: (mail) => {
        const { sender } = this.#options
        const frame = encodeMailMessage({ kind: 'mail', reading, epoch, mail })
        if (frame.payload.length > sender.payloadBytesMax) {
          this.#counters.mailsDropped += 1
          return true
        }
        if (sender.sendIfRoom(peer, frame)) return true
        this.#counters.peersBehind += 1
        over({ kind: 'mail-behind', reading })
        return false
      },
      displaced: () => over({ kind: 'mail-displaced', reading }),
    })
    if (!isOver) opened.set(reading, close)
  }

  #send(peer: NodeId, message: MailMessage): void {
    this.#options.sender.send(peer, encodeMailMessage(message))
  }
}

export type PeerMailOptions = LinkWaitsOptions & {
  readonly sender: LaneSender
  /** Of this node. */
  readonly boxes: Pick<Mailboxes, 'open'>
  /** What clients of other nodes say to this one. */
  readonly words: ClientWords
  /** Known once there is a link at all: the mailroom reads over this. */
  mailroom(): Pick<ClusterMailroom, 'linked' | 'opened' | 'mail' | 'behind' | 'displaced'>
  readonly log: Log
  readonly clock: Pick<Clock, 'monotonic' | 'after'>
}

/** Mail too large for a frame, words that could not be sent. */
export type PeerMailCounters = { wordsDropped: number; mailsDropped: number; peersBehind: number }

/** Beyond them, what can not be sent at once is dropped. */
const wordsWaitingMax = 256
const wordBytesWaitingMax = 4 * 1024 * 1024
