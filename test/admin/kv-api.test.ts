import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { asJsonText } from '../../src/std/json-text.ts'
import { deferred } from '../../src/std/deferred.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import type { ErrorCode } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import { kvInMemory, startAdmin } from './scripted.ts'
import type { Running, Scripted } from './scripted.ts'

let admin: Running | undefined
afterEach(async () => {
  await admin?.stop()
  admin = undefined
})
async function start(scripted: Scripted): Promise<Running> {
  admin = await startAdmin(scripted)
  return admin
}
const startKv = (): Promise<Running> => start({ kv: kvInMemory() })

describe('PUT, GET and DELETE /v1/kv/{key}', () => {
  it('answer as the contract says', async () => {
    const { send } = await startKv()
    const put = await send({ method: 'PUT', path: '/v1/kv/a', body: '{"x":1}' })
    expect(put).toMatchObject({ status: 200, text: '{"key":"a","revision":1}' })
    expect(put.headers).toMatchObject({ 'content-type': 'application/json', 'cache-control': 'no-store' })
    expect(await send({ path: '/v1/kv/a' })).toMatchObject({
      status: 200,
      text: '{"key":"a","value":{"x":1},"revision":1}',
    })
    expect(await send({ method: 'DELETE', path: '/v1/kv/a' })).toMatchObject({
      status: 200,
      json: { key: 'a', revision: 2 },
    })
    expect(await send({ path: '/v1/kv/a' })).toMatchObject({
      status: 404,
      json: {
        error: {
          code: 'not-found',
          message: 'there is no key "a"',
          retry: 'never',
          traceId: expect.stringMatching(/^[0-9a-f]{16}$/),
        },
      },
    })
    expect(await send({ method: 'DELETE', path: '/v1/kv/a' })).toMatchObject({
      status: 404,
      json: { error: { code: 'not-found' } },
    })
  })

  it.each([
    '1',
    'null',
    '""',
    ' {"b" : 1.0e+2,\n"a":12345678901234567890123 }\n',
    '"\\u00e9\u00e9\\/"',
    '{"a":1,"a":2}',
  ])('keep the value byte for byte: %j', async (value) => {
    const { send } = await startKv()
    await send({ method: 'PUT', path: '/v1/kv/a', body: value })
    expect((await send({ path: '/v1/kv/a' })).text).toBe(`{"key":"a","value":${value},"revision":1}`)
  })

  it.each([
    ['a%2Fb', 'a/b'],
    ['a/b', 'a/b'],
    ['a/', 'a/'],
    ['/a//b', '/a//b'],
    ['a/../b', 'a/../b'],
    ['..', '..'],
    ['.', '.'],
    ['%2e%2E/x', '../x'],
    ['caf%C3%A9', 'café'],
    ['%F0%9F%98%80', '\u{1F600}'],
    ['a%20b+c', 'a b+c'],
    ['100%25', '100%'],
    ['%252F', '%2F'],
    ['a%3Fb%23c', 'a?b#c'],
    ['a;b=c&d:e@f', 'a;b=c&d:e@f'],
    ['%5C%00', '\\\u0000'],
    ['__proto__', '__proto__'],
    ['x'.repeat(1024), 'x'.repeat(1024)],
  ])('take the key as the percent-decoded rest of the path: %s', async (path, key) => {
    const { send } = await startKv()
    expect(await send({ method: 'PUT', path: `/v1/kv/${path}`, body: '1' })).toMatchObject({
      status: 200,
      json: { key },
    })
    expect(await send({ path: `/v1/kv/${path}` })).toMatchObject({ status: 200, json: { key, value: 1 } })
  })

  it('take a request target in absolute form', async () => {
    const { send } = await startKv()
    await send({ method: 'PUT', path: 'http://localhost/v1/kv/a/../b', body: '1' })
    expect(await send({ path: '/v1/kv/a/../b' })).toMatchObject({ json: { key: 'a/../b' } })
  })

  it.each([
    ['', 400],
    ['%', 400],
    ['%zz', 400],
    ['%ff', 400],
    ['%C3', 400],
    ['a\\b', 400],
    ['x'.repeat(1025), 413],
    ['%E2%82%AC'.repeat(342), 413],
  ])('refuse the key in /v1/kv/%s', async (path, status) => {
    const { send } = await startKv()
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const { status: found, json } = await send({
        method,
        path: `/v1/kv/${path}`,
        ...(method === 'PUT' && { body: '1' }),
      })
      expect(found).toBe(status)
      expect(json).toMatchObject({ error: { code: status === 413 ? 'too-large' : 'bad-request' } })
    }
  })

  it.each(['', '{', '{"a":1}x', 'undefined', "'a'", '\uFEFF1', Buffer.from([0x22, 0xff, 0x22]), 'NaN'])(
    'refuse a body that is no JSON: %j',
    async (body) => {
      const { send } = await start({})
      expect(await send({ method: 'PUT', path: '/v1/kv/a', body })).toMatchObject({
        status: 400,
        json: { error: { code: 'bad-request' } },
      })
    },
  )
})

