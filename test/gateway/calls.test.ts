import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { asJsonText } from '../../src/std/json-text.ts'
import type { SessionId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import {
  echo,
  eventsOf,
  mcpHeaders,
  OpenStream,
  openSession,
  request,
  startGateway,
  toolCall,
} from './gateway-under-test.ts'
import type { PerformedCall, UnderTest } from './gateway-under-test.ts'

const done = { kind: 'result', result: asJsonText('{"content":[]}') } as const
const withToken = '{"progressToken":"t"}'

async function nthCall({ calls }: UnderTest, nth = 0): Promise<PerformedCall> {
  return waitFor(`call ${nth} to arrive`, () => calls[nth])
}

describe('a call', () => {
  it('reaches its server under its own name, every other byte as the client wrote it', async () => {
    const under = await startGateway({ perform: echo })
    const session = await openSession(under.url)
    const args = '{ "big":12345678901234567890, "e":1e2 ,"u":"\\u00e9","name":"files__read","__proto__":1}'
    const response = await session.post(toolCall({ id: '1', tool: 'files__read', args, meta: '{"x":1.0}' }))
    const params = `{"name":"read","arguments":${args},"_meta":{"x":1.0}}`
    expect(under.calls[0]?.call).toEqual({
      id: 'n1.1.1',
      server: 'files',
      method: 'tools/call',
      params,
      timeoutMs: null,
      origin: { session: session.id, requestId: '1', isKept: false },
    })
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await response.text()).toBe(`{"jsonrpc":"2.0","id":1,"result":{"content":[],"structuredContent":${params}}}`)
  })

  it.each(['0', '"7"', '7', '""', '9007199254740993', '-1', '"\\u0041\\n"', '123456789012345678901234567890'])(
    'gives the id %s back in the client’s own bytes',
    async (id) => {
      const { url } = await startGateway({ perform: echo })
      const session = await openSession(url)
      for (const body of [toolCall({ id, tool: 'files__read' }), request(id, 'ping'), request(id, 'nonsense')])
        expect(await (await session.post(body)).text()).toContain(`{"jsonrpc":"2.0","id":${id},`)
    },
  )

  it('passes the server’s error untouched', async () => {
    const error = '{"code":-32603,"message":"MCP error -1: as it is","data":{"n":12345678901234567890}, "more":[]}'
    const { url } = await startGateway({ perform: ({ end }) => end({ kind: 'error', error: asJsonText(error) }) })
    const session = await openSession(url)
    const response = await session.post(toolCall({ id: '1', tool: 'sql__query' }))
    expect(await response.text()).toBe(`{"jsonrpc":"2.0","id":1,"error":${error}}`)
  })

  it.each([
    ['tools/call', '{"name":"nobody__x"}', -32_602, 'Unknown tool: nobody__x'],
    ['tools/call', '{"name":"read"}', -32_602, 'Unknown tool: read'],
    ['tools/call', '{"name":7}', -32_602, 'params.name is not a string'],
    ['tools/call', '{}', -32_602, 'params.name is not a string'],
    ['prompts/get', '{"name":"sql__nothing"}', -32_602, 'Unknown prompt: sql__nothing'],
    ['resources/read', '{"uri":"file:///nowhere/at/all"}', -32_002, 'Resource not found'],
    ['resources/read', '{}', -32_602, 'params.uri is not a string'],
    ['tools/list', '{"cursor":"rubbish"}', -32_602, 'the cursor is unknown'],
    ['tools/list', '{"cursor":1}', -32_602, 'the cursor is unknown'],
    ['toString', '{}', -32_601, 'Method not found'],
    ['logging/setLevel', '{"level":"debug"}', -32_601, 'Method not found'],
  ])('%s of %s is refused with %d and asks no server', async (method, params, code, message) => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const response = await session.post(request('1', method, params))
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({ id: 1, error: { code, message } })
    expect(under.calls).toEqual([])
  })

  it('goes to the owner of the URI, listed or by template; on /mcp/{server} always to that server', async () => {
    const under = await startGateway({ perform: ({ end }) => end(done) })
    const all = await openSession(under.url)
    const one = await openSession(`${under.url}/sql`)
    await (await all.post(request('1', 'resources/read', '{"uri":"file:///a"}'))).text()
    await (await all.post(request('2', 'resources/read', '{"uri":"file:///deep/x"}'))).text()
    await (await one.post(request('3', 'resources/read', '{"uri":"unlisted:x"}'))).text()
    expect(under.calls.map(({ call }) => [call.server, call.params])).toEqual([
      ['files', '{"uri":"file:///a"}'],
      ['files', '{"uri":"file:///deep/x"}'],
      ['sql', '{"uri":"unlisted:x"}'],
    ])
  })

  it.each([
    [
      'not-sent',
      new OperatingError('server-unavailable', 'server files is away', { retry: 'after', retryAfterMs: 9 }),
      -31_001,
      'after',
    ],
    ['not-sent', new OperatingError('not-here', 'not here', { retry: 'elsewhere' }), -31_001, 'elsewhere'],
    ['not-sent', new OperatingError('overloaded', 'too much', { retry: 'elsewhere' }), -31_004, 'elsewhere'],
    ['rejected', new OperatingError('not-here', 'not here', { retry: 'elsewhere' }), -31_002, 'elsewhere'],
    ['rejected', new OperatingError('server-failed', 'status 401', { retry: 'elsewhere' }), -31_002, 'elsewhere'],
    ['rejected', new OperatingError('overloaded', 'too much', { retry: 'after' }), -31_004, 'after'],
    ['unknown', new OperatingError('server-failed', 'server files died'), -31_003, 'outcome-unknown'],
    ['unknown', new OperatingError('overloaded', 'it had too much'), -31_003, 'outcome-unknown'],
  ] as const)('that is %s says so with a code of its own', async (kind, error, code, retry) => {
    const { url } = await startGateway({ perform: ({ end }) => end({ kind, error }) })
    const session = await openSession(url)
    const answer = (await (await session.post(toolCall({ id: '"a"', tool: 'files__read' }))).json()) as object
    expect(answer).toMatchObject({
      id: 'a',
      error: { code, message: error.message, data: { code: error.code, retry, traceId: 'n1.1.1' } },
    })
    expect(code < -32_768 || code > -32_000).toBe(true)
  })

  it('masks an accident of ours and logs it in full under the trace id', async () => {
    const cause = new Error('secret detail')
    const under = await startGateway({
      perform: ({ end }) => end({ kind: 'not-sent', error: new OperatingError('internal', 'inner words', { cause }) }),
    })
    const session = await openSession(under.url)
    const text = await (await session.post(toolCall({ id: '1', tool: 'files__read' }))).text()
    expect(JSON.parse(text)).toMatchObject({
      error: { code: -31_005, message: 'internal error', data: { code: 'internal', traceId: 'n1.1.1' } },
    })
    expect(text).not.toMatch(/secret detail|inner words/)
    expect(under.logged.find((line) => line.level === 'error')).toMatchObject({
      event: 'mcp-call-accident',
      fields: { traceId: 'n1.1.1', error: { cause } },
    })
  })

  it('that throws is an accident, and answered', async () => {
    const under = await startGateway({
      perform: () => {
        throw new TypeError('oops')
      },
    })
    const session = await openSession(under.url)
    const response = await session.post(toolCall({ id: '1', tool: 'files__read' }))
    expect(await response.json()).toMatchObject({ error: { code: -31_005, message: 'internal error' } })
    expect(under.gateway.counters()).toMatchObject({ accidents: 1, activeCalls: 0 })
  })

  it('and another with the same id in the same session get each its own answer', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const first = session.post(toolCall({ id: '7', tool: 'files__read', args: '{"n":1}' }))
    const one = await nthCall(under, 0)
    const second = session.post(toolCall({ id: '7', tool: 'files__read', args: '{"n":2}' }))
    const two = await nthCall(under, 1)
    two.end({ kind: 'result', result: asJsonText('{"n":2}') })
    expect(await (await second).json()).toEqual({ jsonrpc: '2.0', id: 7, result: { n: 2 } })
    one.end({ kind: 'result', result: asJsonText('{"n":1}') })
    expect(await (await first).json()).toEqual({ jsonrpc: '2.0', id: 7, result: { n: 1 } })
  })

  it('above the limit of its session or of the node is refused as overloaded', async () => {
    const under = await startGateway({ limits: { sessionCallsMax: 1, nodeCallsMax: 2 } })
    const sessions = await Promise.all([0, 1, 2].map(() => openSession(under.url)))
    const body = toolCall({ id: '1', tool: 'files__wait' })
    const [a, b, c] = sessions
    const refusal = { error: { code: -31_004, data: { code: 'overloaded', retry: 'after' } } }
    const open = [a?.post(body)]
    await nthCall(under, 0)
    expect(await (await a?.post(body))?.json()).toMatchObject(refusal)
    open.push(b?.post(body))
    await nthCall(under, 1)
    expect(await (await c?.post(body))?.json()).toMatchObject(refusal)
    for (const call of under.calls) call.end(done)
    for (const response of open) expect(await (await response)?.json()).toHaveProperty('result')
    expect(under.gateway.counters().activeCalls).toBe(0)
  })
})

