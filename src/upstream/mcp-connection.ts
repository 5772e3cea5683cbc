import { SUPPORTED_PROTOCOL_VERSIONS, LATEST_PROTOCOL_VERSION } from '@modelcontextprotocol/sdk/types.js'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { SessionId } from '../vocabulary/ids.ts'
import type { Clock } from '../std/clock.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText, toJsonText, type JsonText } from '../std/json-text.ts'
import type { Signal } from '../std/signal.ts'
import type { Call } from '../calls/call.ts'
import type { Log } from '../log/log.ts'
import {
  errorObject,
  errorText,
  notificationText,
  parseObject,
  readServerMessages,
  resultText,
  type ServerMessage,
  type ServerNotification,
  type ServerRequest,
} from './json-rpc.ts'
import type { UpstreamLimits } from './limits.ts'
import type { Link, LinkEnd, LinkEvents } from './link.ts'
import { LogBudget } from './log-budget.ts'
import type { ListReply } from './offer-lists.ts'
import type { Asker } from './questions.ts'
import { notSent, Requests, type CallTime, type ConnectionOutcome, type Party, type UnderWay } from './requests.ts'
import { TaskOwners } from './task-owners.ts'

/**
 * One MCP client connection of the 2025-11-25 era and older, over any link. Makes the handshake and carries requests;
 * progress and answers find their caller by themselves. Whom all else that the server says is for, its `Audience` decides;
 * ids and tokens that are this hop's own are replaced, everything else passes untouched.
 */
export type ConnectionOptions = {
  readonly server: string
  /** What we say in initialize. */
  readonly identity: Identity
  readonly log: Log
  readonly clock: Clock
  readonly limits: UpstreamLimits
  /** Hides secrets in what the server prints. */
  readonly mask: (text: string) => string
  readonly audience: Audience
  openLink(events: LinkEvents): Link
  /** Once: it takes no call any more. What is under way may still end, see LinkEnd. */
  ended(connection: McpConnection, end: LinkEnd): void
}

export type Identity = {
  readonly protocolVersion: string
  readonly capabilities: JsonText
  readonly clientInfo: JsonText
}

/** This product's own: it has nobody to ask. */
export function ownIdentity(version: string): Identity {
  const clientInfo = toJsonText({ name: 'quorate', version })
  return { protocolVersion: LATEST_PROTOCOL_VERSION, capabilities: asJsonText('{}'), clientInfo }
}

/** Takes what a server says of its own accord. `on`: the call on whose own stream it came; null: none that is known. */
export type Audience = {
  notified(connection: McpConnection, notification: ServerNotification, on: UnderWay | null): void
  asked(connection: McpConnection, request: ServerRequest, on: UnderWay | null): void
  /** Progress of a task whose call has been answered. */
  taskProgress(session: SessionId, message: JsonText): void
  /** Messages that belong to no request may have been missed. */
  missed(): void
}

const methodNotFound = -32_601
const rubbishShownMax = 200
/** Masking costs time; a secret cut in two by this bound is past what is shown. */
const rubbishReadMax = 8192

export class McpConnection {
  /** What its server has asked and nobody has answered yet. */
  readonly asker: Asker
  readonly tasks: TaskOwners
  readonly #options: ConnectionOptions
  readonly #link: Link
  readonly #requests: Requests
  readonly #rubbishBudget: LogBudget
  #rubbish = 0
  #end: LinkEnd | null = null

