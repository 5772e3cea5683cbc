import type { IncomingMessage, ServerResponse } from 'node:http'
import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js'
import { CallToolRequestSchema, ListToolsRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterEach, describe, expect, it } from 'vitest'
import { waitFor } from '../wait.ts'
import { openLink, type LinkUnderTest } from './link-under-test.ts'
import { answerInitialize, listen, readMessage, sendEvent, type Message } from './raw-http-server.ts'

const ends: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

function use(link: LinkUnderTest): LinkUnderTest {
  ends.unshift(() => link.close())
  return link
}

type Heard = { readonly method: string; readonly url: string; readonly headers: IncomingMessage['headers'] }

async function serve(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; heard: Heard[] }> {
  const heard: Heard[] = []
  const { url, close } = await listen((request, response) => {
    heard.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers })
    answer(request, response)
  })
  ends.push(close)
  return { url: url.replace(/\/mcp$/, '/sse'), heard }
}

/** The SDK's server of the older transport: GET /sse, POST /messages?sessionId=. */
async function serveSdk(): Promise<{ url: string; heard: Heard[]; sessions: Map<string, SSEServerTransport> }> {
  const sessions = new Map<string, SSEServerTransport>()
  const served = await serve((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://x')
    if (request.method === 'GET' && pathname === '/sse') {
      const transport = new SSEServerTransport('/messages', response)
      sessions.set(transport.sessionId, transport)
      response.on('close', () => sessions.delete(transport.sessionId))
      void makeServer().connect(transport)
      return
    }
    const transport = sessions.get(searchParams.get('sessionId') ?? '')
    if (request.method === 'POST' && transport !== undefined) void transport.handlePostMessage(request, response)
    else response.writeHead(404).end()
  })
  return { ...served, sessions }
}

function makeServer(): Server {
  const server = new Server({ name: 'old', version: '1' }, { capabilities: { tools: {} } })
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: [] }))
  server.setRequestHandler(CallToolRequestSchema, async ({ params }, { sendNotification }) => {
    if (params.name === 'chatty')
      for (let progress = 1; progress <= 3; progress += 1)
        await sendNotification({ method: 'notifications/progress', params: { progressToken: 7, progress } })
    return { content: [{ type: 'text', text: params.name }] }
  })
  return server
}

