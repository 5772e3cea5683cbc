import type { Clock } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import { KeptCalls } from '../calls/kept-calls.ts'
import { Mailboxes } from '../calls/mailboxes.ts'
import { MeasuredUpstreams, type ServedCalls } from '../calls/measured-upstreams.ts'
import { Serve } from '../calls/serve.ts'
import type { Config } from '../config/schema.ts'
import { upstreamServersOf } from '../config/servers.ts'
import type { Log } from '../log/log.ts'
import type { ServeCalls } from '../peers/served-calls.ts'
import type { Replica } from '../state/command.ts'
import { makeUpstreams, type RunningUpstreams } from '../upstream/upstreams.ts'
import type { ClientSessions } from './client-sessions.ts'
import type { Cluster } from './cluster.ts'
import type { Traffic } from './traffic.ts'

/**
 * The servers that run on this node, and what it keeps for their clients: the calls that it performs, with all that has
 * arisen of them, and the mail. Forgets with the sessions, and follows their pins. `upstreams` are started and stopped by
 * whoever publishes them.
 */
export type LocalServers = {
  readonly upstreams: RunningUpstreams
  readonly kept: KeptCalls
  readonly boxes: Mailboxes
  /** Calls from other nodes. */
  readonly serve: ServeCalls
  /** Calls from other nodes that are in work here. */
  readonly servedActive: () => number
  /** By server, the calls that ended since this was asked last. */
  takeServed(): ReadonlyMap<ServerName, ServedCalls>
  /** Forgets what is kept. */
  stop(): void
}

export type LocalServersOptions = {
  readonly config: Config
  readonly generation: number
  readonly version: string
  readonly cluster: Pick<Cluster, 'watch'>
  readonly sessions: ClientSessions
  readonly traffic: Traffic
  /** Whether this node still performs calls of others. */
  readonly takesCalls: () => boolean
  readonly publish: (replica: Replica) => void
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export function makeLocalServers(node: Replica['node'], options: LocalServersOptions): LocalServers {
  const { config, generation, version, cluster, sessions, traffic, takesCalls, publish, clock, random, log } = options
  const servers = new Map(
    upstreamServersOf(config, { ...config.node.labels, node }).map((server) => [server.name, server]),
  )
  const boxes = new Mailboxes({ epoch: generation, clock })
  const upstreams = makeUpstreams({
    node,
    generation,
    servers: [...servers.values()],
    sessions,
    mail: (session, mail) => boxes.put(session, mail),
    dataDir: config.node.dataDir,
    log,
    clock,
    random,
    version,
    onStatus(name, upstream) {
      const server = servers.get(name)
      if (server === undefined) return
      const { priority, link, whenUnavailable, groups } = server
      const transport = link.kind
      publish({ node, generation, server: name, transport, priority, whenUnavailable, groups, ...upstream })
    },
  })
  const measured = new MeasuredUpstreams(upstreams, clock)
  const kept = new KeptCalls({ node, upstreams: measured, clock, log, unattended: traffic })
  sessions.onEnded((ids) => {
    kept.sessionsEnded(ids)
    boxes.sessionsEnded(ids)
    upstreams.sessionsEnded(ids)
  })
  cluster.watch(({ sessionsPinned }) => sessionsPinned.forEach((pin) => upstreams.pinned(pin)))
  const serve = new Serve({ here: kept, runs: (server) => upstreams.has(server), takes: takesCalls })
  return {
    upstreams,
    kept,
    boxes,
    serve: {
      call: (call, caller) => traffic.during(() => serve.call(call, caller)),
      resume: (ref, caller) => traffic.during(() => serve.resume(ref, caller)),
    },
    servedActive: () => serve.counters.active,
    takeServed: () => measured.take(),
    stop() {
      kept.stop()
      boxes.stop()
    },
  }
}
