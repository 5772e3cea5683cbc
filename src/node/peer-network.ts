import { assert } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { Addresses } from '../vocabulary/addresses.ts'
import type { PeerHello } from '../vocabulary/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { joinPath } from '../vocabulary/join.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'
import type { MetricsSample } from '../admin/metrics-sample.ts'
import type { ClientWords, Handing, Mailroom, Peers } from '../calls/call.ts'
import { RoutedWords, WordsHere } from '../calls/client-words.ts'
import type { CancellableCalls } from '../calls/client-words.ts'
import type { Mailboxes } from '../calls/mailboxes.ts'
import type { Config } from '../config/schema.ts'
import { isLive } from '../gossip/member.ts'
import { ClusterSecret } from '../identity/secret.ts'
import type { Log } from '../log/log.ts'
import { CallsLane, callsLaneDefaults } from '../peers/calls-lane.ts'
import type { GossipDriver } from '../peers/gossip-driver.ts'
import { livenessMs, Patience, peerHeartbeatMs } from '../peers/patience.ts'
import { PeerLinks } from '../peers/peer-links.ts'
import type { ServeCalls } from '../peers/served-calls.ts'
import { transportDefaults, WebSocketTransport } from '../transport/websocket-transport.ts'
import { peerLanes } from '../wire/limits.ts'
import { startGossip } from './gossip.ts'
import { listenAddress } from './agreement.ts'
import type { Agreement } from './agreement.ts'
import { advertisedAddress } from './http-listener.ts'
import { joinAnswerMs, Joins } from './joins.ts'
import { PeerAddresses } from './peer-addresses.ts'
import { VersionMismatch } from './version-mismatch.ts'

/**
 * The main thread's links to the other nodes, wired: finds peers by `cluster.join` and the member directory, tells consensus
 * where their raft listeners are, carries forwarded calls, mail and clients' words, and gossips.
 */
export type PeerNetwork = {
  readonly calls: Peers
  /** Takes what clients of this node say, for whichever node it concerns. */
  readonly words: ClientWords
  readonly mailroom: Mailroom
  readonly handing: Handing
  readonly gossip: GossipDriver
  /** What this node advertises, all three listeners. */
  readonly addresses: Addresses
  reachable(node: NodeId): boolean
  /** What the nodes said of themselves to which there is a link now. */
  linked(): readonly PeerHello[]
  figures(): MetricsSample['peers']
  /** Told when a link opens. */
  onLinked(listener: () => void): void
  /** Ends what this node performs for others: they are told that it may have been done. */
  abandonServed(why: OperatingError): void
  /** Says goodbye to the members first. */
  close(): Promise<void>
}

