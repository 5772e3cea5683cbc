import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Call, CallOrigin, Outcome } from '../../src/calls/call.ts'
import type { Log, LogFields } from '../../src/log/log.ts'
import { asJsonText, toJsonText, type JsonText } from '../../src/std/json-text.ts'
import { Random } from '../../src/std/random.ts'
import type { UpstreamLimits } from '../../src/upstream/limits.ts'
import type { ClientSession, UpstreamStatus } from '../../src/upstream/upstream.ts'
import type { ConfiguredServer } from '../../src/vocabulary/configured-server.ts'
import { makeUpstreams, type RunningUpstreams } from '../../src/upstream/upstreams.ts'
import type { CallId, NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { countingClock } from '../counting-clock.ts'
import { waitFor } from '../wait.ts'

/** Real upstreams in a folder of their own, with what they said and became on record. */
export type UnderTest = {
  readonly upstreams: RunningUpstreams
  readonly dataDir: string
  readonly log: RecordedLog
  /** Whom the upstreams know, as the replicated records would say it. */
  readonly sessions: Map<SessionId, ClientSession>
  /** What servers said to sessions outside of any call. */
  readonly mails: readonly { session: SessionId; server: ServerName; message: JsonText }[]
  readonly statuses: readonly (UpstreamStatus & { server: string })[]
  /** How many timers wait now. */
  liveTimers(): number
  ready(server: string): Promise<UpstreamStatus>
  call(server: string, tool: string, input?: object, options?: CallOptions): Promise<Outcome>
  stop(): Promise<void>
}

export type CallOptions = {
  readonly method?: string
  readonly params?: string
  readonly timeoutMs?: number
  readonly meta?: object
  /** What is heard before the outcome. */
  readonly heard?: Heard[]
  /** Whose call it is. */
  readonly session?: SessionId
  readonly signal?: AbortSignal | undefined
}

/** A server's message to a client, parsed. */
export type Heard = { id?: string; method: string; params?: Record<string, unknown>; text: string }

export type RecordedLog = Log & { readonly lines: { event: string; fields: LogFields }[] }

const fixtures = path.resolve(import.meta.dirname, '../fixtures')

export function stdioServer(name: string, env: Record<string, string> = {}, fixture = name): ConfiguredServer {
  const args = [path.join(fixtures, `${fixture}.mjs`)]
  return {
    ...serverDefaults(name),
    link: { kind: 'stdio', command: process.execPath, args, env, cwd: null },
  }
}

export function httpServer(name: string, url: string, headers: Record<string, string> = {}): ConfiguredServer {
  return { ...serverDefaults(name), link: { kind: 'http', url, headers, transport: 'inferred' } }
}

function serverDefaults(name: string): Omit<ConfiguredServer, 'link'> {
  return {
    name: name as ServerName,
    priority: 0,
    timeoutMs: 10_000,
    timeoutMaxMs: 60_000,
    isolation: 'auto',
    isolatedMax: 64,
    allow: { tools: [], resources: [], prompts: [] },
    deny: { tools: [], resources: [], prompts: [] },
    groups: [],
    whenUnavailable: 'keep',
  }
}

export async function startUpstreams(
  servers: readonly ConfiguredServer[],
  limits: Partial<UpstreamLimits> = {},
  dataDir = mkdtempSync(path.join(tmpdir(), 'quorate-upstream-')),
): Promise<UnderTest> {
  const log = recordedLog()
  const timers = new Set<object>()
  const sessions: UnderTest['sessions'] = new Map()
  const mails: { session: SessionId; server: ServerName; message: JsonText }[] = []
  const statuses: (UpstreamStatus & { server: string })[] = []
  const upstreams = makeUpstreams({
    node: testNode,
    generation: 1,
    sessions: {
      find: (id) => sessions.get(id),
      seek: (id) => Promise.resolve(sessions.get(id)),
      all: () => [...sessions].map(([id, session]) => ({ id, ...session })),
    },
    mail: (session, mail) => mails.push({ session, ...mail }),
    servers,
    dataDir,
    log,
    clock: countingClock(timers),
    random: new Random(1),
    version: '1.2.3',
    limits: { restartDelayMinMs: 10, restartDelayMaxMs: 100, ...limits },
    onStatus: (server, status) => statuses.push({ server, ...status }),
  })
  await upstreams.start()
  let calls = 0
  return {
    upstreams,
    dataDir,
    log,
    sessions,
    mails,
    statuses,
    liveTimers: () => timers.size,
    ready: (server) =>
      waitFor(`server ${server} to be ready`, () => {
        const status = upstreams.statuses().get(server as ServerName)
        return status?.status === 'ready' ? status : undefined
      }),
    call(server, tool, input = {}, options = {}) {
      calls += 1
      const meta = options.meta === undefined ? {} : { _meta: options.meta }
      const call: Call = {
        id: `test.1.${calls}` as CallId,
        server: server as ServerName,
        method: options.method ?? 'tools/call',
        params: (options.params ?? toJsonText({ name: tool, arguments: input, ...meta })) as Call['params'],
        timeoutMs: options.timeoutMs ?? null,
        origin: options.session === undefined ? null : originOf(options.session, calls),
      }
      return upstreams.call(
        call,
        (message) => options.heard?.push(heardOf(message)),
        options.signal ?? new AbortController().signal,
      )
    },
    async stop() {
      await upstreams.stop()
      if (timers.size > 0) throw new Error(`${timers.size} timers are left after stop`)
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

export const testNode = 'test' as NodeId

function originOf(session: SessionId, call: number): CallOrigin {
  return { session, requestId: toJsonText(call), isKept: false }
}

export function heardOf(message: JsonText): Heard {
  return { ...(JSON.parse(message) as Omit<Heard, 'text'>), text: message }
}

/** A session whose client has the capabilities, known to the upstreams. */
export function addSession(
  { sessions }: UnderTest,
  id: string,
  session: Partial<Omit<ClientSession, 'capabilities'>> & { capabilities?: object } = {},
): SessionId {
  sessions.set(id as SessionId, {
    path: '/mcp',
    protocolVersion: '2025-06-18',
    clientInfo: asJsonText(`{"name":"client ${id}","version":"1.0"}`),
    idleMs: 60_000,
    usedAt: 0,
    level: null,
    subscriptions: [],
    pins: new Map(),
    ...session,
    capabilities: toJsonText(session.capabilities ?? {}),
  })
  return id as SessionId
}

/** The parsed result of an outcome that must be one. */
export function resultOf(outcome: Outcome): {
  content: { text: string }[]
  structuredContent: Record<string, unknown>
} {
  if (outcome.kind !== 'result') throw new Error(`no result but ${outcome.kind}: ${messageOf(outcome)}`)
  return JSON.parse(outcome.result) as ReturnType<typeof resultOf>
}

export function messageOf(outcome: Outcome): string {
  if (!('error' in outcome)) return ''
  return typeof outcome.error === 'string' ? outcome.error : outcome.error.message
}

export function recordedLog(): RecordedLog {
  const lines: { event: string; fields: LogFields }[] = []
  const at = (bound: LogFields): RecordedLog => {
    const write = (event: string, fields: LogFields = {}): void => {
      lines.push({ event, fields: { ...bound, ...fields } })
    }
    return {
      lines,
      debug: write,
      info: write,
      warn: write,
      error: write,
      child: (fields) => at({ ...bound, ...fields }),
    }
  }
  return at({})
}

/** Alive and no zombie. */
export function isAlive(pid: number): boolean {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[0] !== 'Z'
  } catch {
    return false
  }
}
