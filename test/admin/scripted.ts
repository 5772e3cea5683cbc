import { createServer, request } from 'node:http'
import type { IncomingHttpHeaders, OutgoingHttpHeaders, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { makeAdmin } from '../../src/admin/admin.ts'
import type { AdminOptions } from '../../src/admin/admin.ts'
import { Metrics } from '../../src/admin/metrics.ts'
import type { MetricsSample } from '../../src/admin/metrics-sample.ts'
import type { AdminNeeds, KvNeeds, MembershipNeeds } from '../../src/admin/needs.ts'
import type { TokenNeeds } from '../../src/admin/token-needs.ts'
import type { NodeNeeds } from '../../src/admin/node-needs.ts'
import type { Log, LogFields } from '../../src/log/log.ts'
import { realClock } from '../../src/std/clock.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'

/** An admin API on a real server on loopback, over needs that a test scripts; what it does not script must not be asked. */
export type Scripted = Partial<Omit<AdminNeeds, 'kv' | 'nodes' | 'membership' | 'tokens'>> & {
  kv?: Partial<KvNeeds>
  membership?: Partial<MembershipNeeds>
  nodes?: Partial<NodeNeeds>
  tokens?: Partial<TokenNeeds>
}

export type Running = {
  readonly port: number
  readonly lines: readonly Line[]
  readonly broken: readonly Error[]
  readonly metrics: Metrics
  readonly send: (ask: Ask) => Promise<Answer>
  readonly stop: () => Promise<void>
}

export type Line = { readonly level: string; readonly event: string; readonly fields: LogFields | undefined }
export type Ask = { path: string; method?: string; headers?: OutgoingHttpHeaders; body?: string | Uint8Array }
export type Answer = { status: number; headers: IncomingHttpHeaders; text: string; json: unknown }

export async function startAdmin(
  scripted: Scripted = {},
  more: Partial<Pick<AdminOptions, 'health' | 'origins'>> = {},
): Promise<Running> {
  const lines: Line[] = []
  const broken: Error[] = []
  const metrics = new Metrics()
  const { listener } = makeAdmin({
    needs: needsOf(scripted),
    metrics,
    clock: realClock,
    log: logInto(lines),
    origins: { allowedHosts: ['node1.example:6270'], allowedOrigins: ['https://console.example'] },
    health: { path: '/healthz', status: 200, message: 'ok' },
    onBroken: (error) => broken.push(error),
    ...more,
  })
  const server = createServer(listener)
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  return {
    port,
    lines,
    broken,
    metrics,
    send: (ask) => send(port, ask),
    stop: () => stop(server, metrics),
  }
}

function needsOf(scripted: Scripted): AdminNeeds {
  const unscripted = (name: string) => (): never => {
    throw new Error(`${name} was not to be asked`)
  }
  const names = ['status', 'raft', 'members', 'servers', 'tools', 'resources', 'resourceTemplates', 'prompts'] as const
  const more = ['callTool', 'events', 'snapshot', 'sessions', 'closeSession', 'readiness', 'sample'] as const
  return {
    ...Object.fromEntries([...names, ...more].map((name) => [name, unscripted(name)])),
    ...scripted,
    kv: {
      get: unscripted('kv.get'),
      list: unscripted('kv.list'),
      put: unscripted('kv.put'),
      delete: unscripted('kv.delete'),
      watch: unscripted('kv.watch'),
      ...scripted.kv,
    },
    membership: {
      transfer: unscripted('membership.transfer'),
      addLearner: unscripted('membership.addLearner'),
      promote: unscripted('membership.promote'),
      remove: unscripted('membership.remove'),
      ...scripted.membership,
    },
    nodes: {
      drain: unscripted('nodes.drain'),
      undrain: unscripted('nodes.undrain'),
      leave: unscripted('nodes.leave'),
      remove: unscripted('nodes.remove'),
      ...scripted.nodes,
    },
    tokens: {
      create: unscripted('tokens.create'),
      list: unscripted('tokens.list'),
      revoke: unscripted('tokens.revoke'),
      ...scripted.tokens,
    },
  } as AdminNeeds
}

function logInto(lines: Line[]): Log {
  const at = (level: string) => (event: string, fields?: LogFields) => void lines.push({ level, event, fields })
  const log: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), child: () => log }
  return log
}

function send(port: number, { path, method = 'GET', headers = {}, body }: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port, path, method, headers, agent: false }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk: Buffer) => chunks.push(chunk))
      res.on('error', reject)
      res.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        resolve({ status: res.statusCode ?? 0, headers: res.headers, text, json: parsed(text) })
      })
    })
    req.on('error', reject)
    req.end(body)
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

async function stop(server: Server, metrics: Metrics): Promise<void> {
  server.closeAllConnections()
  await new Promise((resolve) => {
    server.close(resolve)
  })
  metrics.stop()
}

