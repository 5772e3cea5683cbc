import { assert } from '../std/assert.ts'
import { Random } from '../std/random.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { Broadcasts, transmitsMax } from './broadcasts.ts'
import type {
  Contact,
  GossipCounters,
  GossipOptions,
  GossipPhase,
  KeyChange,
  KeyRefusal,
  MemberEvent,
} from './effects.ts'
import { KeyValues } from './key-values.ts'
import { addressBytesMax, claimsBytesMax, messageBytesMax } from './limits.ts'
import { LocalHealth } from './local-health.ts'
import { isLive } from './member.ts'
import type { Member } from './member.ts'
import { Members } from './members.ts'
import { claimBytes, messageBytes, textBytes } from './messages.ts'
import type { Claim, GossipBody, GossipMessage, Sender } from './messages.ts'
import { OwnValues } from './own-values.ts'
import type { Probe, Relay } from './probing.ts'

/**
 * What the parts of the gossip core share: this node's own standing, the members, the key-values and what waits to be said.
 * The parts (membership, probing, exchange, spreading) are functions of it; gossip.ts gives them the events.
 */
export class Core {
  readonly options: GossipOptions
  readonly id: NodeId
  readonly generation: number
  readonly random: Random
  readonly members = new Members()
  readonly broadcasts = new Broadcasts()
  readonly health = new LocalHealth()
  readonly own: OwnValues
  readonly keyValues = new KeyValues()

  phase: GossipPhase = 'running'
  /** Of this process. Never falls; only this node raises it. */
  incarnation = 0
  /** Ticks since the start. */
  tick = 0
  contacts: readonly Contact[] = []

  /** The probe of this protocol period, while it is open. */
  probe: Probe | null = null
  /** Pings on behalf of others, by the number of ours. */
  readonly relays = new Map<number, Relay>()
  /** Whom to probe in the rest of this round (SWIM 4.3): every live member once in each, in an order of its own. */
  round: NodeId[] = []
  /** Whose links broke: they are probed out of turn. */
  readonly urgent = new Set<NodeId>()
  wasUrgent = false
  nextProbeTick: number
  nextNewsTick = 0
  nextDigestTick: number
  /** Until this tick state is new here, and digests go out faster. */
  hotUntilTick = 0
  nextExchangeTick: number
  nextReconnectTick = 0
  leaveUntilTick = 0
  #seq: number

  readonly counters: GossipCounters = {
    probes: 0,
    probesFailed: 0,
    indirectProbes: 0,
    refutations: 0,
    messagesRefused: 0,
    membersRefused: 0,
  }

  /** Since the last take. */
  sent: GossipMessage[] = []
  memberEvents: MemberEvent[] = []
  changed: KeyChange[] = []
  refused: KeyRefusal[] = []

  constructor(options: GossipOptions) {
    const { id, generation, address, seed, probeTicks, probeTimeoutTicks, exchangeTicks, digestTicks } = options
    assert(Number.isSafeInteger(generation) && generation >= 0, 'a generation is a whole number')
    assert(textBytes(address) <= addressBytesMax, 'an address is not longer than a name in DNS')
    assert(probeTimeoutTicks >= 1 && probeTimeoutTicks < probeTicks, 'a probe times out within its period')
    this.options = options
    this.id = id
    this.generation = generation
    this.random = new Random(seed)
    this.own = new OwnValues(generation)
    // Nodes that start together do not speak in step; and answers to an earlier process are not taken for ours.
    this.nextProbeTick = 1 + this.random.below(probeTicks)
    this.nextDigestTick = 1 + this.random.below(digestTicks)
    this.nextExchangeTick = 1 + this.random.below(exchangeTicks)
    this.#seq = this.random.below(2 ** 31)
  }

  /** This node and the live members. */
  get nodes(): number {
    return this.members.live().length + 1
  }

  get isRunning(): boolean {
    return this.phase === 'running'
  }

  nextSeq(): number {
    this.#seq = (this.#seq + 1) % 2 ** 32
    return this.#seq
  }

  transmitsMax(): number {
    return transmitsMax(this.options.retransmitMult, this.nodes)
  }

  sender(): Sender {
    return { node: this.id, generation: this.generation, incarnation: this.incarnation, address: this.options.address }
  }

  selfClaim(): Claim {
    return { ...this.sender(), status: this.phase === 'leaving' ? 'left' : 'alive', by: this.id, age: 0 }
  }

  claimOf(member: Member): Claim {
    const { node, generation, incarnation, status, address, by, sinceTick } = member
    return { node, generation, incarnation, status, address, by, age: isLive(member) ? 0 : this.tick - sinceTick }
  }

  /** Whoever is accused is told so first, by everyone who speaks to it (Lifeguard 4.3, "buddy system"). */
  send(to: NodeId, body: GossipBody): void {
    this.#send(to, body, this.#accusationOf(to))
  }

  /** What is known of the node, to the node itself: an earlier process of it learns that there is a later one. */
  sendStanding(member: Member): void {
    this.#send(member.node, { kind: 'news' }, this.claimOf(member))
  }

  #send(to: NodeId, body: GossipBody, first: Claim | null): void {
    const claims = first === null ? [] : [first]
    const bytesMax = claimsBytesMax - (first === null ? 0 : claimBytes(first))
    claims.push(...this.broadcasts.take({ bytesMax, transmitsMax: this.transmitsMax(), except: to }))
    const message: GossipMessage = { from: this.sender(), to, claims, ...body }
    assert(messageBytes(message) <= messageBytesMax, `a ${body.kind} within the limit of bytes`)
    this.sent.push(message)
  }

  /** So many of the list, at random, each once; all of it when it is not longer. */
  pick<T>(list: readonly T[], count: number): T[] {
    const rest = [...list]
    const picked: T[] = []
    while (picked.length < count && rest.length > 0) picked.push(...rest.splice(this.random.below(rest.length), 1))
    return picked
  }

  #accusationOf(node: NodeId): Claim | null {
    const member = this.members.get(node)
    if (member !== undefined) return member.status === 'alive' ? null : this.claimOf(member)
    const grave = this.members.grave(node)
    return grave === undefined ? null : { node, ...grave, address: '', by: this.id, age: 0 }
  }
}
