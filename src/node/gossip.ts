import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { Clock } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { PeerHello } from '../vocabulary/handshake.ts'
import type { Config } from '../config/schema.ts'
import type { Log } from '../log/log.ts'
import { GossipDriver } from '../peers/gossip-driver.ts'
import type { GossipDriverOptions } from '../peers/gossip-driver.ts'
import type { Agreement } from './agreement.ts'

/**
 * Gossip, wired: it starts from the directory of members and from whoever is linked (found by `cluster.join`), and keeps its
 * lanes open to the voters; a voter keeps them to all members.
 */
export function startGossip(options: StartGossipOptions): GossipDriver {
  const { config, agreement, transport, address, linked, clock, random, log } = options
  const { node, generation } = agreement.started
  const driver = new GossipDriver({
    ...config.gossip,
    node,
    generation,
    address,
    seed: random.uint32(),
    transport,
    clock,
    afterIo: (run) => void setImmediate(run),
    log,
  })
  driver.start()
  const follow = (): void => {
    const addresses = new Map<NodeId, string>()
    for (const member of agreement.cluster.state.members()) addresses.set(member.node, member.addresses.peer)
    // Who is linked listens where it says, whatever the directory still holds.
    for (const hello of linked()) addresses.set(hello.node, hello.addresses.peer)
    addresses.delete(node)
    const contacts = [...addresses].map(([other, at]) => ({ node: other, address: at }))
    driver.setContacts(contacts.filter((contact) => contact.address !== '').sort((a, b) => compareIds(a.node, b.node)))
    const voters = agreement.status().raft?.configuration.voters ?? []
    const kept = new Set(voters.includes(node) ? [...voters, ...addresses.keys()] : voters)
    kept.delete(node)
    driver.keepOpen(kept)
  }
  agreement.onStatus(follow)
  agreement.onNews(follow)
  options.onLinked(follow)
  follow()
  return driver
}

export type StartGossipOptions = Pick<GossipDriverOptions, 'transport' | 'address'> & {
  readonly config: Config
  readonly agreement: Agreement
  /** Who is linked to this node now. */
  readonly linked: () => Iterable<PeerHello>
  readonly onLinked: (listener: () => void) => void
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}