describe('a server over HTTP+SSE', () => {
  it('is found out, begins a session, and answers requests over its one stream', async () => {
    const { url, heard, sessions } = await serveSdk()
    const test = use(openLink(url, { headers: { Authorization: 'Bearer x' } }))
    expect(await test.begin()).toMatchObject({ kind: 'answer', message: { result: { serverInfo: { name: 'old' } } } })
    expect([test.link.hasSession, test.link.hasStreams]).toEqual([true, false])
    const answers = await Promise.all(['chatty', 'b', 'c'].map((name) => test.request('tools/call', { name })))
    expect(answers.map((answer) => (answer.kind === 'answer' ? answer.message['result'] : answer))).toEqual(
      ['chatty', 'b', 'c'].map((text) => ({ content: [{ type: 'text', text }] })),
    )
    expect(test.heard.map(({ message, on }) => [message['params'], on])).toEqual(
      [1, 2, 3].map((progress) => [{ progressToken: 7, progress }, null]),
    )
    expect(heard.slice(0, 2).map(({ method, url: path }) => `${method} ${path}`)).toEqual(['POST /sse', 'GET /sse'])
    for (const { headers } of heard) expect(headers.authorization).toBe('Bearer x')
    expect(heard.at(-1)?.headers['mcp-protocol-version']).toBe('2025-11-25')
    await test.link.close()
    await waitFor('the end of the session', () => sessions.size === 0)
  })

  it('is not asked for the other transport when it is configured, nor by later links', async () => {
    const { url, heard } = await serveSdk()
    const configured = use(openLink(url, { transport: 'sse' }))
    expect((await configured.begin()).kind).toBe('answer')
    expect(heard[0]).toMatchObject({ method: 'GET', url: '/sse' })
    const first = use(openLink(url))
    expect((await first.begin()).kind).toBe('answer')
    const before = heard.length
    const second = first.again()
    ends.unshift(() => second.link.close())
    expect((await second.begin()).kind).toBe('answer')
    expect(heard[before]).toMatchObject({ method: 'GET', url: '/sse' })
  })

  it('is asked for the other transport again when what was found out proves wrong', async () => {
    let isOld = true
    const old = await serveSdk()
    const { url } = await serve((request, response) => {
      if (isOld && request.method === 'GET') {
        sendEvent(response)
        response.write(`event: endpoint\ndata: /messages\n\n`)
        streams.push(response)
        return
      }
      void readMessage(request).then((message) => {
        if (isOld && request.url !== '/messages') response.writeHead(405).end()
        else if (isOld) {
          response.writeHead(202).end()
          if (message.id !== undefined) sendEvent(streams[0] ?? response, { id: message.id, result: initialized })
        } else if (request.method !== 'POST') response.writeHead(405).end()
        else if (message.method === 'initialize') answerInitialize(response, message.id)
        else response.writeHead(202).end()
      })
    })
    const streams: ServerResponse[] = []
    const initialized = { protocolVersion: '2024-11-05', capabilities: {}, serverInfo: { name: 'x', version: '1' } }
    const first = use(openLink(url))
    expect((await first.begin()).kind).toBe('answer')
    expect(first.link.hasStreams).toBe(false)
    isOld = false
    streams[0]?.destroy()
    await waitFor('the end of the link', () => first.ends.length === 1)
    const second = first.again()
    ends.unshift(() => second.link.close())
    expect(await second.begin()).toMatchObject({ kind: 'not-sent' })
    const third = first.again()
    ends.unshift(() => third.link.close())
    expect((await third.begin()).kind).toBe('answer')
    expect(third.link.hasStreams).toBe(true)
    expect(old.heard).toEqual([])
  })

  it.each([401, 403, 406, 500])('is not looked for where the POST is refused with %d', async (status) => {
    const { url, heard } = await serve((_, response) => response.writeHead(status).end())
    const test = use(openLink(url))
    expect((await test.begin()).kind).toBe(status === 500 ? 'unknown' : 'rejected')
    expect(heard).toHaveLength(1)
  })

  it('is not looked for where the refusal is the answer', async () => {
    const { url, heard } = await serve((_, response) => {
      const error = { code: -32_602, message: 'Unsupported protocol version' }
      response.writeHead(400, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ jsonrpc: '2.0', id: 1, error }))
    })
    const test = use(openLink(url))
    expect(await test.begin()).toMatchObject({ kind: 'answer', message: { error: { code: -32_602 } } })
    expect(heard).toHaveLength(1)
  })

  it.each([400, 404, 405])('is looked for where it is refused with %d, and both refusals are told', async (status) => {
    const { url } = await serve((request, response) =>
      response.writeHead(request.method === 'GET' ? 403 : status).end(),
    )
    const test = use(openLink(url))
    expect(await test.begin()).toMatchObject({ kind: 'not-sent' })
    expect(test.ends).toEqual([
      {
        kind: 'dead',
        reason: `refused Streamable HTTP with HTTP status ${status}, and refused its event stream with HTTP status 403`,
      },
    ])
  })
})

/** A raw one: `post` answers what is posted, and says with `stream` what comes on the stream. */
async function serveRaw(
  post: (message: Message, at: { response: ServerResponse; stream: ServerResponse }) => boolean,
  endpoint = (): string => '/messages?s=1',
): Promise<{ url: string; heard: Heard[]; test: LinkUnderTest; stream: () => ServerResponse }> {
  let stream: ServerResponse | undefined
  const { url, heard } = await serve((request, response) => {
    if (request.method === 'GET') {
      stream = response
      sendEvent(response)
      response.write(`event: endpoint\ndata: ${endpoint()}\n\n`)
      return
    }
    void readMessage(request).then((message) => {
      if (stream === undefined || post(message, { response, stream })) return
      response.writeHead(202).end()
      const result = { protocolVersion: '2024-11-05', capabilities: {}, serverInfo: { name: 'x', version: '1' } }
      if (message.method === 'initialize') sendEvent(stream, { id: message.id, result })
    })
  })
  const test = use(openLink(url, { transport: 'sse', limits: { lingerMs: 20, cancelDelayMs: 100, tellTimeoutMs: 50 } }))
  return { url, heard, test, stream: () => stream as unknown as ServerResponse }
}

