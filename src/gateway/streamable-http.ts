import type { IncomingMessage, ServerResponse } from 'node:http'
import type { SessionRecord } from '../state/command.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { BatchReply } from './batch-reply.ts'
import { rpcCodes } from './errors.ts'
import { readEventId } from './event-ids.ts'
import type { CallEventId, FeedEventId } from './event-ids.ts'
import { EventStream } from './event-stream.ts'
import type { EraOptions } from './gateway-options.ts'
import { refusalOfHeaders, refusalOfVersion } from './http-rules.ts'
import { accepts } from './http-rules.ts'
import { refusalOfChange } from './initializing.ts'
import { readBody, resultMessage } from './json-rpc.ts'
import type { Incoming, IncomingBody, Request } from './json-rpc.ts'
import type { LegacyEra } from './legacy-era.ts'
import type { LocalSession } from './local-session.ts'
import { PostReply } from './post-reply.ts'
import { drainingRefusal, refusalOfBody, stoppedRefusal } from './refusal.ts'
import type { Refusal } from './refusal.ts'
import type { Scope } from './scope.ts'
import { sendJson } from './send-json.ts'

/**
 * The legacy era over Streamable HTTP: one POST a message, one GET for the stream on which a session listens, or for the
 * rest of a stream that broke, one DELETE for its end. Keeps the protocol's rules about HTTP; any node takes any of it.
 */
export class StreamableHttp {
  readonly #era: LegacyEra
  readonly #options: EraOptions
  /** On which sessions listen. */
  #streams = 0
  #stopped = false

  constructor(era: LegacyEra, options: EraOptions) {
    this.#era = era
    this.#options = options
  }

  async serve(scope: Scope, req: IncomingMessage, res: ServerResponse): Promise<void> {
    try {
      if (req.method === 'POST') return await this.#post(scope, req, res)
      if (req.method === 'GET') return await this.#get(scope, req, res)
      if (req.method === 'DELETE') return await this.#delete(scope, req, res)
    } catch (error) {
      // What the cluster can not do for its sessions now.
      if (!(error instanceof OperatingError)) throw error
      return this.#era.refuse(res, refusalOfChange(error))
    }
    const message = 'the method is not POST, GET or DELETE'
    return this.#era.refuse(res, { status: 405, message, headers: { Allow: 'POST, GET, DELETE' } })
  }

  stop(): void {
    this.#stopped = true
  }

