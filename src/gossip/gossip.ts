import { unreachable } from '../std/assert.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { Core } from './core.ts'
import type {
  GossipCounters,
  GossipEffects,
  GossipEvent,
  GossipOptions,
  GossipStatus,
  KeyRefusal,
  MemberView,
} from './effects.ts'
import { onExchangeRequest, onExchangeResponse, tickExchange } from './exchange.ts'
import { contactsMax } from './limits.ts'
import { hear, remove, tickMembers } from './membership.ts'
import type { GossipMessage } from './messages.ts'
import type { OwnerValues } from './owner-values.ts'
import { onAck, onLinkDown, onNack, onPing, onPingRequest, onTicksMissed, tickProbing } from './probing.ts'
import { heat, onDeltas, onDigestRequest, onDigestResponse, tickSpreading } from './spreading.ts'
import { isWellFormed } from './well-formed.ts'

/**
 * One node's membership: who is there, who is dead, and what each says of itself. A function of its events: `step` tells it
 * what happened, `take` asks what it wants done; no clock, and no randomness but its seed's. SWIM (Das, Gupta, Motivala,
 * DSN 2002) with Lifeguard (arXiv 1707.00788) for liveness; scuttlebutt, as in chitchat, for key-values. It informs: who
 * votes, and who is in the cluster at all, is Raft's. Messages may be lost, doubled, late and out of order.
 */
export class Gossip {
  readonly #core: Core
  #toldStatus: GossipStatus | null = null

  constructor(options: GossipOptions) {
    this.#core = new Core(options)
  }