describe('bytes outside ASCII in a path', () => {
  it('are refused, unless they are percent-encoded', async () => {
    const { send } = await start({})
    expect((await send({ path: '/v1/kv/caf\u00e9' })).status).toBe(400)
  })
})

describe('If-Match on a write', () => {
  it('compares: the revision, or "0" for a key that must not exist', async () => {
    const { send } = await startKv()
    const put = (ifMatch: string) =>
      send({ method: 'PUT', path: '/v1/kv/a', headers: { 'If-Match': ifMatch }, body: '1' })
    expect(await put('"0"')).toMatchObject({ status: 200, json: { revision: 1 } })
    expect(await put('"0"')).toMatchObject({
      status: 412,
      json: { error: { code: 'revision-mismatch', details: { revision: 1 } } },
    })
    expect(await put('"1"')).toMatchObject({ status: 200, json: { revision: 2 } })
    const remove = (ifMatch: string) => send({ method: 'DELETE', path: '/v1/kv/a', headers: { 'If-Match': ifMatch } })
    expect(await remove('"1"')).toMatchObject({ status: 412, json: { error: { details: { revision: 2 } } } })
    expect(await remove('"2"')).toMatchObject({ status: 200 })
  })

  it.each([
    '1',
    'W/"1"',
    '*',
    '""',
    '"x"',
    '"-1"',
    '"1.5"',
    '"1", "2"',
    '"99999999999999999"',
    '"9007199254740993"',
    "'1'",
  ])('is refused when it is %s', async (ifMatch) => {
    const { send } = await start({})
    for (const method of ['PUT', 'DELETE']) {
      expect(await send({ method, path: '/v1/kv/a', headers: { 'If-Match': ifMatch } })).toMatchObject({
        status: 400,
        json: { error: { code: 'bad-request', message: expect.stringContaining('If-Match') } },
      })
    }
  })
})

describe('an Idempotency-Key on a write', () => {
  it('is handed on with the write', async () => {
    const kv = kvInMemory()
    const { send } = await start({ kv })
    const key = `~!${'x'.repeat(253)}`
    const headers = { 'Idempotency-Key': key }
    await send({ method: 'PUT', path: '/v1/kv/a', headers, body: '1' })
    await send({ method: 'DELETE', path: '/v1/kv/a', headers })
    await send({ method: 'DELETE', path: '/v1/kv/a' })
    expect(kv.asked).toEqual([
      { put: 'a', idempotencyKey: key },
      { delete: 'a', idempotencyKey: key },
    ])
  })

  it.each([[''], ['a b'], ['x'.repeat(256)], ['caf\u00e9'], ['a', 'b']])(
    'is refused when it is %j',
    async (...values) => {
      const { send } = await start({})
      for (const method of ['PUT', 'DELETE']) {
        expect(
          await send({
            method,
            path: '/v1/kv/a',
            headers: { 'Idempotency-Key': values },
            ...(method === 'PUT' && { body: '1' }),
          }),
        ).toMatchObject({
          status: 400,
          json: { error: { code: 'bad-request', message: expect.stringContaining('Idempotency-Key') } },
        })
      }
    },
  )

  it('is refused where it is not kept', async () => {
    const { send } = await start({})
    for (const path of ['/v1/tools/a__b/call', '/v1/raft/promote']) {
      expect(await send({ method: 'POST', path, headers: { 'Idempotency-Key': 'x' }, body: '{}' })).toMatchObject({
        status: 400,
        json: { error: { message: expect.stringContaining('idempotency-key is not supported yet here') } },
      })
    }
  })
})

