import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { catalogDiff, emptyScope } from '../routing/catalog.ts'
import type { Catalog, CatalogDiff, CatalogScope } from '../routing/catalog.ts'
import { isObject } from '../std/is-object.ts'
import { jsonMembers, sliceJson, toJsonText } from '../std/json-text.ts'
import { sendJson } from './call-answer.ts'
import { rpcCodes, rpcError } from './errors.ts'
import { EventStream } from './event-stream.ts'
import type { EraOptions } from './gateway-options.ts'
import { errorMessage, readMessage, requestId, resultMessage } from './json-rpc.ts'
import type { Incoming, Params, RequestId } from './json-rpc.ts'
import { LegacyRequests } from './legacy-requests.ts'
import { refuse } from './refusal.ts'
import type { Refusal } from './refusal.ts'
import { BodyReader } from './request-body.ts'
import { Session, SessionTable } from './session.ts'
import type { ChangingList, ClientInfo, SessionScope } from './session.ts'

/**
 * MCP's legacy era (revisions 2024-11-05 to 2025-11-25) over Streamable HTTP: sessions, and one POST a message. It keeps
 * the protocol's rules about HTTP; what a request means is in legacy-requests.ts. A session lives on this node only.
 */
export const legacyVersions: readonly string[] = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']

/** Monotone since the start. */
export type LegacyEraCounters = {
  sessionsOpened: number
  sessionsClosed: number
  sessionsExpired: number
  messages: number
  refused: number
}

const changingLists: readonly ChangingList[] = ['tools', 'resources', 'prompts']
const clusterInstructions =
  "One address for the MCP servers of a whole cluster. A tool's or prompt's name begins with its server's name and two underscores."
/** Of what a client says of itself so many characters are kept. */
const clientCharactersMax = 200
const retryAfterSeconds = '30'

export class LegacyEra {
  readonly counters: LegacyEraCounters = {
    sessionsOpened: 0,
    sessionsClosed: 0,
    sessionsExpired: 0,
    messages: 0,
    refused: 0,
  }
  readonly requests: LegacyRequests
  readonly sessions: SessionTable
  readonly #options: EraOptions
  readonly #bodies: BodyReader
  #catalog: Catalog
  #stopped = false

  constructor(options: EraOptions) {
    this.#options = options
    this.#catalog = options.catalog()
    this.requests = new LegacyRequests(options)
    this.#bodies = new BodyReader(options.clock, options.limits)
    this.sessions = new SessionTable({
      clock: options.clock,
      limits: options.limits,
      expired: (session) => {
        this.counters.sessionsExpired += 1
        this.#logSession('mcp-session-expired', session)
      },
    })
  }

  async serve(scope: SessionScope, req: IncomingMessage, res: ServerResponse): Promise<void> {
    if (req.method === 'POST') return this.#post(scope, req, res)
    if (req.method === 'GET') return this.#listen(scope, req, res)
    if (req.method === 'DELETE') return this.#delete(scope, req, res)
    const message = 'the method is not POST, GET or DELETE'
    return this.#refuse(res, { status: 405, message, headers: { Allow: 'POST, GET, DELETE' } })
  }

  /** Tells each session of the lists that really changed for it. */
  catalogChanged(): void {
    const before = this.#catalog
    const after = this.#options.catalog()
    this.#catalog = after
    const diffs = new Map<SessionScope, CatalogDiff>()
    for (const session of this.sessions.all()) {
      const { scope } = session
      const diff = diffs.get(scope) ?? catalogDiff(scopeOf(before, scope), scopeOf(after, scope))
      diffs.set(scope, diff)
      for (const list of changingLists) if (diff[list]) session.tellChanged(list)
    }
  }

  close(session: Session): void {
    this.sessions.close(session)
    this.counters.sessionsClosed += 1
    this.#logSession('mcp-session-closed', session)
  }

  /** Ends all sessions; who waits for a call is told that it may have been done. */
  abandon(): void {
    for (const session of this.sessions.all()) {
      this.counters.sessionsClosed += 1
      this.#logSession('mcp-session-closed', session)
    }
    this.sessions.abandon()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.sessions.stop()
    await this.requests.stop()
  }