  step(event: GossipEvent): void {
    const core = this.#core
    if (!core.isRunning && core.phase !== 'leaving') return
    switch (event.kind) {
      case 'tick':
        this.#tick()
        return
      case 'ticks-missed':
        onTicksMissed(core, event.ticks)
        return
      case 'message':
        this.#receive(event.message)
        return
      case 'unsent':
        if (event.message.kind === 'ping' || event.message.kind === 'ping-request') onLinkDown(core, event.message.to)
        return
      case 'link-down':
        onLinkDown(core, event.peer)
        return
      case 'contacts':
        core.contacts = event.contacts.slice(0, contactsMax)
        return
      case 'set-state':
        this.#write(() => core.own.set(event.key, event.value))
        return
      case 'delete-state':
        this.#write(() => {
          core.own.delete(event.key, core.tick)
          return null
        })
        return
      case 'set-gauges':
        this.#write(() => core.own.setGauges(event.gauges))
        return
      case 'leave':
        this.#leave()
        return
      case 'remove':
        remove(core, event.node)
        return
      default:
        unreachable(event)
    }
  }

  /** What is to be done now. Each effect is handed out once. */
  take(): GossipEffects {
    const core = this.#core
    const effects = {
      send: core.sent,
      members: core.memberEvents,
      changed: core.changed,
      refused: core.refused,
      status: this.#takeStatus(),
    }
    core.sent = []
    core.memberEvents = []
    core.changed = []
    core.refused = []
    return effects
  }

  status(): GossipStatus {
    const { phase, health, incarnation, members, own } = this.#core
    const counts = { alive: 0, suspect: 0, dead: 0, left: 0 }
    for (const { status } of members.all()) counts[status] += 1
    const keys = { state: own.keysOfState, gauges: own.values.gauges.size }
    return { phase, health: health.score, incarnation, members: counts, keys }
  }

  counters(): Readonly<GossipCounters> {
    return this.#core.counters
  }

  /** The other nodes, in the order of their ids. */
  members(): readonly MemberView[] {
    return this.#core.members.all()
  }

  member(node: NodeId): MemberView | undefined {
    return this.#core.members.get(node)
  }

  /** Where a message to the node goes: as the member says, else as the contacts do. */
  addressOf(node: NodeId): string | undefined {
    const address = this.#core.members.get(node)?.address
    if (address !== undefined && address !== '') return address
    return this.#core.contacts.find((contact) => contact.node === node)?.address
  }

  /** The state that the member, or this node, says of itself; undefined: nothing is known. */
  state(owner: NodeId): ReadonlyMap<string, string> {
    const entries = [...(this.#valuesOf(owner)?.state ?? [])]
    return new Map(entries.flatMap(([key, { value }]) => (value === null ? [] : [[key, value] as const])))
  }

  gauges(owner: NodeId): ReadonlyMap<string, number> {
    return this.#valuesOf(owner)?.gauges ?? new Map<string, number>()
  }

  /** How far the owner's key-values are known here; zeros when not at all. */
  versions(owner: NodeId): { generation: number; state: number; gauges: number } {
    const values = this.#valuesOf(owner)
    return {
      generation: values?.generation ?? 0,
      state: values?.stateVersion ?? 0,
      gauges: values?.gaugesVersion ?? 0,
    }
  }

  #valuesOf(owner: NodeId): OwnerValues | undefined {
    return owner === this.#core.id ? this.#core.own.values : this.#core.keyValues.get(owner)
  }

  #tick(): void {
    const core = this.#core
    core.tick += 1
    if (core.isRunning) {
      tickMembers(core)
      tickProbing(core)
      tickExchange(core)
      core.own.forgetBefore(core.tick - core.options.tombstoneTicks)
    }
    tickSpreading(core)
    if (core.phase === 'leaving' && (core.tick >= core.leaveUntilTick || !core.broadcasts.has(core.id))) {
      core.phase = 'left'
    }
  }

  #receive(message: GossipMessage): void {
    const core = this.#core
    const { from } = message
    if (message.to !== core.id || from.node === core.id || !isWellFormed(message)) {
      core.counters.messagesRefused += 1
      return
    }
    hear(core, { ...from, status: 'alive', by: from.node, age: 0 }, 'gossip')
    const known = core.members.get(from.node)
    if (known !== undefined && from.generation < known.generation) {
      // An earlier process of the node: should it still run, it learns that there is a later one.
      if (message.kind === 'exchange-request') core.sendStanding(known)
      return
    }
    for (const claim of message.claims) hear(core, claim, 'gossip')
    if (core.isRunning) this.#answer(message)
    else if (message.kind === 'ping') onPing(core, from.node, message.seq)
  }

  #answer(message: GossipMessage): void {
    const core = this.#core
    const from = message.from.node
    switch (message.kind) {
      case 'ping':
        return onPing(core, from, message.seq)
      case 'ping-request':
        return onPingRequest(core, from, message)
      case 'ack':
        return onAck(core, from, message.seq)
      case 'nack':
        return onNack(core, from, message.seq)
      case 'news':
        return undefined
      case 'exchange-request':
        return onExchangeRequest(core, from, message.members)
      case 'exchange-response':
        return onExchangeResponse(core, message.members)
      case 'digest-request':
        return onDigestRequest(core, from, message.digest)
      case 'digest-response':
        onDeltas(core, message.deltas)
        return onDigestResponse(core, from, message.digest)
      case 'deltas':
        return onDeltas(core, message.deltas)
      default:
        return unreachable(message)
    }
  }

  #write(write: () => KeyRefusal | null): void {
    const core = this.#core
    const before = core.own.values.stateVersion
    const refused = write()
    if (refused !== null) core.refused.push(refused)
    if (core.own.values.stateVersion > before) heat(core)
  }

  #leave(): void {
    const core = this.#core
    if (!core.isRunning) return
    core.phase = 'leaving'
    core.probe = null
    core.leaveUntilTick = core.tick + core.options.leaveTicks
    if (core.members.live().length > 0) core.broadcasts.queue(core.selfClaim())
  }

  #takeStatus(): GossipStatus | null {
    const { phase, health, incarnation, memberEvents, own } = this.#core
    const told = this.#toldStatus
    const isTold =
      told !== null &&
      told.phase === phase &&
      told.health === health.score &&
      told.incarnation === incarnation &&
      told.keys.state === own.keysOfState &&
      told.keys.gauges === own.values.gauges.size &&
      memberEvents.length === 0
    if (isTold) return null
    this.#toldStatus = this.status()
    return this.#toldStatus
  }
}