  constructor(options: ConnectionOptions) {
    const { server, clock, limits } = options
    this.#options = options
    this.#rubbishBudget = new LogBudget(clock, limits.logLinesPerSecond)
    this.tasks = new TaskOwners(limits.taskOwnersMax)
    this.#link = options.openLink({
      message: (text, requestId) => this.#onText(text, requestId),
      failed: (requestId, failure) => this.#requests.failed(requestId, failure),
      missed: () => options.audience.missed(),
      ended: (end) => this.#onEnded(end),
    })
    this.#requests = new Requests({ server, clock, answered: (call) => this.tasks.answered(call) }, this.#link)
    this.asker = {
      open: new Map(),
      answer: (text) => this.#link.answer(text),
      tell: (text) => void this.#link.tell(text),
    }
  }

  /** The handshake; answers what the server said to initialize. Rejects with an OperatingError; it is then of no use. */
  async start(): Promise<JsonText> {
    const initialize = await this.#shakeHands()
    await this.#link.tell(notificationText('notifications/initialized'))
    this.#link.listen()
    return initialize
  }

  get hasSession(): boolean {
    return this.#link.hasSession
  }

  get hasStreams(): boolean {
    return this.#link.hasStreams
  }

  call(call: Call, time: CallTime, party: Party, cancelled: Signal): Promise<ConnectionOutcome> {
    const { server, limits } = this.#options
    if (this.#requests.calls >= limits.callsInFlightMax) {
      const message = `server ${server} has ${limits.callsInFlightMax} calls under way`
      const error = new OperatingError('overloaded', message, { retry: 'elsewhere' })
      return Promise.resolve({ kind: 'rejected', error })
    }
    if (this.#end !== null) return Promise.resolve(notSent(server, this.#end.reason))
    return this.#requests.start({ method: call.method, params: call.params, time, party, cancelled })
  }

  /** A request of our own. Rejects with an OperatingError when it gets no answer, or another error than `unsupported`. */
  async ask(method: string, params: JsonText): Promise<ListReply> {
    const { server, limits } = this.#options
    const timeoutMs = limits.handshakeTimeoutMs
    const time = { leftMs: timeoutMs, timeoutMs, leftMaxMs: timeoutMs }
    const outcome =
      this.#end === null
        ? await this.#requests.start({ method, params, time, party: null, cancelled: null })
        : notSent(server, this.#end.reason)
    if (outcome.kind === 'result') return { kind: 'result', text: outcome.result }
    if (outcome.kind === 'error') {
      const code = parseObject(outcome.error)?.['code']
      if (code === methodNotFound) return { kind: 'unsupported' }
      throw new OperatingError('server-failed', `server ${server} answered ${method} with error ${String(code)}`)
    }
    if ('error' in outcome) throw outcome.error
    throw new OperatingError('server-failed', `server ${server} has forgotten the session during ${method}`)
  }

  tell(text: string): void {
    void this.#link.tell(text)
  }

  /** A question that no client is to be asked. */
  refuse({ id }: ServerRequest): void {
    this.#link.answer(errorText(id, errorObject(methodNotFound, 'Method not found')))
  }

  newestCall(): UnderWay | null {
    return this.#requests.newest()
  }

  /** The call under way, if there is exactly one. */
  onlyCall(): UnderWay | null {
    return this.#requests.only()
  }

  /** Settles when everything under way has ended by itself. */
  drained(): Promise<void> {
    return this.#requests.drained()
  }

  /** Ends the link; what is still under way has an unknown outcome. */
  async close(): Promise<void> {
    this.#onEnded({ kind: 'dead', reason: 'was stopped' })
    await this.#link.close()
  }

  async #shakeHands(): Promise<JsonText> {
    const { identity, server } = this.#options
    const { protocolVersion: offered, capabilities, clientInfo } = identity
    const params = `{"protocolVersion":${JSON.stringify(offered)},"capabilities":${capabilities},"clientInfo":${clientInfo}}`
    const reply = await this.ask('initialize', asJsonText(params))
    const result = reply.kind === 'result' ? parseObject(reply.text) : undefined
    const protocolVersion = result?.['protocolVersion']
    if (reply.kind !== 'result' || typeof protocolVersion !== 'string' || !isObject(result?.['capabilities']))
      throw new OperatingError('server-failed', `server ${server} does not know how to initialize`)
    if (!SUPPORTED_PROTOCOL_VERSIONS.includes(protocolVersion))
      throw new OperatingError(
        'server-failed',
        `server ${server} speaks MCP ${protocolVersion.slice(0, 40)}, which is not known here`,
      )
    this.#link.negotiated(protocolVersion)
    return reply.text
  }

  #onText(text: string, requestId: number | null): void {
    for (const message of readServerMessages(text)) this.#onMessage(message, text, requestId)
  }

  #onMessage(message: ServerMessage, text: string, requestId: number | null): void {
    const on = requestId === null ? null : this.#requests.underWay(requestId)
    switch (message.kind) {
      case 'result':
        this.#requests.answer(message.id, { kind: 'result', result: message.result })
        return
      case 'error':
        this.#requests.answer(message.id, { kind: 'error', error: message.error })
        return
      case 'bad-answer':
        this.#requests.badAnswer(message.id)
        return
      case 'request':
        if (message.method === 'ping') this.#link.answer(resultText(message.id, asJsonText('{}')))
        else this.#options.audience.asked(this, message, on)
        return
      case 'notification':
        if (message.method === 'notifications/progress') this.#onProgress(message)
        else this.#options.audience.notified(this, message, on)
        return
      case 'rubbish':
        this.#onRubbish(text)
    }
  }

  #onProgress(notification: ServerNotification): void {
    if (this.#requests.progress(notification)) return
    const progress = this.tasks.progress(notification)
    if (progress !== null) this.#options.audience.taskProgress(progress.session, progress.message)
  }

  #onRubbish(text: string): void {
    this.#rubbish += 1
    const suppressed = this.#rubbishBudget.take()
    if (suppressed === null) return
    const { log, mask } = this.#options
    log.warn('upstream-rubbish', {
      text: mask(text.slice(0, rubbishReadMax)).slice(0, rubbishShownMax),
      total: this.#rubbish,
    })
  }

  #onEnded(end: LinkEnd): void {
    if (this.#end === null) {
      this.#end = end
      this.#options.ended(this, end)
    }
    if (end.kind === 'dead') this.#requests.end(this.#end)
  }
}
