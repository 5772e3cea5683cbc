import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import type { CatalogItem, MemberView, RaftView, ServerView, SessionView, ToolCall } from '../../src/admin/needs.ts'
import { InvariantError } from '../../src/std/assert.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import { sampleOfOne, startAdmin } from './scripted.ts'
import type { Running, Scripted } from './scripted.ts'

let admin: Running | undefined
afterEach(async () => {
  await admin?.stop()
  admin = undefined
})
async function start(...options: Parameters<typeof startAdmin>): Promise<Running> {
  admin = await startAdmin(...options)
  return admin
}

const member: MemberView = {
  id: 'n1',
  addresses: { http: 'h:1', peer: 'h:2', raft: 'h:3' },
  status: 'alive',
  incarnation: 2,
  generation: 3,
  draining: 'no',
  raft: 'leader',
  disagrees: null,
  labels: { zone: 'a' },
  capacity: { cpu: 4, gpu: null, memoryBytes: 1024 },
  metrics: {},
  version: '0.1.0',
  startedAt: 1,
}
const raft: RaftView = {
  id: 'n1',
  clusterId: 'c1',
  role: 'leader',
  term: 3,
  leader: 'n1',
  commitIndex: 9,
  appliedIndex: 8,
  lastIndex: 10,
  snapshotIndex: 4,
  firstIndex: 3,
  voters: ['n1'],
  learners: ['n2'],
  promotable: ['n2'],
  votersOutgoing: [],
  configurationCommitted: true,
  recovering: false,
  quarantine: { why: 'entry 7 is damaged', lostUpTo: 9, verified: true, over: true },
  progress: [{ id: 'n2', matchIndex: 7, state: 'replicate', active: true, recovering: true, diskFull: false }],
}
const server: ServerView = {
  name: 'files',
  status: 'ready',
  replicas: [{ node: 'n1', transport: 'stdio', status: 'ready', reason: '', priority: 0 }],
  tools: 2,
  resources: 0,
  resourceTemplates: 0,
  prompts: 0,
  hidden: [{ path: '/mcp', list: 'resources', name: 'x://1', own: 'x://1', shown: 'sql' }],
}
const session: SessionView = {
  id: 's1',
  client: 'inspector 1.0',
  protocolVersion: '2025-11-25',
  path: '/mcp',
  startedAt: 1,
  lastUsedAt: 2,
}
const status = {
  node: 'n1',
  leader: null,
  term: 3,
  commitIndex: 9,
  appliedIndex: 8,
  version: '0.1.0',
  stateCheck: { index: 4096, agreed: ['n1', 'n2'], diverged: ['n3'] },
  quarantine: null,
  diskFull: false,
  autopilot: { voterTarget: 3, failureTolerance: 1, next: null, holds: ['n3 is dead'] },
  warnings: ['2 voters'],
}
const item = (name: string, definition: string): CatalogItem => ({
  server: 'files',
  name,
  definition: asJsonText(definition),
})

const views: Scripted = {
  status: () => status,
  raft: () => raft,
  members: () => [member],
  servers: () => [server],
  tools: () => [item('files__read', '{"name":"files__read","x":1.0}')],
  resources: () => [item('file:///a', '{"uri":"file:///a"}')],
  resourceTemplates: () => [item('file:///{p}', '{"uriTemplate":"file:///{p}"}')],
  prompts: () => [item('files__sum', '{"name":"files__sum"}')],
  sessions: () => [session],
  readiness: () => ({ ready: true, reasons: [] }),
  sample: () => sampleOfOne,
}

