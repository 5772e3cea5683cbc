import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import type { EventStore } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { CallToolRequestSchema, type JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import { afterEach, describe, expect, it } from 'vitest'
import type { UpstreamLimits } from '../../src/upstream/limits.ts'
import { waitFor } from '../wait.ts'
import { openLink, type LinkUnderTest } from './link-under-test.ts'
import { answerInitialize, listen, readMessage, type Message } from './raw-http-server.ts'

const ends: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

function use(link: LinkUnderTest): LinkUnderTest {
  ends.unshift(() => link.close())
  return link
}

class MemoryEvents implements EventStore {
  readonly #events: { id: string; stream: string; message: JSONRPCMessage }[] = []

  storeEvent(stream: string, message: JSONRPCMessage): Promise<string> {
    const id = `event-${this.#events.length}`
    this.#events.push({ id, stream, message })
    return Promise.resolve(id)
  }

  async replayEventsAfter(
    last: string,
    { send }: { send: (id: string, message: JSONRPCMessage) => Promise<void> },
  ): Promise<string> {
    const at = this.#events.findIndex((event) => event.id === last)
    const stream = this.#events[at]?.stream ?? ''
    for (const event of this.#events.slice(at + 1)) if (event.stream === stream) await send(event.id, event.message)
    return stream
  }

  getStreamIdForEventId(id: string): Promise<string | undefined> {
    return Promise.resolve(this.#events.find((event) => event.id === id)?.stream)
  }
}

describe("a stream of the SDK's server that is cut", () => {
  /** Whoever has to have heard the first notification before the first cut: before any, there is nothing to resume from. */
  let heardBy: LinkUnderTest | null = null

  /** `count` sends ten notifications and cuts its stream after each third one. */
  async function serveSdk(): Promise<{ url: string; posts: () => number; gets: string[] }> {
    const open = new Map<unknown, ServerResponse>()
    const gets: string[] = []
    let posts = 0
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      eventStore: new MemoryEvents(),
      retryInterval: 5,
    })
    const server = new Server({ name: 'resumable', version: '1' }, { capabilities: { tools: {} } })
    server.setRequestHandler(CallToolRequestSchema, async (_, { sendNotification, requestId }) => {
      for (let progress = 1; progress <= 10; progress += 1) {
        await sendNotification({ method: 'notifications/progress', params: { progressToken: requestId, progress } })
        if (progress === 1) await waitFor('the client to hear it', () => heardBy?.heard.length === 1)
        if (progress % 3 !== 0) continue
        const before = gets.length
        open.get('last')?.destroy()
        // Half of the cuts are found by a client that is there again, half by one that is still away.
        if (progress % 2 === 0) await waitFor('the client', () => gets.length > before)
      }
      return { content: [{ type: 'text', text: 'counted' }] }
    })
    await server.connect(transport)
    const { url, close } = await listen((request, response) => {
      void (async () => {
        const message = request.method === 'POST' ? await readMessage(request) : undefined
        if (message?.method === 'tools/call') posts += 1
        if (message?.method === 'tools/call' || request.headers['last-event-id'] !== undefined)
          open.set('last', response)
        if (request.method === 'GET') gets.push(String(request.headers['last-event-id']))
        await transport.handleRequest(request, response, message)
      })()
    })
    ends.push(close, () => server.close())
    return { url, posts: () => posts, gets }
  }

  it('goes on where it ended: nothing is missing, nothing comes twice, nothing is asked twice', async () => {
    const { url, posts, gets } = await serveSdk()
    const test = use(openLink(url))
    await test.begin()
    heardBy = test
    expect(await test.request('tools/call', { name: 'count' })).toMatchObject({
      kind: 'answer',
      message: { result: { content: [{ text: 'counted' }] } },
    })
    const heard = test.heard.filter(({ message }) => message['method'] === 'notifications/progress')
    expect(heard.map(({ message }) => (message['params'] as { progress: number }).progress)).toEqual(
      Array.from({ length: 10 }, (_, at) => at + 1),
    )
    for (const { on } of heard) expect(on).toBe(2)
    expect(posts()).toBe(1)
    expect(gets.filter((id) => id.startsWith('event-')).length).toBeGreaterThanOrEqual(2)
  })
})

type Get = { readonly after: string | undefined; readonly at: number; readonly response: ServerResponse }

/** A raw server; `post` takes tools/call, `get` what is to be resumed. The standalone stream is refused with 405. */
async function serveRaw(options: {
  post: (message: Message, response: ServerResponse) => void
  get: (get: Get, gets: readonly Get[]) => void
  standalone?: (request: IncomingMessage, response: ServerResponse) => void
  cancelled?: (response: ServerResponse) => void
  limits?: Partial<UpstreamLimits>
  session?: string
}): Promise<{ test: LinkUnderTest; gets: readonly Get[]; said: string[]; close: () => Promise<void> }> {
  const gets: Get[] = []
  const said: string[] = []
  const { url, close } = await listen((request, response) => {
    const after = request.headers['last-event-id']
    if (request.method === 'GET' && after === undefined)
      if (options.standalone === undefined) response.writeHead(405).end()
      else options.standalone(request, response)
    else if (request.method === 'GET') {
      const get = { after: String(after), at: performance.now(), response }
      gets.push(get)
      options.get(get, gets)
    } else
      void readMessage(request).then((message) => {
        said.push(message.method ?? '')
        if (options.session !== undefined) response.setHeader('mcp-session-id', options.session)
        if (message.method === 'initialize') answerInitialize(response, message.id)
        else if (message.method === 'tools/call') options.post(message, response)
        else if (message.method === 'notifications/cancelled' && options.cancelled) options.cancelled(response)
        else response.writeHead(202).end()
      })
  })
  ends.push(close)
  const test = use(openLink(url, { limits: { cancelDelayMs: 10, ...options.limits } }))
  await test.begin()
  return { test, gets, said, close }
}

function send(response: ServerResponse, text: string): ServerResponse {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(text)
  return response
}

const result = (id: Message['id']): string => `data: ${JSON.stringify({ jsonrpc: '2.0', id, result: {} })}\n\n`

describe('a stream that ends before its answer', () => {
  it('is resumed behind its last event when its server said, as often as it ends', async () => {
    const { test, gets } = await serveRaw({
      post: (_, response) => send(response, 'id: a\nretry: 60\ndata: \n\n').end(),
      get({ response }, { length }) {
        if (length === 1) send(response, 'id: b\ndata: {"jsonrpc":"2.0","method":"x"}\n\n').end()
        else if (length < 4) send(response, ': nothing yet\n\n').end()
        else send(response, result(2)).end()
      },
    })
    const before = performance.now()
    expect((await test.request('tools/call')).kind).toBe('answer')
    expect(gets.map(({ after }) => after)).toEqual(['a', 'b', 'b', 'b'])
    expect(test.heard.map(({ on }) => on)).toEqual([2])
    for (const [at, get] of gets.entries()) expect(get.at - (gets[at - 1]?.at ?? before)).toBeGreaterThanOrEqual(55)
  })

  it.each([
    ['without ids', 'data: {"jsonrpc":"2.0","method":"x"}\n\n', 'broke off before its answer (UND_ERR_SOCKET)', 0],
    ['with an id', 'id: a\ndata:\n\n', 'broke off before its answer, and could not be resumed (HTTP status 405)', 1],
  ])('%s and can not be resumed is of unknown outcome at once', async (_, event, clause, tries) => {
    const { test, gets } = await serveRaw({
      post(_message, response) {
        send(response, event)
        setImmediate(() => response.destroy())
      },
      get: ({ response }) => response.writeHead(405).end(),
    })
    expect(await test.request('tools/call')).toMatchObject({ kind: 'unknown', text: `server s ${clause}` })
    expect(gets).toHaveLength(tries)
    expect(test.ends).toEqual([])
  })

  it('is tried a few times while its server is in trouble, and then given up', async () => {
    const { test, gets } = await serveRaw({
      limits: { resumeFailuresMax: 3 },
      post: (_, response) => send(response, 'id: a\ndata:\n\n').end(),
      get: ({ response }) => response.writeHead(503).end(),
    })
    expect(await test.request('tools/call')).toMatchObject({
      kind: 'unknown',
      text: 'server s broke off before its answer, and could not be resumed (HTTP status 503)',
    })
    expect(gets).toHaveLength(4)
  })

  it('survives trouble that passes', async () => {
    const { test, gets } = await serveRaw({
      limits: { resumeFailuresMax: 2 },
      post: (_, response) => send(response, 'id: a\ndata:\n\n').end(),
      get({ response }, { length }) {
        if (length === 7) send(response, result(2)).end()
        else if (length % 3 === 0) send(response, ':\n\n').end()
        else if (length % 3 === 1) response.writeHead(409).end()
        else response.destroy()
      },
    })
    expect((await test.request('tools/call')).kind).toBe('answer')
    expect(gets).toHaveLength(7)
  })

  it('because its server is gone is of unknown outcome within 3 s, with the limits that nodes have', async () => {
    const { test, close } = await serveRaw({
      limits: { resumeDelayMs: 500 },
      post: (_, response) => send(response, 'id: a\ndata: {"jsonrpc":"2.0","method":"x"}\n\n'),
      get: () => undefined,
    })
    const call = test.request('tools/call')
    await waitFor('the event', () => test.heard.length === 1)
    const before = performance.now()
    await close()
    expect(await call).toMatchObject({
      kind: 'unknown',
      text: 'server s broke off before its answer, and could not be resumed (ECONNREFUSED)',
    })
    expect(performance.now() - before).toBeLessThan(3000)
  })

  it('loses the session with it when that is forgotten, and is not made again', async () => {
    const { test } = await serveRaw({
      session: 'one',
      post: (_, response) => send(response, 'id: a\ndata:\n\n').end(),
      get: ({ response }) => response.writeHead(404).end(),
    })
    expect((await test.request('tools/call')).kind).toBe('unknown')
    expect(test.ends).toEqual([{ kind: 'session-lost', reason: 'has forgotten the session' }])
  })

  it('is not resumed for a message that is too large', async () => {
    const { test, gets } = await serveRaw({
      limits: { messageBytesMax: 1000 },
      post: (_, response) => send(response, `id: a\ndata:\n\nid: b\ndata: ${'x'.repeat(5000)}\n\n`),
      get: ({ response }) => response.writeHead(500).end(),
    })
    expect(await test.request('tools/call')).toMatchObject({ kind: 'unknown' })
    expect(gets).toEqual([])
  })

  it('is not resumed behind its answer, but heard as long as it stays open', async () => {
    const { test, gets } = await serveRaw({
      post(_, response) {
        send(response, `id: a\n${result(2)}id: b\ndata: {"jsonrpc":"2.0","method":"late"}\n\n`)
        response.end()
      },
      get: ({ response }) => response.writeHead(500).end(),
    })
    expect((await test.request('tools/call')).kind).toBe('answer')
    await waitFor('what it still said, and its end', () => test.heard.length === 1 && test.liveTimers() === 0)
    expect(gets).toEqual([])
  })

  it('is cancelled all the same, and then not resumed', async () => {
    const { test, gets, said } = await serveRaw({
      limits: { resumeDelayMs: 30 },
      // Until the time of the next resumption has come, and whatever it would bring has had its time as well.
      cancelled(response) {
        void waitFor('that time', () => test.liveTimers() === 1)
          .then(() => test.request('ping'))
          .then(() => response.writeHead(202).end())
      },
      post: (_, response) => send(response, 'id: a\ndata:\n\n').end(),
      get: ({ response }, { length }) => {
        if (length === 1) send(response, ':\n\n').end()
        else send(response, ':\n\n')
      },
    })
    void test.request('tools/call')
    await waitFor('the wait after the first resumption', () => gets.length === 1 && test.liveTimers() === 1)
    expect(test.abandon(2)).toBe('sent')
    await waitFor('the cancel', () => said.includes('notifications/cancelled') && test.liveTimers() === 0)
    expect(gets).toHaveLength(1)
  })
})

describe('the standalone stream', () => {
  it('is resumed behind its last event, and begun anew when that is refused', async () => {
    const begun: ServerResponse[] = []
    const { test, gets } = await serveRaw({
      post: () => undefined,
      standalone(_, response) {
        begun.push(response)
        send(response, `id: s${begun.length}\nretry: 5\ndata: {"jsonrpc":"2.0","method":"x"}\n\n`)
        if (begun.length === 1) response.end()
      },
      get({ response, after }, { length }) {
        if (length === 1) send(response, 'id: t1\ndata: {"jsonrpc":"2.0","method":"y"}\n\n').end()
        else if (after === 't1') response.writeHead(400).end()
      },
      limits: { restartDelayMaxMs: 1000 },
    })
    await waitFor('the stream that was begun anew', () => begun.length === 2)
    await waitFor('what it says', () => test.heard.length === 3)
    expect(gets.map(({ after }) => after)).toEqual(['s1', 't1'])
    expect(test.heard.map(({ message, on }) => [message['method'], on])).toEqual([
      ['x', null],
      ['y', null],
      ['x', null],
    ])
    expect(test.missed()).toBe(2)
  })
})