describe('an answer as a stream', () => {
  it('begins at once for a progress token and carries each notification in order, then the result', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const response = await session.post(toolCall({ id: '1', tool: 'files__wait', meta: withToken }))
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(response.headers.get('x-accel-buffering')).toBe('no')
    const call = await nthCall(under)
    for (let at = 1; at <= 100; at += 1)
      call.notify({
        method: 'notifications/progress',
        params: asJsonText(`{"progressToken":"t","progress":${at},"total":12345678901234567890}`),
      })
    call.end({ kind: 'result', result: asJsonText('{\n  "content": [],\r\n "a":"b\\n"}') })
    const text = await response.text()
    expect(text).toContain('"total":12345678901234567890')
    const events = eventsOf(text) as { params?: { progress: number } }[]
    expect(events.slice(0, 100).map((event) => event.params?.progress)).toEqual(
      Array.from({ length: 100 }, (_, at) => at + 1),
    )
    expect(events.slice(100)).toEqual([{ jsonrpc: '2.0', id: 1, result: { content: [], a: 'b\n' } }])
  })

  it('begins with the first notification, when there was no token', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const answer = session.post(toolCall({ id: '1', tool: 'files__wait' }))
    const call = await nthCall(under)
    call.notify({ method: 'notifications/message', params: asJsonText('{"level":"info","data":1}') })
    call.end(done)
    const response = await answer
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(eventsOf(await response.text())).toEqual([
      { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 1 } },
      { jsonrpc: '2.0', id: 1, result: { content: [] } },
    ])
  })

  it('begins when the call takes long, and is kept alive', async () => {
    const under = await startGateway({ limits: { streamAfterMs: 20, keepAliveMs: 20 } })
    const session = await openSession(under.url)
    const response = await session.post(toolCall({ id: '1', tool: 'files__wait' }))
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    const stream = new OpenStream(response)
    expect(await stream.until((text) => text.endsWith(': keep-alive\n\n'))).toMatch(
      /^id: c~n2~.*\ndata: \n\n: keep-alive\n\n$/,
    )
    ;(await nthCall(under)).end(done)
    await stream.until((text) => text.includes('result'))
  })

  it('is closed when the client does not read, which may then come back for the rest', async () => {
    const under = await startGateway({ limits: { streamBytesMax: 100_000 } })
    const session = await openSession(under.url)
    const socket = connect(Number(new URL(under.origin).port), '127.0.0.1')
    socket.on('error', () => undefined)
    socket.pause()
    const body = toolCall({ id: '1', tool: 'files__wait', meta: withToken })
    socket.write(
      `POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: ${mcpHeaders.Accept}\r\nMcp-Session-Id: ${session.id}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    const call = await nthCall(under)
    const params = asJsonText(`{"progressToken":"t","progress":1,"message":"${'x'.repeat(100_000)}"}`)
    await waitFor('the call to be left', () => {
      call.notify({ method: 'notifications/progress', params })
      return call.caller.left?.aborted === true
    })
    expect(call.signal.aborted).toBe(false)
    await waitFor('the call to be over', () => under.gateway.counters().activeCalls === 0)
    expect(under.gateway.counters()).toMatchObject({ clientsTooSlow: 1, clientsGone: 0, clientsLeft: 0, cancelled: 0 })
    socket.destroy()
  })

  it('carries one result of any size', async () => {
    const under = await startGateway({ limits: { streamBytesMax: 1000 } })
    const session = await openSession(under.url)
    const response = await session.post(toolCall({ id: '1', tool: 'files__wait', meta: withToken }))
    const text = 'x'.repeat(5_000_000)
    ;(await nthCall(under)).end({ kind: 'result', result: asJsonText(`{"text":"${text}"}`) })
    expect(eventsOf(await response.text())).toEqual([{ jsonrpc: '2.0', id: 1, result: { text } }])
  })
})

describe('a cancellation', () => {
  const cancel = (id: string): string =>
    `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${id},"reason":"enough"}}`

  it('ends the one call of the session with that very id, without an answer', async () => {
    const under = await startGateway()
    const [here, there] = await Promise.all([openSession(under.url), openSession(under.url)])
    const posts = [
      here.post(toolCall({ id: '7', tool: 'files__wait', meta: withToken })),
      here.post(toolCall({ id: '"7"', tool: 'files__wait', meta: withToken })),
      here.post(toolCall({ id: '9007199254740993', tool: 'files__wait', meta: withToken })),
      there.post(toolCall({ id: '7', tool: 'files__wait', meta: withToken })),
    ]
    await nthCall(under, 3)
    const responses = await Promise.all(posts)
    const aborted = (): number => under.calls.filter((call) => call.signal.aborted).length
    // As doubles 9007199254740992 and ...993 are one number; as ids they are two.
    expect((await here.post(cancel('9007199254740992'))).status).toBe(202)
    expect(aborted()).toBe(0)
    expect((await here.post(cancel('7'))).status).toBe(202)
    expect(eventsOf((await responses[0]?.text()) ?? '')).toEqual([])
    expect(aborted()).toBe(1)
    for (const call of under.calls) call.end(done)
    for (const response of responses.slice(1)) expect(eventsOf((await response.text()) ?? '')).toHaveLength(1)
    expect(under.gateway.counters().cancelled).toBe(1)
  })

  it('ends a call that would have been answered as JSON with an empty stream', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const answer = session.post(toolCall({ id: '0', tool: 'files__wait' }))
    const call = await nthCall(under)
    await session.post(cancel('0'))
    const response = await answer
    expect([response.status, response.headers.get('content-type'), await response.text()]).toEqual([
      200,
      'text/event-stream',
      '',
    ])
    expect(call.signal.aborted).toBe(true)
  })

  it.each([
    ['2025-11-25', '{}', 'cancelled'],
    ['2025-11-25', withToken, 'left'],
    ['2025-06-18', withToken, 'cancelled'],
  ])('of a client of %s that goes away in mid-call with %s: it has %s', async (version, meta, how) => {
    const under = await startGateway()
    const session = await openSession(under.url, version)
    const leaving = new AbortController()
    const answer = session.post(toolCall({ id: '1', tool: 'files__wait', meta }), { signal: leaving.signal })
    const call = await nthCall(under)
    leaving.abort()
    await expect(answer.then((response) => response.text())).rejects.toMatchObject({ name: 'AbortError' })
    await waitFor('the call to be over', () => under.gateway.counters().activeCalls === 0)
    expect([call.signal.aborted, call.caller.left?.aborted]).toEqual([how === 'cancelled', how === 'left'])
    const counted = how === 'left' ? { clientsLeft: 1, clientsGone: 0 } : { clientsLeft: 0, clientsGone: 1 }
    expect(under.gateway.counters()).toMatchObject({ ...counted, cancelled: 0 })
  })

  it('comes of the end of its session', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const response = await session.post(toolCall({ id: '1', tool: 'files__wait', meta: withToken }))
    const call = await nthCall(under)
    expect(under.sessions.end(session.id as SessionId)).toBe(true)
    expect(eventsOf(await response.text())).toEqual([])
    expect(call.signal.aborted).toBe(true)
  })
})

describe('stop', () => {
  it('answers the calls in work, ends the streams and leaves no timer, listener or session', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const stream = await session.listen()
    const old = await openSession(under.url, '2025-06-18')
    const streamed = await old.post(toolCall({ id: '1', tool: 'files__wait', meta: withToken }))
    const plain = session.post(toolCall({ id: '2', tool: 'files__wait' }))
    await nthCall(under, 1)
    await under.gateway.stop()
    expect(eventsOf(await stream.text())).toEqual([])
    const unknown = { error: { code: -31_003, data: { code: 'stopped', retry: 'outcome-unknown' } } }
    expect(eventsOf(await streamed.text())).toMatchObject([{ id: 1, ...unknown }])
    expect(await (await plain).json()).toMatchObject({ id: 2, ...unknown })
    expect(under.calls.every((call) => call.signal.aborted)).toBe(true)
    await waitFor('no timer to be left', () => under.timers.size === 0)
    expect(under.catalogListeners.size).toBe(0)
    expect(under.sessions.listeners.size).toBe(0)
    expect(under.mail.readings.some(({ isOpen }) => isOpen)).toBe(false)
    expect(under.gateway.counters()).toMatchObject({ activeCalls: 0, streams: 0 })
    expect((await session.post(request('3', 'ping'))).status).toBe(503)
  })

  it('does not wait for ever for a call that does not end', async () => {
    const under = await startGateway({ limits: { stopMs: 20 }, deaf: true })
    const session = await openSession(under.url)
    const answer = session.post(toolCall({ id: '1', tool: 'files__wait' }))
    await nthCall(under)
    await under.gateway.stop()
    expect(await (await answer).json()).toHaveProperty('error')
  })
})