describe('the views', () => {
  it.each([
    ['/v1/status', { ...status, members: [member] }],
    ['/v1/raft', raft],
    ['/v1/members', { members: [member] }],
    ['/v1/servers', { servers: [server] }],
    ['/v1/servers/files', server],
    ['/v1/sessions', { sessions: [session] }],
    ['/v1/prompts', { prompts: [{ name: 'files__sum', server: 'files', definition: { name: 'files__sum' } }] }],
    [
      '/v1/resources',
      {
        resources: [{ uri: 'file:///a', server: 'files', definition: { uri: 'file:///a' } }],
        resourceTemplates: [
          { uriTemplate: 'file:///{p}', server: 'files', definition: { uriTemplate: 'file:///{p}' } },
        ],
      },
    ],
  ])('GET %s answers what the node knows', async (path, json) => {
    const { send } = await start(views)
    const answer = await send({ path })
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } })
    expect(answer.json).toEqual(json)
  })

  it('GET /v1/tools gives definitions byte for byte', async () => {
    const { send } = await start(views)
    expect((await send({ path: '/v1/tools' })).text).toBe(
      '{"tools":[{"name":"files__read","server":"files","definition":{"name":"files__read","x":1.0}}]}',
    )
  })

  it('GET /v1/servers/{name} of an unknown server is 404', async () => {
    const { send } = await start(views)
    for (const name of ['sql', 'fi%20les', '%zz']) {
      expect(await send({ path: `/v1/servers/${name}` })).toMatchObject({
        status: 404,
        json: { error: { code: 'not-found' } },
      })
    }
  })

  it.each(['/v1/status', '/v1/servers/files', '/v1/tools', '/v1/sessions'])('GET %s?x=1 is refused', async (path) => {
    const { send } = await start(views)
    expect(await send({ path: `${path}?x=1` })).toMatchObject({ status: 400 })
  })
})

describe('health', () => {
  it('GET /healthz says that the process lives', async () => {
    const { send } = await start()
    expect(await send({ path: '/healthz' })).toMatchObject({ status: 200, text: 'ok' })
  })

  it('GET /healthz has the path, status and message that the configuration gives it', async () => {
    const { send } = await start({}, { health: { path: '/live', status: 202, message: 'up' } })
    expect(await send({ path: '/live' })).toMatchObject({ status: 202, text: 'up' })
    expect((await send({ path: '/healthz' })).status).toBe(404)
  })

  it('GET /readyz is 200 when ready, else 503 with the reasons', async () => {
    let reasons = ['no leader is known']
    const { send } = await start({ readiness: () => ({ ready: reasons.length === 0, reasons }) })
    expect(await send({ path: '/readyz' })).toMatchObject({ status: 503, json: { ready: false, reasons } })
    reasons = []
    expect(await send({ path: '/readyz' })).toMatchObject({ status: 200, json: { ready: true, reasons: [] } })
  })
})

