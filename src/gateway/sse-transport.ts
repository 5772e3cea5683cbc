import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { isNodeId, isSessionId } from '../vocabulary/ids.ts'
import type { NodeId, SessionId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { rpcCodes, rpcError } from './errors.ts'
import { EventStream } from './event-stream.ts'
import type { EraOptions } from './gateway-options.ts'
import { accepts, refusalOfContent, refusalOfVersion } from './http-rules.ts'
import { refusalOfChange } from './initializing.ts'
import { errorMessage, readBody, resultMessage } from './json-rpc.ts'
import type { Request } from './json-rpc.ts'
import type { LegacyEra } from './legacy-era.ts'
import type { LocalSession } from './local-session.ts'
import { answerOf, drainingRefusal, refusalOfBody, stoppedRefusal } from './refusal.ts'
import type { Refusal } from './refusal.ts'
import { allServers } from './scope.ts'
import { sendJson } from './send-json.ts'
import type { SessionFeed } from './session-feed.ts'
import { StreamReply } from './stream-reply.ts'
import type { HandAnswer } from '../calls/call.ts'

/**
 * The legacy era over HTTP+SSE, the transport of revision 2024-11-05: one stream brings the client everything, and its first
 * event names the address that takes the client's messages, with the stream's node in it. Any node takes them and hands them
 * to that one, which does all the work. A session begins with initialize and ends with its stream, since nothing of one can
 * be resumed.
 */
export class SseTransport {
  readonly #era: LegacyEra
  readonly #options: EraOptions
  /** Open here, whether their sessions have begun or not: at most `sseStreamsMax`. */
  readonly #streams = new Map<SessionId, OpenStream>()
  #stopped = false

  constructor(era: LegacyEra, options: EraOptions) {
    this.#era = era
    this.#options = options
  }

  serves(pathname: string): boolean {
    return pathname === streamPath || pathname === messagesPath
  }

  async serve(pathname: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const method = pathname === streamPath ? 'GET' : 'POST'
    if (req.method !== method)
      return this.#era.refuse(res, { status: 405, message: `the method is not ${method}`, headers: { Allow: method } })
    return method === 'GET' ? this.#open(req, res) : this.#post(req, res)
  }

  /**
   * One message of a client whose stream is here. `answer` is told once, when it is accepted (null) or refused; settles when
   * what it brings about is done.
   */
  async take(id: SessionId, bytes: Uint8Array, answer: (refusal: Refusal | null) => void): Promise<void> {
    const open = this.#streams.get(id)
    if (this.#stopped) return answer(stoppedRefusal)
    if (open === undefined) return answer(unknownSession)
    const body = readBody(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
    if (body.kind === 'bad') return answer({ status: 400, message: body.message, code: body.code, id: body.id })
    if (body.kind === 'batch')
      return answer({ status: 400, message: 'batches are not supported', code: rpcCodes.invalidRequest })
    if (body.kind === 'request' && body.method === 'initialize') return this.#initialize(open, body, answer)
    if (body.kind === 'request' && !this.#era.takes('known-sessions'))
      return answer({ ...drainingRefusal, id: body.id })
    const record = this.#options.sessions.find(id)
    if (record === undefined) return answer(unknownSession)
    this.#era.counters.messages += 1
    const session = this.#era.use(record)
    answer(null)
    if (body.kind !== 'request') return this.#era.hear(session, body)
    const reply = new StreamReply(open.stream)
    return this.#options.during(() => this.#era.answer({ session, request: body, reply }))
  }

  /** The same for another node, which has taken it. */
  async takeHanded(id: SessionId, bytes: Uint8Array, answer: (answer: HandAnswer) => void): Promise<void> {
    const { limits } = this.#options
    const tell = (refusal: Refusal | null): void => answer(refusal === null ? accepted : answerOf(refusal))
    if (bytes.length > limits.bodyBytesMax) return tell(refusalOfBody('too-large', limits))
    const release = this.#era.bodies.hold(bytes.length)
    if (release === null) return tell(refusalOfBody('overloaded', limits))
    return this.take(id, bytes, tell).finally(release)
  }

  stop(): void {
    this.#stopped = true
  }

  /** The session's part on this node is there before the cluster knows of the session. */
  #open(req: IncomingMessage, res: ServerResponse): void {
    const { clock, limits, log, node } = this.#options
    if (!accepts(req, 'text/event-stream'))
      return this.#era.refuse(res, { status: 406, message: 'Accept must list text/event-stream' })
    if (!this.#era.takes('everything')) return this.#era.refuse(res, drainingRefusal)
    if (this.#streams.size >= limits.sseStreamsMax) {
      const message = `this node already has ${limits.sseStreamsMax} streams of this transport`
      return this.#era.refuse(res, {
        status: 503,
        message,
        code: rpcCodes.overloaded,
        headers: { 'Retry-After': '30' },
      })
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
    this.#streams.set(id, { session, stream, feed, hasBegun: false })
    res.once('close', () => {
      this.#streams.delete(id)
      feed.close()
      void this.#end(session)
    })
    stream.sendAs('endpoint', `${messagesPath}?sessionId=${id}&node=${node}`)
    feed.attach()
  }

  /** With its stream. One that the cluster can not end now is ended when it has been unused for `sseSessionIdleMs`. */
  async #end(session: LocalSession): Promise<void> {
    const { sessions, log } = this.#options
    if (sessions.find(session.id) === undefined) return this.#era.locals.forget(session)
    this.#era.locals.end(session.id)
    try {
      await this.#era.close(session.id)
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error
      log.debug('mcp-session-left-open', { session: session.id.slice(0, 8), error })
    }
    return undefined
  }

  async #post(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const refusal = refusalOfContent(req) ?? refusalOfVersion(req)
    if (refusal !== undefined) return this.#era.refuse(res, refusal)
    const { searchParams } = new URL(req.url ?? '', 'http://localhost')
    const id = searchParams.get('sessionId')
    const node = searchParams.get('node') ?? ''
    if (id === null) return this.#era.refuse(res, { status: 400, message: 'the parameter sessionId is missing' })
    if (!isSessionId(id) || !isNodeId(node)) return this.#era.refuse(res, unknownSession)
    const body = await this.#era.bodies.read(req)
    if (body.kind === 'cut') return
    if (body.kind !== 'bytes') return this.#era.refuse(res, refusalOfBody(body.kind, this.#options.limits))
    // Returned, not awaited: a call in work keeps its text, but nothing that was parsed from it.
    if (node !== this.#options.node)
      return this.#hand(node, id, { bytes: body.bytes, res }).finally(() => body.release())
    const answer = (refused: Refusal | null): void =>
      refused === null ? void res.writeHead(202).end() : this.#era.refuse(res, refused)
    return this.take(id, body.bytes, answer).finally(() => body.release())
  }

  async #hand(
    node: NodeId,
    id: SessionId,
    { bytes, res }: { readonly bytes: Buffer; readonly res: ServerResponse },
  ): Promise<void> {
    try {
      const { status, retryAfterS, body } = await this.#options.handing.hand(node, id, bytes)
      if (body === null) return void res.writeHead(status).end()
      this.#era.counters.refused += 1
      return sendJson(res, body, {
        status,
        headers: retryAfterS === null ? {} : { 'Retry-After': String(retryAfterS) },
      })
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error
      return this.#era.refuse(res, error.code === 'outcome-unknown' ? refusalOfUnknown(error) : refusalOfChange(error))
    }
  }

  async #initialize(open: OpenStream, request: Request, answer: (refusal: Refusal | null) => void): Promise<void> {
    const { id, params } = request
    const { session, stream } = open
    if (!this.#era.takes('everything')) return answer({ ...drainingRefusal, id })
    this.#era.counters.messages += 1
    if (open.hasBegun) {
      answer(null)
      return stream.send(errorMessage(id, rpcError(rpcCodes.invalidRequest, 'the session is initialized already')))
    }
    open.hasBegun = true
    const opened = await this.#era.open({ scope: allServers, transport: 'sse', params, id: session.id })
    // The client may have gone meanwhile.
    if (!this.#streams.has(session.id)) {
      answer(unknownSession)
      return this.#end(session)
    }
    if (opened.kind === 'opened') {
      answer(null)
      stream.send(resultMessage(id, opened.result))
      return open.feed.open()
    }
    open.hasBegun = false
    const { refusal } = opened
    if (refusal.status !== 200) return answer({ ...refusal, id })
    answer(null)
    return stream.send(errorMessage(id, rpcError(refusal.code ?? rpcCodes.invalidParams, refusal.message)))
  }
}

type OpenStream = {
  readonly session: LocalSession
  readonly stream: EventStream
  /** Open when the client has the answer to initialize. */
  readonly feed: SessionFeed
  /** Or is about to: it is initialized once. */
  hasBegun: boolean
}

const streamPath = '/sse'
const messagesPath = '/messages'
const unknownSession: Refusal = { status: 404, message: 'the session is unknown or has ended' }
const accepted: HandAnswer = { status: 202, retryAfterS: null, body: null }

/** Its client is not to send the message again by itself. */
function refusalOfUnknown({ message, code, retry }: OperatingError): Refusal {
  return { status: 502, message, code: rpcCodes.outcomeUnknown, data: { code, retry } }
}