export async function openPeerNetwork(options: PeerNetworkOptions): Promise<PeerNetwork> {
  const { config, version, agreement, here, http, clock, random, log, failed } = options
  const { node, generation, boot, raftAddress, consensus } = agreement.started
  const { listen, advertise, cluster } = config
  // The listener's port is known only once it listens; nobody can say hello before.
  let addresses: Addresses = { http, peer: listen.peer, raft: raftAddress }

  const linked = new Map<NodeId, PeerHello>()
  let gossip: GossipDriver | null = null
  assert(cluster.secret !== null, 'a node knows its cluster and the secret before it speaks to others')
  const joins = new Joins({
    clusterName: cluster.name,
    secret: cluster.secret,
    clusterId: () => agreement.status().clusterId,
    cluster: agreement.cluster,
    isAlive: (peer) =>
      peer === node ||
      linked.has(peer) ||
      gossip?.members().some((member) => member.node === peer && isLive(member)) === true,
    clock,
    log,
  })
  const patience = new Patience({ self: node, clock })
  const transport = new WebSocketTransport({
    ...transportDefaults,
    heartbeatMs: peerHeartbeatMs,
    livenessMs,
    livenessMsOf: (peer) => patience.livenessMs(peer),
    listen: listenAddress(listen.peer),
    kind: 'peer',
    lanes: peerLanes,
    hello: (): PeerHello => {
      const { clusterId, promised } = agreement.status()
      return { node, generation, boot, clusterName: cluster.name, clusterId, promised, addresses, version }
    },
    secret: ClusterSecret.from(cluster.secret),
    admit: () => null,
    posts: { path: joinPath, answer: joins.answer, answerMs: joinAnswerMs },
    log,
    clock,
    random,
  })
  const asked: CancellableCalls = { cancelRequest: (...request) => lane.calls.cancelRequest(...request) }
  const words = new WordsHere({ calls: [here.kept, asked], upstreams: here.upstreams })
  const { serve, boxes } = here
  const limits = peerLanes.calls
  const linkWaitMs = (other: NodeId): number => patience.linkWaitMs(other)
  const lane = new CallsLane({
    ...callsLaneDefaults,
    node,
    transport,
    serve,
    boxes,
    words,
    log,
    clock,
    limits,
    linkWaitMs,
  })
  const links = new PeerLinks({ transport, calls: lane, join: cluster.join, log })
  const listeners: (() => void)[] = []
  const mismatch = new VersionMismatch(failed)
  const bound = await links.open({
    gossip: {
      opened: (hello) => gossip?.opened(hello),
      closed: (peer) => gossip?.closed(peer),
      frame: (...frame) => gossip?.frame(...frame),
      gone: (peer) => gossip?.gone(peer),
    },
    opened(hello) {
      mismatch.linked(hello.node)
      linked.set(hello.node, hello)
      for (const listener of listeners) listener()
    },
    closed: (peer) => linked.delete(peer),
    incompatible: (peer, error) => mismatch.met(peer, error),
    failed,
  })
  addresses = { ...addresses, peer: advertisedAddress({ advertised: advertise.peer, bound, listener: 'peer' }) }
  // In the same turn as the listener: no lane opens before.
  gossip = startGossip({
    config,
    agreement,
    transport,
    address: addresses.peer,
    linked: () => linked.values(),
    onLinked: (listener) => listeners.push(listener),
    clock,
    random,
    log,
  })
  const driver = gossip
  const others = new PeerAddresses({
    node,
    directory: () => agreement.cluster.state.members(),
    linked: () => linked.values(),
    gossiped: () => driver.members(),
    configuration: () => agreement.status().raft?.configuration ?? null,
    dial: (peers) => links.setDirectory(peers),
    learn: (peer, raft) => consensus.learnPeer(peer, raft),
  })
  let voters = ''
  const followStatus = (): void => {
    const { raft, reached } = agreement.status()
    mismatch.status(raft)
    patience.follow(raft?.configuration ?? null, reached)
    const votersNow = `${raft?.configuration.voters.join()} ${raft?.configuration.votersOutgoing.join()}`
    if (votersNow !== voters) others.follow()
    voters = votersNow
  }
  agreement.onStatus(followStatus)
  followStatus()
  agreement.onNews(() => others.follow())
  listeners.push(() => others.follow())
  driver.onMember(() => others.follow())
  return {
    calls: lane.calls,
    words: new RoutedWords({ self: node, here: words, links: lane.words }),
    mailroom: lane.mailroom,
    handing: lane.handing,
    gossip: driver,
    addresses,
    reachable: (other) => links.reachable(other),
    linked: () => [...linked.values()],
    onLinked: (listener) => listeners.push(listener),
    figures() {
      const { framesMalformed, eventsDropped, mailsDropped, wordsDropped, peersBehind } = lane.counters
      return {
        ...transport.counters,
        framesRejected: transport.counters.framesRejected + framesMalformed,
        notificationsDropped: eventsDropped + mailsDropped + wordsDropped,
        peersBehind,
      }
    },
    abandonServed: (why) => lane.abandonServed(why),
    async close() {
      await driver.leave(leaveMs)
      driver.stop()
      await links.close()
    },
  }
}

/** Enough for a few rounds of news; who does not hear of it finds this node dead a little later. */
const leaveMs = 1000

export type PeerNetworkOptions = {
  readonly config: Config
  readonly version: string
  readonly agreement: Agreement
  /** What this node does for its peers and their clients. */
  readonly here: {
    readonly serve: ServeCalls
    readonly kept: CancellableCalls
    readonly boxes: Pick<Mailboxes, 'open'>
    readonly upstreams: ClientWords
  }
  /** The advertised address of the HTTP listener. */
  readonly http: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly failed: (error: OperatingError) => void
}
