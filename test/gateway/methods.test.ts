import { describe, expect, it } from 'vitest'
import { asJsonText } from '../../src/std/json-text.ts'
import type { NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { offer, replica } from '../routing/replicas.ts'
import { waitFor } from '../wait.ts'
import {
  filesReplica,
  initializeText,
  mcpHeaders,
  openSession,
  request,
  sqlReplica,
  startGateway,
} from './gateway-under-test.ts'
import type { UnderTest } from './gateway-under-test.ts'

const taskful = (server: string) =>
  replica({
    server,
    node: 'n2',
    groups: ['work'],
    offer: offer({
      initialize: `{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"logging":{},"completions":{},"resources":{"subscribe":true,"x":1},"tasks":{"list":{},"cancel":{}},"experimental":{"y":{}}},"serverInfo":{"name":"own ${server}","version":"9","icons":[]},"instructions":"Of ${server}.","_meta":{"n":1.0}}`,
      tools: '[{"name":"run","inputSchema":{"type":"object"}}]',
      prompts: '[{"name":"explain"}]',
      resources: `[{"uri":"${server}:///a","name":"a"}]`,
      resourceTemplates: `[{"uriTemplate":"${server}:///deep/{name}","name":"deep"}]`,
    }),
  })
const [alpha, beta] = [taskful('alpha'), taskful('beta')]
const empty = { kind: 'result', result: asJsonText('{}') } as const

async function startWith(
  results: Readonly<Record<string, string>> = {},
): Promise<UnderTest & { readonly asked: () => readonly (readonly [string, string, string])[] }> {
  const under = await startGateway({
    replicas: [alpha, beta, filesReplica, sqlReplica],
    perform: ({ call, end }) => {
      const result = results[`${call.server} ${call.params}`] ?? results[call.server]
      end(result === undefined ? empty : { kind: 'result', result: asJsonText(result) })
    },
  })
  const asked = () => under.calls.map(({ call }) => [call.server, call.method, call.params] as const)
  return { ...under, asked }
}

async function ask(under: UnderTest, body: string, path = ''): Promise<unknown> {
  const session = await openSession(`${under.url}${path}`)
  return (await session.post(body)).json()
}

describe('initialize', () => {
  it('answers on /mcp/{server} with that server’s own words, and that its lists are told of', async () => {
    const { url } = await startWith()
    const response = await fetch(`${url}/alpha`, { method: 'POST', headers: mcpHeaders, body: initializeText() })
    const text = await response.text()
    expect(text).toContain('"serverInfo":{"name":"own alpha","version":"9","icons":[]}')
    expect(text).toContain('"_meta":{"n":1.0}')
    expect(JSON.parse(text)).toMatchObject({
      result: {
        protocolVersion: '2025-11-25',
        capabilities: {
          tools: { listChanged: true },
          resources: { subscribe: true, x: 1, listChanged: true },
          tasks: { list: {}, cancel: {} },
          experimental: { y: {} },
        },
        instructions: 'Of alpha.',
      },
    })
  })

  it('answers on /mcp and for a group with what any of the servers can', async () => {
    const { url } = await startWith()
    for (const path of ['', '/group/work']) {
      const response = await fetch(`${url}${path}`, { method: 'POST', headers: mcpHeaders, body: initializeText() })
      expect(await response.json()).toMatchObject({
        result: {
          capabilities: {
            tools: { listChanged: true },
            resources: { subscribe: true, listChanged: true },
            prompts: { listChanged: true },
            logging: {},
            completions: {},
            tasks: { list: {}, cancel: {} },
          },
          serverInfo: { name: 'quorate', version: '0.0.1' },
        },
      })
    }
    const nobody = await fetch(`${url}/group/none`, { method: 'POST', headers: mcpHeaders, body: initializeText() })
    expect(nobody.status).toBe(404)
  })

  it('keeps the client’s words about itself byte for byte', async () => {
    const { url, sessions } = await startWith()
    const params = '{"protocolVersion":"2025-06-18","clientInfo":{"name":"a", "n":1.0},"capabilities":{"roots":{ }}}'
    await fetch(url, { method: 'POST', headers: mcpHeaders, body: request('0', 'initialize', params) })
    expect(sessions.all()).toMatchObject([
      {
        clientInfo: '{"name":"a", "n":1.0}',
        capabilities: '{"roots":{ }}',
        protocolVersion: '2025-06-18',
        path: '/mcp',
      },
    ])
  })
})

describe('where several servers stand on one URL', () => {
  it.each([
    [
      'completion/complete',
      '{"ref":{"type":"ref/prompt","name":"sql__explain"},"argument":{"name":"a","value":""}}',
      'sql',
      '{"ref":{"type":"ref/prompt","name":"explain"},"argument":{"name":"a","value":""}}',
    ],
    [
      'completion/complete',
      '{"ref":{"type":"ref/resource","uri":"file:///deep/{name}"}}',
      'files',
      '{"ref":{"type":"ref/resource","uri":"file:///deep/{name}"}}',
    ],
    [
      'completion/complete',
      '{"ref":{"uri":"file:///a","type":"ref/resource"}}',
      'files',
      '{"ref":{"uri":"file:///a","type":"ref/resource"}}',
    ],
    ['resources/subscribe', '{"uri":"file:///a","x":1}', 'files', '{"uri":"file:///a","x":1}'],
    ['resources/unsubscribe', '{"uri":"beta:///deep/1"}', 'beta', '{"uri":"beta:///deep/1"}'],
    ['tasks/get', '{"taskId":"alpha:x:1"}', 'alpha', '{"taskId":"x:1"}'],
    ['tasks/result', '{"taskId":"beta:1"}', 'beta', '{"taskId":"1"}'],
    ['tasks/cancel', '{"taskId":"beta:"}', 'beta', '{"taskId":""}'],
    ['tools/call', '{"name":"alpha__run","task":{"ttl":5}}', 'alpha', '{"name":"run","task":{"ttl":5}}'],
  ])('%s of %s goes to %s', async (method, params, server, own) => {
    const under = await startWith()
    expect(await ask(under, request('1', method, params))).toEqual({ jsonrpc: '2.0', id: 1, result: {} })
    expect(under.asked()).toEqual([[server, method, own]])
  })

  it.each([
    ['completion/complete', '{"ref":{"type":"ref/prompt","name":"nobody__x"}}', -32_602, 'Unknown prompt: nobody__x'],
    ['completion/complete', '{"ref":{"type":"ref/resource","uri":"no:x"}}', -32_602, 'Unknown resource template: no:x'],
    ['completion/complete', '{"ref":{"type":"ref/other"}}', -32_602, 'params.ref is neither a prompt nor a resource'],
    ['completion/complete', '{}', -32_602, 'params.ref is neither a prompt nor a resource'],
    ['tasks/get', '{"taskId":"nobody:1"}', -32_602, 'Unknown task: nobody:1'],
    ['tasks/get', '{"taskId":"1"}', -32_602, 'Unknown task: 1'],
    ['tasks/get', '{"taskId":1}', -32_602, 'params.taskId is not a string'],
    ['tasks/list', '{"cursor":"rubbish"}', -32_602, 'the cursor is unknown'],
    ['tasks/list', '{"cursor":1}', -32_602, 'the cursor is unknown'],
    ['logging/setLevel', '{"level":"loud"}', -32_602, 'params.level is not a level of logging'],
    ['resources/subscribe', '{"uri":"no:x"}', -32_002, 'Resource not found'],
    ['server/discover', '{}', -32_601, 'Method not found'],
    ['constructor', '{}', -32_601, 'Method not found'],
  ])('%s of %s is refused with %d', async (method, params, code, message) => {
    const under = await startWith()
    expect(await ask(under, request('1', method, params))).toMatchObject({ id: 1, error: { code, message } })
    expect(under.calls).toEqual([])
  })

  it('what nobody can do is no method: levels and tasks without a server that has them', async () => {
    const under = await startGateway()
    for (const method of ['logging/setLevel', 'tasks/list'])
      expect(await ask(under, request('1', method, '{"level":"info"}'))).toMatchObject({ error: { code: -32_601 } })
  })

  it('ids of tasks in results are the cluster’s', async () => {
    const under = await startWith({ alpha: '{"taskId":"1","status":"working"}' })
    expect(await ask(under, request('1', 'tasks/get', '{"taskId":"alpha:1"}'))).toMatchObject({
      result: { taskId: 'alpha:1' },
    })
  })

  it('tasks are listed server by server, each page as its server gives it', async () => {
    const under = await startWith({
      'alpha {}': '{"tasks":[{"taskId":"1"}],"nextCursor":"two"}',
      'alpha {"cursor":"two"}': '{"tasks":[{"taskId":"2"}]}',
      'beta {}': '{"tasks":[{"taskId":"1"}]}',
    })
    const session = await openSession(under.url)
    const seen: string[] = []
    let params = '{}'
    for (;;) {
      const answer = (await (await session.post(request('1', 'tasks/list', params))).json()) as {
        result: { tasks: { taskId: string }[]; nextCursor?: string }
      }
      seen.push(...answer.result.tasks.map(({ taskId }) => taskId))
      if (answer.result.nextCursor === undefined) break
      params = JSON.stringify({ cursor: answer.result.nextCursor })
    }
    expect(seen).toEqual(['alpha:1', 'alpha:2', 'beta:1'])
  })

  it('a server that has no tasks, or does not answer, is passed over in their list', async () => {
    const under = await startGateway({
      replicas: [alpha, beta],
      perform: ({ call, end }) =>
        call.server === 'alpha'
          ? end({ kind: 'not-sent', error: new OperatingError('server-unavailable', 'alpha is away') })
          : end({ kind: 'result', result: asJsonText('{"tasks":[{"taskId":"7"}]}') }),
    })
    expect(await ask(under, request('1', 'tasks/list'))).toMatchObject({ result: { tasks: [{ taskId: 'beta:7' }] } })
  })
})

describe('on the address of one server', () => {
  it.each([
    ['tasks/list', '{"cursor":"own"}'],
    ['tasks/get', '{"taskId":"other:1"}'],
    ['completion/complete', '{"ref":{"type":"ref/prompt","name":"explain"}}'],
    ['logging/setLevel', '{"level":"loud"}'],
    ['vendor/own', '{"any":1.0}'],
    ['tools/call', '{"name":"unlisted"}'],
  ])('%s of %s goes there as it is', async (method, params) => {
    const under = await startWith()
    expect(await ask(under, request('"x"', method, params), '/alpha')).toEqual({ jsonrpc: '2.0', id: 'x', result: {} })
    expect(under.asked()).toEqual([['alpha', method, params]])
  })
})

describe('what a client sets', () => {
  it('is in its record when it is answered', async () => {
    const under = await startWith()
    const session = await openSession(`${under.url}/alpha`)
    const record = () => under.sessions.find(session.id as SessionId)
    await session.post(request('1', 'logging/setLevel', '{"level":"warning"}'))
    await session.post(request('2', 'resources/subscribe', '{"uri":"alpha:///a"}'))
    await session.post(request('3', 'resources/subscribe', '{"uri":"alpha:///b"}'))
    expect(record()).toMatchObject({
      level: 'warning',
      subscriptions: ['a', 'b'].map((name) => ({ server: 'alpha', uri: `alpha:///${name}` })),
    })
    await session.post(request('4', 'resources/unsubscribe', '{"uri":"alpha:///a"}'))
    expect(record()?.subscriptions).toEqual([{ server: 'alpha', uri: 'alpha:///b' }])
  })

  it('is not, when its server refuses it', async () => {
    const error = { kind: 'error', error: asJsonText('{"code":-32601,"message":"no"}') } as const
    const under = await startGateway({ replicas: [alpha], perform: ({ end }) => end(error) })
    const session = await openSession(`${under.url}/alpha`)
    for (const body of [
      request('1', 'logging/setLevel', '{"level":"warning"}'),
      request('2', 'resources/subscribe', '{"uri":"alpha:///a"}'),
    ])
      expect(await (await session.post(body)).json()).toMatchObject({ error: { code: -32_601 } })
    expect(under.sessions.find(session.id as SessionId)).toMatchObject({ level: null, subscriptions: [] })
  })

  it.each([
    ['no-quorum', -31_002, 'after'],
    ['outcome-unknown', -31_003, 'outcome-unknown'],
  ] as const)('is answered with an error when the record says %s', async (code, rpc, retry) => {
    const under = await startWith()
    const [one, all] = [await openSession(`${under.url}/alpha`), await openSession(under.url)]
    under.sessions.failure = new OperatingError(code, 'it is not written', { retry })
    for (const [session, body] of [
      [one, request('1', 'logging/setLevel', '{"level":"warning"}')],
      [one, request('1', 'resources/unsubscribe', '{"uri":"alpha:///a"}')],
      [all, request('1', 'logging/setLevel', '{"level":"warning"}')],
      [all, request('1', 'resources/subscribe', '{"uri":"alpha:///a"}')],
    ] as const)
      expect(await (await session.post(body)).json()).toMatchObject({
        id: 1,
        error: { code: rpc, data: { code, retry } },
      })
  })

  it('for all servers is told to each before its next call, and at once to those that were called', async () => {
    const under = await startWith()
    const session = await openSession(under.url)
    const run = (server: string, id: string) =>
      session.post(request(id, 'tools/call', `{"name":"${server}__run"}`)).then((response) => response.json())
    const set = (level: string) => session.post(request('1', 'logging/setLevel', `{"level":"${level}"}`))
    await run('alpha', '1')
    await set('error')
    expect(await run('beta', '2')).toEqual({ jsonrpc: '2.0', id: 2, result: {} })
    await run('beta', '3')
    await run('alpha', '4')
    await set('debug')
    await session.post(request('5', 'tools/call', '{"name":"files__read"}'))
    const said = under.asked().map(([server, method, params]) => [server, method === 'tools/call' ? 'call' : params])
    expect(said).toEqual([
      ['alpha', 'call'],
      ['alpha', '{"level":"error"}'],
      ['beta', '{"level":"error"}'],
      ['beta', 'call'],
      ['beta', 'call'],
      ['alpha', 'call'],
      ['alpha', '{"level":"debug"}'],
      ['beta', '{"level":"debug"}'],
      ['files', 'call'],
    ])
  })

  it('is not followed by a call that its client has cancelled meanwhile', async () => {
    const under = await startGateway({ replicas: [alpha] })
    const session = await openSession(under.url)
    await session.post(request('1', 'logging/setLevel', '{"level":"error"}'))
    const answer = session.post(request('2', 'tools/call', '{"name":"alpha__run"}'))
    const level = await waitFor('the level', () => under.calls[0])
    await session.post('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}')
    expect(await (await answer).text()).toBe('')
    await waitFor('the end', () => under.gateway.counters().activeCalls === 0)
    expect([level.call.method, under.calls.length]).toEqual(['logging/setLevel', 1])
  })

  it('for all servers is told to those that have an upstream of the session’s own, and waits for none that fails', async () => {
    const under = await startGateway({
      replicas: [alpha, beta],
      perform: ({ end }) => end({ kind: 'not-sent', error: new OperatingError('server-unavailable', 'away') }),
    })
    const session = await openSession(under.url)
    const id = session.id as SessionId
    const record = under.sessions.find(id)
    if (record === undefined) throw new Error('there is no record')
    under.sessions.records.set(id, { ...record, pins: new Map([['beta' as ServerName, 'n2' as NodeId]]) })
    expect(await (await session.post(request('1', 'logging/setLevel', '{"level":"error"}'))).json()).toMatchObject({
      result: {},
    })
    expect(under.calls.map(({ call }) => [call.server, call.method, call.params])).toEqual([
      ['beta', 'logging/setLevel', '{"level":"error"}'],
    ])
    expect(under.sessions.find(id)?.level).toBe('error')
  })
})

describe('what a client says that is no request', () => {
  const related = (id: string): string => `"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"${id}"}}`

  it.each<[string, string, object | null]>([
    [
      'an answer',
      '{"jsonrpc":"2.0","id":"q.n2.1.1.x","result":{ "a":1.0}}',
      { kind: 'answer', question: 'q.n2.1.1.x', result: '{ "a":1.0}' },
    ],
    [
      'an answer for a task',
      `{"jsonrpc":"2.0","id":"q","result":{${related('alpha:1')}}}`,
      { kind: 'answer', question: 'q', result: `{${related('1')}}` },
    ],
    [
      'a refusal',
      '{"jsonrpc":"2.0","id":"q","error":{"code":-1,"message":"no"}}',
      { kind: 'refusal', question: 'q', error: '{"code":-1,"message":"no"}' },
    ],
    [
      'progress',
      '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"q","progress":1.0}}',
      { kind: 'progress', question: 'q', params: '{"progressToken":"q","progress":1.0}' },
    ],
    [
      'a cancellation of what is not here',
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1.50}}',
      { kind: 'cancel', requestId: '1.50', params: '{"requestId":1.50}' },
    ],
    [
      'a notification',
      '{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}',
      { kind: 'notification', server: null, method: 'notifications/roots/list_changed', params: null },
    ],
    ['that it is initialized', '{"jsonrpc":"2.0","method":"notifications/initialized"}', null],
    ['an answer to nothing', '{"jsonrpc":"2.0","id":7,"result":{}}', null],
    ['progress of nothing', '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7}}', null],
  ])('%s', async (_, body, word) => {
    const under = await startWith()
    const session = await openSession(under.url)
    expect((await session.post(body)).status).toBe(202)
    expect(under.words).toEqual(word === null ? [] : [{ session: session.id, word }])
  })

  it('goes on as it is on the address of one server, and names it', async () => {
    const under = await startWith()
    const session = await openSession(`${under.url}/alpha`)
    await session.post(`{"jsonrpc":"2.0","id":"q","result":{${related('alpha:1')}}}`)
    await session.post('{"jsonrpc":"2.0","method":"vendor/x","params":{"y":1.0}}')
    expect(under.words.map(({ word }) => word)).toEqual([
      { kind: 'answer', question: 'q', result: `{${related('alpha:1')}}` },
      { kind: 'notification', server: 'alpha', method: 'vendor/x', params: '{"y":1.0}' },
    ])
  })

  it('a cancellation of what is under way here is no word for others', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const answer = session.post(request('5', 'tools/call', '{"name":"files__wait"}'))
    await waitFor('the call', () => under.calls.length === 1)
    await session.post('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}')
    await answer
    expect(under.words).toEqual([])
  })
})