/** Key-value pairs as the needs describe them, without a cluster. */
export function kvInMemory(): Omit<KvNeeds, 'watch'> & { readonly asked: unknown[] } {
  const pairs = new Map<string, { value: string; revision: number }>()
  const asked: unknown[] = []
  let revision = 0
  const check = (key: string, expect: number | null): void => {
    const found = pairs.get(key)?.revision ?? 0
    if (expect === null || expect === found) return
    throw new OperatingError('revision-mismatch', 'the revision is another', { details: { revision: found } })
  }
  return {
    asked,
    get: async (key, { consistency }) => {
      asked.push({ get: key, consistency })
      const found = pairs.get(key)
      return found && { key, value: asJsonText(found.value), revision: found.revision }
    },
    list: async (range, { consistency }) => {
      asked.push({ ...range, consistency })
      const entries = [...pairs]
        .filter(([key]) => key.startsWith(range.prefix))
        .map(([key, pair]) => ({ key, value: asJsonText(pair.value), revision: pair.revision }))
      return { entries, revision, next: null }
    },
    put: async (key, value, { expect, idempotencyKey }) => {
      if (idempotencyKey !== null) asked.push({ put: key, idempotencyKey })
      check(key, expect)
      revision += 1
      pairs.set(key, { value, revision })
      return { revision }
    },
    delete: async (key, { expect, idempotencyKey }) => {
      if (idempotencyKey !== null) asked.push({ delete: key, idempotencyKey })
      check(key, expect)
      if (!pairs.delete(key)) throw new OperatingError('not-found', 'there is no such key')
      revision += 1
      return { revision }
    },
  }
}

export const sampleOfOne: MetricsSample = {
  node: 'n1',
  version: '0.1.0',
  raft: {
    role: 'leader',
    hasLeader: true,
    term: 3,
    commitIndex: 12,
    appliedIndex: 11,
    lastIndex: 13,
    snapshotIndex: 10,
    logBytes: 4096,
    voters: 3,
    learners: 1,
    isChanging: true,
  },
  cluster: {
    reads: 20,
    readsFailed: 2,
    readRequests: 5,
    snapshotsTaken: 3,
    snapshotsRestored: 1,
    snapshotMs: 250,
    snapshotBytesLast: 1234,
    snapshotSliceMsLongest: 4,
    transfers: 6,
    changes: 7,
    idempotencyKeysNow: 8,
    kvWatchesNow: 9,
    stateCheckedIndexNow: 8192,
    stateDivergedNow: 1,
  },
  consensus: {
    elections: 2,
    proposals: 9,
    refusals: 1,
    appendedEntries: 13,
    persistBatches: 7,
    persistSyncs: 6,
    persistMs: 1500,
    oldestWriteMsNow: 250,
    syncP99MsNow: 40,
    stalls: 4,
    stallHandovers: 1,
    snapshotsSaved: 11,
    snapshotBytesSaved: 1100,
    snapshotsSent: 12,
    snapshotBytesSent: 1200,
    snapshotsReceived: 14,
    snapshotBytesReceived: 1400,
    scrubbedBytes: 5000,
    scrubRounds: 5,
    damageFound: 3,
    damageMended: 2,
    diskFreeBytesNow: 123_456,
    isDiskFullNow: true,
    isQuarantinedNow: true,
    framesIn: 100,
    framesOut: 200,
    framesRejected: 3,
    connectedPeersNow: 2,
    loopDelayMsNow: 20,
  },
  gossip: {
    membersNow: { alive: 2, suspect: 1, dead: 0, left: 3 },
    localHealthNow: 1,
    lanesNow: 4,
    probes: 50,
    probesFailed: 2,
    indirectProbes: 6,
    refutations: 1,
    messagesIn: 70,
    messagesOut: 80,
    messagesRefused: 9,
    bytesIn: 7000,
    bytesOut: 8000,
  },
  autopilot: {
    isActiveNow: true,
    voterTargetNow: 5,
    failureToleranceNow: 2,
    holdsNow: 3,
    promotions: 4,
    removals: 6,
    refusals: 7,
  },
  tokens: { statusNow: { usable: 2, expired: 3, 'used-up': 4, revoked: 5 }, usesNow: 6 },
  peers: { framesIn: 10, framesOut: 20, framesRejected: 4, notificationsDropped: 5, peersBehind: 6 },
  kept: {
    calls: { unattendedNow: 1, endedNow: 2, bytesNow: 300, resumed: 4, givenUp: 5, eventsLost: 6 },
    mail: { mailsNow: 7, bytesNow: 800, lost: 9 },
  },
  life: { phase: 'closing', inFlightNow: 7 },
  sessions: { now: 4, opened: 6, seeks: 2, touched: 9 },
  upstreams: {
    servers: [
      { server: 'files', status: 'ready', sessionsNow: 8 },
      { server: 'sql', status: 'failed', sessionsNow: 0 },
    ],
    questionsNow: 3,
  },
}
