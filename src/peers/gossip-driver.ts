import { gossipTiming } from '../gossip/effects.ts'
import type {
  Contact,
  GossipCounters,
  GossipEvent,
  GossipStatus,
  KeyChange,
  MemberEvent,
  MemberView,
} from '../gossip/effects.ts'
import { Gossip } from '../gossip/gossip.ts'
import type { GossipMessage } from '../gossip/messages.ts'
import type { Log } from '../log/log.ts'
import type { Clock, Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
import { Paced } from '../std/paced.ts'
import type { PeerHello } from '../vocabulary/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { decodeGossipMessage } from '../wire/gossip-codec.ts'
import { GossipLinks } from './gossip-links.ts'
import type { GossipLinksOptions } from './gossip-links.ts'

/**
 * Drives the gossip core: gives it the beat and what came over the lane `gossip`, and performs what it asks for, at once and
 * in its order. A message counts only if it names the process that has proven itself on its connection. A late beat means
 * that this node did not run: what has come meanwhile is read first, and the core is told to doubt itself.
 */
export class GossipDriver {
  readonly #options: GossipDriverOptions
  readonly #core: Gossip
  readonly #links: GossipLinks
  readonly #listeners: ((event: MemberEvent) => void)[] = []
  readonly #changeListeners: ((change: KeyChange) => void)[] = []
  readonly #endListeners: ((phase: 'removed' | 'superseded') => void)[] = []
  readonly #refusals: Paced
  readonly #counters = { messagesIn: 0, bytesIn: 0, messagesRefused: 0 }
  #timer: Timer | null = null
  #dueMs = 0
  #isRunning = false
  #left: Deferred<void> | null = null

  constructor(options: GossipDriverOptions) {
    const { node, generation, address, seed, probeIntervalMs, probeTimeoutMs, transport, clock } = options
    this.#options = options
    this.#refusals = new Paced(clock)
    const timing = gossipTiming({ tickMs, probeIntervalMs, probeTimeoutMs })
    this.#core = new Gossip({ ...timing, id: node, generation, address, seed })
    const addressOf = (peer: NodeId): string | undefined => this.#core.addressOf(peer)
    this.#links = new GossipLinks({ transport, clock, addressOf, waitMs: probeTimeoutMs })
  }

  start(): void {
    this.#isRunning = true
    this.#dueMs = this.#options.clock.monotonic()
    this.#arm()
  }

  /** The lane to the peer has opened. */
  opened(hello: PeerHello): void {
    this.#links.opened(hello)
  }

  closed(peer: NodeId): void {
    if (this.#links.closed(peer)) this.#step({ kind: 'link-down', peer })
  }

  /** The peer's machine refuses connections to where it listened. */
  gone(peer: NodeId): void {
    this.#step({ kind: 'link-down', peer })
  }

  frame(peer: NodeId, type: number, payload: Uint8Array): void {
    const generation = this.#links.heard(peer)
    this.#counters.messagesIn += 1
    this.#counters.bytesIn += payload.length
    const message = decodeGossipMessage(type, payload)
    if ('malformed' in message) return this.#refuse(peer, message.malformed)
    const { from } = message
    if (from.node !== peer || from.generation !== generation) {
      return this.#refuse(peer, `it speaks for ${from.node} in generation ${from.generation}`)
    }
    this.#step({ kind: 'message', message })
  }

  /** Whom to speak to first, and where, instead of the earlier list. */
  setContacts(contacts: readonly Contact[]): void {
    this.#step({ kind: 'contacts', contacts })
  }

  /** To whom the lane stays open though nothing is said, instead of the earlier ones. */
  keepOpen(nodes: ReadonlySet<NodeId>): void {
    this.#links.keep(nodes)
  }

  setState(key: string, value: string): void {
    this.#step({ kind: 'set-state', key, value })
  }

  setGauges(gauges: ReadonlyMap<string, number>): void {
    this.#step({ kind: 'set-gauges', gauges })
  }

  /** Told of everything that happens to members. */
  onMember(listener: (event: MemberEvent) => void): void {
    this.#listeners.push(listener)
  }

  /** Told of each value that another node says of itself from now on, and of those that are gone. */
  onChange(listener: (change: KeyChange) => void): void {
    this.#changeListeners.push(listener)
  }

  /** Told when another member says that this process is none any more; gossip has ended then. */
  onEnded(listener: (phase: 'removed' | 'superseded') => void): void {
    this.#endListeners.push(listener)
  }

  /** The process of the node that is known counts as left: an operator has removed the node. */
  remove(node: NodeId): void {
    this.#step({ kind: 'remove', node })
  }

  members(): readonly MemberView[] {
    return this.#core.members()
  }

  /** What the node, or this one, says of itself. */
  said(node: NodeId): { readonly state: ReadonlyMap<string, string>; readonly gauges: ReadonlyMap<string, number> } {
    return { state: this.#core.state(node), gauges: this.#core.gauges(node) }
  }

  status(): GossipStatus {
    return this.#core.status()
  }

  get counters(): Readonly<GossipCounters & GossipTraffic> {
    const core = this.#core.counters()
    const messagesRefused = core.messagesRefused + this.#counters.messagesRefused
    return { ...core, ...this.#links.counters, ...this.#counters, messagesRefused, openNow: this.#links.openCount }
  }

  /** Says goodbye; resolves when enough members have been told, or the time is over. */
  async leave(timeoutMs: number): Promise<void> {
    if (!this.#isRunning) return
    this.#left ??= deferred()
    const timer = this.#options.clock.after(timeoutMs, () => this.#left?.resolve())
    this.#step({ kind: 'leave' })
    this.#follow(this.#core.status())
    await this.#left.promise
    timer.cancel()
  }

  stop(): void {
    this.#isRunning = false
    this.#timer?.cancel()
    this.#timer = null
    this.#left?.resolve()
  }

  #arm(): void {
    const { clock, afterIo } = this.#options
    this.#dueMs += tickMs
    this.#timer = clock.after(Math.max(0, this.#dueMs - clock.monotonic()), () => {
      if (this.#ticksMissed() === 0) this.#tick()
      else afterIo(() => afterIo(() => this.#tick()))
    })
  }

  #ticksMissed(): number {
    return Math.max(0, Math.floor((this.#options.clock.monotonic() - this.#dueMs) / tickMs))
  }

  #tick(): void {
    if (!this.#isRunning) return
    const ticks = this.#ticksMissed()
    if (ticks > 0) {
      this.#dueMs += ticks * tickMs
      this.#step({ kind: 'ticks-missed', ticks })
    }
    for (const message of this.#links.tick()) this.#step({ kind: 'unsent', message })
    this.#step({ kind: 'tick' })
    this.#arm()
  }

  #step(event: GossipEvent): void {
    if (!this.#isRunning) return
    this.#core.step(event)
    for (let unsent = this.#perform(); unsent.length > 0; unsent = this.#perform()) {
      for (const message of unsent) this.#core.step({ kind: 'unsent', message })
    }
  }

  /** Returns what provably did not leave. */
  #perform(): GossipMessage[] {
    const { send, members, changed, refused, status } = this.#core.take()
    const unsent = send.filter((message) => !this.#links.send(message))
    const { log } = this.#options
    for (const event of members) {
      const { kind, node, generation, incarnation, address, by } = event
      log.info(`member-${kind}`, { member: node, generation, incarnation, address, by })
      for (const listener of this.#listeners) listener(event)
    }
    for (const change of changed) for (const listener of this.#changeListeners) listener(change)
    for (const { class: of, key, why } of refused) log.warn('gossip-value-refused', { class: of, key, why })
    if (status !== null) this.#follow(status)
    return unsent
  }

  #follow({ phase }: GossipStatus): void {
    if (phase === 'running' || phase === 'leaving') return
    this.#left?.resolve()
    if (this.#left !== null || phase === 'left') return
    this.#options.log.warn('gossip-ended', { phase })
    for (const listener of this.#endListeners) listener(phase)
  }

  #refuse(peer: NodeId, why: string): void {
    this.#counters.messagesRefused += 1
    const count = this.#refusals.count()
    if (count !== null) this.#options.log.warn('gossip-message-refused', { peer, why, count })
  }
}

export type GossipDriverOptions = Pick<GossipLinksOptions, 'transport'> & {
  readonly node: NodeId
  /** Of this start of the node. */
  readonly generation: number
  /** `HOST:PORT` of this node's peer listener, as others reach it. */
  readonly address: string
  readonly seed: number
  readonly probeIntervalMs: number
  readonly probeTimeoutMs: number
  readonly clock: Clock
  /** Runs after the input that is there has been read. */
  readonly afterIo: (run: () => void) => void
  readonly log: Log
}

/** Monotone since the start, except where the name says otherwise. */
export type GossipTraffic = {
  messagesIn: number
  bytesIn: number
  messagesOut: number
  bytesOut: number
  /** Lanes that are open. */
  openNow: number
}

/** The core's unit of time. */
const tickMs = 100
