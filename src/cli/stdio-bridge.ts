import { setMaxListeners } from 'node:events'
import { isObject } from '../std/is-object.ts'
import { toJsonText, type JsonText } from '../std/json-text.ts'
import type { Random } from '../std/random.ts'
import { pause } from './pause.ts'
import { Deliveries, listening, sessionHeader, type Delivered, type Parcel } from './stdio-delivery.ts'
import {
  asLine,
  bridgeCodes,
  errorLine,
  notificationLine,
  readClientLine,
  readNodeLine,
  withId,
  type ClientLine,
  type NodeLine,
} from './stdio-lines.ts'
import { BridgedNodes, type NodeExchange, type Silence } from './stdio-nodes.ts'

/**
 * One MCP session between a client's lines and a cluster: lines pass as they are, both ways. It goes on at another node with
 * the same session, and with a new one, made as the client made the first, when the cluster has forgotten it. Requests run
 * side by side; what follows a notification leaves after it.
 */
export type BridgeOptions = {
  readonly urls: readonly URL[]
  readonly random: Random
  /** How long a message waits for a node that takes it. */
  readonly patienceMs: number
  /** After which one that has taken it is asked no more. */
  readonly silence: Silence
  /** One line for the client, without its line break. */
  write(line: string): void
  say(text: string): void
}

type Session = { readonly id: string; readonly protocolVersion: string }
type ClientRequest = ClientLine & { readonly kind: 'request' }

/** A request of the client that has no answer yet. */
type RequestUnderWay = {
  readonly id: JsonText
  isCancelled: boolean
  /** Its present try. */
  exchange: NodeExchange | null
}

/** More than a session may have on a node, which then says so itself. */
const requestsMax = 512
/** Notifications and answers that wait for a node; beyond, no more lines are read until one is delivered. */
const tellsMax = 256
/** Subscriptions to make again in a new session: as many as a session may have. */
const subscriptionsMax = 256
/** A cancel waits so long for a sign that its request has come in: they travel on different connections. */
const cancelDelayMs = 250
const deleteLimitMs = 1000
const levelSetting = 'level'

/** What reads, or sets what is set already. */
const repeatable: readonly string[] = [
  'initialize',
  'ping',
  'tools/list',
  'resources/list',
  'resources/templates/list',
  'prompts/list',
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
  'tasks/get',
  'tasks/list',
]

export class StdioBridge {
  readonly #options: BridgeOptions
  readonly #nodes: BridgedNodes
  readonly #stopping = new AbortController()
  readonly #deliveries: Deliveries
  readonly #requests = new Map<RequestUnderWay, Promise<void>>()
  /** Requests to make again in a new session, by what they set. */
  readonly #settings = new Map<string, string>()
  #initialize: string | null = null
  #capabilities: Readonly<Record<string, unknown>> = {}
  #session: Session | null = null
  /** The one whose stream is open, or is opened again and again. */
  #listensTo: Session | null = null
  #renewal: Promise<JsonText | null> | null = null
  #renewals = 0
  #tells: Promise<void> = Promise.resolve()
  #tellsWaiting = 0