describe('a promise that this version does not keep', () => {
  it.each(['If-None-Match', 'If-Unmodified-Since'])('%s on a write is refused', async (name) => {
    const { send } = await start({})
    for (const [method, path] of [
      ['PUT', '/v1/kv/a'],
      ['DELETE', '/v1/kv/a'],
      ['POST', '/v1/tools/a__b/call'],
    ] as const) {
      expect(
        await send({ method, path, headers: { [name]: 'x' }, ...(method !== 'DELETE' && { body: '{}' }) }),
      ).toMatchObject({
        status: 400,
        json: {
          error: {
            code: 'bad-request',
            message: expect.stringContaining(`${name.toLowerCase()} is not supported yet`),
          },
        },
      })
    }
  })
})

describe('a body past its limit', () => {
  const limit = 1024 * 1024

  it('is taken up to the limit', async () => {
    const { send } = await startKv()
    const value = `"${'x'.repeat(limit - 2)}"`
    expect(await send({ method: 'PUT', path: '/v1/kv/a', body: value })).toMatchObject({ status: 200 })
    expect(await send({ method: 'PUT', path: '/v1/kv/a', body: `${value} ` })).toMatchObject({ status: 413 })
  })

  it.each(['a declared length', 'chunks'])('is answered 413 before it is all there: %s', async (form) => {
    const { port } = await start({})
    const socket = connect(port, '127.0.0.1')
    let answer = ''
    socket.on('error', () => undefined)
    socket.on('data', (bytes) => (answer += bytes.toString()))
    const head = 'PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n'
    if (form === 'chunks') {
      const size = limit + 1
      socket.write(`${head}Transfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n${'x'.repeat(size)}`)
    } else socket.write(`${head}Content-Length: ${limit + 1}\r\n\r\n1`)
    await waitFor('the answer', () => answer.includes('"too-large"'))
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    socket.destroy()
  })

  it('ends the connection when it does not end', async () => {
    const { port } = await start({})
    const socket = connect(port, '127.0.0.1')
    let ended = false
    socket.on('error', () => undefined)
    socket.on('close', () => (ended = true))
    socket.write('PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n')
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`
    await waitFor('the end', () => ended || (socket.write(chunk) && false))
    expect(socket.bytesWritten).toBeGreaterThan(limit)
  })

  it('leaves the server able to answer others', async () => {
    const { send } = await startKv()
    await send({ method: 'PUT', path: '/v1/kv/a', body: 'x'.repeat(4 * limit) })
    expect(await send({ method: 'PUT', path: '/v1/kv/a', body: '1' })).toMatchObject({ status: 200 })
  })
})

describe('GET /v1/kv', () => {
  it('passes the range on and answers entries, revision and next', async () => {
    const asked: unknown[] = []
    const { send } = await start({
      kv: {
        list: async (range, { consistency }) => {
          asked.push({ ...range, consistency })
          return { entries: [{ key: 'a/1', value: asJsonText('{"x":1.0}'), revision: 4 }], revision: 9, next: 'a/1' }
        },
      },
    })
    const path = '/v1/kv?prefix=a%2F&after=a%2f0&limit=1&consistency=stale'
    expect(await send({ path })).toMatchObject({
      status: 200,
      text: '{"entries":[{"key":"a/1","value":{"x":1.0},"revision":4}],"revision":9,"next":"a/1"}',
    })
    await send({ path: '/v1/kv' })
    expect(asked).toEqual([
      { prefix: 'a/', after: 'a/0', limit: 1, consistency: 'stale' },
      { prefix: '', after: null, limit: 100, consistency: 'linearizable' },
    ])
  })

  it('has no next at the end', async () => {
    const { send } = await startKv()
    expect((await send({ path: '/v1/kv?prefix=a' })).text).toBe('{"entries":[],"revision":0}')
  })

  it('cuts a page at 8 MiB of values and says where it goes on', async () => {
    const value = asJsonText(`"${'x'.repeat(3 * 1024 * 1024)}"`)
    const entries = ['a', 'b', 'c', 'd'].map((key, at) => ({ key, value, revision: at + 1 }))
    const { send } = await start({ kv: { list: async () => ({ entries, revision: 4, next: null }) } })
    expect((await send({ path: '/v1/kv' })).json).toMatchObject({ entries: [{ key: 'a' }, { key: 'b' }], next: 'b' })
  })

  it.each([
    '?watch=',
    '?prefix=a&prefix=b',
    '?limit=0',
    '?limit=1001',
    '?limit=1.5',
    '?limit=',
    '?consistency=eventual',
    '?consistency=',
    '?prefix=%ff',
    '?prefix=%',
    '?Prefix=a',
    '?__proto__=a',
  ])('refuses %s', async (query) => {
    const { send } = await start({})
    expect(await send({ path: `/v1/kv${query}` })).toMatchObject({
      status: 400,
      json: { error: { code: 'bad-request' } },
    })
  })
})

describe('the consistency of a read', () => {
  it('is linearizable unless the request says stale', async () => {
    const kv = kvInMemory()
    const { send } = await start({ kv })
    for (const query of ['', '?consistency=linearizable', '?consistency=stale'])
      await send({ path: `/v1/kv/a${query}` })
    expect(kv.asked).toEqual([
      { get: 'a', consistency: 'linearizable' },
      { get: 'a', consistency: 'linearizable' },
      { get: 'a', consistency: 'stale' },
    ])
  })

  it('is refused when it is something else, and on a write', async () => {
    const { send } = await start({})
    expect((await send({ path: '/v1/kv/a?consistency=strong' })).status).toBe(400)
    expect((await send({ method: 'PUT', path: '/v1/kv/a?consistency=stale', body: '1' })).status).toBe(400)
    expect((await send({ method: 'DELETE', path: '/v1/kv/a?consistency=stale' })).status).toBe(400)
  })
})

describe('the time of a request', () => {
  const never = (): Promise<never> => new Promise(() => undefined)
  const headers = { 'X-Request-Timeout-Ms': '50' }

  it.each(['0', '-1', '60001', '1.5', '5s', '', '1e3'])('is refused when it is %j', async (value) => {
    const { send } = await start({})
    expect(await send({ path: '/v1/kv/a', headers: { 'X-Request-Timeout-Ms': value } })).toMatchObject({
      status: 400,
      json: { error: { message: expect.stringContaining('X-Request-Timeout-Ms') } },
    })
  })

  it('is handed on, 5 s by default, less a little for the way back', async () => {
    const given: number[] = []
    const { send } = await start({
      kv: {
        get: async (_, { timeoutMs }) => {
          given.push(timeoutMs)
          return undefined
        },
      },
    })
    await send({ path: '/v1/kv/a' })
    await send({ path: '/v1/kv/a', headers: { 'X-Request-Timeout-Ms': '60000' } })
    expect(given[0]).toBeGreaterThan(4000)
    expect(given[0]).toBeLessThanOrEqual(4900)
    expect(given[1]).toBeGreaterThan(59_000)
    expect(given[1]).toBeLessThanOrEqual(59_900)
  })

  it.each([
    ['GET', '/v1/kv/a', 'timeout', 'after'],
    ['GET', '/v1/kv', 'timeout', 'after'],
    ['PUT', '/v1/kv/a', 'outcome-unknown', 'outcome-unknown'],
    ['DELETE', '/v1/kv/a', 'outcome-unknown', 'outcome-unknown'],
  ])('ends %s %s with 504 %s', async (method, path, code, retry) => {
    const { send } = await start({ kv: { get: never, list: never, put: never, delete: never } })
    expect(await send({ method, path, headers, ...(method === 'PUT' && { body: '1' }) })).toMatchObject({
      status: 504,
      json: { error: { code, retry } },
    })
  })

  it('aborts the signal first, and takes what is then known better', async () => {
    const { send } = await start({
      kv: {
        put: async (_key, _value, { signal }) => {
          await new Promise((resolve) => {
            signal.addEventListener('abort', resolve)
          })
          throw new OperatingError('no-leader', 'never left this node')
        },
      },
    })
    expect(await send({ method: 'PUT', path: '/v1/kv/a', headers, body: '1' })).toMatchObject({
      status: 503,
      json: { error: { code: 'no-leader' } },
    })
  })

  it('ends a body that does not arrive, before anything was written', async () => {
    const { port } = await start({})
    const socket = connect(port, '127.0.0.1')
    let answer = ''
    socket.on('data', (bytes) => (answer += bytes.toString()))
    socket.write('PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nX-Request-Timeout-Ms: 50\r\nContent-Length: 5\r\n\r\n1')
    await waitFor('the answer', () => answer.includes('the body did not arrive'))
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    socket.destroy()
  })

  it('is over for the work when the client goes away', async () => {
    const begun = deferred<AbortSignal>()
    const { port } = await start({
      kv: {
        get: (_, { signal }) => {
          begun.resolve(signal)
          return new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(new OperatingError('cancelled', 'the client went away')))
          })
        },
      },
    })
    const socket = connect(port, '127.0.0.1')
    socket.write('GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n\r\n')
    const signal = await begun.promise
    expect(signal.aborted).toBe(false)
    socket.destroy()
    await waitFor('the abort', () => signal.aborted, 2000)
  })
})

describe('a body that is cut off because the client goes away', () => {
  it.each(['PUT /v1/kv/a', 'POST /v1/tools/x/call'])('is no accident of ours: %s', async (target) => {
    const { port, lines } = await start({})
    const socket = connect(port, '127.0.0.1')
    let answer = ''
    socket.on('data', (bytes) => (answer += bytes.toString()))
    socket.write(`${target} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n{"a":`)
    await waitFor('the request to be taken', () => answer.includes('100 Continue'))
    socket.destroy()
    const line = await waitFor('the log to have it', () => lines[0])
    expect(line).toMatchObject({ level: 'debug', event: 'admin-request-failed', fields: { status: 499 } })
  })
})

describe('what the cluster says of a write', () => {
  it.each<[ErrorCode, number, string | undefined]>([
    ['no-leader', 503, '1'],
    ['no-quorum', 503, '1'],
    ['overloaded', 503, '1'],
    ['stopped', 503, '1'],
    ['outcome-unknown', 504, undefined],
    ['too-large', 413, undefined],
  ])('%s is answered %i, with Retry-After %s', async (code, status, retryAfter) => {
    const { send } = await start({
      kv: {
        put: async () => {
          throw new OperatingError(code, 'put: it is so')
        },
      },
    })
    const answer = await send({ method: 'PUT', path: '/v1/kv/a', body: '1' })
    expect(answer).toMatchObject({ status, json: { error: { code, message: 'put: it is so' } } })
    expect(answer.headers['retry-after']).toBe(retryAfter)
  })

  it('a wait that the error names is passed on, in ms and in whole seconds', async () => {
    const { send } = await start({
      kv: {
        get: async () => {
          throw new OperatingError('overloaded', 'read: full', { retry: 'elsewhere', retryAfterMs: 2300 })
        },
      },
    })
    const answer = await send({ path: '/v1/kv/a' })
    expect(answer).toMatchObject({ status: 503, json: { error: { retry: 'elsewhere', retryAfterMs: 2300 } } })
    expect(answer.headers['retry-after']).toBe('3')
  })
})
