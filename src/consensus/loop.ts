import type { Configuration } from '../raft/configuration.ts'
import type { RaftStatus } from '../raft/effects.ts'
import type { Index } from '../raft/entry.ts'
import type { Message, ProposalContent } from '../raft/messages.ts'
import type { StoredNode } from '../storage/log-store.ts'
import type { PeerHello, Transport } from '../transport/transport.ts'
import { formatAddress } from '../vocabulary/addresses.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { SnapshotMessage } from '../wire/snapshot-codec.ts'
import { admitPeer, isHeard } from './admission.ts'
import type { Consensus, ConsensusEvents, ConsensusOptions } from './consensus.ts'
import { DiskSpace } from './disk-space.ts'
import { Founding } from './founding.ts'
import { Handover } from './handover.ts'
import * as limits from './limits.ts'
import { LogWriter } from './log-writer.ts'
import { PeerLinks } from './peer-links.ts'
import type { ConsensusPorts } from './ports.ts'
import { QuarantineReport } from './quarantine-report.ts'
import { RaftDriver } from './raft-driver.ts'
import type { Recovered } from './recovery.ts'
import { Denials, removedError, Removals } from './removals.ts'
import { StallWatch } from './stall-watch.ts'
import { StatusReport, newCounters } from './status-report.ts'
import { Ticker } from './ticker.ts'

/**
 * Consensus of one node, put together: forming until there is a log, then Raft, over one disk and one network. What comes in
 * goes to the part that it is for. After a failed write, a broken invariant or a fatal refusal nothing leaves any more and the
 * node is told to stop (R11).
 */
