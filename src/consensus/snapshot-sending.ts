import type { Clock, Timer } from '../std/clock.ts'
import type { MemberProgress, SnapshotMeta } from '../raft/effects.ts'
import type { Index, Term } from '../raft/entry.ts'
import type { SnapshotStore } from '../storage/snapshot-store.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { SnapshotMessage } from '../wire/snapshot-codec.ts'
import type { ConsensusEvents } from './consensus.ts'
import type { MutableCounters } from './status-report.ts'
import { snapshotBytesPerSecond, snapshotChunkBytes, snapshotFailTimeouts, snapshotOfferTimeouts } from './limits.ts'

/**
 * Snapshots on their way to other nodes, one a peer. The receiver asks for each chunk, so one is on its way at a time; all
 * together keep to a rate. A lost answer or a broken connection is answered by a new offer, after which the receiver says
 * where to go on. What does not move for long has failed, and Raft is told so.
 */
export class SnapshotSending {
  readonly #options: SnapshotSendingOptions
  readonly #outbound = new Map<NodeId, Outbound>()
  #transfers = 0
  #ticks = 0
  /** When the rate allows the next chunk, monotonic ms. */
  #freeAtMs = -Infinity

  constructor(options: SnapshotSendingOptions) {
    this.#options = options
  }

  /** The oldest snapshot that is still being read from; null: none is. */
  get oldestIndex(): Index | null {
    const indexes = [...this.#outbound.values()].map(({ snapshot }) => snapshot.index)
    return indexes.length === 0 ? null : Math.min(...indexes)
  }

  send(peer: NodeId, term: Term, snapshot: SnapshotMeta): void {
    this.#drop(peer)
    const outbound: Outbound = {
      peer,
      term,
      snapshot,
      size: 0,
      transfer: 0,
      state: 'offered',
      movedAtTick: this.#ticks,
      saidAtTick: this.#ticks,
      timer: null,
    }
    this.#outbound.set(peer, outbound)
    void this.#reading(outbound, async () => {
      const { size } = await this.#options.store.readChunk(snapshot, 0, 0)
      outbound.size = size
      if (this.#isCurrent(outbound)) this.#offer(outbound)
    })
  }

  received(peer: NodeId, message: Exclude<SnapshotMessage, { kind: 'snapshot-offer' | 'snapshot-chunk' }>): void {
    const outbound = this.#outbound.get(peer)
    if (outbound === undefined || outbound.transfer !== message.transfer || outbound.state === 'failed') return
    outbound.saidAtTick = this.#ticks
    switch (message.kind) {
      case 'snapshot-resume':
        if (outbound.state !== 'offered' || message.offset >= outbound.size) return undefined
        outbound.movedAtTick = this.#ticks
        return this.#sendChunk(outbound, message.offset)
      case 'snapshot-end':
        outbound.state = 'delivered'
        outbound.movedAtTick = this.#ticks
        this.#options.counters.snapshotsSent += 1
        this.#options.counters.snapshotBytesSent += outbound.size
        this.#options.log('info', 'snapshot-sent', { peer, index: outbound.snapshot.index, bytes: outbound.size })
        return undefined
      case 'snapshot-refuse':
        return this.#fail(outbound, message.why)
    }
  }

  /** A connection on which a transfer may go on. */
  laneOpened(peer: NodeId): void {
    const outbound = this.#outbound.get(peer)
    if (outbound?.state === 'offered') this.#offerAgain(outbound)
  }

  tick(): void {
    this.#ticks += 1
    const { electionTicks, progressOf, failed } = this.#options
    for (const outbound of this.#outbound.values()) {
      const { peer, snapshot, state } = outbound
      if (progressOf(peer)?.state !== 'snapshot') this.#drop(peer)
      else if (state === 'failed' && this.#ticks - outbound.movedAtTick > electionTicks) {
        this.#drop(peer)
        failed(peer)
      } else if (state !== 'failed' && this.#ticks - outbound.movedAtTick > snapshotFailTimeouts * electionTicks)
        this.#fail(
          outbound,
          `nothing of snapshot ${snapshot.index} moved for ${snapshotFailTimeouts} election timeouts`,
        )
      else if (state === 'offered' && this.#ticks - outbound.saidAtTick > snapshotOfferTimeouts * electionTicks)
        this.#offerAgain(outbound)
    }
  }

  end(): void {
    for (const peer of this.#outbound.keys()) this.#drop(peer)
  }

  /** Not before the disk has said how long it is. */
  #offerAgain(outbound: Outbound): void {
    if (outbound.size > 0) this.#offer(outbound)
  }

  #offer(outbound: Outbound): void {
    const { peer, term, snapshot, size } = outbound
    outbound.transfer = this.#transfers += 1
    outbound.saidAtTick = this.#ticks
    this.#options.send(peer, { kind: 'snapshot-offer', transfer: outbound.transfer, term, snapshot, size })
  }

  #sendChunk(outbound: Outbound, offset: number): void {
    const { store, clock, send } = this.#options
    const { peer, snapshot, size, transfer } = outbound
    outbound.state = 'reading'
    const now = clock.monotonic()
    const waitMs = Math.max(0, this.#freeAtMs - now)
    const bytesToCome = Math.min(snapshotChunkBytes, size - offset)
    this.#freeAtMs = Math.max(now, this.#freeAtMs) + (bytesToCome * 1000) / snapshotBytesPerSecond
    outbound.timer = clock.after(waitMs, () => {
      outbound.timer = null
      void this.#reading(outbound, async () => {
        const { bytes } = await store.readChunk(snapshot, offset, snapshotChunkBytes)
        if (!this.#isCurrent(outbound)) return
        // If it does not leave, the next offer brings the receiver's answer to where it is.
        outbound.state = 'offered'
        outbound.saidAtTick = this.#ticks
        send(peer, { kind: 'snapshot-chunk', transfer, offset, bytes })
      })
    })
  }

  async #reading(outbound: Outbound, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (this.#isCurrent(outbound)) this.#fail(outbound, error)
    }
  }

  /** Raft hears of it a while later, since it may begin again at once. */
  #fail(outbound: Outbound, why: unknown): void {
    const { peer, snapshot } = outbound
    outbound.timer?.cancel()
    outbound.state = 'failed'
    outbound.movedAtTick = this.#ticks
    this.#options.log('warn', 'snapshot-not-sent', { peer, index: snapshot.index, why })
  }

  #isCurrent(outbound: Outbound): boolean {
    return this.#outbound.get(outbound.peer) === outbound
  }

  #drop(peer: NodeId): void {
    this.#outbound.get(peer)?.timer?.cancel()
    this.#outbound.delete(peer)
  }
}

export type SnapshotSendingOptions = {
  readonly store: SnapshotStore
  readonly clock: Clock
  readonly electionTicks: number
  readonly send: (to: NodeId, message: SnapshotMessage) => void
  /** While this node leads: what Raft knows of the member. */
  readonly progressOf: (peer: NodeId) => MemberProgress | undefined
  readonly failed: (peer: NodeId) => void
  readonly counters: MutableCounters
  readonly log: ConsensusEvents['log']
}

type Outbound = {
  readonly peer: NodeId
  readonly term: Term
  readonly snapshot: SnapshotMeta
  /** As stored; 0 until that is read. */
  size: number
  /** Of the newest offer. */
  transfer: number
  /** 'offered': the receiver's word is awaited, 'delivered': Raft's. 'failed': Raft hears of it soon. */
  state: 'offered' | 'reading' | 'delivered' | 'failed'
  /** When it last got ahead, and when something was last said, either way. */
  movedAtTick: number
  saidAtTick: number
  timer: Timer | null
}
