import type { Clock } from '../std/clock.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { Transport } from '../transport/transport.ts'
import { payloadBytesMax } from '../wire/limits.ts'
import type { LaneLimits } from '../wire/limits.ts'
import { Outbox } from './outbox.ts'

/** Frames to peers over the lane `calls`, in order: what the send buffer does not take waits in the peer's outbox, bounded. */
export class LaneSender {
  readonly payloadBytesMax: number
  readonly #options: LaneSenderOptions
  readonly #outboxes = new Map<NodeId, Outbox>()

  constructor(options: LaneSenderOptions) {
    this.#options = options
    this.payloadBytesMax = payloadBytesMax(options.limits)
  }

  isOpen(peer: NodeId): boolean {
    return this.#options.transport.isOpen(peer, callsLane)
  }

  /** False: it provably has not left, nor ever will. */
  sendNow(peer: NodeId, { type, payload }: EncodedFrame): boolean {
    return this.#options.transport.send(peer, callsLane, type, payload)
  }

  /** What ends something, or is small and has to arrive as long as the link stands. */
  send(peer: NodeId, { type, payload }: EncodedFrame): void {
    if (this.isOpen(peer)) this.#outbox(peer).push(type, payload, Number.POSITIVE_INFINITY)
  }

  /** False: more than the outbox may hold would wait, or the lane is closed. */
  sendWithin(peer: NodeId, { type, payload }: EncodedFrame): boolean {
    return this.isOpen(peer) && this.#outbox(peer).push(type, payload, this.#options.outboxBytesMax)
  }

  /** As `sendWithin`, for what comes again later or may be missed: it leaves half of the outbox to the rest. */
  sendIfRoom(peer: NodeId, { type, payload }: EncodedFrame): boolean {
    return this.isOpen(peer) && this.#outbox(peer).push(type, payload, this.#options.outboxBytesMax / 2)
  }

  /** The lane to the peer is gone. */
  closed(peer: NodeId): void {
    this.#outboxes.get(peer)?.clear()
    this.#outboxes.delete(peer)
  }

  #outbox(peer: NodeId): Outbox {
    const known = this.#outboxes.get(peer)
    if (known !== undefined) return known
    const { transport, clock } = this.#options
    const send = (type: number, payload: Uint8Array): boolean => transport.send(peer, callsLane, type, payload)
    const outbox = new Outbox({ send, clock })
    this.#outboxes.set(peer, outbox)
    return outbox
  }
}

export type EncodedFrame = { readonly type: number; readonly payload: Uint8Array }

export type LaneSenderOptions = {
  readonly transport: Pick<Transport, 'send' | 'isOpen'>
  readonly clock: Clock
  /** Of the lane `calls`: wire/limits. */
  readonly limits: LaneLimits
  /** What may wait for one peer besides the socket's own buffer. */
  readonly outboxBytesMax: number
}

export const callsLane = 'calls'
