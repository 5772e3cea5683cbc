import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { SUPPORTED_PROTOCOL_VERSIONS } from '@modelcontextprotocol/sdk/types.js'
import { describe, expect, it } from 'vitest'
import { legacyVersions } from '../../src/gateway/initializing.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { SessionId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import {
  echo,
  eventsOf,
  filesReplica,
  initializeText,
  mcpHeaders,
  openSession,
  request,
  startGateway,
  toolCall,
} from './gateway-under-test.ts'

const ping = request('1', 'ping')

async function post(
  url: string,
  body: string | Uint8Array,
  headers: Record<string, string> = mcpHeaders,
): Promise<Response> {
  return fetch(url, { method: 'POST', headers, body })
}

/** fetch does not let a Host header through. */
function statusWithHost(url: string, host: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const req = httpRequest(url, { method: 'POST', headers: { ...mcpHeaders, Host: host } }, (res) => {
      res.resume()
      resolve(res.statusCode)
    })
    req.on('error', reject)
    req.end(initializeText())
  })
}

describe('initialize', () => {
  it('speaks the versions that the SDK knows, but the one before Streamable HTTP and HTTP+SSE', () => {
    expect(SUPPORTED_PROTOCOL_VERSIONS.filter((version) => version !== '2024-10-07')).toEqual(legacyVersions)
  })

  it.each([
    ...legacyVersions.map((version) => [version, version]),
    ['2024-10-07', '2025-11-25'],
    ['2099-01-01', '2025-11-25'],
  ])('answers a client of %s with %s', async (asked, answered) => {
    const { url } = await startGateway()
    const response = await post(url, initializeText(asked))
    expect(response.status).toBe(200)
    expect(response.headers.get('mcp-session-id')).toMatch(/^[0-9a-f-]{36}$/)
    expect(await response.json()).toMatchObject({
      jsonrpc: '2.0',
      id: 0,
      result: {
        protocolVersion: answered,
        capabilities: {
          tools: { listChanged: true },
          resources: { listChanged: true },
          prompts: { listChanged: true },
        },
        serverInfo: { name: 'quorate', version: '0.0.1' },
      },
    })
  })

  it('offers on /mcp/{server} what that server has, with its own instructions', async () => {
    const { url } = await startGateway()
    const answer = (await (await post(`${url}/files`, initializeText())).json()) as { result: object }
    expect(answer.result).toMatchObject({
      capabilities: { tools: { listChanged: true }, resources: { listChanged: true } },
      instructions: 'Only the sandbox.',
    })
    expect(answer.result).not.toHaveProperty('capabilities.prompts')
  })

  it('is -32602 without a protocol version', async () => {
    const { url, sessions } = await startGateway()
    expect(await (await post(url, request('1', 'initialize'))).json()).toMatchObject({
      id: 1,
      error: { code: -32_602 },
    })
    expect(sessions.all()).toEqual([])
  })

  it('is 503 with Retry-After when the cluster has all the sessions that it may have', async () => {
    const { url, sessions } = await startGateway()
    sessions.max = 1
    const { id } = await openSession(url)
    const refused = await post(url, initializeText())
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '10'])
    expect(await refused.json()).toMatchObject({ id: 0, error: { code: -31_004, data: { code: 'overloaded' } } })
    expect(sessions.end(id as SessionId)).toBe(true)
    expect((await post(url, initializeText())).status).toBe(200)
  })

  it('is 503 while the cluster has no quorum, and makes no session', async () => {
    const { url, sessions } = await startGateway()
    sessions.failure = new OperatingError('no-quorum', 'no majority answers')
    const refused = await post(url, initializeText())
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1'])
    expect(refused.headers.get('mcp-session-id')).toBeNull()
    expect(await refused.json()).toMatchObject({ id: 0, error: { code: -31_001, data: { code: 'no-quorum' } } })
    expect(sessions.all()).toEqual([])
  })

  it('is -32602 when the client says more of itself than is kept', async () => {
    const { url, sessions } = await startGateway()
    sessions.failure = new OperatingError('bad-request', 'clientInfo is too long')
    const refused = await post(url, initializeText())
    expect([refused.status, await refused.json()]).toMatchObject([200, { error: { code: -32_602 } }])
  })
})

