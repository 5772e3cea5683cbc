import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createParser } from 'eventsource-parser'
import { onTestFinished } from 'vitest'
import type { Call, CallNotification, NotifyCaller, Outcome } from '../../src/calls/call.ts'
import { makeCallIds } from '../../src/calls/call-ids.ts'
import { makeGateway } from '../../src/gateway/gateway.ts'
import type { Gateway } from '../../src/gateway/gateway.ts'
import type { Takes } from '../../src/gateway/gateway-options.ts'
import type { GatewayLimits } from '../../src/gateway/limits.ts'
import type { LogFields } from '../../src/log/log.ts'
import { buildCatalog } from '../../src/routing/catalog.ts'
import type { Replica } from '../../src/state/command.ts'
import { deferred } from '../../src/std/deferred.ts'
import { asJsonText, toJsonText } from '../../src/std/json-text.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { countingClock } from '../counting-clock.ts'
import { offer, replica } from '../routing/replicas.ts'

/** A gateway behind a real HTTP server on loopback; what lies behind the calls port is in the test's hands. */
export type UnderTest = {
  readonly gateway: Gateway
  /** `http://127.0.0.1:PORT` */
  readonly origin: string
  readonly url: string
  /** Every call that reached the port, in order. */
  readonly calls: PerformedCall[]
  readonly logged: { readonly level: string; readonly event: string; readonly fields: LogFields | undefined }[]
  readonly timers: ReadonlySet<object>
  readonly catalogListeners: ReadonlySet<() => void>
  readonly show: (replicas: readonly Replica[]) => void
  /** From now on. */
  readonly take: (what: Takes) => void
}

export type PerformedCall = {
  readonly call: Call
  readonly signal: AbortSignal
  readonly notify: (notification: CallNotification) => void
  readonly end: (outcome: Outcome) => void
}

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

export async function startGateway(
  /** `deaf`: what lies behind does not end its calls when they are cancelled. */
  options: { limits?: Partial<GatewayLimits>; perform?: Performer; deaf?: true; replicas?: readonly Replica[] } = {},
): Promise<UnderTest> {
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

  const call = (given: Call, notify: NotifyCaller, signal: AbortSignal): Promise<Outcome> => {
    const ended = deferred<Outcome>()
    const performed = { call: given, signal, notify, end: (outcome: Outcome) => ended.resolve(outcome) }
    if (!options.deaf) signal.addEventListener('abort', () => ended.resolve({ kind: 'cancelled' }), { once: true })
    calls.push(performed)
    options.perform?.(performed)
    return ended.promise
  }
  const gateway = makeGateway(
    {
      catalog: () => catalog,
      onCatalogChanged(listener) {
        catalogListeners.add(listener)
        return () => catalogListeners.delete(listener)
      },
      calls: { call },
      nextCallId: makeCallIds('n1' as NodeId, 1),
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
  listen(options?: { signal?: AbortSignal }): Promise<Response>
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

export async function openSession(url: string): Promise<RawSession> {
  const opened = await fetch(url, { method: 'POST', headers: mcpHeaders, body: initializeText() })
  await opened.text()
  const id = opened.headers.get('mcp-session-id') ?? ''
  return {
    id,
    post: (body, { headers = {}, signal } = {}) =>
      fetch(url, {
        method: 'POST',
        headers: { ...mcpHeaders, 'Mcp-Session-Id': id, ...headers },
        body,
        ...(signal === undefined ? {} : { signal }),
      }),
    listen: ({ signal } = {}) =>
      fetch(url, {
        headers: { Accept: 'text/event-stream', 'Mcp-Session-Id': id },
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
  const messages: unknown[] = []
  const parser = createParser({ onEvent: (event) => void messages.push(JSON.parse(event.data)) })
  parser.feed(text)
  return messages
}