  async #post(scope: SessionScope, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const refusal = refusalOfHeaders(req)
    if (refusal !== undefined) return this.#refuse(res, refusal)
    const body = await this.#bodies.read(req)
    if (body.kind === 'cut') return
    if (body.kind !== 'bytes') return this.#refuse(res, this.#refusalOfBody(body.kind))
    // Returned, not awaited: a call in work keeps its text, but nothing that was parsed from it.
    return this.#take(scope, body.bytes, res).finally(() => body.release())
  }

  async #take(scope: SessionScope, bytes: Buffer, res: ServerResponse): Promise<void> {
    if (this.#stopped) return this.#refuse(res, stoppedRefusal)
    const message = readMessage(bytes)
    this.counters.messages += 1
    if (message.kind === 'bad')
      return this.#refuse(res, { status: 400, message: message.message, code: message.code, id: message.id })
    if (message.kind === 'request' && !this.#takes(message.method))
      return this.#refuse(res, { ...drainingRefusal, id: message.id })
    if (message.kind === 'request' && message.method === 'initialize')
      return this.#initialize(scope, message.id, { params: message.params, res })
    const session = this.#sessionOf(scope, res.req, res)
    if (session === undefined) return
    session.touch()
    if (message.kind === 'request')
      return this.requests.answer({ session, request: message, lists: scopeOf(this.#options.catalog(), scope), res })
    if (message.kind === 'notification') cancelIfAsked(session, message)
    res.writeHead(202).end()
  }

  #takes(method: string): boolean {
    const takes = this.#options.takes()
    return takes === 'everything' || (takes === 'known-sessions' && method !== 'initialize')
  }

  #initialize(
    scope: SessionScope,
    id: RequestId,
    { params, res }: { readonly params: Params; readonly res: ServerResponse },
  ): void {
    const catalog = this.#options.catalog()
    const server = scope === null ? null : catalog.servers.get(scope)
    if (server === undefined) return this.#refuse(res, { status: 404, message: `server ${scope} is unknown`, id })
    const asked = params.value['protocolVersion']
    if (typeof asked !== 'string')
      return sendJson(res, errorMessage(id, rpcError(rpcCodes.invalidParams, 'protocolVersion is not a string')))
    if (this.sessions.isFull)
      return this.#refuse(res, {
        status: 503,
        message: `this node already has ${this.#options.limits.sessionsMax} sessions`,
        code: rpcCodes.overloaded,
        id,
        headers: { 'Retry-After': retryAfterSeconds },
      })
    const protocolVersion = legacyVersions.find((version) => version === asked) ?? legacyVersions[0] ?? asked
    const capabilities = server?.capabilities ?? new Set(changingLists)
    const session = new Session({
      id: randomUUID(),
      scope,
      protocolVersion,
      client: clientInfo(params.value['clientInfo']),
      capabilities,
      clock: this.#options.clock,
    })
    this.sessions.add(session)
    this.counters.sessionsOpened += 1
    this.#logSession('mcp-session-opened', session)
    const instructions = server === null ? clusterInstructions : server.instructions
    const result = {
      protocolVersion,
      capabilities: Object.fromEntries([...capabilities].map((list) => [list, { listChanged: true }])),
      serverInfo: { name: 'quorate', version: this.#options.version },
      ...(instructions === null ? {} : { instructions }),
    }
    sendJson(res, resultMessage(id, toJsonText(result)), { headers: { 'Mcp-Session-Id': session.id } })
  }

  #listen(scope: SessionScope, req: IncomingMessage, res: ServerResponse): void {
    if (!accepts(req, 'text/event-stream'))
      return this.#refuse(res, { status: 406, message: 'Accept must list text/event-stream' })
    if (this.#options.takes() === 'endings') return this.#refuse(res, drainingRefusal)
    const session = this.#sessionOf(scope, req, res)
    if (session === undefined) return
    if (session.isListening)
      return this.#refuse(res, { status: 409, message: 'the session has its standalone stream already' })
    const { clock, limits, log } = this.#options
    const stream = new EventStream({
      res,
      clock,
      keepAliveMs: limits.keepAliveMs,
      bytesMax: limits.streamBytesMax,
      headers: { 'Mcp-Session-Id': session.id },
      overflowed: () => log.info('mcp-client-too-slow', { session: session.id.slice(0, 8) }),
    })
    res.once('close', () => session.hungUp())
    session.listen(stream)
  }

  #delete(scope: SessionScope, req: IncomingMessage, res: ServerResponse): void {
    const session = this.#sessionOf(scope, req, res)
    if (session === undefined) return
    this.close(session)
    res.writeHead(204).end()
  }

  /** The session that the request names, or a refusal. An ended session is 404, on which clients begin a new one. */
  #sessionOf(scope: SessionScope, req: IncomingMessage, res: ServerResponse): Session | undefined {
    const id = req.headers['mcp-session-id']
    const session = typeof id === 'string' ? this.sessions.find(id) : undefined
    const version = req.headers['mcp-protocol-version']
    if (id === undefined) this.#refuse(res, { status: 400, message: 'the header Mcp-Session-Id is missing' })
    else if (session === undefined || session.scope !== scope)
      this.#refuse(res, { status: 404, message: 'the session is unknown or has ended' })
    else if (version !== undefined && !legacyVersions.includes(String(version)))
      this.#refuse(res, {
        status: 400,
        message: `MCP-Protocol-Version is not one of ${legacyVersions.join(', ')}`,
      })
    else return session
    return undefined
  }

  #refusalOfBody(kind: 'too-large' | 'too-slow' | 'overloaded'): Refusal {
    const { bodyBytesMax, bodyTimeoutMs } = this.#options.limits
    const refusals: Readonly<Record<typeof kind, Refusal>> = {
      'too-large': { status: 413, message: `the body is larger than ${bodyBytesMax} bytes` },
      'too-slow': {
        status: 408,
        message: `the body took longer than ${bodyTimeoutMs} ms`,
        headers: { Connection: 'close' },
      },
      overloaded: {
        status: 503,
        message: 'this node holds too many bodies at once',
        code: rpcCodes.overloaded,
        headers: { 'Retry-After': '1' },
      },
    }
    return refusals[kind]
  }

  #refuse(res: ServerResponse, refusal: Refusal): void {
    this.counters.refused += 1
    refuse(res, refusal)
  }

  /** The whole id would let a reader of the log speak in the session. */
  #logSession(event: string, session: Session): void {
    this.#options.log.info(event, {
      session: session.id.slice(0, 8),
      server: session.scope,
      protocolVersion: session.protocolVersion,
      client: session.client,
    })
  }
}

