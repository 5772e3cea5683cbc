import { OperatingError } from '../vocabulary/operating-error.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import { unreachable } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import type { JsonText } from '../std/json-text.ts'
import type { Random } from '../std/random.ts'
import type { ClientWord, ClientWords, Upstreams } from '../calls/call.ts'
import { makeQuestionIds } from '../calls/question-ids.ts'
import type { Log } from '../log/log.ts'
import { ChildRecords } from './child-records.ts'
import { Clients } from './clients.ts'
import { notificationText } from './json-rpc.ts'
import { defaultLimits, type UpstreamLimits } from './limits.ts'
import { httpLinks } from './http-links.ts'
import { makeMask } from './mask.ts'
import { Questions } from './questions.ts'
import { ServerUpstreams } from './server-upstreams.ts'
import { stdioLinks } from './stdio-link.ts'
import type { ClientSessions, UpstreamStatus } from './upstream.ts'
import type { ConfiguredServer } from '../vocabulary/configured-server.ts'

/**
 * The servers that run on this node. One that can not be reached stops neither the start nor its neighbours; after `stop`
 * no process, socket or timer of theirs is left.
 */
export type UpstreamsOptions = {
  /** This one, and which of its lives: what the ids of questions say. */
  readonly node: NodeId
  readonly generation: number
  readonly servers: readonly ConfiguredServer[]
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
    /**
     * The session's record says which node keeps what the server keeps for it. Here: its subscriptions are made good.
     * Elsewhere: what is kept here goes as soon as no call uses it.
     */
    pinned(pin: { readonly session: SessionId; readonly server: ServerName; readonly node: NodeId }): void
    /** Of servers, how many sessions have an upstream to themselves here; and questions that wait for an answer. */
    figures(): UpstreamFigures
  }

export type UpstreamFigures = { readonly own: ReadonlyMap<ServerName, number>; readonly questions: number }

export function makeUpstreams(options: UpstreamsOptions): RunningUpstreams {
  const { node, generation, log, clock, random, version, dataDir } = options
  const limits = { ...defaultLimits, ...options.limits }
  const records = new ChildRecords(dataDir)
  const clients = new Clients(options.sessions)
  const questions = new Questions(makeQuestionIds(node, generation), limits.questionsOpenMax)
  const upstreams = new Map(
    options.servers.map((server) => {
      const { link, name } = server
      const common = { server, log: log.child({ server: name }), clock, random, limits, mask: makeMask(link) }
      const links = link.kind === 'stdio' ? stdioLinks({ ...common, link, records }) : httpLinks({ ...common, link })
      const upstream = new ServerUpstreams({
        ...common,
        links,
        version,
        node,
        clients,
        questions,
        mail: (session, message) => options.mail(session, { server: name, message }),
        onStatus: (status) => options.onStatus(name, status),
      })
      return [name, upstream]
    }),
  )

  const say = (session: SessionId, word: ClientWord): void => {
    switch (word.kind) {
      case 'answer':
        return questions.answer(session, word.question, { result: word.result })
      case 'refusal':
        return questions.answer(session, word.question, { error: word.error })
      case 'progress':
        return questions.progress(session, word.question, word.params)
      case 'cancel':
        // A call's own signal says so.
        return
      case 'notification': {
        const text = notificationText(word.method, word.params ?? undefined)
        for (const [name, upstream] of upstreams)
          if (word.server === null || word.server === name) upstream.tell(session, text)
        return
      }
      default:
        return unreachable(word)
    }
  }

  return {
    async start() {
      await records.reap({ log, clock, limits })
      for (const upstream of upstreams.values()) upstream.start()
    },
    async stop() {
      await Promise.all([...upstreams.values()].map((upstream) => upstream.stop()))
    },
    has: (server) => upstreams.has(server),
    statuses: () => new Map([...upstreams].map(([name, upstream]) => [name, upstream.status])),
    call(call, hear, cancelled) {
      const upstream = upstreams.get(call.server)
      if (upstream !== undefined) return upstream.call(call, hear, cancelled)
      const error = new OperatingError('not-here', `server ${call.server} does not run on this node`, {
        retry: 'elsewhere',
      })
      return Promise.resolve({ kind: 'not-sent', error })
    },
    say,
    sessionsEnded(ids) {
      const ended = new Set(ids)
      questions.sessionsEnded(ended)
      for (const upstream of upstreams.values()) upstream.sessionsEnded(ended)
    },
    pinned(pin) {
      const upstream = upstreams.get(pin.server)
      if (pin.node === node) upstream?.adopt(pin.session)
      else upstream?.release(pin.session)
    },
    figures: () => ({
      own: new Map([...upstreams].map(([name, upstream]) => [name, upstream.ownCount])),
      questions: questions.count,
    }),
  }
}