describe('a session', () => {
  it('is needed after initialize: 400 without the header, 404 for one that is unknown', async () => {
    const { url } = await startGateway()
    expect((await post(url, ping)).status).toBe(400)
    const unknown = await post(url, ping, { ...mcpHeaders, 'Mcp-Session-Id': 'nobody' })
    expect(unknown.status).toBe(404)
    expect(await unknown.json()).toMatchObject({ jsonrpc: '2.0', id: null, error: { code: -32_000 } })
  })

  it('is bound to the URL on which it began', async () => {
    const { url } = await startGateway()
    const { id } = await openSession(`${url}/files`)
    const headers = { ...mcpHeaders, 'Mcp-Session-Id': id }
    expect((await post(`${url}/files`, ping, headers)).status).toBe(200)
    expect((await post(url, ping, headers)).status).toBe(404)
    expect((await post(`${url}/sql`, ping, headers)).status).toBe(404)
  })

  it('ends by DELETE, and its stream with it', async () => {
    const { url, gateway } = await startGateway()
    const session = await openSession(url)
    const stream = await session.listen()
    const ended = await fetch(url, { method: 'DELETE', headers: { 'Mcp-Session-Id': session.id } })
    expect(ended.status).toBe(204)
    expect(eventsOf(await stream.text())).toEqual([])
    expect((await session.post(ping)).status).toBe(404)
    expect(gateway.counters()).toMatchObject({ streams: 0, sessionsOpened: 1, sessionsClosed: 1 })
  })

  it('is said to be in use as long as its client listens or a call is in work, and not after', async () => {
    const under = await startGateway({ limits: { sessionIdleMs: 80 } })
    const { touched } = under.sessions
    const [listening, busy, idle] = [
      await openSession(under.url),
      await openSession(under.url),
      await openSession(under.url),
    ]
    const stream = await listening.listen()
    const answer = busy.post(toolCall({ id: '1', tool: 'files__wait' }))
    const call = await waitFor('the call', () => under.calls[0])
    touched.length = 0
    const times = (session: { id: string }): number => touched.filter((id) => id === session.id).length
    await waitFor('both to be told several times', () => times(listening) > 2 && times(busy) > 2)
    expect(times(idle)).toBe(0)
    await stream.body?.cancel()
    call.end({ kind: 'result', result: asJsonText('{}') })
    await answer
    await waitFor('both to be closed', () => {
      const { streams, activeCalls } = under.gateway.counters()
      return streams === 0 && activeCalls === 0
    })
    const timers = under.timers.size
    touched.length = 0
    await waitFor('the next time', () => under.timers.size === timers)
    expect(touched).toEqual([])
  })

  it('that this node does not know is looked for in the cluster once', async () => {
    const { url, sessions } = await startGateway()
    const { id } = await openSession(url)
    const record = sessions.find(id as SessionId)
    if (record === undefined) throw new Error('there is no record')
    sessions.records.clear()
    const headers = { ...mcpHeaders, 'Mcp-Session-Id': id }
    expect((await post(url, ping, headers)).status).toBe(404)
    sessions.elsewhere.set(record.id, record)
    expect((await post(url, ping, headers)).status).toBe(200)
    sessions.records.clear()
    sessions.failure = new OperatingError('no-leader', 'no leader is known', { retryAfterMs: 2500 })
    const refused = await post(url, ping, headers)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '3'])
  })

  it('outlives its server: the lists are empty and calls are answered, until it is back', async () => {
    const { url, show } = await startGateway({ perform: echo })
    const session = await openSession(`${url}/files`)
    show([])
    expect(await (await session.post(request('1', 'tools/list'))).json()).toMatchObject({ result: { tools: [] } })
    expect((await post(`${url}/files`, initializeText())).status).toBe(404)
    show([filesReplica])
    expect(await (await session.post(toolCall({ id: '2', tool: 'read' }))).json()).toHaveProperty('result')
  })

  it('refuses a protocol version that nobody knows', async () => {
    const { url } = await startGateway()
    const session = await openSession(url)
    expect((await session.post(ping, { headers: { 'MCP-Protocol-Version': '1999-01-01' } })).status).toBe(400)
    expect((await session.post(ping, { headers: { 'MCP-Protocol-Version': '2025-06-18' } })).status).toBe(200)
  })
})