  async #post(scope: Scope, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const refusal = refusalOfHeaders(req)
    if (refusal !== undefined) return this.#era.refuse(res, refusal)
    const body = await this.#era.bodies.read(req)
    if (body.kind === 'cut') return
    if (body.kind !== 'bytes') return this.#era.refuse(res, refusalOfBody(body.kind, this.#options.limits))
    try {
      await this.#take(scope, body.bytes, res)
    } finally {
      body.release()
    }
  }

  /** The call's promise is returned, not awaited: a call in work keeps its text, but nothing that was parsed from it. */
  async #take(scope: Scope, bytes: Buffer, res: ServerResponse): Promise<void> {
    if (this.#stopped) return this.#era.refuse(res, stoppedRefusal)
    const body = readBody(bytes)
    if (body.kind === 'bad')
      return this.#era.refuse(res, { status: 400, message: body.message, code: body.code, id: body.id })
    if (body.kind === 'request' && body.method === 'initialize') return this.#initialize(scope, body, res)
    if (beginsSomething(body) && !this.#era.takes('known-sessions'))
      return this.#era.refuse(res, { ...drainingRefusal, id: body.kind === 'request' ? body.id : null })
    const record = await this.#recordOf(scope, res.req, res)
    if (record === undefined) return
    const session = this.#era.use(record)
    if (body.kind === 'batch') return this.#takeBatch({ record, session }, body.messages, res)
    this.#era.counters.messages += 1
    if (body.kind === 'request')
      return this.#era.answer({ session, request: body, reply: this.#postReply(record, body, res) })
    this.#era.hear(session, body)
    res.writeHead(202).end()
  }

  #postReply({ protocolVersion }: SessionRecord, { id }: Request, res: ServerResponse): PostReply {
    const { clock, limits } = this.#options
    return new PostReply({ res, request: id, primes: primes(protocolVersion), clock, limits })
  }

  async #takeBatch(
    { record, session }: { readonly record: SessionRecord; readonly session: LocalSession },
    messages: readonly Incoming[],
    res: ServerResponse,
  ): Promise<void> {
    const refuseAll = (message: string): void =>
      this.#era.refuse(res, { status: 400, message, code: rpcCodes.invalidRequest })
    if (record.protocolVersion !== batchVersion) return refuseAll('batches are not supported in this revision')
    const bad = messages.find((message) => message.kind === 'bad')
    if (bad !== undefined) return refuseAll(`a message of the batch is not valid: ${bad.message}`)
    const requests = messages.filter((message) => message.kind === 'request')
    if (requests.some((request) => request.method === 'initialize')) return refuseAll('initialize is not batched')
    this.#era.counters.messages += messages.length
    for (const message of messages)
      if (message.kind === 'notification' || message.kind === 'response') this.#era.hear(session, message)
    if (requests.length === 0) {
      res.writeHead(202).end()
      return
    }
    const { clock, limits } = this.#options
    const batch = new BatchReply({ res, requests: requests.length, clock, limits })
    await Promise.all(requests.map((request) => this.#era.answer({ session, request, reply: batch.reply() })))
  }

  async #initialize(scope: Scope, { id, params }: Request, res: ServerResponse): Promise<void> {
    if (!this.#era.takes('everything')) return this.#era.refuse(res, { ...drainingRefusal, id })
    this.#era.counters.messages += 1
    const opened = await this.#era.open({ scope, transport: 'streamable-http', params })
    if (opened.kind === 'refused') return this.#era.refuse(res, { ...opened.refusal, id })
    sendJson(res, resultMessage(id, opened.result), { headers: { 'Mcp-Session-Id': opened.opening.id } })
  }

  async #get(scope: Scope, req: IncomingMessage, res: ServerResponse): Promise<void> {
    if (!accepts(req, 'text/event-stream'))
      return this.#era.refuse(res, { status: 406, message: 'Accept must list text/event-stream' })
    if (!this.#era.takes('known-sessions')) return this.#era.refuse(res, drainingRefusal)
    const lastId = req.headers['last-event-id']
    const from = lastId === undefined ? null : readEventId(String(lastId))
    if (from === undefined)
      return this.#era.refuse(res, { status: 400, message: 'Last-Event-ID is none of this cluster' })
    const record = await this.#recordOf(scope, req, res)
    // The client may have gone while its session was looked for.
    if (record === undefined || res.destroyed) return
    const session = this.#era.use(record)
    if (from?.kind === 'call') return this.#resume({ record, session }, from, res)
    return this.#listen({ record, session }, from, res)
  }

  #listen(
    { record, session }: { readonly record: SessionRecord; readonly session: LocalSession },
    from: FeedEventId | null,
    res: ServerResponse,
  ): void {
    const { streamsMax } = this.#options.limits
    if (this.#streams >= streamsMax) return this.#era.refuse(res, tooManyStreams(streamsMax))
    const stream = this.#makeStream(session, res)
    const prime = (id: string): void => {
      if (primes(record.protocolVersion)) stream.prime(id)
    }
    const feed = this.#era.makeFeed(session, from, {
      send: (message, id) => stream.send(message, id),
      move: prime,
      end: () => stream.end(),
    })
    this.#streams += 1
    res.once('close', () => {
      this.#streams -= 1
      feed.close()
    })
    feed.attach()
    prime(feed.eventId)
    feed.open()
  }

  async #resume(
    { record, session }: { readonly record: SessionRecord; readonly session: LocalSession },
    from: CallEventId,
    res: ServerResponse,
  ): Promise<void> {
    const { seq } = from
    // The client has the answer: there is no rest. 204 is what tells readers of event streams to stop asking, and the SDK's
    // client, which asks once more after every answer that is an error, would otherwise ask for ever.
    if (seq === 'end') {
      res.writeHead(204).end()
      return
    }
    const overload = this.#era.requests.calls.overload(session)
    if (overload !== undefined) return this.#era.refuse(res, refusalOfChange(overload))
    const { clock, limits } = this.#options
    const reply = new PostReply({
      res,
      request: from.request,
      primes: primes(record.protocolVersion),
      clock,
      limits,
      resumed: from,
    })
    return this.#era.requests.calls.resume({ session, id: from.request, reply }, { ...from, seq })
  }

  async #delete(scope: Scope, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const record = await this.#recordOf(scope, req, res)
    if (record === undefined) return
    await this.#era.close(record.id)
    res.writeHead(204).end()
  }

  #makeStream({ id }: LocalSession, res: ServerResponse): EventStream {
    const { clock, limits, log } = this.#options
    return new EventStream({
      res,
      clock,
      keepAliveMs: limits.keepAliveMs,
      bytesMax: limits.streamBytesMax,
      headers: { 'Mcp-Session-Id': id },
      overflowed: () => log.info('mcp-client-too-slow', { session: id.slice(0, 8) }),
    })
  }

  /** Of the session that the request names, or a refusal. One that has ended is 404, on which clients begin a new one. */
  async #recordOf(scope: Scope, req: IncomingMessage, res: ServerResponse): Promise<SessionRecord | undefined> {
    const id = req.headers['mcp-session-id']
    if (typeof id !== 'string') {
      this.#era.refuse(res, { status: 400, message: 'the header Mcp-Session-Id is missing' })
      return undefined
    }
    const record = this.#era.known(id) ?? (await this.#era.seek(id))
    const isIts = record?.path === scope.path && record.transport === 'streamable-http'
    const refusal = isIts ? refusalOfVersion(req) : unknownSession
    if (refusal === undefined) return record
    this.#era.refuse(res, refusal)
    return undefined
  }
}

const unknownSession: Refusal = { status: 404, message: 'the session is unknown or has ended' }

function tooManyStreams(streamsMax: number): Refusal {
  const message = `sessions already listen on ${streamsMax} streams of this node`
  return { status: 503, message, code: rpcCodes.overloaded, headers: { 'Retry-After': '30' } }
}

/** The one revision in which clients may send several messages at once. */
const batchVersion = '2025-03-26'

/** Whether clients of the revision take an event without data; older ones fail on it. */
function primes(protocolVersion: string): boolean {
  return protocolVersion >= '2025-11-25'
}

function beginsSomething(body: IncomingBody): boolean {
  return body.kind === 'request' || (body.kind === 'batch' && body.messages.some(({ kind }) => kind === 'request'))
}
