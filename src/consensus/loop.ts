import { assert } from '../std/assert.ts'
import type { Configuration } from '../raft/configuration.ts'
import type { Persist, RaftEvent, RaftStatus } from '../raft/effects.ts'
import type { Index } from '../raft/entry.ts'
import type { Message, ProposalContent } from '../raft/messages.ts'
import { Raft } from '../raft/raft.ts'
import type { StoredNode } from '../storage/log-store.ts'
import type { PeerHello, Transport } from '../transport/transport.ts'
import { formatAddress } from '../vocabulary/addresses.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { SnapshotMessage } from '../wire/snapshot-codec.ts'
import { admitPeer, isHeard, isMember } from './admission.ts'
import type { Consensus, ConsensusEvents, ConsensusOptions, ConsensusStarted } from './consensus.ts'
import { EventQueue } from './event-queue.ts'
import { Founding } from './founding.ts'
import { Handover } from './handover.ts'
import * as limits from './limits.ts'
import { LogWriter } from './log-writer.ts'
import { PeerLinks } from './peer-links.ts'
import type { ConsensusPorts } from './ports.ts'
import { raftOptions } from './raft-options.ts'
import { recover } from './recovery.ts'
import type { Recovered } from './recovery.ts'
import { Snapshots } from './snapshots.ts'
import { StatusReport, newCounters } from './status-report.ts'
import { Ticker } from './ticker.ts'

/**
 * The driver of Raft and of forming: takes what came in, steps the cores, and performs what they want in a fixed order.
 * Requests leave at once, beside the write; what promises something leaves when that is durable (R1, R2). After a failed
 * write, a broken invariant or a fatal refusal nothing leaves any more and the node is told to stop (R11).
 */
export async function startConsensus(
  options: ConsensusOptions,
  events: ConsensusEvents,
  ports: ConsensusPorts,
): Promise<ConsensusStarted> {
  const stored = await ports.store.open({ nodeId: options.nodeId })
  try {
    const recovered = await recover(stored, ports.snapshots)
    const loop = new ConsensusLoop({ options, events, ports, stored, recovered })
    const raftAddress = await loop.start()
    return { consensus: loop, node: stored.nodeId, generation: stored.generation, boot: ports.boot, raftAddress }
  } catch (error) {
    await ports.snapshots.close()
    await ports.store.close()
    throw error
  }
}

class ConsensusLoop implements Consensus {
  readonly #options: ConsensusOptions
  readonly #events: ConsensusEvents
  readonly #ports: ConsensusPorts
  readonly #stored: StoredNode
  readonly #counters = newCounters()
  readonly #transport: Transport
  readonly #links: PeerLinks
  readonly #writer: LogWriter
  readonly #ticker: Ticker
  readonly #report: StatusReport
  readonly #founding: Founding
  readonly #handover: Handover
  /** Of the last committed configuration, and of this process. */
  #members: Configuration | null = null
  #raft: Raft | undefined
  #snapshots: Snapshots | undefined
  #raftStatus: RaftStatus | null = null
  #raftAddress: string
  readonly #queue = new EventQueue()
  #turnIsDue = false
  #ticks = 0
  #stopping: Promise<void> | undefined
  /** Set once: by `stop`, or by what made the node fail. Nothing is sent, written or told after that. */
  #ending: Promise<void> | undefined

