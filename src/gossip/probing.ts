import type { NodeId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import { relaysMax } from './limits.ts'
import { isLive } from './member.ts'
import { accuse } from './membership.ts'

/** The probe of one protocol period (SWIM paper 3.1). Answered by its number: an old answer says nothing about now. */
export type Probe = {
  readonly target: NodeId
  readonly generation: number
  readonly seq: number
  /** From then on others are asked. */
  readonly indirectTick: number
  /** Then it has failed. */
  readonly endTick: number
  isIndirect: boolean
  /** Those that were asked, and whether they said that they live and the target does not answer them (Lifeguard's nack). */
  readonly asked: Map<NodeId, boolean>
}

/** A ping on behalf of another node. */
export type Relay = {
  readonly origin: NodeId
  readonly originSeq: number
  readonly target: NodeId
  readonly nackTick: number
  readonly endTick: number
  isNacked: boolean
}

export function tickProbing(core: Core): void {
  const { probe } = core
  if (probe !== null) {
    if (!probe.isIndirect && core.tick >= probe.indirectTick) askOthers(core, probe)
    if (core.tick >= probe.endTick) endInVain(core, probe)
  }
  if (core.probe === null && core.tick >= core.nextProbeTick) begin(core)
  tickRelays(core)
}

export function onPing(core: Core, from: NodeId, seq: number): void {
  core.send(from, { kind: 'ack', seq })
}

export function onPingRequest(core: Core, from: NodeId, { seq, target }: { seq: number; target: NodeId }): void {
  if (!core.members.get(target) || core.relays.size >= relaysMax) {
    core.send(from, { kind: 'nack', seq })
    return
  }
  const own = core.nextSeq()
  const { probeTicks, probeTimeoutTicks } = core.options
  // A nack that is to count has to be there before the asker's period is over.
  const nackTick = core.tick + Math.max(1, Math.floor((probeTimeoutTicks * 4) / 5))
  const endTick = core.tick + probeTicks
  core.relays.set(own, { origin: from, originSeq: seq, target, nackTick, endTick, isNacked: false })
  core.send(target, { kind: 'ping', seq: own })
}

export function onAck(core: Core, from: NodeId, seq: number): void {
  const { probe } = core
  if (probe !== null && probe.seq === seq && (probe.target === from || probe.asked.has(from))) {
    core.health.improve()
    core.probe = null
    return
  }
  const relay = core.relays.get(seq)
  if (relay === undefined || relay.target !== from) return
  core.relays.delete(seq)
  core.send(relay.origin, { kind: 'ack', seq: relay.originSeq })
}

export function onNack(core: Core, from: NodeId, seq: number): void {
  const { probe } = core
  if (probe !== null && probe.seq === seq && probe.asked.has(from)) probe.asked.set(from, true)
}

/** The way to the peer is known to be closed: there is nothing to wait for, neither in a probe of ours nor of another. */
export function onLinkDown(core: Core, peer: NodeId): void {
  const { probe } = core
  probe?.asked.delete(peer)
  for (const relay of core.relays.values()) if (relay.target === peer) nack(core, relay)
  if (probe?.target === peer) {
    if (!probe.isIndirect) askOthers(core, probe)
    return
  }
  const member = core.members.get(peer)
  if (member === undefined || !isLive(member)) return
  core.urgent.add(peer)
  // Out of turn, but never two such in a row: a link that flaps does not keep this node from probing the others.
  if (probe === null && !core.wasUrgent) core.nextProbeTick = core.tick
}

/** What waited while this node did not run says nothing about others, and something about this node. */
export function onTicksMissed(core: Core, ticks: number): void {
  if (ticks < core.options.probeTimeoutTicks) return
  core.health.worsen(1)
  core.probe = null
  core.relays.clear()
  core.nextProbeTick = core.tick + core.options.probeTimeoutTicks
}

function begin(core: Core): void {
  const target = nextTarget(core)
  if (target === undefined) return
  const { probeTicks, probeTimeoutTicks } = core.options
  const endTick = core.tick + core.health.stretch(probeTicks)
  core.nextProbeTick = endTick
  core.counters.probes += 1
  core.probe = {
    target: target.node,
    generation: target.generation,
    seq: core.nextSeq(),
    indirectTick: core.tick + core.health.stretch(probeTimeoutTicks),
    endTick,
    isIndirect: false,
    asked: new Map(),
  }
  core.send(target.node, { kind: 'ping', seq: core.probe.seq })
}

/** The one whose link broke, or the next of the round: a new round, in a new order, when this one is over. */
function nextTarget(core: Core): { node: NodeId; generation: number } | undefined {
  core.wasUrgent = !core.wasUrgent && core.urgent.size > 0
  if (core.wasUrgent) {
    const [node] = core.urgent
    if (node !== undefined) {
      core.urgent.delete(node)
      const member = core.members.get(node)
      if (member !== undefined && isLive(member)) return member
    }
  }
  if (core.round.length === 0) {
    const live = core.members.live().map(({ node }) => node)
    core.round = core.pick(live, live.length)
  }
  for (let node = core.round.shift(); node !== undefined; node = core.round.shift()) {
    const member = core.members.get(node)
    if (member !== undefined && isLive(member)) return member
  }
  return undefined
}

/** Random ones of all that live; with few nodes these are all, so none is missed. */
function askOthers(core: Core, probe: Probe): void {
  probe.isIndirect = true
  const others = core.members.live().filter(({ node, status }) => node !== probe.target && status === 'alive')
  for (const { node } of core.pick(others, core.options.indirectProbes)) {
    probe.asked.set(node, false)
    core.counters.indirectProbes += 1
    core.send(node, { kind: 'ping-request', seq: probe.seq, target: probe.target })
  }
}

/**
 * Neither the target nor the others have answered. Where the others themselves are silent the fault is likely to be here:
 * each missing nack counts against this node (Lifeguard 4.1).
 */
function endInVain(core: Core, probe: Probe): void {
  core.probe = null
  core.counters.probesFailed += 1
  const missing = [...probe.asked.values()].filter((isNacked) => !isNacked).length
  core.health.worsen(probe.asked.size === 0 ? 1 : missing)
  const member = core.members.get(probe.target)
  if (member !== undefined && isLive(member) && member.generation === probe.generation) accuse(core, member)
}

function tickRelays(core: Core): void {
  for (const [seq, relay] of core.relays) {
    if (core.tick >= relay.nackTick) nack(core, relay)
    if (core.tick >= relay.endTick) core.relays.delete(seq)
  }
}

function nack(core: Core, relay: Relay): void {
  if (relay.isNacked) return
  relay.isNacked = true
  core.send(relay.origin, { kind: 'nack', seq: relay.originSeq })
}
