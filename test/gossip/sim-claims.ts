import type { GossipEvent, MemberEvent, MemberView } from '../../src/gossip/effects.ts'
import { messageBytesMax } from '../../src/gossip/limits.ts'
import type { GossipMessage } from '../../src/gossip/messages.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import type { SimNode } from './sim.ts'

/** What must hold at every moment, whatever the network does. Breaking one throws. */
export class Claims {
  readonly #processes = new Map<string, ProcessRecord>()
  /** What each viewer saw last, by viewer's process and node. */
  readonly #seen = new Map<string, Map<NodeId, MemberView>>()
  readonly #versions = new Map<string, Map<NodeId, Versions>>()

  started(node: SimNode): void {
    const none = { stateVersion: 0, gaugesVersion: 0 }
    const state = new Map([[0, '']])
    const gauges = new Map([[0, '']])
    this.#processes.set(processName(node), { incarnation: 0, hasEnded: false, ...none, state, gauges })
  }

  ended(node: SimNode): void {
    this.#record(node).hasEnded = true
  }

  sent(from: SimNode, { kind }: GossipMessage, bytes: number): void {
    hold(bytes <= messageBytesMax, `${from.id} sends a ${kind} of ${bytes} bytes`)
  }

  /** After every step: what the node did to itself, and to the members of which it told. */
  stepped(node: SimNode, event: GossipEvent, members: readonly MemberEvent[]): void {
    const record = this.#record(node)
    const { incarnation } = node.gossip.status()
    hold(incarnation >= record.incarnation, `the incarnation of ${node.id} falls from ${record.incarnation}`)
    record.incarnation = incarnation
    const { state, gauges } = node.gossip.versions(node.id)
    hold(state >= record.stateVersion && gauges >= record.gaugesVersion, `a version of ${node.id}'s own values falls`)
    record.stateVersion = state
    record.gaugesVersion = gauges
    if (event.kind === 'set-state' || event.kind === 'delete-state')
      record.state.set(state, text(node.gossip.state(node.id)))
    if (event.kind === 'set-gauges') record.gauges.set(gauges, text(node.gossip.gauges(node.id)))
    const isTold = event.kind === 'message' && ['digest-response', 'deltas'].includes(event.message.kind)
    const touched = new Set(members.map((each) => each.node))
    for (const { kind, node: id } of members) if (kind === 'forgotten') this.#forget(node, id)
    for (const id of touched) this.#check(node, id)
    if (isTold) this.checkAll([node])
  }

  checkAll(viewers: readonly SimNode[]): void {
    for (const viewer of viewers) for (const { node } of viewer.gossip.members()) this.#check(viewer, node)
  }

  #check(viewer: SimNode, id: NodeId): void {
    const member = viewer.gossip.member(id)
    if (member === undefined) return
    const seen = placeIn(this.#seen, processName(viewer), () => new Map<NodeId, MemberView>())
    const before = seen.get(id)
    seen.set(id, member)
    const what = `${viewer.id}: ${id} is ${standing(member)}${before === undefined ? '' : `, was ${standing(before)}`}`
    const process = this.#processes.get(processName({ id, generation: member.generation }))
    hold(process !== undefined, `${what}: there was no such process`)
    hold(member.incarnation <= process.incarnation, `${what}: it never had this incarnation`)
    if (before !== undefined) checkTransition(before, member, what)
    this.#checkValues(viewer, { id, process, what })
  }

  #checkValues(viewer: SimNode, { id, process, what }: { id: NodeId; process: ProcessRecord; what: string }): void {
    const versions = viewer.gossip.versions(id)
    if (versions.generation === 0) return
    const known = placeIn(this.#versions, processName(viewer), () => new Map<NodeId, Versions>())
    const before = known.get(id)
    known.set(id, versions)
    hold(versions.generation === viewer.gossip.member(id)?.generation, `${what}: its values are of another process`)
    if (before?.generation === versions.generation) {
      const isForward = versions.state >= before.state && versions.gauges >= before.gauges
      hold(
        isForward,
        `${what}: its versions fall from ${before.state}/${before.gauges} to ${versions.state}/${versions.gauges}`,
      )
      if (versions.state === before.state && versions.gauges === before.gauges) return
    }
    const state = text(viewer.gossip.state(id))
    hold(process.state.get(versions.state) === state, `${what}: its state at ${versions.state} never was ${state}`)
    const gauges = text(viewer.gossip.gauges(id))
    hold(
      process.gauges.get(versions.gauges) === gauges,
      `${what}: its gauges at ${versions.gauges} never were ${gauges}`,
    )
  }

  #forget(viewer: SimNode, id: NodeId): void {
    this.#seen.get(processName(viewer))?.delete(id)
    this.#versions.get(processName(viewer))?.delete(id)
  }

  #record(node: { readonly id: NodeId; readonly generation: number }): ProcessRecord {
    const record = this.#processes.get(processName(node))
    if (record === undefined) throw new Error(`nobody started ${processName(node)}`)
    return record
  }
}

type Versions = { readonly generation: number; readonly state: number; readonly gauges: number }

type ProcessRecord = {
  incarnation: number
  hasEnded: boolean
  stateVersion: number
  gaugesVersion: number
  /** What the values were at each version. */
  readonly state: Map<number, string>
  readonly gauges: Map<number, string>
}

function checkTransition(before: MemberView, after: MemberView, what: string): void {
  hold(after.generation >= before.generation, `${what}: an earlier process`)
  if (after.generation !== before.generation) return
  hold(before.status !== 'left' || after.status === 'left', `${what}: who has left is back`)
  if (after.status === 'left') return
  hold(after.incarnation >= before.incarnation, `${what}: its incarnation falls`)
  const isBack = before.status === 'dead' && after.status !== 'dead'
  hold(!isBack || after.incarnation > before.incarnation, `${what}: the dead is back without having refuted`)
  const isCleared = before.status === 'suspect' && after.status === 'alive'
  hold(!isCleared || after.incarnation > before.incarnation, `${what}: cleared without having refuted`)
}

/** Broken: the seed and the time are the caller's to tell. */
export class BrokenClaim extends Error {
  override readonly name = 'BrokenClaim'
}

function hold(condition: boolean, what: string): asserts condition {
  if (!condition) throw new BrokenClaim(what)
}

function standing({ status, generation, incarnation }: MemberView): string {
  return `${status} in ${generation}/${incarnation}`
}

function processName({ id, generation }: { readonly id: NodeId; readonly generation: number }): string {
  return `${id} ${generation}`
}

function text(values: ReadonlyMap<string, string | number>): string {
  return [...values]
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(' ')
}

function placeIn<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}