  constructor(parts: {
    options: ConsensusOptions
    events: ConsensusEvents
    ports: ConsensusPorts
    stored: StoredNode
    recovered: Recovered
  }) {
    const { options, events, ports, stored, recovered } = parts
    const { clock, afterIo, store } = ports
    const self = stored.nodeId
    this.#options = options
    this.#events = events
    this.#ports = ports
    this.#stored = stored
    this.#raftAddress = options.advertiseRaft ?? formatAddress(options.listen)
    this.#writer = new LogWriter({
      store,
      clock,
      counters: this.#counters,
      durable: (persists) => this.#durable(persists),
      failed: (error) => this.#fail(error),
    })
    this.#founding = new Founding({
      stored,
      recovered,
      bootstrapExpect: options.bootstrapExpect,
      newClusterId: ports.newClusterId,
      writer: this.#writer,
      send: (to, message) => void (this.#ending === undefined && this.#links.sendForming(to, message)),
      startRaft: (from) => this.#startRaft(from),
      hasLog: () => this.#configuration() !== null,
      changed: () => this.#report.changed(),
      log: (...line) => events.log(...line),
    })
    this.#transport = ports.makeTransport({
      hello: () => this.#hello(),
      admit: (hello) => this.#admit(hello),
      frameRejected: () => void (this.#counters.framesRejected += 1),
    })
    this.#links = new PeerLinks(this.#transport, {
      self,
      clock,
      counters: this.#counters,
      log: (...line) => events.log(...line),
      opened: (peer, lane) => this.#guard(() => this.#laneOpened(peer, lane)),
      closed: (peer, lane) => this.#guard(() => this.#laneClosed(peer, lane)),
      message: (message, frame) => this.#guard(() => this.#receive(message, frame)),
      gone: (peer) => this.#guard(() => this.#tell({ kind: 'peer-gone', peer })),
      snapshotMessage: (from, message) => this.#guard(() => this.#receiveSnapshot(from, message)),
      formingMessage: (from, message) => this.#guard(() => this.#founding.step({ kind: 'message', from, message })),
      fatal: (error) => this.#fail(error),
    })
    const tickMs = options.heartbeatMs / limits.heartbeatTicks
    this.#ticker = new Ticker({ clock, afterIo, tickMs, tick: () => this.#guard(() => this.#tick()) })
    this.#report = new StatusReport({ clock, push: () => this.#guard(() => this.#pushStatus()) })
    this.#handover = new Handover({ clock, timeoutMs: handoverMs(options) })
  }

  /** Resolves to the address that others reach the listener at. */
  async start(): Promise<string> {
    try {
      const bound = await this.#transport.open(this.#links)
      this.#raftAddress = this.#options.advertiseRaft ?? formatAddress(bound)
    } catch (error) {
      await this.#transport.close()
      throw error
    }
    this.#guard(() => {
      this.#founding.start()
      this.#ticker.start()
      this.#report.start()
    })
    return this.#raftAddress
  }

  propose(id: ProposalId, content: ProposalContent): void {
    this.#counters.proposals += 1
    const bytes = content.kind === 'command' ? content.data.length : 0
    if (this.#ending !== undefined || this.#raft === undefined) this.#refuse(id, 'no-leader')
    else if (this.#queue.isFull(bytes)) this.#refuse(id, 'overloaded')
    else this.#enqueue({ kind: 'propose', id, content }, bytes)
  }

  read(id: number): void {
    if (this.#ending !== undefined || this.#raft === undefined || this.#queue.isFull(0)) this.#events.readRefused(id)
    else this.#enqueue({ kind: 'read', id })
  }

  transfer(to: NodeId | null): void {
    this.#tell({ kind: 'transfer', to })
  }

  applied(index: Index): void {
    this.#tell({ kind: 'applied', index })
  }

  saveSnapshot(snapshot: { readonly index: Index; readonly bytes: Uint8Array }): void {
    this.#guard(() => this.#snapshots?.save(snapshot))
  }

  learnPeer(node: NodeId, raftAddress: string): void {
    this.#guard(() => this.#links.learn(node, raftAddress))
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#leave()
    return this.#stopping
  }

  // What comes in

  #laneOpened(peer: PeerHello, lane: string): void {
    this.#report.changed()
    const { node, clusterId, promised } = peer
    if (lane === 'ctl') this.#founding.step({ kind: 'peer-opened', peer: node, clusterId, promised })
    if (lane === 'bulk') this.#snapshots?.laneOpened(node)
    // Lanes to two clusters may have been opened before this node joined one of them.
    const own = this.#configuration()?.clusterId ?? this.#founding.joined
    if (own !== null) for (const stranger of this.#links.strangersTo(own)) this.#transport.disconnect(stranger)
  }

  #laneClosed(peer: NodeId, lane: string): void {
    this.#report.changed()
    if (lane === 'ctl') this.#founding.step({ kind: 'peer-closed', peer })
    // How a snapshot fares on its own lane, Raft need not know.
    if (lane !== 'bulk') this.#tell({ kind: 'unreachable', peer })
  }

  #receive(message: Message, frame: { lane: string; bytes: number }): void {
    if (this.#raft === undefined) return
    if (this.#queue.isFull(frame.bytes, frame.lane === 'log' ? 0.5 : 1))
      this.#links.reject(message.from, 'the queue of the consensus loop is full')
    else if (!isHeard(this.#configuration(), message))
      this.#links.reject(message.from, 'the sender is not in the configuration')
    else this.#enqueue({ kind: 'message', message }, frame.bytes)
  }

  #receiveSnapshot(from: NodeId, message: SnapshotMessage): void {
    const { transfer } = message
    if (this.#snapshots !== undefined) this.#snapshots.received(from, message)
    else if (message.kind === 'snapshot-offer')
      this.#links.sendSnapshot(from, { kind: 'snapshot-refuse', transfer, why: 'this node has not joined yet' })
  }

  #tick(): void {
    this.#ticks += 1
    this.#writer.writeHints()
    this.#tell({ kind: 'tick', now: Math.max(0, Math.floor(this.#ports.clock.now())) })
    this.#snapshots?.tick()
    if (this.#ticks % limits.formingTicks === 0) this.#founding.step({ kind: 'tick' })
  }

  // Raft: everything that came in since the last turn, then everything that the core wants

  /** Tells Raft, if it has started, what needs no room: its number is bounded elsewhere. */
  #tell(event: RaftEvent): void {
    if (this.#raft !== undefined && this.#ending === undefined) this.#enqueue(event)
  }

  #enqueue(event: RaftEvent, bytes = 0): void {
    this.#queue.push(event, bytes)
    if (this.#turnIsDue) return
    this.#turnIsDue = true
    this.#ports.afterIo(() => this.#guard(() => this.#turn()))
  }

  #turn(): void {
    assert(this.#raft !== undefined, 'there is no turn before the cluster has formed')
    this.#turnIsDue = false
    if (this.#ticker.takeMissed()) this.#raft.step({ kind: 'ticks-missed' })
    for (const event of this.#queue.takeAll()) this.#raft.step(event)
    this.#performRaft(this.#raft)
  }

  #performRaft(raft: Raft): void {
    const { persist, send, sendSnapshot, restore, apply, reads, readsRefused, refused, status } = raft.take()
    // What leaves at once goes first: it has the longer way to a disk.
    for (const message of send) this.#send(message)
    if (persist !== null) this.#writer.write(persist)
    for (const { peer, ...what } of sendSnapshot) this.#snapshots?.send(peer, what)
    if (restore !== null) this.#snapshots?.restore(restore)
    if (apply.length > 0) this.#snapshots?.apply(apply)
    for (const { id, index } of reads) this.#events.readable(id, index)
    for (const id of readsRefused) this.#events.readRefused(id)
    for (const { id, why } of refused) this.#refuse(id, why)
    if (status !== null) this.#raftChanged(status)
  }

  #durable(persists: readonly Persist[]): void {
    for (const { seq, then } of persists) {
      this.#enqueue({ kind: 'persisted', seq })
      for (const message of then) this.#send(message)
    }
    this.#snapshots?.durable(persists)
  }

  #send(message: Message): void {
    if (this.#ending !== undefined) return
    if (!this.#links.send(message)) this.#enqueue({ kind: 'unsent', message })
  }

  #refuse(id: ProposalId, why: Parameters<ConsensusEvents['refused']>[1]): void {
    this.#counters.refusals += 1
    this.#events.refused(id, why)
  }

  #raftChanged(status: RaftStatus): void {
    const before = this.#raftStatus
    this.#raftStatus = status
    const { role, term, leader } = status
    if (term > (before?.term ?? term) && (role === 'candidate' || role === 'leader')) this.#counters.elections += 1
    if (before?.role !== role || before.leader !== leader) this.#events.log('info', 'raft-role', { role, term, leader })
    this.#handover.raftChanged(status)
    if (status.isConfigurationCommitted) this.#configurationCommitted(status)
    this.#founding.showWaiting()
    if (before?.leader !== leader) this.#report.leaderChanged()
    else this.#report.changed()
  }

  /** Who was removed hears it: its lanes end, and when it dials again it is told why. */
  #configurationCommitted({ id, configuration, leader }: RaftStatus): void {
    const before = this.#members
    if (configuration === before || configuration.voters.length === 0) return
    this.#members = configuration
    this.#events.log('info', 'raft-configuration', { ...configuration })
    if (before === null || !isMember(configuration, id)) return
    for (const peer of [...before.voters, ...before.votersOutgoing, ...before.learners]) {
      if (peer !== id && peer !== leader && !isMember(configuration, peer)) this.#transport.disconnect(peer)
    }
  }

  #startRaft(recovered: Recovered): void {
    const { snapshotEntries, logBytesMax } = this.#options
    const { seed, clock, snapshots: store } = this.#ports
    const options = raftOptions({ id: this.#stored.nodeId, seed, recovered, options: this.#options })
    const raft = new Raft(options)
    this.#raft = raft
    this.#snapshots = new Snapshots({
      store,
      clock,
      raft,
      electionTicks: options.electionTicks,
      snapshotEntries,
      logBytesMax,
      events: this.#events,
      send: (to, message) => void (this.#ending === undefined && this.#links.sendSnapshot(to, message)),
      step: (event) => this.#tell(event),
      failed: (error) => this.#fail(error),
    })
    this.#performRaft(raft)
  }

  // What others see

  /** Null while this node has no log. */
  #configuration(): Configuration | null {
    const newest = this.#raftStatus?.configuration ?? this.#founding.formed
    return newest === null || newest.voters.length === 0 ? null : newest
  }

  #hello(): PeerHello {
    const { clusterName, version } = this.#options
    return {
      node: this.#stored.nodeId,
      generation: this.#stored.generation,
      boot: this.#ports.boot,
      clusterName,
      clusterId: this.#configuration()?.clusterId ?? null,
      promised: this.#founding.promised,
      // The other listeners are the main thread's, and it says where they are.
      addresses: { http: '', peer: '', raft: this.#raftAddress },
      version,
    }
  }

  #admit(hello: PeerHello): OperatingError | null {
    const { clusterName, bootstrapExpect } = this.#options
    return admitPeer({
      hello,
      configuration: this.#configuration(),
      joined: this.#founding.joined,
      neverForms: bootstrapExpect === null,
      leader: this.#raftStatus?.leader ?? null,
      clusterName,
    })
  }

  #pushStatus(): void {
    const configuration = this.#configuration()
    this.#events.status({
      clusterId: configuration?.clusterId ?? this.#founding.joined,
      promised: this.#founding.promised,
      raft: this.#raft?.status() ?? null,
      waitingFor: this.#founding.waitingFor,
      connected: this.#links.connected(),
      counters: { ...this.#counters, loopDelayMs: this.#ports.takeLoopDelayMs() },
    })
  }

  // The end

  /** A bug anywhere below ends the node: to go on with a state that can not be would be worse than to stop. */
  #guard(run: () => void): void {
    if (this.#ending !== undefined) return
    try {
      run()
    } catch (error) {
      this.#fail(error)
    }
  }

  #fail(reason: unknown): void {
    if (this.#ending !== undefined) return
    this.#ending = this.#end()
    this.#handover.end()
    const error =
      reason instanceof OperatingError
        ? reason
        : new OperatingError('internal', `run consensus of node ${this.#stored.nodeId}: it broke and has to stop`, {
            cause: reason,
          })
    this.#events.failed(error)
  }

  /** A leader lets another lead first, if that is done soon: then nobody has to wait out an election timeout. */
  async #leave(): Promise<void> {
    const self = this.#stored.nodeId
    const isLeader = this.#ending === undefined && this.#raftStatus?.role === 'leader'
    if (isLeader && this.#configuration()?.voters.some((voter) => voter !== self)) {
      this.transfer(null)
      await this.#handover.begin()
    }
    this.#ending ??= this.#end()
    await this.#ending
  }

  async #end(): Promise<void> {
    this.#ticker.stop()
    this.#report.stop()
    const { store, snapshots } = this.#ports
    try {
      await Promise.all([this.#transport.close(), this.#writer.end(), this.#snapshots?.end()])
      await snapshots.close()
      await store.close()
    } catch (error) {
      this.#events.log('error', 'consensus-close-failed', { error })
    }
  }
}

function handoverMs({ electionTimeoutMs }: ConsensusOptions): number {
  return Math.min(electionTimeoutMs * limits.handoverShare, limits.handoverMsMax)
}
