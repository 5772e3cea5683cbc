import type { Clock } from '../std/clock.ts'
import type { Persist, RaftEvent, SnapshotMeta } from '../raft/effects.ts'
import { entryBytes } from '../raft/entry.ts'
import type { Entry, Index } from '../raft/entry.ts'
import type { Raft } from '../raft/raft.ts'
import type { SnapshotStore } from '../storage/snapshot-store.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { snapshotBytesMax } from '../wire/limits.ts'
import type { SnapshotMessage } from '../wire/snapshot-codec.ts'
import type { ConsensusEvents, ConsensusOptions } from './consensus.ts'
import { SnapshotReceiving } from './snapshot-receiving.ts'
import { SnapshotSending } from './snapshot-sending.ts'
import { StateFeed } from './state-feed.ts'
import type { MutableCounters } from './status-report.ts'

/**
 * All about snapshots that the loop has to do for a started Raft: asks the state machine for one when the log has grown,
 * makes it durable before Raft hears of it, gives it to the state machine and to other nodes, and deletes what is older once
 * the log stands on a newer one; also one that turns out to be damaged. A failed write ends the node (R11).
 */
export class Snapshots {
  readonly #options: SnapshotsOptions
  readonly #feed: StateFeed
  readonly #sending: SnapshotSending
  readonly #receiving: SnapshotReceiving
  /** Entries, and their bytes, that were committed since the newest snapshot was asked for, or restored. */
  #entries = 0
  #bytes = 0
  /** 'asked': the state machine is at it. 'saving': its bytes are being written. */
  #state: 'waiting' | 'asked' | 'saving' = 'waiting'
  #saving: Promise<void> | undefined
  /** What the log on the disk stands on. */
  #current: SnapshotMeta | null
  /** It was found damaged: another takes its place, be it of the same index. `isAsked`: the state machine was asked for it. */
  #damaged: { readonly snapshot: SnapshotMeta; isAsked: boolean } | null = null
  #toPrune: SnapshotMeta | null = null
  #pruning: Promise<void> | undefined
  #ended = false

