import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createParser } from 'eventsource-parser'
import { onTestFinished } from 'vitest'
import type { Call, Caller, CallRef, ClientWord, Handing, Mailroom, Outcome } from '../../src/calls/call.ts'
import { makeCallIds } from '../../src/calls/call-ids.ts'
import { makeGateway } from '../../src/gateway/gateway.ts'
import type { Gateway } from '../../src/gateway/gateway.ts'
import type { GatewayOptions, Takes } from '../../src/gateway/gateway-options.ts'
import type { GatewayLimits } from '../../src/gateway/limits.ts'
import type { LogFields } from '../../src/log/log.ts'
import { buildCatalog } from '../../src/routing/catalog.ts'
import type { Replica } from '../../src/state/command.ts'
import { deferred } from '../../src/std/deferred.ts'
import { asJsonText, toJsonText } from '../../src/std/json-text.ts'
import type { JsonText } from '../../src/std/json-text.ts'
import type { Signal } from '../../src/std/signal.ts'
import type { NodeId, SessionId } from '../../src/vocabulary/ids.ts'
import { countingClock } from '../counting-clock.ts'
import { offer, replica } from '../routing/replicas.ts'
import { HandingInMemory, MailInMemory, SessionsInMemory } from './ports-in-memory.ts'

/** A gateway behind a real HTTP server on loopback; what lies behind the calls port is in the test's hands. */
export type UnderTest = {
  readonly gateway: Gateway
  /** `http://127.0.0.1:PORT` */
  readonly origin: string
  readonly url: string
  /** Every call that reached the port, in order. */
  readonly calls: PerformedCall[]
  /** Every call that a client came back for, in order. */
  readonly resumed: ResumedCall[]
  readonly words: { readonly session: SessionId; readonly word: ClientWord }[]
  readonly sessions: SessionsInMemory
  readonly mail: MailInMemory
  readonly logged: { readonly level: string; readonly event: string; readonly fields: LogFields | undefined }[]
  readonly timers: ReadonlySet<object>
  readonly catalogListeners: ReadonlySet<() => void>
  readonly show: (replicas: readonly Replica[]) => void
  /** From now on. */
  readonly take: (what: Takes) => void
}

export type PerformedCall = {
  readonly call: Call
  readonly caller: Caller
  /** Its cancellation. */
  readonly signal: Signal
  /** The next event. */
  readonly hear: (message: string) => void
  readonly notify: (notification: { readonly method: string; readonly params: JsonText }) => void
  readonly end: (outcome: Outcome) => void
}

export type ResumedCall = Omit<PerformedCall, 'call'> & { readonly node: NodeId; readonly ref: CallRef }

export const filesReplica = replica({
  server: 'files',
  node: 'n1',
  offer: offer({
    initialize: '{"capabilities":{"tools":{},"resources":{}},"instructions":"Only the sandbox."}',
    tools:
      '[{"name":"read","inputSchema":{"type":"object"},"_meta":{"n":12345678901234567890}},{"name":"wait","inputSchema":{"type":"object"}}]',
    resources: '[{"uri":"file:///a","name":"a"}]',
    resourceTemplates: '[{"uriTemplate":"file:///deep/{name}","name":"deep"}]',
  }),
})
export const sqlReplica = replica({
  server: 'sql',
  node: 'n2',
  offer: offer({
    initialize: '{"capabilities":{"tools":{},"prompts":{}}}',
    tools: '[{"name":"query","inputSchema":{"type":"object"}}]',
    prompts: '[{"name":"explain"}]',
  }),
})

type Performer = (performed: PerformedCall) => void

/** Ends a call at once with its own params as structured content. */
export const echo: Performer = ({ call, end }) =>
  end({ kind: 'result', result: asJsonText(`{"content":[],"structuredContent":${call.params}}`) })