describe('a server over HTTP+SSE that breaks', () => {
  it('ends its link with its stream, and says why', async () => {
    const { test, stream } = await serveRaw(() => false)
    await test.begin()
    void test.request('tools/call')
    stream().end()
    await waitFor('the end', () => test.ends.length === 1)
    expect(test.ends).toEqual([{ kind: 'dead', reason: 'closed its event stream' }])
    expect(await test.request('tools/call')).toMatchObject({ kind: 'not-sent', text: 'server s has no event stream' })
  })

  it.each([
    [400, 'rejected', 'server s refused with HTTP status 400'],
    [404, 'session-lost', ''],
    [502, 'unknown', 'server s answered with HTTP status 502'],
    [0, 'unknown', 'server s broke off when it was asked (UND_ERR_SOCKET)'],
  ])('and answers a POST with %d makes that request %s', async (status, kind, text) => {
    const { test } = await serveRaw(({ method }, { response }) => {
      if (method !== 'tools/call') return false
      if (status === 0) response.destroy()
      else response.writeHead(status).end()
      return true
    })
    await test.begin()
    expect(await test.request('tools/call')).toMatchObject({ kind, text })
    expect(test.ends.map((end) => end.kind)).toEqual(status === 404 ? ['session-lost'] : [])
  })

  it('with a forgotten session still delivers what was under way, and ends the rest with its stream', async () => {
    const { test, stream } = await serveRaw(({ method }, { response }) => {
      if (method !== 'second') return false
      response.writeHead(404).end()
      return true
    })
    await test.begin()
    const first = test.request('first')
    const never = test.request('first')
    expect(await test.request('second')).toMatchObject({ kind: 'session-lost' })
    sendEvent(stream(), { id: 2, result: { late: true } })
    expect(await first).toMatchObject({ kind: 'answer', message: { result: { late: true } } })
    stream().end()
    expect(await never).toMatchObject({ kind: 'unknown', text: 'server s closed its event stream' })
    expect(test.ends).toHaveLength(1)
  })

  it.each(['http://127.0.0.2:1/messages', 'https://evil.example/messages', '//evil.example/x', 'http://[/'])(
    'by the endpoint %s is told nothing',
    async (endpoint) => {
      const { test, heard } = await serveRaw(
        () => false,
        () => endpoint,
      )
      expect(await test.begin()).toMatchObject({ kind: 'not-sent' })
      expect(test.ends).toEqual([{ kind: 'dead', reason: 'named an endpoint that is not its own' }])
      expect(heard.map(({ method }) => method)).toEqual(['GET'])
    },
  )

  it('and answers with no event stream is not waited for', async () => {
    const { url } = await serve((_, response) => response.setHeader('content-type', 'text/html').end('<html>'))
    const test = use(openLink(url, { transport: 'sse' }))
    expect(await test.begin()).toMatchObject({ kind: 'not-sent' })
    expect(test.ends).toEqual([{ kind: 'dead', reason: 'answered its event stream with something else' }])
  })

  it('and can not be reached has been sent nothing', async () => {
    const { url, close } = await listen(() => undefined)
    await close()
    const test = use(openLink(url, { transport: 'sse' }))
    expect(await test.begin()).toMatchObject({ kind: 'not-sent', text: 'server s can not be reached (ECONNREFUSED)' })
    expect(test.ends.map((end) => end.kind)).toEqual(['dead'])
  })

  it('gets the cancel of a request behind the request, however long it takes to acknowledge it', async () => {
    const said: string[] = []
    const cancelled: unknown[] = []
    const open: ServerResponse[] = []
    const { test } = await serveRaw(({ id, method, params }, { response, stream }) => {
      said.push(method ?? '')
      if (method === 'answered') sendEvent(stream, { id, result: {} })
      if (method === 'notifications/cancelled') cancelled.push(params?.requestId)
      if (method === 'slow') open.push(response)
      return method === 'slow'
    })
    await test.begin()
    void test.request('slow')
    void test.request('quick')
    await waitFor('both requests', () => said.includes('slow') && said.includes('quick'))
    // Behind its answer the quick one's acknowledgement is here.
    await test.request('answered')
    expect(test.abandon(2)).toBe('sent')
    expect(test.abandon(3)).toBe('sent')
    await waitFor('both cancels', () => cancelled.length === 2)
    // The slow one's was held back.
    expect(cancelled).toEqual([3, 2])
    await waitFor('the end of the slow POST', () => open[0]?.closed)
  })

  it('is not told of a request that was given up before its endpoint was known', async () => {
    const { url, heard } = await serve((_, response) => sendEvent(response))
    const test = use(openLink(url, { transport: 'sse' }))
    void test.request('initialize')
    expect(test.abandon(1)).toBe('withdrawn')
    await waitFor('the stream', () => heard.length === 1)
  })

  it('and answers before it acknowledges leaves nothing open', async () => {
    const open: ServerResponse[] = []
    const { test } = await serveRaw(({ id, method }, { response, stream }) => {
      if (method !== 'tools/call') return false
      open.push(response)
      sendEvent(stream, { id, result: {} })
      return true
    })
    await test.begin()
    expect(await test.request('tools/call')).toMatchObject({ kind: 'answer' })
    await waitFor('the end of the POST', () => open[0]?.closed && test.liveTimers() === 0)
  })
})