export class ConsensusLoop implements Consensus {
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
  readonly #removals: Removals
  readonly #denials = new Denials(() => this.#fail(removedError(this.#stored.nodeId)))
  readonly #disk: DiskSpace
  readonly #stalls: StallWatch
  readonly #quarantine: QuarantineReport
  #raft: RaftDriver | undefined
  #raftStatus: RaftStatus | null = null
  #raftAddress: string
  #ticks = 0
  #stopping: Promise<void> | undefined
  #condemning: Promise<void> | undefined
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
      durable: (persists) => this.#raft?.durable(persists),
      failed: (error) => this.#fail(error),
    })
    const log = events.log.bind(events)
    this.#disk = new DiskSpace({
      clock,
      freeBytes: ports.freeBytes,
      reserveBytes: options.reserveBytes,
      changed: () => this.#guard(() => this.#diskChanged()),
      log,
    })
    this.#stalls = new StallWatch({
      oldestMs: () => this.#writer.oldestMs,
      limitMs: options.electionTimeoutMs / 2,
      counters: this.#counters,
      log,
    })
    this.#quarantine = new QuarantineReport({ store, isRecovering: recovered.hardState.isRecovering, log })
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
      log,
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
      log,
      opened: (peer, lane) => this.#guard(() => this.#laneOpened(peer, lane)),
      closed: (peer, lane) => this.#guard(() => this.#laneClosed(peer, lane)),
      message: (message, frame) => this.#guard(() => this.#receive(message, frame)),
      gone: (peer) => this.#guard(() => this.#raft?.tell({ kind: 'peer-gone', peer })),
      snapshotMessage: (from, message) => this.#guard(() => this.#receiveSnapshot(from, message)),
      formingMessage: (from, message) => this.#guard(() => this.#founding.step({ kind: 'message', from, message })),
      denied: (peer) => this.#guard(() => this.#denials.denied(peer)),
      fatal: (error) => this.#fail(error),
    })
    this.#removals = new Removals({ disconnect: (peer) => this.#transport.disconnect(peer), log })
    const tickMs = options.heartbeatMs / limits.heartbeatTicks
    this.#ticker = new Ticker({ clock, afterIo, tickMs, tick: () => this.#guard(() => this.#tick()) })
    this.#report = new StatusReport({ clock, push: () => this.#guard(() => this.#pushStatus()) })
    const handoverMs = Math.min(options.electionTimeoutMs * limits.handoverShare, limits.handoverMsMax)
    this.#handover = new Handover({ clock, timeoutMs: handoverMs })
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
      this.#quarantine.start()
      this.#founding.start()
      this.#ticker.start()
      this.#disk.start()
      this.#report.start()
    })
    return this.#raftAddress
  }

  propose(id: ProposalId, content: ProposalContent): void {
    this.#counters.proposals += 1
    if (this.#ending === undefined && this.#raft !== undefined)
      return this.#raft.propose({ kind: 'propose', id, content })
    this.#counters.refusals += 1
    return this.#events.refused(id, 'no-leader')
  }

  read(id: number): void {
    if (this.#ending === undefined && this.#raft !== undefined) this.#raft.read(id)
    else this.#events.readRefused(id)
  }

  transfer(to: NodeId | null): void {
    this.#raft?.tell({ kind: 'transfer', to })
  }

  applied(index: Index): void {
    this.#raft?.tell({ kind: 'applied', index })
  }

  saveSnapshot(snapshot: { readonly index: Index; readonly bytes: Uint8Array }): void {
    this.#guard(() => this.#raft?.snapshots.save(snapshot))
  }

  condemn(why: string): void {
    this.#guard(() => {
      this.#condemning ??= this.#condemn(why)
    })
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
    this.#denials.admitted(node)
    if (lane === 'ctl') this.#founding.step({ kind: 'peer-opened', peer: node, clusterId, promised })
    if (lane === 'bulk') this.#raft?.snapshots.laneOpened(node)
    // Lanes to two clusters may have been opened before this node joined one of them.
    const own = this.#configuration()?.clusterId ?? this.#founding.joined
    if (own !== null) for (const stranger of this.#links.strangersTo(own)) this.#transport.disconnect(stranger)
  }

  #laneClosed(peer: NodeId, lane: string): void {
    this.#report.changed()
    if (lane === 'ctl') this.#founding.step({ kind: 'peer-closed', peer })
    // How a snapshot fares on its own lane, Raft need not know.
    if (lane !== 'bulk') this.#raft?.tell({ kind: 'unreachable', peer })
  }

  #receive(message: Message, frame: { lane: string; bytes: number }): void {
    if (this.#raft === undefined) return
    if (!isHeard(this.#configuration(), message))
      this.#links.reject(message.from, 'the sender is not in the configuration')
    else if (!this.#raft.receive(message, frame))
      this.#links.reject(message.from, 'the queue of the consensus loop is full')
  }

  #receiveSnapshot(from: NodeId, message: SnapshotMessage): void {
    const { transfer } = message
    if (this.#raft !== undefined) this.#raft.snapshots.received(from, message)
    else if (message.kind === 'snapshot-offer')
      this.#links.sendSnapshot(from, { kind: 'snapshot-refuse', transfer, why: 'this node has not joined yet' })
  }

  #tick(): void {
    this.#ticks += 1
    this.#writer.writeHints()
    this.#raft?.tell({ kind: 'tick', now: Math.max(0, Math.floor(this.#ports.clock.now())) })
    this.#raft?.snapshots.tick()
    this.#stalls.tick()
    if (this.#ticks % limits.formingTicks === 0) this.#founding.step({ kind: 'tick' })
  }

  #diskChanged(): void {
    this.#raft?.diskChanged()
    this.#report.changed()
  }

  /** It ends as after a failed write: what others have of this node by then was said by a log, not by a state. */
  async #condemn(why: string): Promise<void> {
    const { nodeId } = this.#stored
    const error = new OperatingError(
      'state-diverged',
      `run node ${nodeId}: its state is not the cluster's: ${why}: start it again, and it takes log and state from the others; what it had is kept aside to be looked at`,
    )
    try {
      await this.#ports.store.condemn(why)
      this.#fail(error)
    } catch (cause) {
      this.#fail(cause)
    }
  }

  #raftChanged(status: RaftStatus): void {
    const before = this.#raftStatus
    this.#raftStatus = status
    const { role, term, leader } = status
    if (term > (before?.term ?? term) && (role === 'candidate' || role === 'leader')) this.#counters.elections += 1
    if (before?.role !== role || before.leader !== leader) this.#events.log('info', 'raft-role', { role, term, leader })
    this.#handover.raftChanged(status)
    this.#stalls.raftChanged(before, status)
    this.#quarantine.raftChanged(status)
    this.#removals.raftChanged(status)
    this.#denials.raftChanged(status)
    this.#founding.showWaiting()
    if (before?.leader !== leader) this.#report.leaderChanged()
    else this.#report.changed()
  }

  #startRaft(recovered: Recovered): void {
    if (recovered.hardState.isRecovering) this.#quarantine.joins()
    this.#raft = new RaftDriver({
      id: this.#stored.nodeId,
      settings: this.#options,
      recovered,
      ports: this.#ports,
      links: this.#links,
      writer: this.#writer,
      ticker: this.#ticker,
      disk: this.#disk,
      counters: this.#counters,
      events: this.#events,
      changed: (status) => this.#raftChanged(status),
      moved: () => this.#report.moved(),
      guard: (run) => this.#guard(run),
      isEnding: () => this.#ending !== undefined,
      failed: (error) => this.#fail(error),
    })
    this.#raft.start()
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
      // A node whose log is lost, or not there yet, is bound all the same: that tells it from one that was wiped.
      promised: this.#founding.promised ?? this.#founding.joined,
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
      isCommitted: this.#raftStatus?.isConfigurationCommitted ?? true,
      clusterName,
    })
  }

  #pushStatus(): void {
    const configuration = this.#configuration()
    this.#events.status({
      clusterId: configuration?.clusterId ?? this.#founding.joined,
      promised: this.#founding.promised,
      raft: this.#raft?.status ?? null,
      waitingFor: this.#founding.waitingFor,
      connected: this.#links.connected(),
      reached: this.#links.reached(),
      quarantine: this.#quarantine.status,
      isDiskFull: this.#disk.isFull,
      counters: {
        ...this.#counters,
        loopDelayMs: this.#ports.takeLoopDelayMs(),
        oldestWriteMs: this.#writer.oldestMs,
        syncP99Ms: this.#writer.syncP99Ms,
        diskFreeBytes: this.#disk.freeBytes,
      },
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
    this.#disk.end()
    const { store, snapshots } = this.#ports
    try {
      await Promise.all([this.#transport.close(), this.#writer.end(), this.#raft?.end(), this.#condemning])
      await snapshots.close()
      await store.close()
    } catch (error) {
      this.#events.log('error', 'consensus-close-failed', { error })
    }
  }
}
