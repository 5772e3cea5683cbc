import type { NodeId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import { exchangeBytesMax } from './limits.ts'
import { hear } from './membership.ts'
import { claimBytes } from './messages.ts'
import type { Claim } from './messages.ts'

/**
 * Push-pull anti-entropy (memberlist's `pushPull`): two nodes tell each other all members that they know. With a live member, so
 * that what was lost on the way arrives in the end; and with one that is dead here or was never heard of, so that a cluster
 * that was cut in two finds together again.
 */
export function tickExchange(core: Core): void {
  if (core.tick >= core.nextExchangeTick) {
    core.nextExchangeTick = core.tick + exchangeInterval(core)
    for (const { node } of core.pick(core.members.live(), 1)) core.send(node, request(core))
  }
  if (core.tick >= core.nextReconnectTick) {
    const isAlone = core.members.live().length === 0
    core.nextReconnectTick = core.tick + (isAlone ? core.options.probeTicks : core.options.reconnectTicks)
    for (const node of core.pick(absent(core), 1)) core.send(node, request(core))
  }
}

export function onExchangeRequest(core: Core, from: NodeId, members: readonly Claim[]): void {
  for (const claim of members) hear(core, claim, 'exchange')
  core.send(from, { kind: 'exchange-response', members: claims(core) })
}

export function onExchangeResponse(core: Core, members: readonly Claim[]): void {
  for (const claim of members) hear(core, claim, 'exchange')
}

function request(core: Core): { kind: 'exchange-request'; members: Claim[] } {
  return { kind: 'exchange-request', members: claims(core) }
}

/** Everyone; or as many as fit, from a random place on. */
function claims(core: Core): Claim[] {
  const members = core.members.all()
  const start = core.random.below(Math.max(1, members.length))
  const taken: Claim[] = []
  let room = exchangeBytesMax
  for (const member of [...members.slice(start), ...members.slice(0, start)]) {
    const claim = core.claimOf(member)
    room -= claimBytes(claim)
    if (room < 0) break
    taken.push(claim)
  }
  return taken
}

/** memberlist's `pushPullScale`: once more for each doubling from 32 nodes on, so the load of a large cluster grows slowly. */
function exchangeInterval({ options, nodes }: Core): number {
  const doublings = nodes <= 32 ? 0 : Math.ceil(Math.log2(nodes) - 5)
  return options.exchangeTicks * (doublings + 1)
}

/** The dead, and the contacts that are no members; not who has left. */
function absent(core: Core): NodeId[] {
  const dead = core.members.all().filter((member) => member.status === 'dead')
  const unheard = core.contacts.filter(({ node }) => node !== core.id && core.members.get(node) === undefined)
  return [...dead, ...unheard].map(({ node }) => node)
}