  constructor(options: BridgeOptions) {
    this.#options = options
    this.#nodes = new BridgedNodes({ ...options, connections: 2 * requestsMax })
    setMaxListeners(0, this.#stopping.signal)
    this.#deliveries = new Deliveries({ ...options, nodes: this.#nodes, stop: this.#stopping.signal })
  }

  /** Nobody took the client's initialize. */
  get isRefused(): boolean {
    return this.#initialize !== null && this.#session === null
  }

  /** Settles when the next line may be taken. */
  async take(text: string): Promise<void> {
    const line = readClientLine(text)
    switch (line.kind) {
      case 'bad':
        return this.#answer(null, toJsonText({ code: line.code, message: line.message }))
      case 'cancel':
        return this.#cancel(line.requestId, text)
      case 'tell':
        return this.#queue(text, line.method)
      case 'request':
        if (line.method === 'initialize') return this.#open(line, text)
        return this.#begin(line, text)
    }
  }

  /** A line of which nobody knows what it was. */
  refuse(message: string): void {
    this.#answer(null, toJsonText({ code: bridgeCodes.invalidRequest, message }))
  }

  /** Settles when every request has its answer, or after so long. */
  async finish(limitMs: number): Promise<void> {
    const waiting = new AbortController()
    const answered = Promise.all([...this.#requests.values(), this.#tells]).then(() => waiting.abort())
    await Promise.race([answered, pause(waiting.signal, limitMs)])
  }

  /** Ends the session, and all that is under way. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#nodes.abort()
    await this.#close()
    await this.#nodes.close()
  }

  /** The client's initialize; nothing overtakes it. */
  async #open({ id }: ClientRequest, text: string): Promise<void> {
    await this.#close()
    this.#settings.clear()
    this.#initialize = text
    const delivered = await this.#handshake(text, (heard) => this.#write(heard))
    if (delivered.kind === 'failed') this.#answer(id, delivered.error)
  }

  /** Sets the session when the answer opens one. */
  async #handshake(text: string, hear: (text: string) => void): Promise<Delivered> {
    let id: string | null = null
    return this.#deliveries.deliver({
      text,
      headers: {},
      isRepeatable: true,
      isRequest: true,
      isWanted: () => true,
      accepted: (headers) => {
        const given = headers[sessionHeader]
        if (typeof given === 'string') id = given
      },
      hear: (heard, line) => {
        const result = line.kind === 'answer' ? line.result : null
        if (result !== null && id !== null) {
          this.#session = { id, protocolVersion: String(result['protocolVersion']) }
          this.#capabilities = isObject(result['capabilities']) ? result['capabilities'] : {}
        }
        hear(heard)
      },
    })
  }

  #begin(line: ClientRequest, text: string): void {
    const { id } = line
    if (this.#requests.size >= requestsMax) {
      const message = `${requestsMax} requests have no answer yet`
      return this.#answer(id, toJsonText({ code: bridgeCodes.overloaded, message }))
    }
    const request: RequestUnderWay = { id, isCancelled: false, exchange: null }
    const carried = this.#carry(request, { line, text, before: this.#tells }).finally(() =>
      this.#requests.delete(request),
    )
    this.#requests.set(request, carried)
  }

  async #carry(
    request: RequestUnderWay,
    { line, text, before }: { readonly line: ClientRequest; readonly text: string; readonly before: Promise<void> },
  ): Promise<void> {
    await before
    const delivered = await this.#deliver({
      text,
      isRepeatable: repeatable.includes(line.method),
      isRequest: true,
      isWanted: () => !request.isCancelled,
      tries: (exchange) => (request.exchange = exchange),
      hear: (heard, answer) => {
        this.#remember(line, { text, answer })
        this.#write(heard)
      },
    })
    if (delivered.kind === 'failed') this.#answer(request.id, delivered.error)
  }

  /** In the present session; once more in a new one when it is lost. */
  async #deliver(parcel: Omit<Parcel, 'headers'>): Promise<Delivered> {
    const session = this.#session
    const delivered = await this.#deliveries.deliver({ ...parcel, headers: headersOf(session) })
    if (delivered.kind !== 'session-lost' || session === null) return delivered
    const error = await this.#renew(session)
    if (error !== null) return { kind: 'failed', error }
    const again = await this.#deliveries.deliver({ ...parcel, headers: headersOf(this.#session) })
    return again.kind === 'session-lost'
      ? { kind: 'failed', error: sessionError('the cluster forgets its sessions') }
      : again
  }

  /** Notifications and answers leave in their order, one after the other. */
  async #queue(text: string, method: string | null): Promise<void> {
    this.#tellsWaiting += 1
    this.#tells = this.#tells.then(async () => {
      await this.#tell(text)
      this.#tellsWaiting -= 1
      if (method === 'notifications/initialized' && this.#session !== null) void this.#listen(this.#session)
    })
    if (this.#tellsWaiting >= tellsMax) await this.#tells
  }

  async #tell(text: string): Promise<void> {
    const delivered = await this.#deliver({
      text,
      isRepeatable: true,
      isRequest: false,
      isWanted: () => true,
      hear: () => undefined,
    })
    if (delivered.kind === 'failed') this.#options.say(`a notification or an answer was lost: ${delivered.error}`)
  }

  #cancel(id: JsonText, text: string): void {
    for (const request of this.#requests.keys()) {
      if (request.id !== id || request.isCancelled) continue
      request.isCancelled = true
      if (request.exchange !== null && !request.exchange.withdraw()) void this.#tellCancel(request.exchange, text)
    }
  }

  async #tellCancel(exchange: NodeExchange, text: string): Promise<void> {
    if (!exchange.hasHead) await pause(this.#stopping.signal, cancelDelayMs)
    await this.#tell(text)
  }

  /** What belongs to no request, for as long as the session is this one. Once: two streams would displace each other. */
  async #listen(session: Session): Promise<void> {
    if (this.#listensTo === session) return
    this.#listensTo = session
    const backoff = this.#deliveries.backoff()
    let lastEventId: string | null = null
    while (this.#session === session && !this.#stopping.signal.aborted) {
      const { ended } = this.#nodes.perform({
        method: 'GET',
        body: null,
        headers: listening(headersOf(session), lastEventId),
        limitMs: 0,
        message: (text) => {
          backoff.reset()
          if (readNodeLine(text).kind === 'other') this.#write(text)
        },
      })
      const answer = await ended
      if (this.#stopping.signal.aborted) return
      lastEventId = answer.lastEventId ?? lastEventId
      const { end } = answer
      // The place is not known any more, or what follows it can not be taken: what is new comes all the same.
      if ((end.kind === 'too-large' || (end.kind === 'refused' && end.status === 400)) && lastEventId !== null) {
        lastEventId = null
        continue
      }
      if (end.kind === 'refused' && end.status === 404) return void this.#renew(session)
      if (end.kind === 'refused' && !passing.includes(end.status) && end.status < 500) {
        this.#options.say(`the cluster sends nothing on its own (HTTP status ${end.status})`)
        return
      }
      if (end.kind !== 'done') this.#deliveries.turn(answer)
      await this.#deliveries.wait(answer, backoff)
    }
  }

  /** Answers why there is no new session; null: there is one. */
  #renew(lost: Session): Promise<JsonText | null> {
    if (this.#session !== lost) return Promise.resolve(null)
    this.#renewal ??= this.#openAgain(lost).finally(() => (this.#renewal = null))
    return this.#renewal
  }

  async #openAgain(lost: Session): Promise<JsonText | null> {
    const own = (): string => `quorate-stdio-${(this.#renewals += 1)}`
    const delivered = await this.#handshake(withId(this.#initialize ?? '', own()), () => undefined)
    if (delivered.kind === 'failed') return delivered.error
    const session = this.#session
    if (session === null || session === lost) return sessionError('the session had ended, and there is no new one')
    if (session.protocolVersion !== lost.protocolVersion)
      return sessionError(`the session had ended, and a new one would speak ${session.protocolVersion}`)
    this.#options.say('the cluster had forgotten the session; going on with a new one')
    const post = async (text: string, isRequest: boolean): Promise<boolean> => {
      let isDone = !isRequest
      const { kind } = await this.#deliveries.deliver({
        text,
        headers: headersOf(session),
        isRepeatable: true,
        isRequest,
        isWanted: () => true,
        hear: (_, line) => (isDone = line.kind === 'answer' && line.result !== null),
      })
      return kind === 'delivered' && isDone
    }
    await post(notificationLine('notifications/initialized'), false)
    for (const [name, text] of this.#settings)
      if (!(await post(withId(text, own()), true)))
        this.#options.say(`the new session lacks ${name === levelSetting ? 'the log level' : 'a subscription'}`)
    void this.#listen(session)
    for (const list of ['tools', 'resources', 'prompts'])
      if (isObject(this.#capabilities[list]) && this.#capabilities[list]['listChanged'] === true)
        this.#write(notificationLine(`notifications/${list}/list_changed`))
    return null
  }

  #remember(
    { method, uri }: ClientRequest,
    { text, answer }: { readonly text: string; readonly answer: NodeLine },
  ): void {
    if (answer.kind !== 'answer' || answer.result === null) return
    if (method === 'logging/setLevel') this.#settings.set(levelSetting, text)
    if (method === 'resources/unsubscribe') this.#settings.delete(`subscription ${uri}`)
    if (method === 'resources/subscribe' && this.#settings.size <= subscriptionsMax)
      this.#settings.set(`subscription ${uri}`, text)
  }

  /** DELETE of the session, at the first node that answers. */
  async #close(): Promise<void> {
    const headers = headersOf(this.#session)
    if (this.#session === null) return
    this.#session = null
    for (const _ of this.#nodes.names) {
      const { ended } = this.#nodes.perform({
        method: 'DELETE',
        body: null,
        headers,
        limitMs: deleteLimitMs,
        message: () => undefined,
      })
      const { end, node } = await ended
      if (end.kind !== 'not-sent') return
      this.#nodes.turn(node)
    }
  }

  #answer(id: JsonText | null, error: JsonText): void {
    this.#write(errorLine(id, error))
  }

  #write(text: string): void {
    if (!this.#stopping.signal.aborted) this.#options.write(asLine(text))
  }
}

/** Refusals of a stream that another try, or another node, may find over. */
const passing: readonly number[] = [408, 409, 425, 429]

function headersOf(session: Session | null): Readonly<Record<string, string>> {
  return session === null ? {} : { [sessionHeader]: session.id, 'mcp-protocol-version': session.protocolVersion }
}

function sessionError(message: string): JsonText {
  const data = { code: 'not-found', retry: 'never' }
  return toJsonText({ code: bridgeCodes.unavailable, message, data })
}