export type GatewayUnderTestOptions = {
  readonly limits?: Partial<GatewayLimits>
  readonly perform?: Performer
  readonly resume?: (resumed: ResumedCall) => void
  /** What lies behind does not end its calls when they are cancelled. */
  readonly deaf?: true
  readonly replicas?: readonly Replica[]
  /** Those of another gateway, to be another node of its cluster. */
  readonly sessions?: SessionsInMemory
  readonly mail?: MailInMemory
  readonly mailroom?: Mailroom
  readonly handing?: Handing
  readonly during?: GatewayOptions['during']
  readonly node?: string
}

/** Where all calls are performed, unless a test says otherwise. */
export const performer = 'n2' as NodeId

export async function startGateway(options: GatewayUnderTestOptions = {}): Promise<UnderTest> {
  const calls: PerformedCall[] = []
  const logged: { level: string; event: string; fields: LogFields | undefined }[] = []
  const write = (level: string) => (event: string, fields?: LogFields) => void logged.push({ level, event, fields })
  const log = {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => log,
  }
  const taken: { now: Takes } = { now: 'everything' }
  const timers = new Set<object>()
  const catalogListeners = new Set<() => void>()
  let catalog = buildCatalog(options.replicas ?? [filesReplica, sqlReplica])

  const sessions = options.sessions ?? new SessionsInMemory()
  const mail = options.mail ?? new MailInMemory()
  const resumed: ResumedCall[] = []
  const words: { session: SessionId; word: ClientWord }[] = []

  const begin = (caller: Caller, seq: number): { outcome: Promise<Outcome>; made: Omit<PerformedCall, 'call'> } => {
    const ended = deferred<Outcome>()
    let last = seq
    const hear = (message: string): void => caller.hear({ seq: (last += 1), message: asJsonText(message) })
    const made = {
      caller,
      signal: caller.cancelled,
      hear,
      notify: ({ method, params }: { readonly method: string; readonly params: JsonText }) =>
        hear(`{"jsonrpc":"2.0","method":"${method}","params":${params}}`),
      end: (outcome: Outcome) => ended.resolve(outcome),
    }
    const endAs = (kind: 'cancelled' | 'left') => () => ended.resolve({ kind })
    if (!options.deaf) caller.cancelled.addEventListener('abort', endAs('cancelled'), { once: true })
    caller.left?.addEventListener('abort', endAs('left'), { once: true })
    return { outcome: ended.promise, made }
  }
  const call = (given: Call, caller: Caller): Promise<Outcome> => {
    caller.routed?.(performer)
    const { outcome, made } = begin(caller, 0)
    const performed = { call: given, ...made }
    calls.push(performed)
    options.perform?.(performed)
    return outcome
  }
  const resume = (node: NodeId, ref: CallRef, caller: Caller): Promise<Outcome> => {
    const { outcome, made } = begin(caller, ref.after)
    const again = { node, ref, ...made }
    resumed.push(again)
    options.resume?.(again)
    return outcome
  }
  const gateway = makeGateway(
    {
      node: (options.node ?? 'n1') as NodeId,
      sessions,
      mailroom: options.mailroom ?? mail,
      during: options.during ?? ((work) => work()),
      handing: options.handing ?? new HandingInMemory('n1' as NodeId, new Map()),
      words: { say: (session, word) => void words.push({ session, word }) },
      resume,
      catalog: () => catalog,
      onCatalogChanged(listener) {
        catalogListeners.add(listener)
        return () => catalogListeners.delete(listener)
      },
      calls: { call },
      nextCallId: makeCallIds((options.node ?? 'n1') as NodeId, 1),
      takes: () => taken.now,
      version: '0.0.1',
      allowedHosts: ['mcp.example'],
      allowedOrigins: ['https://console.example'],
      clock: countingClock(timers),
      log,
    },
    options.limits,
  )
  const server = createServer((req, res) => gateway.handle(req, res))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    await gateway.stop()
    await new Promise<unknown>((resolve) => {
      server.close(resolve)
      server.closeAllConnections()
    })
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    gateway,
    origin,
    url: `${origin}/mcp`,
    calls,
    resumed,
    words,
    sessions,
    mail,
    logged,
    timers,
    catalogListeners,
    take(what) {
      taken.now = what
    },
    show(replicas) {
      catalog = buildCatalog(replicas)
      for (const listener of catalogListeners) listener()
    },
  }
}

