import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { JsonText } from '../std/json-text.ts'
import { isSessionId } from '../vocabulary/ids.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { rpcCodes, rpcError } from './errors.ts'
import { EventStream } from './event-stream.ts'
import type { EraOptions } from './gateway-options.ts'
import { accepts, refusalOfContent, refusalOfVersion } from './http-rules.ts'
import { refusalOfChange } from './initializing.ts'
import { errorMessage, readBody, resultMessage } from './json-rpc.ts'
import type { Incoming, Request } from './json-rpc.ts'
import type { LegacyEra } from './legacy-era.ts'
import type { LocalSession } from './local-session.ts'
import { MailReply } from './mail-reply.ts'
import { drainingRefusal, refusalOfBody, refuse, stoppedRefusal } from './refusal.ts'
import type { Refusal } from './refusal.ts'
import { allServers } from './scope.ts'

/**
 * The legacy era over HTTP+SSE, the transport of revision 2024-11-05: one stream brings the client everything, and its first
 * event names the address that takes the client's messages. Any node takes them; what they bring about reaches the node of
 * the stream as mail. A session begins with initialize and ends with its stream, since nothing of one can be resumed.
 */
export class SseTransport {
  readonly #era: LegacyEra
  readonly #options: EraOptions
  /** Open here: at most `sseStreamsMax`. */
  #streams = 0
  #stopped = false

  constructor(era: LegacyEra, options: EraOptions) {
    this.#era = era
    this.#options = options
  }

  serves(pathname: string): boolean {
    return pathname === streamPath || pathname === messagesPath
  }

  async serve(pathname: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    if (this.#stopped) return this.#refuse(res, stoppedRefusal)
    const method = pathname === streamPath ? 'GET' : 'POST'
    if (req.method !== method)
      return this.#refuse(res, { status: 405, message: `the method is not ${method}`, headers: { Allow: method } })
    try {
      return method === 'GET' ? this.#open(req, res) : await this.#post(req, res)
    } catch (error) {
      // What the cluster can not do for its sessions now.
      if (!(error instanceof OperatingError)) throw error
      return this.#refuse(res, refusalOfChange(error))
    }
  }

  stop(): void {
    this.#stopped = true
  }

  /** The session's part on this node is there before the cluster knows of the session: its answer to initialize is mail. */
  #open(req: IncomingMessage, res: ServerResponse): void {
    const { clock, limits, log } = this.#options
    if (!accepts(req, 'text/event-stream'))
      return this.#refuse(res, { status: 406, message: 'Accept must list text/event-stream' })
    if (!this.#takes('everything')) return this.#refuse(res, drainingRefusal)
    if (this.#streams >= limits.sseStreamsMax) {
      const message = `this node already has ${limits.sseStreamsMax} streams of this transport`
      return this.#refuse(res, { status: 503, message, code: rpcCodes.overloaded, headers: { 'Retry-After': '30' } })
    }
    const id = randomUUID() as SessionId
    const session = this.#era.locals.of({ id, path: allServers.path })
    const stream = new EventStream({
      res,
      clock,
      keepAliveMs: limits.keepAliveMs,
      bytesMax: limits.streamBytesMax,
      overflowed: () => log.info('mcp-client-too-slow', { session: id.slice(0, 8) }),
    })
    const feed = this.#era.makeFeed(session, null, {
      send: (message) => stream.send(message),
      move: () => undefined,
      end: () => stream.end(),
    })
    this.#streams += 1
    res.once('close', () => {
      this.#streams -= 1
      feed.close()
      void this.#end(session)
    })
    stream.sendAs('endpoint', `${messagesPath}?sessionId=${id}`)
    feed.open()
  }

  /** With its stream. What has become of a session that can not be ended now is seen when it has been idle for long. */
  async #end(session: LocalSession): Promise<void> {
    const { sessions, log } = this.#options
    if (sessions.find(session.id) === undefined) return this.#era.locals.forget(session)
    try {
      await this.#era.close(session.id)
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error
      log.debug('mcp-session-left-open', { session: session.id.slice(0, 8), error })
    }
  }

  async #post(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const refusal = refusalOfContent(req) ?? refusalOfVersion(req)
    if (refusal !== undefined) return this.#refuse(res, refusal)
    const id = new URL(req.url ?? '', 'http://localhost').searchParams.get('sessionId')
    if (id === null) return this.#refuse(res, { status: 400, message: 'the parameter sessionId is missing' })
    if (!isSessionId(id)) return this.#refuse(res, unknownSession)
    const body = await this.#era.bodies.read(req)
    if (body.kind === 'cut') return
    if (body.kind !== 'bytes') return this.#refuse(res, refusalOfBody(body.kind, this.#options.limits))
    // Returned, not awaited: a call in work keeps its text, but nothing that was parsed from it.
    return this.#take(id, body.bytes, res).finally(() => body.release())
  }

  async #take(id: SessionId, bytes: Buffer, res: ServerResponse): Promise<void> {
    const body = readBody(bytes)
    if (body.kind === 'bad')
      return this.#refuse(res, { status: 400, message: body.message, code: body.code, id: body.id })
    if (body.kind === 'batch')
      return this.#refuse(res, { status: 400, message: 'batches are not supported', code: rpcCodes.invalidRequest })
    const isInitialize = body.kind === 'request' && body.method === 'initialize'
    if (body.kind === 'request' && !this.#takes(isInitialize ? 'everything' : 'known-sessions'))
      return this.#refuse(res, { ...drainingRefusal, id: body.id })
    if (isInitialize && this.#options.sessions.find(id) === undefined) return this.#initialize(id, body, res)
    const record = await this.#era.find(id)
    if (record?.transport !== 'sse') return this.#refuse(res, unknownSession)
    this.#era.counters.messages += 1
    const session = this.#era.use(record)
    res.writeHead(202).end()
    return this.#hear(session, body)
  }

  async #initialize(id: SessionId, request: Request, res: ServerResponse): Promise<void> {
    this.#era.counters.messages += 1
    const opened = await this.#era.open({ scope: allServers, transport: 'sse', params: request.params, id })
    if (opened.kind === 'opened') {
      res.writeHead(202).end()
      return this.#put(id, resultMessage(request.id, opened.result))
    }
    const { refusal } = opened
    if (refusal.status !== 200) return this.#refuse(res, { ...refusal, id: request.id })
    res.writeHead(202).end()
    const error = rpcError(refusal.code ?? rpcCodes.invalidParams, refusal.message)
    return this.#put(id, errorMessage(request.id, error))
  }

  #hear(session: LocalSession, message: Incoming): Promise<void> | void {
    if (message.kind === 'notification' || message.kind === 'response') return this.#era.hear(session, message)
    if (message.kind === 'bad') return undefined
    const reply = new MailReply((text) => this.#put(session.id, text))
    if (message.method !== 'initialize')
      return this.#options.during(() => this.#era.answer({ session, request: message, reply }))
    const error = rpcError(rpcCodes.invalidRequest, 'the session is initialized already')
    return reply.finish(errorMessage(message.id, error))
  }

  #put(id: SessionId, message: JsonText): void {
    this.#options.mail(id, { server: null, message })
  }

  #takes(needed: 'everything' | 'known-sessions'): boolean {
    const takes = this.#options.takes()
    return takes === 'everything' || takes === needed
  }

  #refuse(res: ServerResponse, refusal: Refusal): void {
    this.#era.counters.refused += 1
    refuse(res, refusal)
  }
}

const streamPath = '/sse'
const messagesPath = '/messages'
const unknownSession: Refusal = { status: 404, message: 'the session is unknown or has ended' }
