import type { SnapshotMeta } from '../raft/effects.ts'
import type { Index, Term } from '../raft/entry.ts'
import type { SnapshotStore } from '../storage/snapshot-store.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { SnapshotMessage } from '../wire/snapshot-codec.ts'
import type { ConsensusEvents } from './consensus.ts'
import type { MutableCounters } from './status-report.ts'

/**
 * A leader's snapshot on its way to this node: asks for chunk after chunk from where its disk ends, one at a time, and tells
 * Raft when all of it is durable. One is received at a time, the last that was offered; what was there of another is lost.
 */
export class SnapshotReceiving {
  readonly #options: SnapshotReceivingOptions
  #inbound: Inbound | null = null
  /** Came while the store was at work. */
  #next: { readonly from: NodeId; readonly offer: Offer } | null = null
  #atWork: Promise<void> | undefined

  constructor(options: SnapshotReceivingOptions) {
    this.#options = options
  }

  offered(from: NodeId, offer: Offer): void {
    const { send, term } = this.#options
    if (offer.term < term()) {
      send(from, { kind: 'snapshot-refuse', transfer: offer.transfer, why: `term ${offer.term} is over` })
    } else if (this.#atWork !== undefined) {
      this.#next = { from, offer }
    } else {
      this.#begin(from, offer)
    }
  }

  chunk(from: NodeId, { transfer, offset, bytes }: SnapshotMessage & { kind: 'snapshot-chunk' }): void {
    const inbound = this.#inbound
    const isAwaited = inbound?.from === from && inbound.offer.transfer === transfer && inbound.offset === offset
    if (!isAwaited || this.#atWork !== undefined) return
    const { store, send, counters, log } = this.#options
    const { snapshot, size } = inbound.offer
    this.#work(async () => {
      const answer = await store.receive(snapshot, { offset, size, bytes })
      if (answer === 'more') return this.#ask(inbound, offset + bytes.length)
      if (answer === 'done') {
        counters.snapshotsReceived += 1
        counters.snapshotBytesReceived += size
        return this.#complete(inbound)
      }
      this.#inbound = null
      log('warn', 'snapshot-damaged', { peer: from, index: snapshot.index, bytes: size })
      send(from, { kind: 'snapshot-refuse', transfer, why: 'it is damaged' })
    })
  }

  async end(): Promise<void> {
    this.#next = null
    await this.#atWork
  }

  #begin(from: NodeId, offer: Offer): void {
    const inbound: Inbound = { from, offer, offset: -1 }
    this.#inbound = inbound
    if (offer.snapshot.index <= this.#options.commitIndex()) return this.#complete(inbound)
    if (!this.#options.hasRoomFor(offer.size)) {
      this.#inbound = null
      const why = `there is no room for its ${offer.size} bytes`
      return this.#options.send(from, { kind: 'snapshot-refuse', transfer: offer.transfer, why })
    }
    this.#work(async () => {
      const offset = await this.#options.store.receivedOffset(offer.snapshot, offer.size)
      if (offset >= offer.size) this.#complete(inbound)
      else this.#ask(inbound, offset)
    })
  }

  #ask(inbound: Inbound, offset: number): void {
    const { from, offer } = inbound
    inbound.offset = offset
    this.#options.send(from, { kind: 'snapshot-resume', transfer: offer.transfer, offset })
  }

  /** It is whole and durable here, or this node has all that it stands for. */
  #complete({ from, offer }: Inbound): void {
    const { send, received, log } = this.#options
    this.#inbound = null
    const { transfer, term, snapshot, size } = offer
    log('info', 'snapshot-received', { peer: from, index: snapshot.index, bytes: size })
    send(from, { kind: 'snapshot-end', transfer })
    received({ from, term, snapshot })
  }

  #work(work: () => Promise<void>): void {
    this.#atWork = work().then(
      () => {
        this.#atWork = undefined
        const next = this.#next
        this.#next = null
        if (next !== null) this.offered(next.from, next.offer)
      },
      (error: unknown) => this.#options.failed(error),
    )
  }
}

export type SnapshotReceivingOptions = {
  readonly store: SnapshotStore
  readonly send: (to: NodeId, message: SnapshotMessage) => void
  readonly term: () => Term
  readonly commitIndex: () => Index
  readonly received: (received: { from: NodeId; term: Term; snapshot: SnapshotMeta }) => void
  /** Whether a file of that length is let onto the disk. */
  readonly hasRoomFor: (bytes: number) => boolean
  readonly failed: (error: unknown) => void
  readonly counters: MutableCounters
  readonly log: ConsensusEvents['log']
}

type Offer = SnapshotMessage & { readonly kind: 'snapshot-offer' }

/** `offset`: of the chunk that was asked for; -1: none was yet. */
type Inbound = { readonly from: NodeId; readonly offer: Offer; offset: number }
