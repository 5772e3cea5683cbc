import { randomBytes } from 'node:crypto'
import type { InvariantError } from '../std/assert.ts'
import { realClock } from '../std/clock.ts'
import type { Clock } from '../std/clock.ts'
import { Random } from '../std/random.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { makeAdmin } from '../admin/admin.ts'
import { Metrics } from '../admin/metrics.ts'
import { makeCallIds } from '../calls/call-ids.ts'
import { Dispatch } from '../calls/dispatch.ts'
import type { Config } from '../config/schema.ts'
import { startConsensusThread } from '../consensus/thread.ts'
import { makeGateway } from '../gateway/gateway.ts'
import { ClusterSecret } from '../identity/secret.ts'
import type { Log } from '../log/log.ts'
import { makeLog } from '../log/pino-log.ts'
import { RoundRobin } from '../routing/choose.ts'
import { View } from '../routing/view.ts'
import { listenAddress, startAgreement } from './agreement.ts'
import { startAutopilot } from './autopilot.ts'
import { ClientSessions } from './client-sessions.ts'
import { ClusterEvents } from './cluster-events.ts'
import { Directory } from './directory.ts'
import { Draining } from './draining.ts'
import { DrainingMembers } from './draining-members.ts'
import { makeHttpFront } from './http-front.ts'
import { advertisedAddress, HttpListener } from './http-listener.ts'
import { makeLocalServers } from './local-servers.ts'
import { NamingDifferences } from './naming-differences.ts'
import { NodeCommands } from './node-commands.ts'
import { OperatorTokens } from './operator-tokens.ts'
import { settleMembership } from './membership.ts'
import { OperatorViews } from './operator-views.ts'
import { openPeerNetwork } from './peer-network.ts'
import { Publisher } from './publisher.ts'
import { goneByGossip } from './removal.ts'
import { SelfReport } from './self-report.ts'
import { Stops } from './stops.ts'
import { SubscriptionPins } from './subscription-pins.ts'
import { ToolCalls } from './tool-calls.ts'
import { Traffic } from './traffic.ts'

/**
 * One node, put together: reads as its table of contents, and `stop` runs it backwards. Holds no rule of the domain.
 *
 * HTTP is bound first, so that its address can be advertised, and so that a node that waits to be let into a cluster says so;
 * consensus next, because it takes the lock of the data directory: nothing that belongs to the directory (the children of an
 * earlier life) is touched before, but for what a join keeps there.
 */
export async function startNode(config: Config, options: NodeOptions, ports = realPorts(config)): Promise<RunningNode> {
  const stops = new Stops(ports.log)
  try {
    return await startParts(config, options, { ...ports, stops })
  } catch (error) {
    await stops.run()
    throw error
  }
}

export type RunningNode = {
  readonly id: NodeId
  readonly urls: { readonly http: string; readonly mcp: string; readonly peer: string; readonly raft: string }
  /** Something is in flight here, or may be soon: a stop without a drain before would break it off. */
  readonly isBusy: boolean
  /** Takes nothing new, and resolves when nothing is in flight, within `node.drainTimeoutMs`. */
  drain(): Promise<void>
  stop(): Promise<void>
}

export type NodeOptions = {
  readonly version: string
  /** The cluster's name is configured, rather than the default. */
  readonly isNameGiven: boolean
  /** Ends a start that waits for a cluster to let the node in, with `stopped`; a node that has started has its `stop`. */
  readonly stopAsked: AbortSignal
  /** The node can not go on and has to be stopped. Called at most once. */
  readonly onFatal: (error: OperatingError) => void
  /** The node has left the cluster, as an operator wanted, and has to be stopped. Called at most once. */
  readonly onLeft: () => void
}

/** What a test may replace; sockets, disk, threads and child processes are real. */
export type NodePorts = { readonly clock: Clock; readonly random: Random; readonly log: Log }

export function realPorts(config: Config): NodePorts {
  const random = new Random(randomBytes(4).readUInt32LE())
  return { clock: realClock, random, log: makeLog({ level: config.log.level }) }
}

