import type { ClientWords, Handing, Peers } from '../calls/call.ts'
import type { CancellableCalls, WordLinks } from '../calls/client-words.ts'
import type { Mailboxes } from '../calls/mailboxes.ts'
import { ClusterMailroom } from '../calls/mailroom.ts'
import type { Log } from '../log/log.ts'
import { unreachable } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import { Paced } from '../std/paced.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'
import { decodeCallMessage, encodeCallMessage } from '../wire/call-codec.ts'
import { frameTypes, isHandFrame, isMailFrame, isWordFrame } from '../wire/frame-types.ts'
import { decodeHandMessage } from '../wire/hand-codec.ts'
import type { LaneLimits } from '../wire/limits.ts'
import { decodeMailMessage } from '../wire/mail-codec.ts'
import { decodeWord } from '../wire/word-codec.ts'
import type { Transport } from '../transport/transport.ts'
import { AskedCalls } from './asked-calls.ts'
import type { CallLimits } from './calls-under-way.ts'
import { HandedMessages } from './handed-messages.ts'
import { LaneSender } from './lane-sender.ts'
import { PeerMail } from './peer-mail.ts'
import { ServedCalls } from './served-calls.ts'
import type { ServeCalls } from './served-calls.ts'

/**
 * The lane `calls`, put together: calls that peers perform for this node, calls that it performs for them, what clients say
 * that is no request, messages for streams of other nodes, and the mail of all nodes. Reads what comes and hands it to the
 * one whom it concerns.
 */
export class CallsLane {
  /** Of sessions whose stream is on this node. */
  readonly mailroom: ClusterMailroom
  readonly #options: CallsLaneOptions
  readonly #asked: AskedCalls
  readonly #served: ServedCalls
  readonly #mail: PeerMail
  readonly #handed: HandedMessages
  readonly #sender: LaneSender
  readonly #unreadable: Paced
  readonly #counters = { framesIgnored: 0, framesMalformed: 0 }

