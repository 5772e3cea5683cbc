import { expect, it } from 'vitest'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { offer, replica, tools } from '../routing/replicas.ts'
import { mcpHeaders, request, sessionAt, startGateway } from './gateway-under-test.ts'
import type { GatewayUnderTestOptions, PerformedCall, RawSession, UnderTest } from './gateway-under-test.ts'

const names = Array.from({ length: 201 }, (_, at) => `tool${at}`)
const many = replica({ server: 'many', node: 'n2', isolation: 'asking', offer: offer({ tools: tools(...names) }) })
const shared = replica({ server: 'shared', node: 'n2', isolation: 'shared', offer: offer({ tools: tools('a') }) })

async function start(options: GatewayUnderTestOptions = {}): Promise<UnderTest> {
  return startGateway({ replicas: [many, shared], ...options })
}

async function open(test: UnderTest, path: string, capabilities: object = { sampling: {} }): Promise<RawSession> {
  const url = `${test.origin}${path}`
  const params = { protocolVersion: '2025-11-25', capabilities, clientInfo: { name: 'test', version: '1' } }
  const body = JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'initialize', params })
  const opened = await fetch(url, { method: 'POST', headers: mcpHeaders, body })
  await opened.text()
  return sessionAt(url, opened.headers.get('mcp-session-id') ?? '')
}

async function list(session: RawSession, params?: string): Promise<string> {
  return (await session.post(request('7', 'tools/list', params))).text()
}

type Page = { result: { tools: { name: string }[]; nextCursor?: string } }
const pageOf = (text: string): Page['result'] => (JSON.parse(text) as Page).result
const result =
  (text: string) =>
  ({ end }: PerformedCall): void =>
    end({ kind: 'result', result: asJsonText(text) })

it('a session with an upstream to itself is answered lists by that, byte for byte, and goes on with its cursors', async () => {
  const page = '{ "nextCursor":"a \\u00e9", "tools":[{"name":"conditional","x":1.0}],"_meta":{"é":-0.0} }'
  const test = await start({ perform: result(page) })
  const session = await open(test, '/mcp/many')
  expect(await list(session)).toBe(`{"jsonrpc":"2.0","id":7,"result":${page}}`)
  await list(session, '{"cursor" : "a é","y":1.0}')
  expect(test.calls.map(({ call }) => [call.server, call.method, call.params, call.timeoutMs])).toEqual([
    ['many', 'tools/list', '{}', 1000],
    ['many', 'tools/list', '{"cursor" : "a é","y":1.0}', null],
  ])
  expect(test.calls[0]?.call.origin?.session).toBe(session.id)
})

it.each([
  ['tools', 'tools/list'],
  ['resources', 'resources/list'],
  ['resourceTemplates', 'resources/templates/list'],
  ['prompts', 'prompts/list'],
])('its %s too', async (kind, method) => {
  const test = await start({ perform: result(`{"${kind}":[7]}`) })
  const session = await open(test, '/mcp/many')
  expect(await (await session.post(request('7', method))).text()).toContain(`{"${kind}":[7]}`)
})

it.each([
  ['a client that can not be asked', '/mcp/many', {}],
  ['a server whose upstream is shared', '/mcp/shared', { sampling: {} }],
  ['an address of several servers', '/mcp', { sampling: {} }],
])('the catalog answers for %s', async (_what, path, capabilities) => {
  const test = await start()
  const session = await open(test, path, capabilities)
  expect(pageOf(await list(session)).tools.length).toBeGreaterThan(0)
  expect(test.calls).toEqual([])
})

it.each(['not-sent', 'rejected', 'unknown'] as const)(
  'the catalog answers, and all of its pages, where it is %s to the upstream',
  async (kind) => {
    const error = new OperatingError('server-unavailable', 'gone')
    const test = await start({ perform: ({ end }) => end({ kind, error }) })
    const session = await open(test, '/mcp/many')
    const first = pageOf(await list(session))
    expect(first.tools).toHaveLength(200)
    const rest = pageOf(await list(session, JSON.stringify({ cursor: first.nextCursor })))
    expect(rest.tools.map(({ name }) => name)).toEqual(['tool200'])
    // Who gave the other cursor is asked alone.
    expect(await list(session, '{"cursor":"own"}')).toContain('"error"')
    expect(test.calls).toHaveLength(2)
  },
)

it('the catalog answers where nothing is heard of the upstream in time, and the call is cancelled', async () => {
  const test = await start({ limits: { ownListMs: 20 } })
  const session = await open(test, '/mcp/many')
  expect(pageOf(await list(session)).tools).toHaveLength(200)
  expect(test.calls[0]?.signal.aborted).toBe(true)
})

it('the catalog answers where no further call is taken', async () => {
  const test = await start({ limits: { sessionCallsMax: 0 } })
  const session = await open(test, '/mcp/many')
  expect(pageOf(await list(session)).tools).toHaveLength(200)
})

it('an error of the server is its word', async () => {
  const error = asJsonText('{"code":-32601,"message":"no such method","data":{"x":1.0}}')
  const test = await start({ perform: ({ end }) => end({ kind: 'error', error }) })
  const session = await open(test, '/mcp/many')
  expect(await list(session)).toBe(`{"jsonrpc":"2.0","id":7,"error":${error}}`)
})

it("a cursor of the server's that looks like one of the catalog's is the server's all the same", async () => {
  for (const cursor of ['catalog~dG9vbHM6MDp0b29sMA', 'own~catalog~x', 'own~']) {
    const test = await start({ perform: result(JSON.stringify({ tools: [], nextCursor: cursor })) })
    const session = await open(test, '/mcp/many')
    const { nextCursor } = pageOf(await list(session))
    await list(session, JSON.stringify({ cursor: nextCursor }))
    expect(test.calls[1]?.call.params).toBe(JSON.stringify({ cursor }))
  }
})

it('a list that its client does not want any more has no answer, and the server is told what the client said', async () => {
  const test = await start()
  const session = await open(test, '/mcp/many')
  const listed = list(session)
  await expect.poll(() => test.calls.length).toBe(1)
  await session.post('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"é"}}')
  expect(await listed).not.toContain('result')
  expect(test.calls[0]?.signal.reason).toBe('{"requestId":7,"reason":"é"}')
})

it('nor has one that its client has cancelled on another node', async () => {
  const test = await start({ perform: ({ end }) => end({ kind: 'cancelled' }) })
  const session = await open(test, '/mcp/many')
  expect(await list(session)).not.toContain('result')
})

it('the catalog answers with what it has by then', async () => {
  const test = await start()
  const session = await open(test, '/mcp/many')
  const listed = list(session)
  await expect.poll(() => test.calls.length).toBe(1)
  test.show([{ ...many, offer: offer({ tools: tools('new') }) }])
  test.calls[0]?.end({ kind: 'unknown', error: new OperatingError('server-unavailable', 'gone') })
  expect(pageOf(await listed).tools.map(({ name }) => name)).toEqual(['new'])
})
