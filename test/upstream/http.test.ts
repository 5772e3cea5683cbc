import { spawn, type ChildProcess } from 'node:child_process'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { UpstreamLimits } from '../../src/upstream/limits.ts'
import { waitFor } from '../wait.ts'
import { answerInitialize, answerResult, listen, readMessage } from './raw-http-server.ts'
import { httpServer, messageOf, resultOf, startUpstreams, type Heard, type UnderTest } from './upstreams-under-test.ts'

let fixture: ChildProcess
let port: number
let running: UnderTest[]

beforeEach(async () => {
  running = []
  await startFixture(0)
})

afterEach(async () => {
  await Promise.all(running.map((test) => test.stop()))
  await endFixture()
})

async function startFixture(wanted: number): Promise<void> {
  const file = path.join(import.meta.dirname, '../fixtures/http.mjs')
  fixture = spawn(process.execPath, [file, String(wanted)], { stdio: ['pipe', 'pipe', 'inherit'] })
  let output = ''
  fixture.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const match = await waitFor('the fixture to listen', () => /listening (\d+)\n/.exec(output))
  port = Number(match[1])
}

async function endFixture(): Promise<void> {
  if (fixture.exitCode !== null || fixture.signalCode !== null) return
  const exited = new Promise((resolve) => {
    fixture.once('exit', resolve)
  })
  fixture.kill('SIGKILL')
  await exited
}

async function start(
  options: { url?: string; headers?: Record<string, string>; limits?: Partial<UpstreamLimits> } = {},
) {
  const url = options.url ?? `http://127.0.0.1:${port}/mcp`
  const test = await startUpstreams([httpServer('http', url, options.headers)], options.limits)
  running.push(test)
  return test
}

async function control(what: string): Promise<string[]> {
  const response = await fetch(`http://127.0.0.1:${port}/${what}`)
  return (await response.json()) as string[]
}

