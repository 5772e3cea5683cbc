import { OperatingError } from '../vocabulary/operating-error.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import type { Offer } from '../vocabulary/offer.ts'
import type { Clock } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { JsonText } from '../std/json-text.ts'
import type { ClientWords, Upstreams } from '../calls/call.ts'
import type { Log } from '../log/log.ts'
import { Allowance } from './allowance.ts'
import { ChildRecords } from './child-records.ts'
import { defaultLimits, type UpstreamLimits } from './limits.ts'
import { httpLinks } from './http-link.ts'
import { makeMask } from './mask.ts'
import { stdioLinks } from './stdio-link.ts'
import { SupervisedUpstream } from './supervised-upstream.ts'
import type { ClientSessions, UpstreamServer, UpstreamStatus } from './upstream.ts'

/**
 * The servers that run on this node: one supervised upstream each. A server that can not be reached stops neither the
 * start nor its neighbours; after `stop` no process, socket or timer of theirs is left.
 */
export type UpstreamsOptions = {
  /** This one, and which of its lives: what the ids of questions say. */
  readonly node: NodeId
  readonly generation: number
  readonly servers: readonly UpstreamServer[]
  /** Where the records of running children are kept. */
  readonly dataDir: string
  readonly log: Log
  readonly clock: Clock
  readonly random: Random
  /** Ours, said in initialize. */
  readonly version: string
  readonly limits?: Partial<UpstreamLimits>
  readonly sessions: ClientSessions
  /** What a server says to a session outside of any call. */
  mail(session: SessionId, mail: { readonly server: ServerName; readonly message: JsonText }): void
  /** Called for every change, from `start` on until `stop` is called. */
  onStatus(server: ServerName, status: UpstreamStatus): void
}

export type RunningUpstreams = Upstreams &
  ClientWords & {
    /** Ends what a killed process of this node left behind, then starts every server and waits for none. */
    start(): Promise<void>
    stop(): Promise<void>
    has(server: ServerName): boolean
    statuses(): ReadonlyMap<ServerName, UpstreamStatus>
    /** Nothing of theirs is needed any more. */
    sessionsEnded(ids: readonly SessionId[]): void
  }

export function makeUpstreams(options: UpstreamsOptions): RunningUpstreams {
  const { log, clock, random, version, dataDir } = options
  const limits = { ...defaultLimits, ...options.limits }
  const records = new ChildRecords(dataDir)
  const upstreams = new Map(
    options.servers.map((server) => {
      const common = {
        server,
        log: log.child({ server: server.name }),
        clock,
        random,
        limits,
        mask: makeMask(server.link),
      }
      const { link } = server
      const links = link.kind === 'stdio' ? stdioLinks({ ...common, link, records }) : httpLinks({ ...common, link })
      const allowance = new Allowance(server)
      // What it once offered stays known while it is not ready.
      let offer: Offer | null = null
      const onStatus = (status: UpstreamStatus): void => {
        if (status.offer !== null) offer = allowance.offered(status.offer)
        options.onStatus(server.name, { ...status, offer })
      }
      const upstream = new SupervisedUpstream({ ...common, links, version, onStatus })
      return [server.name, { upstream, allowance }]
    }),
  )
  return {
    async start() {
      await records.reap({ log, clock, limits })
      for (const { upstream } of upstreams.values()) upstream.start()
    },
    async stop() {
      await Promise.all([...upstreams.values()].map(({ upstream }) => upstream.stop()))
    },
    has: (server) => upstreams.has(server),
    statuses: () => new Map([...upstreams].map(([name, { upstream }]) => [name, upstream.status])),
    say: () => undefined,
    sessionsEnded: () => undefined,
    async call(call, hear, cancelled) {
      const found = upstreams.get(call.server)
      if (found !== undefined) return found.allowance.refusal(call) ?? found.upstream.call(call, hear, cancelled)
      const error = new OperatingError('not-here', `server ${call.server} does not run on this node`, {
        retry: 'elsewhere',
      })
      return { kind: 'not-sent', error }
    },
  }
}