/** Provably nothing was begun, so the client may go elsewhere, or come back. */
export const drainingRefusal: Refusal = {
  status: 503,
  message: 'this node is being drained; another node of the cluster takes the request',
  code: rpcCodes.unavailable,
  data: { code: 'draining', retry: 'elsewhere', retryAfterMs: 1000 },
  headers: { 'Retry-After': '1', Connection: 'close' },
}

export const stoppedRefusal: Refusal = {
  status: 503,
  message: 'this node is stopping',
  code: rpcCodes.unavailable,
  headers: { Connection: 'close' },
}

function scopeOf(catalog: Catalog, scope: SessionScope): CatalogScope {
  return scope === null ? catalog.all : (catalog.servers.get(scope) ?? emptyScope)
}

function refusalOfHeaders(req: IncomingMessage): Refusal | undefined {
  const mediaType = req.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase()
  if (mediaType !== 'application/json') return { status: 415, message: 'Content-Type must be application/json' }
  const encoding = req.headers['content-encoding']
  if (encoding !== undefined && encoding !== 'identity')
    return { status: 415, message: 'the body must have no Content-Encoding' }
  if (!accepts(req, 'application/json') || !accepts(req, 'text/event-stream'))
    return { status: 406, message: 'Accept must list application/json and text/event-stream' }
  return undefined
}

function accepts(req: IncomingMessage, mediaType: string): boolean {
  return (req.headers.accept ?? '')
    .toLowerCase()
    .split(',')
    .some((range) => range.split(';', 1)[0]?.trim() === mediaType)
}

function cancelIfAsked(session: Session, message: Incoming & { readonly kind: 'notification' }): void {
  if (message.method !== 'notifications/cancelled') return
  const { text, value } = message.params
  const range = jsonMembers(text).get('requestId')
  const id = range === undefined ? undefined : requestId(value['requestId'], sliceJson(text, range))
  if (id !== undefined) session.cancel(id)
}

function clientInfo(value: unknown): ClientInfo {
  const text = (member: unknown): string => (typeof member === 'string' ? member.slice(0, clientCharactersMax) : '')
  return isObject(value) ? { name: text(value['name']), version: text(value['version']) } : { name: '', version: '' }
}