describe('a Streamable HTTP server', () => {
  it('becomes ready, answers calls with progress in order, and is told of our leaving', async () => {
    const test = await start()
    const { offer } = await test.ready('http')
    expect((JSON.parse(offer?.tools ?? '') as { name: string }[]).map((tool) => tool.name)).toContain('count')
    const notifications: Heard[] = []
    const meta = { progressToken: 'mine' }
    const outcome = await test.call('http', 'count', { steps: 4, delayMs: 5 }, { meta, heard: notifications })
    expect(resultOf(outcome).content[0]?.text).toBe('counted to 4')
    expect(notifications.map(({ params }) => params)).toEqual(
      [1, 2, 3, 4].map((progress) => ({ progressToken: 'mine', progress, total: 4 })),
    )
    await test.upstreams.stop()
    expect(await control('events')).toEqual(['session', 'started -', 'finished -', 'deleted'])
  })

  it('gets the configured headers, the session and the protocol version; no line of the log has a configured value', async () => {
    const test = await start({ headers: { Authorization: 'Bearer open-sesame', Accept: 'text/html', 'X-Zone': 'a' } })
    await test.ready('http')
    const { headers } = resultOf(await test.call('http', 'headers')).structuredContent
    expect(headers).toMatchObject({
      authorization: 'Bearer open-sesame',
      'x-zone': 'a',
      accept: 'application/json, text/event-stream',
      'content-type': 'application/json',
      'mcp-protocol-version': '2025-11-25',
      'mcp-session-id': expect.stringMatching(/^[\w-]{36}$/) as string,
    })
    expect(JSON.stringify(test.log.lines)).not.toContain('open-sesame')
  })

  it('has log messages on the stream of a call passed to its caller', async () => {
    const test = await start()
    await test.ready('http')
    const [one, two]: [Heard[], Heard[]] = [[], []]
    await Promise.all([
      test.call('http', 'log', { text: 'to one' }, { heard: one }),
      test.call('http', 'log', { text: 'to two' }, { heard: two }),
    ])
    const said = (heard: Heard[]) => heard.map(({ method, params }) => [method, params])
    expect(said(one)).toEqual([['notifications/message', { level: 'info', data: 'to one' }]])
    expect(said(two)).toEqual([['notifications/message', { level: 'info', data: 'to two' }]])
  })

  it('is listened to for lists that change', async () => {
    const test = await start({ limits: { relistDelayMs: 10 } })
    await test.ready('http')
    await waitFor('the new tool', async () => {
      await test.call('http', 'grow', { name: 'brand-new' })
      return test.statuses.at(-1)?.offer?.tools.includes('"brand-new"')
    })
    expect(test.statuses.every((status) => status.status !== 'failed')).toBe(true)
  })

  it('that cuts the stream in mid-call ends that call as unknown at once, and no other', async () => {
    const test = await start()
    await test.ready('http')
    const other = test.call('http', 'count', { steps: 20, delayMs: 10 })
    const before = performance.now()
    const notifications: Heard[] = []
    const outcome = await test.call('http', 'break', {}, { meta: { progressToken: 1 }, heard: notifications })
    expect(performance.now() - before).toBeLessThan(1500)
    expect(notifications).toHaveLength(1)
    expect(outcome).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown' } })
    expect(messageOf(outcome)).toMatch(/^server http broke off before its answer \(\w+\)$/)
    expect((await other).kind).toBe('result')
  })

  it('is told of a cancel, and of that of no other call', async () => {
    const test = await start()
    await test.ready('http')
    const controller = new AbortController()
    const input = (label: string) => ({ steps: 30, delayMs: 10, label })
    const cancelled = test.call('http', 'count', input('x'), { signal: controller.signal })
    const kept = test.call('http', 'count', input('y'))
    await waitFor('the start', async () => (await control('events')).includes('started x'))
    controller.abort()
    expect(await cancelled).toEqual({ kind: 'cancelled' })
    expect((await kept).kind).toBe('result')
    const events = await control('events')
    expect(events).toContain('cancelled x')
    expect(events).not.toContain('finished x')
    expect(events).not.toContain('cancelled y')
  })

  it('is told of every cancel when a hundred come at once', async () => {
    const test = await start({ limits: { tellsInFlightMax: 1 } })
    await test.ready('http')
    const labels = Array.from({ length: 100 }, (_, at) => `many-${at}`)
    const controllers = labels.map(() => new AbortController())
    const calls = labels.map((label, at) =>
      test.call('http', 'count', { steps: 1000, delayMs: 20, label }, { signal: controllers[at]?.signal }),
    )
    await waitFor('all to have started', async () => {
      const events = await control('events')
      return labels.every((label) => events.includes(`started ${label}`))
    })
    for (const controller of controllers) controller.abort()
    expect(new Set((await Promise.all(calls)).map((outcome) => outcome.kind))).toEqual(new Set(['cancelled']))
    await waitFor('all to be cancelled', async () => {
      const events = await control('events')
      return labels.every((label) => events.includes(`cancelled ${label}`))
    })
    expect(test.log.lines.map((line) => line.event)).not.toContain('upstream-message-dropped')
  })

  it('hears of a cancel that follows its request on the spot', async () => {
    const test = await start()
    await test.ready('http')
    for (let round = 0; round < 10; round += 1) {
      const controller = new AbortController()
      const input = { steps: 50, delayMs: 10, label: `r${round}` }
      const call = test.call('http', 'count', input, { signal: controller.signal })
      setImmediate(() => controller.abort())
      expect(await call).toEqual({ kind: 'cancelled' })
    }
    await waitFor('every call that started to be cancelled', async () => {
      const events = await control('events')
      return Array.from({ length: 10 }, (_, round) => round).every(
        (round) => !events.includes(`started r${round}`) || events.includes(`cancelled r${round}`),
      )
    })
    expect((await control('events')).some((event) => event.startsWith('finished'))).toBe(false)
  })

  it('is cancelled after the time of the call, whose outcome is then unknown', async () => {
    const test = await start()
    await test.ready('http')
    const outcome = await test.call('http', 'hang', {}, { timeoutMs: 100 })
    expect(messageOf(outcome)).toBe('server http did not answer tools/call hang within 100 ms')
    expect(outcome.kind).toBe('unknown')
  })

  it('that has forgotten the session gets a new one and the calls that met it once more', async () => {
    const test = await start()
    await test.ready('http')
    await control('forget')
    const calls = Array.from({ length: 8 }, (_, at) => test.call('http', 'echo', { text: `again ${at}` }))
    const outcomes = await Promise.all(calls)
    expect(outcomes.map((outcome) => resultOf(outcome).content[0]?.text)).toEqual(calls.map((_, at) => `again ${at}`))
    expect((await control('events')).filter((event) => event === 'session')).toHaveLength(2)
    expect(test.statuses.map((status) => status.status)).toEqual(['starting', 'ready'])
  })

  it('that says 400 of a forgotten session gets a new one; a 400 that means the request does not', async () => {
    let sessions = 0
    let isForgotten = false
    const { url, close } = await listen((request, response) => {
      void readMessage(request).then(({ id, method, params }) => {
        if (method === 'initialize') {
          isForgotten = false
          response.setHeader('mcp-session-id', `session-${(sessions += 1)}`)
          return answerInitialize(response, id)
        }
        if (request.method !== 'POST') return response.writeHead(405).end()
        if (isForgotten || params?.name === 'refused')
          return response.writeHead(400).end('No valid session ID provided')
        return answerResult(response, id, {})
      })
    })
    try {
      const test = await start({ url })
      await test.ready('http')
      const refused = await test.call('http', 'refused')
      expect([refused.kind, messageOf(refused), sessions]).toEqual([
        'rejected',
        'server http refused with HTTP status 400',
        1,
      ])
      isForgotten = true
      const outcomes = await Promise.all([1, 2, 3].map(() => test.call('http', 'echo')))
      expect([...outcomes.map((outcome) => outcome.kind), sessions]).toEqual(['result', 'result', 'result', 2])
      expect(test.statuses.map((status) => status.status)).toEqual(['starting', 'ready'])
    } finally {
      await close()
    }
  })

  it('that forgets every session at once gets calls refused, and is not asked for sessions without end', async () => {
    const initialized: number[] = []
    const { url, close } = await listen((request, response) => {
      void readMessage(request).then(({ id, method }) => {
        if (method !== 'initialize')
          return response.writeHead(request.method === 'POST' && id === undefined ? 202 : 404).end()
        initialized.push(performance.now())
        response.setHeader('mcp-session-id', `session-${initialized.length}`)
        return answerInitialize(response, id)
      })
    })
    try {
      const test = await start({ url, limits: { restartDelayMinMs: 60, restartDelayMaxMs: 60 } })
      await test.ready('http')
      const outcome = await test.call('http', 'x')
      expect(outcome).toMatchObject({ kind: 'rejected', error: { code: 'server-unavailable' } })
      await waitFor('more renewals', () => initialized.length >= 4)
      const [, second = 0, third = 0, fourth = 0] = initialized
      expect(Math.min(third - second, fourth - third)).toBeGreaterThan(50)
    } finally {
      await close()
    }
  })

  it('that has not begun to answer gets its cancel after a wait, so that none overtakes its request', async () => {
    const arrivals = new Map<string, number>()
    const { url, close } = await listen((request, response) => {
      void readMessage(request).then(({ id, method = '' }) => {
        arrivals.set(method, performance.now())
        if (method === 'initialize') return answerInitialize(response, id)
        return method === 'tools/call' ? undefined : response.writeHead(request.method === 'POST' ? 202 : 405).end()
      })
    })
    try {
      const test = await start({ url, limits: { cancelDelayMs: 150 } })
      await test.ready('http')
      const controller = new AbortController()
      const call = test.call('http', 'x', {}, { signal: controller.signal })
      const called = await waitFor('the call', () => arrivals.get('tools/call'))
      controller.abort()
      expect(await call).toEqual({ kind: 'cancelled' })
      const cancelled = await waitFor('the cancel', () => arrivals.get('notifications/cancelled'))
      expect(cancelled - called).toBeGreaterThan(130)
    } finally {
      await close()
    }
  })

  it('that never answers initialize is left without a cancel, which the protocol has none for', async () => {
    const methods: string[] = []
    const { url, close } = await listen((request, response) => {
      void readMessage(request).then(({ method = '' }) => {
        methods.push(method)
        if (method !== 'initialize') return response.writeHead(202).end()
        return response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
      })
    })
    try {
      const test = await start({ url, limits: { handshakeTimeoutMs: 50 } })
      const failed = await waitFor('the failure', () => test.statuses.find((status) => status.status === 'failed'))
      expect(failed.reason).toBe('server http did not answer initialize within 50 ms')
      await waitFor('more tries', () => methods.length > 2)
      expect(new Set(methods)).toEqual(new Set(['initialize']))
    } finally {
      await close()
    }
  })

  it('that dies in mid-call ends its calls as unknown, fails, and is ready again when it is back', async () => {
    const test = await start()
    await test.ready('http')
    const call = test.call('http', 'hang')
    await test.call('http', 'echo')
    await endFixture()
    expect((await call).kind).toBe('unknown')
    const outcome = await test.call('http', 'echo')
    expect(outcome).toMatchObject({ kind: 'not-sent', error: { code: 'server-unavailable', retry: 'elsewhere' } })
    expect(messageOf(outcome)).toBe('server http can not be reached (ECONNREFUSED)')
    expect(test.statuses.at(-1)).toMatchObject({ status: 'failed', offer: { tools: expect.any(String) as string } })
    await startFixture(port)
    await waitFor('ready again', () => test.statuses.filter((status) => status.status === 'ready').length === 2)
    expect((await test.call('http', 'echo')).kind).toBe('result')
  })

  it.each([
    [302, 'unknown', 'answered with HTTP status 302'],
    [303, 'unknown', 'answered with HTTP status 303'],
    [307, 'rejected', 'refused with HTTP status 307'],
    [308, 'rejected', 'refused with HTTP status 308'],
    [401, 'rejected', 'refused with HTTP status 401'],
    [403, 'rejected', 'refused with HTTP status 403'],
    [429, 'rejected', 'refused with HTTP status 429'],
    [500, 'unknown', 'answered with HTTP status 500'],
    [503, 'unknown', 'answered with HTTP status 503'],
  ])('that answers with status %i ends the call as %s, and its body is not shown', async (status, kind, message) => {
    const test = await start()
    await test.ready('http')
    await control(`status/${status}`)
    const outcome = await test.call('http', 'echo')
    expect([outcome.kind, messageOf(outcome)]).toEqual([kind, `server http ${message}`])
    expect(JSON.stringify(test.log.lines)).not.toContain('body')
  })

  it.each([
    ['an answer that is neither JSON nor a stream', 'text/html', '<p>', 'ended its answer without a result'],
    ['JSON that is none', 'application/json', '{"jsonrpc":', 'ended its answer without a result'],
    ['a stream that ends early', 'text/event-stream', 'data: {"jsonrpc"', 'ended its answer without a result'],
    ['a JSON body over the limit', 'application/json', `"${'x'.repeat(3000)}"`, 'a message of more than 2000 bytes'],
    ['an event over the limit', 'text/event-stream', `data: "${'x'.repeat(3000)}"\n\n`, 'a message of more than 2000'],
    ['an endless line', 'text/event-stream', `data: ${'x'.repeat(3000)}`, 'a message of more than 2000 bytes'],
  ])('that gives %s fails with its reason', async (_what, type, body, reason) => {
    const { url, close } = await listen((_request, response) => {
      response.writeHead(200, { 'content-type': type }).end(body)
    })
    try {
      const test = await start({ url, limits: { messageBytesMax: 2000 } })
      const failed = await waitFor('the failure', () => test.statuses.find((status) => status.status === 'failed'))
      expect(failed.reason).toContain(reason)
    } finally {
      await close()
    }
  })

  it.each([
    ['http://127.0.0.1:1/mcp', {}, 'server http can not be reached (ECONNREFUSED)'],
    ['http://host.invalid/mcp', {}, /^server http can not be reached \((ENOTFOUND|EAI_AGAIN)\)$/],
    ['https://127.0.0.1:PORT/mcp', {}, /^server http can not be reached \(\w+\)$/],
    ['no url', {}, 'server http can not be started (ERR_INVALID_URL)'],
    ['http://127.0.0.1:PORT/mcp', { 'X-Bad': 'a\nb' }, /^server http can not be reached \(UND_ERR_INVALID_ARG\)$/],
  ])('at %s with headers %o fails with its reason and stops no start', async (url, headers, reason) => {
    const test = await start({ url: url.replace('PORT', String(port)), headers })
    const failed = await waitFor('the failure', () => test.statuses.find((status) => status.status === 'failed'))
    expect(failed.reason).toMatch(reason)
  })

  it('leaves no handle behind after stop, with calls and cancels under way', async () => {
    const count = () => process.getActiveResourcesInfo().filter((name) => /^(TCP|TLS|GetAddrInfo)/.test(name))
    const before = count()
    const test = await start()
    await test.ready('http')
    const controller = new AbortController()
    const calls = [1, 2, 3].map(() => test.call('http', 'hang'))
    const cancelled = test.call('http', 'hang', {}, { signal: controller.signal })
    await test.call('http', 'echo')
    controller.abort()
    await test.upstreams.stop()
    expect((await Promise.all(calls)).map((outcome) => outcome.kind)).toEqual(['unknown', 'unknown', 'unknown'])
    expect((await cancelled).kind).toBe('cancelled')
    expect(test.liveTimers()).toBe(0)
    await waitFor('the handles to be as before', () => count().length <= before.length, 3000)
  })
})