  constructor(options: SnapshotsOptions) {
    const { store, clock, events, electionTicks, raft, send, step, counters, hasRoomFor } = options
    const log = events.log.bind(events)
    const failed = (error: unknown): void => this.#fail(error)
    this.#options = options
    this.#current = options.current
    this.#feed = new StateFeed({ store, events, restored: () => this.#ask(), failed })
    this.#sending = new SnapshotSending({
      store,
      clock,
      electionTicks,
      send,
      progressOf: (peer) => raft.status().progress.find(({ node }) => node === peer),
      failed: (peer) => step({ kind: 'snapshot-failed', peer }),
      counters,
      log,
    })
    this.#receiving = new SnapshotReceiving({
      store,
      send,
      term: () => raft.status().term,
      commitIndex: () => raft.status().commitIndex,
      received: (received) => step({ kind: 'snapshot-received', ...received }),
      hasRoomFor,
      failed,
      counters,
      log,
    })
  }

  /** What the log on the disk stands on; null: it goes back to entry 1. */
  get current(): SnapshotMeta | null {
    return this.#current
  }

  /** That one is damaged: a new one is asked for at once. */
  replace(damaged: SnapshotMeta): void {
    this.#damaged = { snapshot: damaged, isAsked: false }
    this.#ask()
  }

  /** The state machine begins anew from it. */
  restore(snapshot: SnapshotMeta): void {
    this.#entries = 0
    this.#bytes = 0
    this.#feed.restore(snapshot)
  }

  apply(entries: readonly Entry[]): void {
    this.#feed.apply(entries)
    this.#entries += entries.length
    for (const entry of entries) this.#bytes += entryBytes(entry)
    this.#ask()
  }

  send(peer: NodeId, { term, snapshot }: { term: number; snapshot: SnapshotMeta }): void {
    this.#sending.send(peer, term, snapshot)
  }

  save({ index, bytes }: { index: Index; bytes: Uint8Array }): void {
    if (this.#state === 'saving') return
    this.#state = 'waiting'
    const { raft, events, hasRoomFor } = this.#options
    const damaged = this.#damaged?.snapshot ?? null
    const snapshot = raft.snapshotMeta(index) ?? (damaged?.index === index ? damaged : null)
    if (snapshot === null) return this.#ask()
    // Asked again when as much was committed once more, as with one that is too large.
    if (!hasRoomFor(bytes.length)) return events.log('error', 'snapshot-without-room', { index, bytes: bytes.length })
    if (bytes.length > stateBytesMax) {
      return events.log('error', 'snapshot-too-large', { index, bytes: bytes.length, limit: stateBytesMax })
    }
    this.#state = 'saving'
    this.#saving = this.#save(snapshot, bytes)
  }

  /** These are on the disk: what the log stands on now makes older snapshots useless. */
  durable(persists: readonly Persist[]): void {
    for (const { install, compact } of persists) this.#toPrune = compact?.snapshot ?? install ?? this.#toPrune
    this.#current = this.#toPrune ?? this.#current
    this.#prune()
  }

  received(from: NodeId, message: SnapshotMessage): void {
    if (message.kind === 'snapshot-offer') this.#receiving.offered(from, message)
    else if (message.kind === 'snapshot-chunk') this.#receiving.chunk(from, message)
    else this.#sending.received(from, message)
  }

  laneOpened(peer: NodeId): void {
    this.#sending.laneOpened(peer)
  }

  tick(): void {
    this.#sending.tick()
    this.#prune()
  }

  /** Resolves when nothing is read or written any more. */
  async end(): Promise<void> {
    this.#ended = true
    this.#sending.end()
    await Promise.all([this.#feed.end(), this.#receiving.end(), this.#saving, this.#pruning])
  }

  #ask(): void {
    const { snapshotEntries, logBytesMax, events } = this.#options
    const damaged = this.#damaged
    const isLost = damaged !== null && !damaged.isAsked && damaged.snapshot === this.#current
    const isDue = isLost || this.#entries >= snapshotEntries || this.#bytes >= logBytesMax / 2
    // A state machine that is not where the log is has nothing to give, and the count would begin anew for nothing.
    if (!isDue || this.#state !== 'waiting' || this.#feed.isRestoring || this.#ended) return
    this.#state = 'asked'
    if (this.#damaged !== null) this.#damaged.isAsked = true
    this.#entries = 0
    this.#bytes = 0
    events.snapshotWanted()
  }

  async #save(snapshot: SnapshotMeta, bytes: Uint8Array): Promise<void> {
    const { store, clock, events, step, counters } = this.#options
    const startMs = clock.monotonic()
    try {
      await store.write(snapshot, bytes)
      if (this.#ended) return
      const durationMs = Math.round(clock.monotonic() - startMs)
      events.log('info', 'snapshot-saved', { index: snapshot.index, bytes: bytes.length, durationMs })
      counters.snapshotsSaved += 1
      counters.snapshotBytesSaved += bytes.length
      this.#damaged = null
      step({ kind: 'snapshotted', snapshot })
      this.#state = 'waiting'
      this.#ask()
    } catch (error) {
      this.#fail(error)
    }
  }

  /** Not while a snapshot that would go is being sent. */
  #prune(): void {
    const newest = this.#toPrune
    const oldestSent = this.#sending.oldestIndex
    if (newest === null || this.#pruning !== undefined || this.#ended) return
    if (oldestSent !== null && oldestSent < newest.index) return
    this.#toPrune = null
    this.#pruning = this.#options.store.prune(newest).then(
      () => (this.#pruning = undefined),
      (error: unknown) => this.#fail(error),
    )
  }

  #fail(error: unknown): void {
    if (!this.#ended) this.#options.failed(error)
  }
}

/** The rest of what a snapshot may be long is its head's and its configuration's. */
const stateBytesMax = snapshotBytesMax - 2 * 1024 * 1024

export type SnapshotsOptions = Pick<ConsensusOptions, 'snapshotEntries' | 'logBytesMax'> & {
  readonly store: SnapshotStore
  /** What the log stands on at the start. */
  readonly current: SnapshotMeta | null
  readonly clock: Clock
  readonly raft: Raft
  readonly counters: MutableCounters
  /** Whether a file of that length is let onto the disk. */
  readonly hasRoomFor: (bytes: number) => boolean
  readonly electionTicks: number
  readonly events: Pick<ConsensusEvents, 'restore' | 'committed' | 'snapshotWanted' | 'log'>
  readonly send: (to: NodeId, message: SnapshotMessage) => void
  readonly step: (event: RaftEvent) => void
  readonly failed: (error: unknown) => void
}