describe('POST /v1/tools/{name}/call', () => {
  const post = (running: Running, body: string, name = 'files__read') =>
    running.send({ method: 'POST', path: `/v1/tools/${name}/call`, body })

  it('hands the arguments on byte for byte and answers the result untouched', async () => {
    const calls: ToolCall[] = []
    const running = await start({
      callTool: async (call) => {
        calls.push(call)
        return { kind: 'result', result: asJsonText('{"content":[],"isError":true,"n":1.0}') }
      },
    })
    expect(await post(running, '{ "arguments": {"a":1.0, "b":12345678901234567890} , "timeoutMs":250}')).toMatchObject({
      status: 200,
      text: '{"result":{"content":[],"isError":true,"n":1.0}}',
    })
    expect(calls).toMatchObject([
      { name: 'files__read', arguments: '{"a":1.0, "b":12345678901234567890}', timeoutMs: 250 },
    ])
  })

  it('takes no arguments for empty ones, and no time for the server own', async () => {
    const calls: ToolCall[] = []
    const running = await start({
      callTool: async (call) => {
        calls.push(call)
        return { kind: 'result', result: asJsonText('{}') }
      },
    })
    await post(running, '{}', 'a%2Fb')
    expect(calls).toMatchObject([{ name: 'a/b', arguments: '{}', timeoutMs: null }])
  })

  it.each([
    ['', 'the body is empty'],
    ['{', 'not JSON'],
    ['[]', 'not a JSON object'],
    ['{"arguments":[]}', 'arguments is not a JSON object'],
    ['{"arguments":null}', 'arguments is not a JSON object'],
    ['{"arguments":{},"timeoutMs":0}', 'timeoutMs'],
    ['{"arguments":{},"timeoutMs":"1"}', 'timeoutMs'],
    ['{"arguments":{},"timeoutMs":3600001}', 'timeoutMs'],
    ['{"arguments":{},"timeout":1}', '"timeout" of the body is not known'],
    ['{"arguments":{},"idempotencyKey":"x"}', '"idempotencyKey" of the body is not supported yet'],
  ])('refuses the body %s', async (body, message) => {
    const running = await start()
    expect(await post(running, body)).toMatchObject({
      status: 400,
      json: { error: { code: 'bad-request', message: expect.stringContaining(message) } },
    })
  })

  it('refuses a body of more than 4 MiB', async () => {
    const running = await start()
    expect(await post(running, ' '.repeat(4 * 1024 * 1024 + 1))).toMatchObject({ status: 413 })
  })

  it('answers the JSON-RPC error of the server with 502 and the error in its details', async () => {
    const running = await start({
      callTool: async () => ({ kind: 'error', error: asJsonText('{"code":-32602,"message":"no such path"}') }),
    })
    expect(await post(running, '{}')).toMatchObject({
      status: 502,
      json: {
        error: {
          code: 'server-failed',
          message: 'the server answered with the error -32602: "no such path"',
          details: { error: { code: -32602, message: 'no such path' } },
        },
      },
    })
  })

  it.each([
    ['not-found', 404],
    ['server-unavailable', 502],
    ['outcome-unknown', 504],
    ['overloaded', 503],
  ] as const)('answers %s with %i', async (code, answered) => {
    const running = await start({
      callTool: async () => {
        throw new OperatingError(code, 'call: it is so')
      },
    })
    expect(await post(running, '{}')).toMatchObject({ status: answered, json: { error: { code } } })
  })

  it('aborts the signal when the client goes away', async () => {
    let signal: AbortSignal | undefined
    const { port } = await start({
      callTool: (call) => {
        signal = call.signal
        return new Promise((_, reject) => {
          call.signal.addEventListener('abort', () => reject(new OperatingError('cancelled', 'the client went away')))
        })
      },
    })
    const socket = connect(port, '127.0.0.1')
    socket.write('POST /v1/tools/a__b/call HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}')
    await waitFor('the call', () => signal)
    expect(signal?.aborted).toBe(false)
    socket.destroy()
    await waitFor('the abort', () => signal?.aborted)
  })
})

describe('DELETE /v1/sessions/{id}', () => {
  it('closes the session, and is 404 for an unknown one', async () => {
    const { send } = await start({ closeSession: async (id) => id === 's/1' })
    expect(await send({ method: 'DELETE', path: '/v1/sessions/s%2F1' })).toMatchObject({
      status: 200,
      json: { id: 's/1' },
    })
    expect(await send({ method: 'DELETE', path: '/v1/sessions/s2' })).toMatchObject({ status: 404 })
  })
})

describe('paths and methods', () => {
  it.each(['/', '/v1', '/v1/', '/v1/nothing', '/v1/status/', '/V1/status', '/v1/../v1/status', '/mcp', '/v1/tools/x'])(
    '%s is 404 in JSON',
    async (path) => {
      const { send } = await start(views)
      expect(await send({ path })).toMatchObject({
        status: 404,
        headers: { 'content-type': 'application/json' },
        json: { error: { code: 'not-found', retry: 'never' } },
      })
    },
  )

  it.each([
    ['POST', '/v1/status', 'GET, HEAD, OPTIONS'],
    ['DELETE', '/healthz', 'GET, HEAD, OPTIONS'],
    ['PATCH', '/v1/kv/a', 'GET, PUT, DELETE, HEAD, OPTIONS'],
    ['PUT', '/v1/kv', 'GET, HEAD, OPTIONS'],
    ['GET', '/v1/tools/a__b/call', 'POST, OPTIONS'],
    ['GET', '/v1/sessions/a', 'DELETE, OPTIONS'],
    ['PROPFIND', '/metrics', 'GET, HEAD, OPTIONS'],
    ['TRACE', '/v1/status', 'GET, HEAD, OPTIONS'],
  ])('%s %s is 405 with Allow', async (method, path, allow) => {
    const { send } = await start()
    expect(await send({ method, path })).toMatchObject({
      status: 405,
      headers: { allow },
      json: { error: { code: 'method-not-allowed' } },
    })
  })

  it('HEAD answers as GET does, without a body', async () => {
    const { send } = await start(views)
    expect(await send({ method: 'HEAD', path: '/v1/status' })).toMatchObject({ status: 200, text: '' })
    expect(await send({ method: 'HEAD', path: '/v1/nothing' })).toMatchObject({ status: 404, text: '' })
  })

  it('OPTIONS names the methods and lets no other site in', async () => {
    const { send } = await start()
    const answer = await send({ method: 'OPTIONS', path: '/v1/kv/a' })
    expect(answer).toMatchObject({ status: 204, headers: { allow: 'GET, PUT, DELETE, HEAD, OPTIONS' } })
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin')
  })

  it('a request target that is none is 400 in JSON', async () => {
    const { send } = await start()
    expect(await send({ path: '*', method: 'OPTIONS' })).toMatchObject({
      status: 400,
      json: { error: { code: 'bad-request' } },
    })
  })
})

