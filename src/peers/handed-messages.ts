import type { HandAnswer, Handing, TakeHanded } from '../calls/call.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { NodeId, SessionId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { encodeHandMessage } from '../wire/hand-codec.ts'
import type { HandMessage } from '../wire/hand-codec.ts'
import type { LaneSender } from './lane-sender.ts'

/**
 * Clients' messages between nodes: hands those of this node's clients to the nodes of their streams, and waits for each
 * answer no longer than the link stands; has those that peers hand over taken here, and answers each once.
 */
export class HandedMessages implements Handing {
  readonly #options: HandedMessagesOptions
  /** At most `handsMax`. */
  readonly #waiting = new Map<number, Waiting>()
  #lastNumber = 0
  #take: TakeHanded | null = null

  constructor(options: HandedMessagesOptions) {
    this.#options = options
  }

  hand(node: NodeId, session: SessionId, message: Uint8Array): Promise<HandAnswer> {
    const { sender, clock } = this.#options
    if (this.#waiting.size >= handsMax)
      return Promise.reject(
        new OperatingError('overloaded', `${handsMax} messages wait for other nodes already`, soonAgain),
      )
    const number = (this.#lastNumber += 1)
    const frame = encodeHandMessage({ kind: 'hand', number, session, message })
    if (frame.payload.length > sender.payloadBytesMax || !sender.sendWithin(node, frame))
      return Promise.reject(unreachable(node))
    return new Promise((resolve, reject) => {
      const timer = clock.after(handMs, () => this.#end(number)?.reject(unknown(node)))
      this.#waiting.set(number, { node, timer, resolve, reject })
    })
  }

  onHanded(take: TakeHanded): () => void {
    this.#take = take
    return () => {
      if (this.#take === take) this.#take = null
    }
  }

  receive(peer: NodeId, message: HandMessage): void {
    if (message.kind === 'hand') return this.#takeFrom(peer, message)
    const { number, answer } = message
    if (this.#waiting.get(number)?.node !== peer) return
    const waiting = this.#end(number)
    if (answer === null) waiting?.reject(unreachable(peer))
    else waiting?.resolve(answer)
  }

  /** Nobody knows what has become of what was on its way. */
  peerClosed(peer: NodeId): void {
    for (const [number, { node }] of this.#waiting) if (node === peer) this.#end(number)?.reject(unknown(peer))
  }

  #takeFrom(peer: NodeId, { number, session, message }: HandMessage & { readonly kind: 'hand' }): void {
    const answer = (of: HandAnswer | null): void =>
      this.#options.sender.send(peer, encodeHandMessage({ kind: 'handed', number, answer: of }))
    if (this.#take === null) answer(null)
    else void this.#take(session, message).then(answer)
  }

  #end(number: number): Waiting | undefined {
    const waiting = this.#waiting.get(number)
    this.#waiting.delete(number)
    waiting?.timer.cancel()
    return waiting
  }
}

export type HandedMessagesOptions = { readonly sender: LaneSender; readonly clock: Clock }

type Waiting = {
  readonly node: NodeId
  readonly timer: Timer
  resolve(answer: HandAnswer): void
  reject(error: OperatingError): void
}

const handsMax = 4096
/** Longer than a session takes to begin, without a majority too. */
const handMs = 10_000
const soonAgain = { retry: 'after', retryAfterMs: 1000 } as const

function unreachable(node: NodeId): OperatingError {
  return new OperatingError('server-unavailable', `node ${node}, which has the stream, takes nothing now`, soonAgain)
}

function unknown(node: NodeId): OperatingError {
  return new OperatingError('outcome-unknown', `node ${node}, which has the stream, may have taken the message or not`)
}
