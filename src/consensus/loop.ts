import { assert } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import type { Configuration } from '../raft/configuration.ts'
import type { Persist, RaftEvent, RaftStatus } from '../raft/effects.ts'
import type { Entry, HardState } from '../raft/entry.ts'
import type { Message } from '../raft/messages.ts'
import { Raft } from '../raft/raft.ts'
import type { LogStore, StoredNode } from '../storage/log-store.ts'
import type { AdmitPeer, PeerHello, Transport } from '../transport/transport.ts'
import { formatAddress } from '../vocabulary/addresses.ts'
import type { ClusterId, NodeId, ProposalId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { FormingMessage } from '../wire/forming.ts'
import { admitPeer, isMember } from './admission.ts'
import type { Consensus, ConsensusEvents, ConsensusOptions, ConsensusStarted } from './consensus.ts'
import { formedBy, formedIn } from './first-entry.ts'
import { Forming } from './forming.ts'
import type { FormingEvent } from './forming.ts'
import * as limits from './limits.ts'
import { LogWriter } from './log-writer.ts'
import { PeerLinks } from './peer-links.ts'
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
    const loop = new ConsensusLoop({ options, events, ports, stored })
    const raftAddress = await loop.start()
    return { consensus: loop, node: stored.nodeId, generation: stored.generation, boot: ports.boot, raftAddress }
  } catch (error) {
    await ports.store.close()
    throw error
  }
}