describe('a POST', () => {
  it.each<[string, Record<string, string>, number]>([
    ['no Content-Type', { Accept: mcpHeaders.Accept }, 415],
    ['another Content-Type', { ...mcpHeaders, 'Content-Type': 'text/plain' }, 415],
    ['a compressed body', { ...mcpHeaders, 'Content-Encoding': 'gzip' }, 415],
    ['Accept without event streams', { ...mcpHeaders, Accept: 'application/json' }, 406],
    ['Accept without JSON', { ...mcpHeaders, Accept: 'text/event-stream' }, 406],
    [
      'parameters in both',
      { 'Content-Type': 'Application/JSON; charset=utf-8', Accept: 'text/event-stream;q=1,application/json;q=0.1' },
      200,
    ],
    ['a foreign Origin', { ...mcpHeaders, Origin: 'https://evil.example' }, 403],
    ['a loopback Origin', { ...mcpHeaders, Origin: 'http://localhost:8080' }, 200],
    ['an allowed Origin', { ...mcpHeaders, Origin: 'https://console.example' }, 200],
  ])('with %s', async (_, headers, status) => {
    const { url } = await startGateway()
    const response = await post(url, Buffer.from(initializeText()), headers)
    expect(response.status).toBe(status)
    const answer = (await response.json()) as { id: unknown; error?: object }
    expect(answer.error === undefined).toBe(status === 200)
    expect(answer.id).toBe(status === 200 ? 0 : null)
  })

  it.each([
    ['evil.example', 403],
    ['127.0.0.1.evil.example:80', 403],
    ['localhost:1', 200],
    ['mcp.example', 200],
  ])('to Host %s', async (host, status) => {
    const { url } = await startGateway()
    expect(await statusWithHost(url, host)).toBe(status)
  })

  it.each<[string, string | Uint8Array, number]>([
    ['no JSON', '{"jsonrpc":', -32_700],
    ['nothing', '', -32_700],
    ['bytes that are not UTF-8', Buffer.from([0x22, 0xff, 0x22]), -32_700],
    ['a batch', `[${ping}]`, -32_600],
    ['a string', '"ping"', -32_600],
    ['another JSON-RPC version', '{"jsonrpc":"1.0","id":1,"method":"ping"}', -32_600],
    ['a method that is no string', '{"jsonrpc":"2.0","id":1,"method":7}', -32_600],
    ['no method', '{"jsonrpc":"2.0","id":1}', -32_600],
    ['an id that is null', '{"jsonrpc":"2.0","id":null,"method":"ping"}', -32_600],
    ['params that are a list', '{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32_600],
    ['a million open brackets', '['.repeat(1_000_000), -32_700],
  ])('of %s is 400', async (_, body, code) => {
    const { url } = await startGateway()
    const session = await openSession(url)
    const response = await fetch(url, {
      method: 'POST',
      headers: { ...mcpHeaders, 'Mcp-Session-Id': session.id },
      body,
    })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ jsonrpc: '2.0', error: { code } })
    expect((await session.post(ping)).status).toBe(200)
  })

  it('is 413 above the limit, also when its length is not said before', async () => {
    const { url } = await startGateway({ limits: { bodyBytesMax: 1000 } })
    expect((await post(url, 'x'.repeat(1001))).status).toBe(413)
    const chunks = new ReadableStream({
      pull(controller) {
        controller.enqueue(Buffer.alloc(100_000, 'x'))
        if ((pulled += 1) === 50) controller.close()
      },
    })
    let pulled = 0
    const streamed = await fetch(url, { method: 'POST', headers: mcpHeaders, body: chunks, duplex: 'half' })
    expect(streamed.status).toBe(413)
  })

  it('is 408 when its body does not come', async () => {
    const { url } = await startGateway({ limits: { bodyTimeoutMs: 50 } })
    const status = await new Promise((resolve) => {
      const req = httpRequest(url, { method: 'POST', headers: { ...mcpHeaders, 'Content-Length': 100 } }, (res) => {
        res.resume()
        resolve(res.statusCode)
      })
      req.on('error', () => undefined)
      req.write('{')
    })
    expect(status).toBe(408)
  })

  it('is 503 while too much is being read, and one that is cut gives its share back', async () => {
    const { url, origin, timers, gateway } = await startGateway({ limits: { bodiesBytesMax: 400 } })
    const before = timers.size
    const socket = connect(Number(new URL(origin).port), '127.0.0.1')
    const head = `POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: ${mcpHeaders.Accept}\r\n`
    socket.write(`${head}Content-Length: 1000\r\n\r\n${'x'.repeat(390)}`)
    await waitFor('the body to be awaited', () => timers.size === before + 1)
    const refused = await waitFor('the other to be refused', async () => {
      const response = await post(url, initializeText())
      return response.status === 503 && response
    })
    expect(refused.headers.get('retry-after')).toBe('1')
    socket.destroy()
    await waitFor('the cut to be seen', () => timers.size === before)
    expect(gateway.counters().accidents).toBe(0)
    expect((await post(url, initializeText())).status).toBe(200)
  })

  it('is 503 while calls in work hold too much, and not any more when they have ended', async () => {
    const under = await startGateway({ limits: { bodiesBytesMax: 1000 } })
    const session = await openSession(under.url)
    const large = toolCall({ id: '1', tool: 'files__wait', args: `{"text":"${'x'.repeat(600)}"}` })
    const first = session.post(large)
    const call = await waitFor('the call', () => under.calls[0])
    expect((await session.post(large)).status).toBe(503)
    expect((await session.post(ping)).status).toBe(200)
    call.end({ kind: 'result', result: asJsonText('{}') })
    expect((await first).status).toBe(200)
    const second = session.post(large)
    ;(await waitFor('the next call', () => under.calls[1])).end({ kind: 'result', result: asJsonText('{}') })
    expect((await second).status).toBe(200)
  })

  it('of a notification or an answer is 202', async () => {
    const { url } = await startGateway()
    const session = await openSession(url)
    for (const body of [
      '{"jsonrpc":"2.0","method":"notifications/initialized"}',
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}',
      '{"jsonrpc":"2.0","method":"notifications/cancelled"}',
      '{"jsonrpc":"2.0","id":5,"result":{}}',
    ]) {
      const response = await session.post(body)
      expect([response.status, await response.text()]).toEqual([202, ''])
    }
  })
})