/** A session driven by hand: what goes over the wire is what the test writes. */
export type RawSession = {
  readonly id: string
  /** POSTs this very text. */
  post(body: string, options?: { headers?: Record<string, string>; signal?: AbortSignal }): Promise<Response>
  listen(options?: { signal?: AbortSignal; from?: string }): Promise<Response>
}

export const mcpHeaders = { 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream' }

export function initializeText(protocolVersion = '2025-11-25'): string {
  return toJsonText({
    jsonrpc: '2.0',
    id: 0,
    method: 'initialize',
    params: { protocolVersion, capabilities: {}, clientInfo: { name: 'test', version: '1' } },
  })
}

export async function openSession(url: string, protocolVersion = '2025-11-25'): Promise<RawSession> {
  const opened = await fetch(url, { method: 'POST', headers: mcpHeaders, body: initializeText(protocolVersion) })
  await opened.text()
  return sessionAt(url, opened.headers.get('mcp-session-id') ?? '')
}

/** A session that is known already, perhaps at another node. */
export function sessionAt(url: string, id: string): RawSession {
  return {
    id,
    post: (body, { headers = {}, signal } = {}) =>
      fetch(url, {
        method: 'POST',
        headers: { ...mcpHeaders, 'Mcp-Session-Id': id, ...headers },
        body,
        ...(signal === undefined ? {} : { signal }),
      }),
    listen: ({ signal, from } = {}) =>
      fetch(url, {
        headers: {
          Accept: 'text/event-stream',
          'Mcp-Session-Id': id,
          ...(from === undefined ? {} : { 'Last-Event-ID': from }),
        },
        ...(signal === undefined ? {} : { signal }),
      }),
  }
}

/** A tools/call as text; `id` and `args` are JSON text, so that tests choose their bytes. */
export function toolCall(options: { id: string; tool: string; args?: string; meta?: string }): string {
  const meta = options.meta === undefined ? '' : `,"_meta":${options.meta}`
  return `{"jsonrpc":"2.0","id":${options.id},"method":"tools/call","params":{"name":"${options.tool}","arguments":${options.args ?? '{}'}${meta}}}`
}

export function request(id: string, method: string, params = '{}'): string {
  return `{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${params}}`
}

/** The messages of an event stream's text. */
export function eventsOf(text: string): unknown[] {
  return idEventsOf(text).flatMap(({ message }) => (message === undefined ? [] : [message]))
}

/** Its events with their ids; `message`: undefined in one without data. */
export function idEventsOf(text: string): { id: string | undefined; message: unknown }[] {
  const events: { id: string | undefined; message: unknown }[] = []
  const parser = createParser({
    onEvent: ({ id, data }) => void events.push({ id, message: data === '' ? undefined : JSON.parse(data) }),
  })
  parser.feed(text)
  return events
}

/** A stream that is read bit by bit. */
export class OpenStream {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  text = ''

  constructor(response: Response) {
    if (response.body === null) throw new Error('the response has no body')
    this.#reader = response.body.getReader()
  }

  /** Reads on until the condition holds, or the stream ends. */
  async until(condition: (text: string) => boolean): Promise<string> {
    const decoder = new TextDecoder()
    while (!condition(this.text)) {
      const { done, value } = await this.#reader.read()
      if (done) break
      this.text += decoder.decode(value, { stream: true })
    }
    return this.text
  }

  get events(): { id: string | undefined; message: unknown }[] {
    return idEventsOf(this.text)
  }

  cancel(): Promise<void> {
    return this.#reader.cancel()
  }
}