export type ConsensusPorts = {
  readonly store: LogStore
  readonly makeTransport: (link: { hello: () => PeerHello; admit: AdmitPeer; frameRejected: () => void }) => Transport
  readonly clock: Clock
  /** Runs after the input that is there has been read: `setImmediate`. */
  readonly afterIo: (run: () => void) => void
  /** Of Raft's random numbers. */
  readonly seed: number
  /** Random id of this process. */
  readonly boot: string
  /** The new cluster's id, if this node comes to propose one. */
  readonly newClusterId: ClusterId
  /** The largest delay of the event loop since the last call, ms. */
  readonly takeLoopDelayMs: () => number
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
  readonly #forming: Forming
  /** Of entry 1, once that is durable; Raft's status has the newest. */
  #formed: Configuration | null
  #raft: Raft | undefined
  #raftStatus: RaftStatus | null = null
  #raftAddress: string
  /** What Raft will be told at the next turn, in the order of its coming. */
  #queue: RaftEvent[] = []
  #queuedBytes = 0
  #turnIsDue = false
  #ticks = 0
  #waitingFor: string | null = null
  /** Set once: by `stop`, or by what made the node fail. Nothing is sent, written or told after that. */
  #ending: Promise<void> | undefined

  constructor(parts: {
    options: ConsensusOptions
    events: ConsensusEvents
    ports: ConsensusPorts
    stored: StoredNode
  }) {
    const { options, events, ports, stored } = parts
    const { clock, afterIo, store } = ports
    const self = stored.nodeId
    this.#options = options
    this.#events = events
    this.#ports = ports
    this.#stored = stored
    this.#raftAddress = options.advertiseRaft ?? formatAddress(options.listen)
    this.#formed = formedIn(stored)
    this.#forming = new Forming({
      self,
      bootstrapExpect: options.bootstrapExpect,
      promise: stored.promise,
      formed: this.#formed?.clusterId ?? null,
      newClusterId: ports.newClusterId,
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
      formingMessage: (from, message) => this.#guard(() => this.#stepForming({ kind: 'message', from, message })),
      fatal: (error) => this.#fail(error),
    })
    this.#writer = new LogWriter({
      store,
      clock,
      counters: this.#counters,
      durable: (persists) => this.#durable(persists),
      failed: (error) => this.#fail(error),
    })
    const tickMs = options.heartbeatMs / limits.heartbeatTicks
    this.#ticker = new Ticker({ clock, afterIo, tickMs, tick: () => this.#guard(() => this.#tick()) })
    this.#report = new StatusReport({ clock, push: () => this.#guard(() => this.#pushStatus()) })
  }

  /** Resolves to the address that others reach the listener at. */
  async start(): Promise<string> {
    const { options, entries, hardState } = { options: this.#options, ...this.#stored }
    try {
      const bound = await this.#transport.open(this.#links)
      this.#raftAddress = options.advertiseRaft ?? formatAddress(bound)
    } catch (error) {
      await this.#transport.close()
      throw error
    }
    this.#guard(() => {
      if (entries.length > 0) this.#startRaft(entries, hardState)
      this.#performForming()
      this.#ticker.start()
      this.#report.start()
    })
    return this.#raftAddress
  }

  propose(id: ProposalId, data: Uint8Array): void {
    this.#counters.proposals += 1
    if (this.#ending !== undefined || this.#raft === undefined) this.#refuse(id, 'no-leader')
    else if (this.#queue.length >= limits.queuedEventsMax || this.#queuedBytes + data.length > limits.queuedBytesMax)
      this.#refuse(id, 'overloaded')
    else this.#enqueue({ kind: 'propose', id, data }, data.length)
  }

  learnPeer(node: NodeId, raftAddress: string): void {
    this.#guard(() => this.#links.learn(node, raftAddress))
  }

  stop(): Promise<void> {
    this.#ending ??= this.#end()
    return this.#ending
  }

  // What comes in

  #laneOpened(peer: PeerHello, lane: string): void {
    this.#report.changed()
    const { node, clusterId, promised } = peer
    if (lane === 'ctl') this.#stepForming({ kind: 'peer-opened', peer: node, clusterId, promised })
  }

  #laneClosed(peer: NodeId, lane: string): void {
    this.#report.changed()
    if (lane === 'ctl') this.#stepForming({ kind: 'peer-closed', peer })
    if (this.#raft !== undefined) this.#enqueue({ kind: 'unreachable', peer })
  }

  #receive(message: Message, frame: { lane: string; bytes: number }): void {
    if (this.#raft === undefined) return
    const configuration = this.#configuration()
    const share = frame.lane === 'log' ? 0.5 : 1
    const isFull =
      this.#queue.length >= limits.queuedEventsMax * share ||
      this.#queuedBytes + frame.bytes > limits.queuedBytesMax * share
    if (isFull) this.#links.reject(message.from, 'the queue of the consensus loop is full')
    else if (configuration !== null && !isMember(configuration, message.from))
      this.#links.reject(message.from, 'the sender is not in the configuration')
    else this.#enqueue({ kind: 'message', message }, frame.bytes)
  }

  #tick(): void {
    this.#ticks += 1
    if (this.#raft !== undefined) this.#enqueue({ kind: 'tick' })
    if (this.#ticks % limits.formingTicks === 0) this.#stepForming({ kind: 'tick' })
  }

  // Raft: everything that came in since the last turn, then everything that the core wants

  #enqueue(event: RaftEvent, bytes = 0): void {
    this.#queue.push(event)
    this.#queuedBytes += bytes
    if (this.#turnIsDue) return
    this.#turnIsDue = true
    this.#ports.afterIo(() => this.#guard(() => this.#turn()))
  }

  #turn(): void {
    assert(this.#raft !== undefined, 'there is no turn before the cluster has formed')
    const queue = this.#queue
    this.#queue = []
    this.#queuedBytes = 0
    this.#turnIsDue = false
    for (const event of queue) this.#raft.step(event)
    this.#performRaft(this.#raft)
  }

  #performRaft(raft: Raft): void {
    const { persist, send, apply, refused, status } = raft.take()
    if (persist !== null) this.#writer.write(persist)
    for (const message of send) this.#send(message)
    if (apply.length > 0) this.#events.committed(apply)
    for (const { id, why } of refused) this.#refuse(id, why)
    if (status !== null) this.#raftChanged(status)
  }

  #durable(persists: readonly Persist[]): void {
    for (const { seq, then } of persists) {
      this.#enqueue({ kind: 'persisted', seq })
      for (const message of then) this.#send(message)
    }
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
    this.#report.changed()
  }

  #startRaft(entries: readonly Entry[], hardState: HardState): void {
    const { heartbeatMs, electionTimeoutMs, logBytesMax } = this.#options
    const { heartbeatTicks, appendBytesMax, proposalBytesMax, uncommittedBytesMax, pendingProposalsMax } = limits
    const ticks = Math.round((electionTimeoutMs * heartbeatTicks) / heartbeatMs)
    this.#raft = new Raft({
      id: this.#stored.nodeId,
      hardState,
      entries,
      seed: this.#ports.seed,
      heartbeatTicks,
      electionTicks: Math.max(ticks, heartbeatTicks + 1),
      appendBytesMax,
      proposalBytesMax,
      uncommittedBytesMax,
      logBytesMax,
      pendingProposalsMax,
    })
    this.#performRaft(this.#raft)
  }

  // Forming

  #stepForming(event: FormingEvent): void {
    this.#forming.step(event)
    this.#performForming()
  }

  #performForming(): void {
    const { persistPromise, form, send, notices } = this.#forming.take()
    for (const { event, fields } of notices) this.#events.log('warn', event, fields)
    for (const { to, message } of send) this.#sendForming(to, message)
    if (persistPromise !== null) {
      this.#writer.perform(
        (store) => store.writePromise(persistPromise),
        () => this.#stepForming({ kind: 'promise-durable' }),
      )
    }
    if (form !== null) {
      const { hardState, entry } = form
      this.#writer.perform(
        (store) => store.write({ hardState, truncateFrom: null, entries: [entry], sync: true }),
        () => {
          this.#formed = formedBy(entry)
          this.#events.log('info', 'cluster-formed', { clusterId: this.#formed.clusterId, voters: this.#formed.voters })
          this.#startRaft([entry], hardState)
          this.#stepForming({ kind: 'formed-durable' })
        },
      )
    }
    this.#showWaiting()
  }

  #sendForming(to: NodeId, message: FormingMessage): void {
    if (this.#ending === undefined) this.#links.sendForming(to, message)
  }

  #showWaiting(): void {
    const waitingFor = this.#forming.waitingFor()
    if (waitingFor === this.#waitingFor) return
    this.#waitingFor = waitingFor
    if (waitingFor !== null) this.#events.log('info', 'forming-waits', { waitingFor })
    this.#report.changed()
  }

  // What others see

  #configuration(): Configuration | null {
    return this.#raftStatus?.configuration ?? this.#formed
  }

  #hello(): PeerHello {
    const { clusterName, version } = this.#options
    return {
      node: this.#stored.nodeId,
      generation: this.#stored.generation,
      boot: this.#ports.boot,
      clusterName,
      clusterId: this.#configuration()?.clusterId ?? null,
      promised: this.#forming.promised,
      // The other listeners are the main thread's, and it says where they are.
      addresses: { http: '', peer: '', raft: this.#raftAddress },
      version,
    }
  }

  #admit(hello: PeerHello): OperatingError | null {
    return admitPeer({ hello, configuration: this.#configuration(), clusterName: this.#options.clusterName })
  }

  #pushStatus(): void {
    const configuration = this.#configuration()
    this.#events.status({
      clusterId: configuration?.clusterId ?? null,
      promised: this.#forming.promised,
      raft: this.#raft?.status() ?? null,
      waitingFor: this.#waitingFor,
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
    const error =
      reason instanceof OperatingError
        ? reason
        : new OperatingError('internal', `run consensus of node ${this.#stored.nodeId}: it broke and has to stop`, {
            cause: reason,
          })
    this.#events.failed(error)
  }

  async #end(): Promise<void> {
    this.#ticker.stop()
    this.#report.stop()
    try {
      await Promise.all([this.#transport.close(), this.#writer.end()])
      await this.#ports.store.close()
    } catch (error) {
      this.#events.log('error', 'consensus-close-failed', { error })
    }
  }
}