describe('addresses and methods', () => {
  it('of an unknown server or a name that none can have are 404', async () => {
    const { url, gateway } = await startGateway()
    for (const path of ['/nobody', '/', '/quorate', '/a__b', '/%2e%2e'])
      expect([path, (await post(`${url}${path}`, initializeText())).status]).toEqual([path, 404])
    expect(['/mcp', '/mcp/files', '/mcp/a/b', '/mcpx', '/'].map((path) => gateway.serves(path))).toEqual([
      true,
      true,
      false,
      false,
      false,
    ])
  })

  it('other than POST, GET and DELETE are 405', async () => {
    const { url } = await startGateway()
    const response = await fetch(url, { method: 'PUT' })
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST, GET, DELETE'])
  })
})

describe('the standalone stream', () => {
  it('needs Accept and a session; a newer one takes its place', async () => {
    const { url, gateway } = await startGateway()
    const session = await openSession(url)
    expect((await fetch(url, { headers: { 'Mcp-Session-Id': session.id, Accept: 'application/json' } })).status).toBe(
      406,
    )
    expect((await fetch(url, { headers: { Accept: 'text/event-stream' } })).status).toBe(400)
    const first = await session.listen()
    expect(first.headers.get('content-type')).toBe('text/event-stream')
    expect(first.headers.get('cache-control')).toBe('no-cache, no-transform')
    expect(first.headers.get('x-accel-buffering')).toBe('no')
    const second = await session.listen()
    expect(second.status).toBe(200)
    expect(eventsOf(await first.text())).toEqual([])
    expect(gateway.counters().streams).toBe(1)
    await second.body?.cancel()
    await waitFor('the stream to be given up', () => gateway.counters().streams === 0)
  })

  it('is kept alive by comments', async () => {
    const { url } = await startGateway({ limits: { keepAliveMs: 20 } })
    const session = await openSession(url, '2025-06-18')
    const reader = (await session.listen()).body?.getReader()
    for (let seen = 0; seen < 2; seen += 1)
      expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe(': keep-alive\n\n')
    await reader?.cancel()
  })
})