async function startParts(
  configured: Config,
  { version, isNameGiven, stopAsked, onFatal, onLeft }: NodeOptions,
  { clock, random, log, stops }: NodePorts & { readonly stops: Stops },
): Promise<RunningNode> {
  const startedAt = clock.now()
  let wasWanted: (error: OperatingError) => boolean = () => false
  const failed = onceOnly((error) => {
    if (!wasWanted(error)) onFatal(error)
  })

  const { health } = configured.http
  const http = new HttpListener({ health, log })
  stops.add('http', () => http.close(httpGraceMs))
  const bound = await http.open(listenAddress(configured.listen.http))
  const httpAddress = advertisedAddress({ advertised: configured.advertise.http, bound, listener: 'http' })
  const config = await settleMembership(configured, {
    isNameGiven,
    version,
    signal: stopAsked,
    waiting: (why) => http.refuse(why),
    clock,
    random,
    log,
  })

  const agreement = await startAgreement({
    config,
    version,
    startConsensus: startConsensusThread,
    clock,
    random,
    log,
    lost: (why) => http.refuse(why.message),
    failed,
  })
  stops.add('consensus', () => agreement.stop())
  const { cluster, catalog, leadership, snapshots, checks } = agreement
  const { node, generation } = agreement.started
  const isLeader = (): boolean => agreement.status().raft?.role === 'leader'
  const sessions = new ClientSessions({
    cluster,
    isLeader,
    sessionsMax: config.mcp.sessionsMax,
    clock,
    log,
  })
  stops.add('sessions', () => sessions.stop())
  const nextCallId = makeCallIds(node, generation)
  const traffic = new Traffic(clock)
  const drainingMembers = new DrainingMembers(() => cluster.state.drains())
  let hasLeft = false
  const draining = new Draining({
    node,
    limitMs: config.node.drainTimeoutMs,
    traffic,
    sessions: () => gateway.counters().streams,
    wanted: () => cluster.state.drains().get(node) ?? null,
    successors: () => leadership.successors((other) => drainingMembers.has(other)),
    handOver: (to) => leadership.transfer(to, changeMs),
    said(how) {
      selfReport.draining(how)
      events.drainingChanged(node, how)
    },
    abandon() {
      gateway.abandonSessions()
      toolCalls.abandon()
      peers.abandonServed(abandoned(node))
      kept.abandon()
    },
    leave: () => nodeCommands.leaveConfiguration(changeMs),
    left() {
      hasLeft = true
      onLeft()
    },
    clock,
    log,
  })
  wasWanted = (error) => error.code === 'removed' && draining.removed()

  const servers = makeLocalServers(node, {
    config,
    generation,
    version,
    cluster,
    sessions,
    traffic,
    takesCalls: () => draining.takesCalls,
    publish: (replica) => publisher.setReplica(replica),
    clock,
    random,
    log,
  })
  stops.add('local-servers', () => servers.stop())
  const { upstreams, kept, boxes } = servers
  const peers = await openPeerNetwork({
    config,
    version,
    agreement,
    here: servers,
    http: httpAddress,
    clock,
    random,
    log,
    failed,
  })
  stops.add('peers', () => peers.close())

  const metrics = new Metrics()
  stops.add('metrics', () => metrics.stop())
  const view = new View({
    self: node,
    state: cluster.state,
    reachable: (other) => peers.reachable(other),
    draining: (other) => (other === node ? draining.phase !== 'serving' : drainingMembers.has(other)),
  })
  const calls = new Dispatch({
    view,
    roundRobin: new RoundRobin(),
    here: kept,
    peers: peers.calls,
    sessions,
    clock,
    log,
    observe: ({ server, outcome, durationMs }) => metrics.callEnded({ server, outcome, seconds: durationMs / 1000 }),
  })

  const subscriptionPins = new SubscriptionPins({ state: cluster.state, view, sessions, isLeader, clock })
  stops.add('subscription-pins', () => subscriptionPins.stop())
  subscriptionPins.start()

  const member = { addresses: peers.addresses, labels: config.node.labels, version, startedAt }
  const selfReport = new SelfReport({
    gossip: peers.gossip,
    member,
    capacity: config.node.capacity,
    consensus: () => agreement.status(),
    cluster,
    calls: () => ({ ...calls.counters, active: calls.counters.active + servers.servedActive() }),
    takeServers: () => servers.takeServed(),
    clock,
  })
  stops.add('self-report', () => selfReport.stop())
  agreement.onStatus(() => selfReport.statusChanged())
  selfReport.start()
  const namings = new NamingDifferences({ ours: config.mcp.naming, gossip: peers.gossip, log })
  namings.start()

  const reconciling = {
    state: cluster.state,
    propose: (...proposal: Parameters<typeof cluster.propose>) => cluster.propose(...proposal),
    clock,
    random,
    log,
  }
  const directory = new Directory({
    ...reconciling,
    // Of a state that is still becoming the snapshot's nobody knows who is missing.
    raft: () => (cluster.isRestoring ? null : agreement.status().raft),
    linked: () => peers.linked(),
  })
  stops.add('directory', () => directory.stop())
  agreement.onNews(() => directory.trigger())
  agreement.onStatus(() => directory.trigger())
  peers.onLinked(() => directory.trigger())
  const publisher = new Publisher({
    ...reconciling,
    member: { node, generation, ...member },
  })
  agreement.onNews(() => publisher.trigger())
  // The news that came before may have been all.
  directory.trigger()
  publisher.trigger()
  stops.add('upstreams', () => upstreams.stop())
  // Who has left the configuration is taken out of the directory with all that it has published.
  stops.add('publisher', () => publisher.stop(hasLeft ? 0 : withdrawMs))
  await upstreams.start()

  const { allowedHosts, allowedOrigins } = config.http
  const origins = { allowedHosts: [...allowedHosts, peers.addresses.http], allowedOrigins }
  const gateway = makeGateway(
    {
      node,
      sessions,
      catalog: () => catalog.current(),
      onCatalogChanged: (listener) => catalog.onChanged(listener),
      calls,
      during: (work) => traffic.during(work),
      // It is answered on a GET, which is no work by itself.
      resume: (...resumed) => traffic.during(() => calls.resume(...resumed)),
      mailroom: peers.mailroom,
      handing: peers.handing,
      words: peers.words,
      nextCallId,
      takes: () => draining.takes,
      version,
      ...origins,
      clock,
      log,
    },
    { sessionIdleMs: config.mcp.sessionIdleMs },
  )
  stops.add('gateway', () => gateway.stop())
  const events = new ClusterEvents(() => clock.now())
  stops.add('events', () => events.stop())
  agreement.onStatus(() => events.raftChanged(agreement.status().raft))
  events.raftChanged(agreement.status().raft)
  peers.gossip.onMember((event) => events.memberChanged(event))
  const autopilot = startAutopilot({ config, agreement, gossip: peers.gossip, events, clock, random, log })
  stops.add('autopilot', () => autopilot.stop())
  peers.gossip.onChange((change) => {
    const said = drainingMembers.told(change)
    if (said !== null) events.drainingChanged(change.owner, said)
  })
  peers.gossip.onEnded((phase) => failed(goneByGossip(node, phase)))
  const toolCalls = new ToolCalls({ calls, catalog: () => catalog.current(), nextCallId })
  const nodeCommands = new NodeCommands({
    self: node,
    raft: () => agreement.status().raft,
    state: cluster.state,
    gossip: peers.gossip,
    newestConfiguration: (timeoutMs) => cluster.newestConfiguration(timeoutMs),
    propose: (...proposal) => cluster.propose(...proposal),
    changeConfiguration: (...change) => cluster.change(...change),
    clock,
  })
  stops.add('draining', () => draining.close())
  agreement.onStatus(() => draining.look())
  agreement.onNews(() => draining.look())
  const needs = new OperatorViews({
    node,
    generation,
    gossip: peers.gossip,
    events,
    version,
    cluster,
    leadership,
    snapshots,
    checks,
    autopilot,
    tokens: new OperatorTokens({
      cluster,
      secret: ClusterSecret.from(config.cluster.secret ?? ''),
      clusterId: () => agreement.status().clusterId,
      now: () => clock.now(),
      log,
    }),
    introduce: (learner, raftAddress) => directory.introduce(learner, raftAddress),
    catalog: () => catalog.current(),
    namingWarnings: () => namings.warnings(),
    consensus: () => agreement.status(),
    sessions,
    upstreamStatuses: () => upstreams.statuses(),
    upstreamFigures: () => upstreams.figures(),
    draining,
    traffic,
    nodeCommands,
    toolCalls,
    reachable: (other) => peers.reachable(other),
    peerFigures: () => peers.figures(),
    kept,
    boxes,
    caughtUp: () => cluster.state.members().some((known) => known.node === node && known.generation === generation),
    isStopping: () => stops.isRunning,
    now: () => clock.now(),
  })
  const admin = makeAdmin({ needs, metrics, clock, log, origins, health, onBroken: (error) => failed(broken(error)) })
  http.serve(makeHttpFront({ gateway, admin: admin.listener, draining, traffic }))
  // What is wanted of this node may be known already.
  draining.look()

  const { addresses } = peers
  log.info('node-started', { node, generation, version, addresses })
  return {
    id: node,
    urls: { ...addresses, http: `http://${addresses.http}`, mcp: `http://${addresses.http}/mcp` },
    get isBusy() {
      return draining.isBusy
    },
    drain: () => draining.stop(),
    stop: () => stops.run(),
  }
}

/** Requests under way have this long to end when the node stops. */
const httpGraceMs = 1000
/** So long the stop waits for the cluster to take note that this node's replicas are gone. */
const withdrawMs = 1000
/** A hand-over, and a change of the configuration, that a drain asks for; it asks again. */
const changeMs = 5000

function onceOnly(onFatal: NodeOptions['onFatal']): NodeOptions['onFatal'] {
  let told = false
  return (error) => {
    if (told) return
    told = true
    onFatal(error)
  }
}

function broken(cause: InvariantError): OperatingError {
  return new OperatingError('internal', 'an invariant of this node broke; it stops before it does harm', { cause })
}

function abandoned(node: NodeId): OperatingError {
  return new OperatingError('outcome-unknown', `node ${node} was drained and ended the call; it may have been done`)
}