  constructor(options: CallsLaneOptions) {
    this.#options = options
    this.#unreadable = new Paced(options.clock)
    const { node, boxes } = options
    this.#sender = new LaneSender(options)
    const sender = this.#sender
    this.#asked = new AskedCalls({ ...options, sender })
    this.#served = new ServedCalls({ ...options, sender })
    this.#mail = new PeerMail({ ...options, sender, mailroom: () => this.mailroom })
    this.#handed = new HandedMessages({ sender, clock: options.clock })
    this.mailroom = new ClusterMailroom({ self: node, boxes, links: this.#mail })
  }

  get calls(): Peers & CancellableCalls {
    return this.#asked
  }

  get words(): WordLinks {
    return this.#mail
  }

  get handing(): Handing {
    return this.#handed
  }

  get counters(): CallsLaneCounters {
    const { eventsDropped, peersBehind } = this.#served.counters
    const mail = this.#mail.counters
    return { ...this.#counters, eventsDropped, ...mail, peersBehind: peersBehind + mail.peersBehind }
  }

  peerOpened(peer: NodeId): void {
    this.#asked.peerOpened(peer)
    this.#mail.peerOpened(peer)
  }

  /** The lane to the peer is gone, and with it every question in either direction. */
  peerClosed(peer: NodeId): void {
    this.#sender.closed(peer)
    this.#asked.peerClosed(peer)
    this.#served.peerClosed(peer)
    this.#mail.peerClosed(peer)
    this.#handed.peerClosed(peer)
  }

  /** Nobody waits for a link that may come back any more. */
  stop(): void {
    this.#asked.stop()
    this.#mail.stop()
  }

  /** Ends what this node performs for its peers: they are told that the outcome is unknown. */
  abandonServed(why: OperatingError): void {
    this.#served.abandon(why)
  }

  /** A frame of the lane has come from the peer. */
  receive(peer: NodeId, type: number, payload: Uint8Array): void {
    if (isWordFrame(type)) {
      const word = decodeWord(type, payload)
      if ('malformed' in word) this.#malformed(peer, word.malformed)
      else this.#mail.receiveWord(word)
    } else if (isMailFrame(type)) {
      const mail = decodeMailMessage(type, payload)
      if ('malformed' in mail) this.#malformed(peer, mail.malformed)
      else this.#mail.receiveMail(peer, mail)
    } else if (isHandFrame(type)) {
      const message = decodeHandMessage(type, payload)
      if ('malformed' in message) this.#malformed(peer, message.malformed)
      else this.#handed.receive(peer, message)
    } else this.#receiveCall(peer, type, payload)
  }

  #receiveCall(peer: NodeId, type: number, payload: Uint8Array): void {
    const message = decodeCallMessage(type, payload)
    if ('malformed' in message) {
      this.#malformed(peer, message.malformed)
      const { id } = message
      if (id === null) return
      if (type === frameTypes['call-start']) this.#served.refuseUnreadable(peer, id, 'rejected')
      if (type === frameTypes['call-resume']) this.#served.refuseUnreadable(peer, id, 'unknown')
      if (type === frameTypes['call-end']) this.#asked.endUnreadable(peer, id)
      return
    }
    switch (message.kind) {
      case 'call-start':
        return this.#count(this.#served.start(peer, message.call, payload.length))
      case 'call-resume':
        return this.#count(this.#served.resume(peer, message, payload.length))
      case 'call-cancel':
        return this.#count(this.#served.cancel(peer, message.id, message.params))
      case 'call-leave':
        return this.#count(this.#served.leave(peer, message.id))
      case 'call-event':
      case 'call-end':
        return this.#count(this.#asked.receive(peer, message))
      case 'call-behind':
        // Who does not wait any more does not come back either.
        if (!this.#asked.receive(peer, message))
          this.#sender.send(peer, encodeCallMessage({ kind: 'call-leave', id: message.id }))
        return
      default:
        return unreachable(message)
    }
  }

  #count(isKnown: boolean): void {
    if (!isKnown) this.#counters.framesIgnored += 1
  }

  #malformed(peer: NodeId, why: string): void {
    this.#counters.framesMalformed += 1
    const count = this.#unreadable.count()
    if (count !== null) this.#options.log.warn('call-frame-malformed', { peer, why, count })
  }
}

export type CallsLaneOptions = CallLimits & {
  /** This one. */
  readonly node: NodeId
  readonly transport: Pick<Transport, 'send' | 'isOpen'>
  readonly serve: ServeCalls
  /** Of this node. */
  readonly boxes: Pick<Mailboxes, 'open'>
  /** What clients of other nodes say to this one. */
  readonly words: ClientWords
  readonly log: Log
  readonly clock: Clock
  /** Of the lane `calls`: wire/limits. */
  readonly limits: LaneLimits
  /**
   * What may wait for one peer besides the socket's own buffer. A result beyond it becomes `unknown`; what comes again later
   * stops at half of it.
   */
  readonly outboxBytesMax: number
  /** So long the link to a node is waited for that has or had a call which can be resumed. */
  readonly linkWaitMs: (node: NodeId) => number
}

const MiB = 1024 * 1024

export const callsLaneDefaults = {
  callsPerPeerMax: 1024,
  callBytesPerPeerMax: 64 * MiB,
  outboxBytesMax: 64 * MiB,
} as const

/** Monotone. */
export type CallsLaneCounters = {
  /** Frames of calls that nobody waits for, as after a cancellation. */
  readonly framesIgnored: number
  readonly framesMalformed: number
  /** Events too large for a frame, or of calls that can not be resumed. */
  readonly eventsDropped: number
  /** Mail too large for a frame. */
  readonly mailsDropped: number
  /** Too large, or with no link to the node that they were for. */
  readonly wordsDropped: number
  /** Times that a peer was told to come again, because it took events or mail too slowly. */
  readonly peersBehind: number
}