describe('Host and Origin', () => {
  const paths = ['/healthz', '/readyz', '/metrics', '/v1/status', '/v1/kv/a', '/nothing']

  it.each(paths)('a foreign Host is refused on %s', async (path) => {
    const { send } = await start()
    expect(await send({ path, headers: { Host: 'evil.example' } })).toMatchObject({
      status: 403,
      json: { error: { code: 'forbidden-host' } },
    })
  })

  it.each(paths)('a foreign Origin is refused on %s', async (path) => {
    const { send } = await start()
    for (const method of ['GET', 'PUT', 'OPTIONS', 'HEAD']) {
      expect((await send({ method, path, headers: { Origin: 'http://evil.example' } })).status).toBe(403)
    }
  })

  it.each(['localhost', '[::1]:99', 'node1.example:6270'])('the Host %s is let in', async (host) => {
    const { send } = await start()
    expect((await send({ path: '/healthz', headers: { Host: host } })).status).toBe(200)
    expect((await send({ path: '/healthz', headers: { Host: host, Origin: 'https://console.example' } })).status).toBe(
      200,
    )
  })

  it.each(['user@localhost', 'localhost/path', 'a b'])('the Host %s is refused', async (host) => {
    const { send } = await start()
    expect([400, 403]).toContain((await send({ path: '/healthz', headers: { Host: host } })).status)
  })

  it('a request without Host is refused', async () => {
    const { port } = await start()
    const socket = connect(port, '127.0.0.1')
    let answer = ''
    socket.on('data', (bytes) => (answer += bytes.toString()))
    socket.write('GET /healthz HTTP/1.0\r\n\r\n')
    await waitFor('the answer', () => answer.includes('forbidden-host'))
    expect(answer).toMatch(/^HTTP\/1\.1 403 /)
    socket.destroy()
  })
})

describe('an accident', () => {
  it.each<[string, Error]>([
    ['an error', new Error('secret /etc/path')],
    ['an operating error of ours', new OperatingError('internal', 'secret /etc/path')],
    ['what is no error', 'secret /etc/path' as unknown as Error],
  ])('is masked, and the log has the cause under the trace id: %s', async (_, thrown) => {
    const { send, lines, broken } = await start({
      raft: () => {
        throw thrown
      },
    })
    const answer = await send({ path: '/v1/raft' })
    expect(answer).toMatchObject({
      status: 500,
      headers: { 'content-type': 'application/json' },
      json: { error: { code: 'internal', retry: 'never' } },
    })
    expect(answer.text).not.toContain('secret')
    const { traceId } = (answer.json as { error: { traceId: string } }).error
    expect(lines).toMatchObject([{ level: 'error', event: 'admin-accident', fields: { traceId, error: thrown } }])
    expect(broken).toEqual([])
  })

  it('that breaks an invariant stops the node', async () => {
    const { send, broken } = await start({
      raft: () => {
        throw new InvariantError('two leaders in one term')
      },
    })
    expect(await send({ path: '/v1/raft' })).toMatchObject({ status: 500, json: { error: { code: 'internal' } } })
    expect(broken).toMatchObject([{ message: 'two leaders in one term' }])
  })
})
