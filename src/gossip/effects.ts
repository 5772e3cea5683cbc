import type { NodeId } from '../vocabulary/ids.ts'
import type { GossipMessage, MemberStatus } from './messages.ts'

/** What the gossip core is told. */
export type GossipEvent =
  /** One unit of time; all the core's times count them. Messages that have come in are told before it. */
  | { readonly kind: 'tick' }
  /** Time has passed that no tick told of or will: this node was paused or starved, and has to doubt itself. */
  | { readonly kind: 'ticks-missed'; readonly ticks: number }
  | { readonly kind: 'message'; readonly message: GossipMessage }
  /** A message of `send` provably did not leave this node. */
  | { readonly kind: 'unsent'; readonly message: GossipMessage }
  /** The connection to the peer broke or was refused (not: was closed as idle). A reason to probe it now, never to call it dead. */
  | { readonly kind: 'link-down'; readonly peer: NodeId }
  /** Whom to speak to first, and where: the seeds and Raft's directory, instead of the earlier list. They are not members by that. */
  | { readonly kind: 'contacts'; readonly contacts: readonly Contact[] }
  | { readonly kind: 'set-state'; readonly key: string; readonly value: string }
  | { readonly kind: 'delete-state'; readonly key: string }
  /** All gauges of this node, instead of the earlier ones. */
  | { readonly kind: 'set-gauges'; readonly gauges: ReadonlyMap<string, number> }
  /** Say goodbye: ends in the phase `left`. */
  | { readonly kind: 'leave' }
  /** An operator removed the node: the process of it that is known counts as left, whether it runs or not. */
  | { readonly kind: 'remove'; readonly node: NodeId }

export type Contact = { readonly node: NodeId; readonly address: string }

/** What the core wants done. */
export type GossipEffects = {
  /** In order, at once, each at most once; any may be lost. */
  readonly send: readonly GossipMessage[]
  readonly members: readonly MemberEvent[]
  /** Of other nodes only. */
  readonly changed: readonly KeyChange[]
  /** What was asked for and not done. */
  readonly refused: readonly KeyRefusal[]
  /** Set when it changed since the last take. */
  readonly status: GossipStatus | null
}

export type MemberEvent = {
  /**
   * `joined`: a process that was not known, in the place of any earlier one of the node. `suspect`, then `refuted` or `dead`.
   * `alive`: it was found dead, and showed that it lives. `left`: by itself or removed. `forgotten`: long dead, reaped.
   */
  readonly kind: 'joined' | 'alive' | 'suspect' | 'refuted' | 'dead' | 'left' | 'forgotten'
  readonly node: NodeId
  readonly generation: number
  readonly incarnation: number
  readonly address: string
  /** Who said so. */
  readonly by: NodeId
}

/** A value of a member changed; null: it is gone, with the key or with the member. */
export type KeyChange = {
  readonly owner: NodeId
  readonly generation: number
  readonly class: 'state' | 'gauge'
  readonly key: string
  readonly value: string | number | null
}

export type KeyRefusal = {
  readonly class: 'state' | 'gauge'
  readonly key: string
  readonly why: 'key-too-long' | 'value-too-long' | 'not-a-number' | 'too-much'
}

/**
 * `removed`: another member says that this process has left, which it has not: an operator removed it. `superseded`: a later
 * start of this node is about. In these, and in `left`, the core does nothing more.
 */
export type GossipPhase = 'running' | 'leaving' | 'left' | 'removed' | 'superseded'

export type GossipStatus = {
  readonly phase: GossipPhase
  /** 0: healthy, to 7: this node is slow or badly connected (Lifeguard's local health multiplier). */
  readonly health: number
  readonly incarnation: number
  /** Of other nodes. */
  readonly members: Readonly<Record<MemberStatus, number>>
  readonly keys: { readonly state: number; readonly gauges: number }
}

/** Since the start, for metrics. */
export type GossipCounters = {
  probes: number
  probesFailed: number
  indirectProbes: number
  refutations: number
  /** Not well formed, or of a size beyond the limits; nothing of it was heeded. */
  messagesRefused: number
  /** There was no room for another member. */
  membersRefused: number
}

export type MemberView = {
  readonly node: NodeId
  readonly generation: number
  readonly incarnation: number
  readonly status: MemberStatus
  readonly address: string
  readonly sinceTick: number
}

/** How the core is made. All times are ticks. */
export type GossipOptions = GossipTiming & {
  readonly id: NodeId
  /** Of this start of the node: higher than that of any earlier one, so no claim about those touches it. */
  readonly generation: number
  /** `HOST:PORT` of this node's peer listener. */
  readonly address: string
  readonly seed: number
}

export type GossipTiming = {
  /** SWIM's protocol period: one member is probed in each. */
  readonly probeTicks: number
  /** After so long without an answer others are asked to probe; less than `probeTicks`. */
  readonly probeTimeoutTicks: number
  /** How many others (k). */
  readonly indirectProbes: number
  /** See suspicion.ts. */
  readonly suspicionMult: number
  readonly suspicionMaxMult: number
  /** Each claim is passed on `retransmitMult` * ceil(log10(nodes + 1)) times. */
  readonly retransmitMult: number
  /** While there are claims to pass on: to `newsFanout` members, so often. While state is new: one digest, so often. */
  readonly newsTicks: number
  readonly newsFanout: number
  /** The recently dead are told news for so long, that they may refute. */
  readonly newsToDeadTicks: number
  /** One digest so often when nothing is new: that is how gauges spread. */
  readonly digestTicks: number
  /** Push-pull so often; from 32 nodes on more seldom with every doubling. */
  readonly exchangeTicks: number
  /** An exchange with one of the dead, or one of the contacts that is no member, so often. */
  readonly reconnectTicks: number
  /** The dead and left are forgotten, but for their graves. */
  readonly reapTicks: number
  /** Tombstones of the own deleted keys are kept so long. */
  readonly tombstoneTicks: number
  /** Leaving takes no longer, whoever has heard of it. */
  readonly leaveTicks: number
}

/**
 * The times of memberlist's LAN profile (config.go) for a given probe interval and tick; exchanges with the dead after ten
 * probe intervals. Of a tick's length, at least one; the probe time-out ends before the interval.
 */
export function gossipTiming(of: { tickMs: number; probeIntervalMs: number; probeTimeoutMs: number }): GossipTiming {
  const ticks = (ms: number): number => Math.max(1, Math.round(ms / of.tickMs))
  const probeTicks = Math.max(2, ticks(of.probeIntervalMs))
  return {
    probeTicks,
    probeTimeoutTicks: Math.min(probeTicks - 1, ticks(of.probeTimeoutMs)),
    indirectProbes: 3,
    suspicionMult: 4,
    suspicionMaxMult: 6,
    retransmitMult: 4,
    newsTicks: ticks(200),
    newsFanout: 3,
    newsToDeadTicks: ticks(30_000),
    digestTicks: ticks(1000),
    exchangeTicks: ticks(30_000),
    reconnectTicks: ticks(10_000),
    reapTicks: ticks(24 * 3_600_000),
    tombstoneTicks: ticks(3_600_000),
    leaveTicks: ticks(5000),
  }
}
