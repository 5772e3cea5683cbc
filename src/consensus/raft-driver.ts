import type { Persist, RaftEvent, RaftStatus } from '../raft/effects.ts'
import { entryBytes } from '../raft/entry.ts'
import type { Message } from '../raft/messages.ts'
import { Raft } from '../raft/raft.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { ConsensusEvents, ConsensusOptions } from './consensus.ts'
import type { DiskSpace } from './disk-space.ts'
import { EventQueue } from './event-queue.ts'
import type { LogWriter } from './log-writer.ts'
import type { PeerLinks } from './peer-links.ts'
import type { ConsensusPorts } from './ports.ts'
import { raftOptions } from './raft-options.ts'
import type { Recovered } from './recovery.ts'
import { Scrub } from './scrub.ts'
import { Snapshots } from './snapshots.ts'
import type { MutableCounters } from './status-report.ts'
import type { Ticker } from './ticker.ts'

/**
 * Raft, once there is a log: everything that came in since the last turn is told to it, then everything that it wants is done,
 * in a fixed order. Requests leave at once, beside the write; what promises something leaves when that is durable (R1, R2).
 */
export class RaftDriver {
  readonly snapshots: Snapshots
  readonly #options: RaftDriverOptions
  readonly #raft: Raft
  readonly #scrub: Scrub
  readonly #queue = new EventQueue()
  readonly #runTurn: () => void
  #turnIsDue = false

  constructor(options: RaftDriverOptions) {
    const { id, settings, recovered, ports, links, writer, counters, disk, events, guard, isEnding, failed } = options
    this.#runTurn = () => guard(() => this.#turn())
    const given = raftOptions({ id, seed: ports.seed, recovered, options: settings })
    this.#options = options
    this.#raft = new Raft(given)
    this.snapshots = new Snapshots({
      store: ports.snapshots,
      current: recovered.snapshot,
      clock: ports.clock,
      raft: this.#raft,
      counters,
      hasRoomFor: (bytes) => disk.hasRoomFor(bytes),
      electionTicks: given.electionTicks,
      snapshotEntries: settings.snapshotEntries,
      logBytesMax: settings.logBytesMax,
      events,
      send: (to, message) => void (!isEnding() && links.sendSnapshot(to, message)),
      step: (event) => this.tell(event),
      failed,
    })
    this.#scrub = new Scrub({
      store: ports.store,
      files: ports.snapshots,
      writer,
      raft: this.#raft,
      snapshots: this.snapshots,
      clock: ports.clock,
      counters,
      failed,
      log: (...line) => events.log(...line),
    })
  }

  get status(): RaftStatus {
    return this.#raft.status()
  }

  start(): void {
    if (this.#options.disk.isFull) this.diskChanged()
    this.#scrub.start()
    this.#perform()
  }

  propose(event: RaftEvent & { kind: 'propose' }): void {
    const { content, id } = event
    const bytes = content.kind === 'command' ? content.data.length : 0
    if (this.#queue.isFull(bytes)) this.refuse(id, 'overloaded')
    else this.tell(event, bytes)
  }

  read(id: number): void {
    if (this.#queue.isFull(0)) this.#options.events.readRefused(id)
    else this.tell({ kind: 'read', id })
  }

  /** False: there is no room for it. What carries entries or proposals leaves room for the rest. */
  receive(message: Message, frame: { readonly lane: string; readonly bytes: number }): boolean {
    if (this.#queue.isFull(frame.bytes, frame.lane === 'log' ? 0.5 : 1)) return false
    this.tell({ kind: 'message', message }, frame.bytes)
    return true
  }

  /** Also what needs no room: its number is bounded elsewhere. */
  tell(event: RaftEvent, bytes = 0): void {
    const { ports, isEnding } = this.#options
    if (isEnding()) return
    this.#queue.push(event, bytes)
    if (this.#turnIsDue) return
    this.#turnIsDue = true
    ports.afterIo(this.#runTurn)
  }

  /** These are on the disk. */
  durable(persists: readonly Persist[]): void {
    for (const { seq, then } of persists) {
      this.tell({ kind: 'persisted', seq })
      for (const message of then) this.#send(message)
    }
    this.snapshots.durable(persists)
  }

  diskChanged(): void {
    const { isFull, spareBytes } = this.#options.disk
    this.tell({ kind: 'disk-full', isFull, spareBytes })
  }

  refuse(id: ProposalId, why: Parameters<ConsensusEvents['refused']>[1]): void {
    const { counters, events } = this.#options
    counters.refusals += 1
    events.refused(id, why)
  }

  /** Resolves when nothing is read or written any more, but by the writer. */
  async end(): Promise<void> {
    await Promise.all([this.snapshots.end(), this.#scrub.end()])
  }

  #turn(): void {
    this.#turnIsDue = false
    if (this.#options.ticker.takeMissed()) this.#raft.step({ kind: 'ticks-missed' })
    for (const event of this.#queue.takeAll()) this.#raft.step(event)
    this.#perform()
  }

  #perform(): void {
    const { events, changed, moved } = this.#options
    const { persist, send, sendSnapshot, restore, apply, reads, readsRefused, refused, status } = this.#raft.take()
    // What leaves at once goes first: it has the longer way to a disk.
    for (const message of send) this.#send(message)
    if (persist !== null) this.#write(persist)
    for (const { peer, ...what } of sendSnapshot) this.snapshots.send(peer, what)
    if (restore !== null) this.snapshots.restore(restore)
    if (apply.length > 0) this.snapshots.apply(apply)
    for (const { id, index } of reads) events.readable(id, index)
    for (const id of readsRefused) events.readRefused(id)
    for (const { id, why } of refused) this.refuse(id, why)
    if (status !== null) changed(status)
    if (persist !== null || apply.length > 0) moved()
  }

  #write(persist: Persist): void {
    const { writer, disk } = this.#options
    writer.write(persist)
    let bytes = 0
    for (const entry of persist.entries) bytes += entryBytes(entry)
    disk.wrote(bytes)
  }

  #send(message: Message): void {
    const { links, isEnding } = this.#options
    if (isEnding()) return
    if (!links.send(message)) this.tell({ kind: 'unsent', message })
  }
}

export type RaftDriverOptions = {
  readonly id: NodeId
  readonly settings: ConsensusOptions
  readonly recovered: Recovered
  readonly ports: ConsensusPorts
  readonly links: PeerLinks
  readonly writer: LogWriter
  readonly ticker: Ticker
  readonly disk: DiskSpace
  readonly counters: MutableCounters
  readonly events: ConsensusEvents
  /** Raft's status is another. */
  readonly changed: (status: RaftStatus) => void
  /** Its log got on. */
  readonly moved: () => void
  /** Runs it; what goes wrong in it ends the node. */
  readonly guard: (run: () => void) => void
  /** Nothing is said, sent or written any more. */
  readonly isEnding: () => boolean
  readonly failed: (error: unknown) => void
}
