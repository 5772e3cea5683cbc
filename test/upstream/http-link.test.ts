import type { ServerResponse } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import type { UpstreamLimits } from '../../src/upstream/limits.ts'
import type { ServerName } from '../../src/vocabulary/ids.ts'
import { waitFor } from '../wait.ts'
import { answerInitialize, answerResult, listen, readMessage, sendEvent, type Message } from './raw-http-server.ts'
import { httpServer, startUpstreams, type Heard, type UnderTest } from './upstreams-under-test.ts'

const ends: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

/** A server that answers initialize, takes notifications and has no GET stream; `answer` true: it did so itself. */
async function start(options: {
  answer: (message: Message, response: ServerResponse) => boolean
  limits?: Partial<UpstreamLimits>
  capabilities?: object
}): Promise<UnderTest> {
  const { url, close } = await listen((request, response) => {
    void readMessage(request).then((message) => {
      if (options.answer(request.method === 'GET' ? { method: 'GET' } : message, response)) return
      if (message.method === 'initialize') answerInitialize(response, message.id, options.capabilities)
      else response.writeHead(request.method === 'GET' ? 405 : 202).end()
    })
  })
  ends.push(close)
  const test = await startUpstreams([httpServer('http', url)], options.limits)
  ends.unshift(() => test.stop())
  await test.ready('http')
  return test
}

describe('the link to a Streamable HTTP server', () => {
  it('closes the stream of a cancelled call behind its cancel, as often as that happens and whatever is said to it', async () => {
    const streams = new Map<number, ServerResponse>()
    const told: number[] = []
    let sessions = 0
    const test = await start({
      limits: { callsInFlightMax: 1, tellsInFlightMax: 1 },
      answer({ id, method, params }, response) {
        if (method === 'initialize') response.setHeader('mcp-session-id', `session-${(sessions += 1)}`)
        if (method === 'notifications/cancelled' && params?.requestId !== undefined) {
          told.push(params.requestId)
          response.writeHead(400).end()
          return true
        }
        if (method !== 'tools/call' || typeof id !== 'number') return false
        streams.set(id, response)
        sendEvent(response)
        return true
      },
    })
    for (let round = 1; round <= 4; round += 1) {
      const controller = new AbortController()
      const call = test.call('http', 'x', {}, { signal: controller.signal })
      const [id, stream] = await waitFor('the call', () => [...streams][round - 1])
      controller.abort()
      expect(await call).toEqual({ kind: 'cancelled' })
      await waitFor('the cancel, and the end of the stream', () => told.includes(id) && stream.closed)
    }
    expect(sessions).toBe(1)
  })

  it('closes the stream of an answered call that its server keeps open', async () => {
    let stream: ServerResponse | null = null
    const test = await start({
      limits: { lingerMs: 20 },
      answer({ id, method }, response) {
        if (method !== 'tools/call') return false
        stream = response
        sendEvent(response, { id, result: {} })
        return true
      },
    })
    expect((await test.call('http', 'x')).kind).toBe('result')
    await waitFor('the end of the stream', () => stream?.closed)
    expect(test.liveTimers()).toBe(0)
  })

  it('answers the questions of its server, one after the other without end', async () => {
    const answered = new Map<string, () => void>()
    let asked = 0
    const test = await start({
      limits: { tellsInFlightMax: 1 },
      answer({ id, method }, response) {
        if (method === undefined && typeof id === 'string') answered.get(id)?.()
        if (method !== 'tools/call') return false
        const question = `question-${(asked += 1)}`
        answered.set(question, () => {
          sendEvent(response, { id, result: {} })
          response.end()
        })
        sendEvent(response, { id: question, method: 'ping' })
        return true
      },
    })
    for (let round = 1; round <= 4; round += 1) {
      expect((await test.call('http', 'x', {}, { timeoutMs: 3000 })).kind).toBe('result')
      // The answer to a question may be acknowledged after the call that it belongs to.
      await waitFor('the acknowledgement', () => test.liveTimers() === 0)
    }
  })

  it('has an answer wait for its turn where many are under way, and drops none', async () => {
    const answers: { id: Message['id']; response: ServerResponse }[] = []
    const test = await start({
      limits: { tellsInFlightMax: 2 },
      answer({ id, method }, response) {
        if (method === undefined && id !== undefined) {
          answers.push({ id, response })
          return true
        }
        if (method !== 'tools/call') return false
        for (const question of ['a', 'b', 'c', 'd', 'e']) sendEvent(response, { id: question, method: 'ping' })
        sendEvent(response, { id, result: {} })
        response.end()
        return true
      },
    })
    expect((await test.call('http', 'x')).kind).toBe('result')
    await waitFor('as many answers as may be under way', () => answers.length === 2)
    for (let taken = 0; taken < 5; taken += 1) {
      const { response } = await waitFor('the next answer', () => answers[taken])
      expect(answers.length).toBeLessThanOrEqual(taken + 2)
      response.writeHead(202).end()
    }
    expect(new Set(answers.map(({ id }) => id))).toEqual(new Set(['a', 'b', 'c', 'd', 'e']))
    await waitFor('the acknowledgements', () => test.liveTimers() === 0)
    expect(answers).toHaveLength(5)
    expect(test.log.lines.filter(({ event }) => event === 'upstream-message-dropped')).toEqual([])
  })

  it('gives an answer again that broke off or came at a bad time, and not one that was refused', async () => {
    const tries: Message['id'][] = []
    const test = await start({
      limits: { resumeDelayMs: 5 },
      answer({ id, method }, response) {
        if (method === undefined && id !== undefined) {
          tries.push(id)
          const before = tries.filter((each) => each === id).length
          if (id === 'refused') response.writeHead(400).end()
          else if (before === 1) response.destroy()
          else response.writeHead(before === 2 ? 503 : 202).end()
          return true
        }
        if (method !== 'tools/call') return false
        for (const question of ['refused', 'taken']) sendEvent(response, { id: question, method: 'ping' })
        sendEvent(response, { id, result: {} })
        response.end()
        return true
      },
    })
    expect((await test.call('http', 'x')).kind).toBe('result')
    await waitFor('the last try', () => tries.length === 4)
    await waitFor('its acknowledgement', () => test.liveTimers() === 0)
    expect(tries.filter((id) => id === 'taken')).toHaveLength(3)
    expect(test.log.lines.map(({ event }) => event)).toContain('upstream-answer-refused')
    expect(test.upstreams.statuses().get('http' as ServerName)?.status).toBe('ready')
  })

  it.each([
    ['that can not be given', {}, 'could not be given an answer to what it asked'],
    [
      'that waits behind too many others',
      { tellsInFlightMax: 1, answersWaitingBytesMax: 1 },
      'does not take the answers',
    ],
  ])('ends with an answer %s, and is made anew', async (_what, limits, reason) => {
    let sessions = 0
    const test = await start({
      limits: { resumeDelayMs: 5, tellTimeoutMs: 50, ...limits },
      answer({ id, method }, response) {
        if (method === 'initialize') sessions += 1
        if (method === undefined && id !== undefined) {
          if (reason.startsWith('could')) response.destroy()
          return true
        }
        if (method !== 'tools/call') return false
        for (const question of ['a', 'b', 'c']) sendEvent(response, { id: question, method: 'ping' })
        return true
      },
    })
    const call = test.call('http', 'x', {}, { timeoutMs: 1000 })
    await waitFor('another handshake', () => sessions === 2)
    expect(test.statuses.map((status) => status.reason).join()).toContain(`server http ${reason}`)
    expect((await call).kind).toBe('unknown')
  })

  it('asks less and less often for a GET stream that ends as soon as it is there', async () => {
    const gets: number[] = []
    await start({
      limits: { listenDelayMinMs: 2 },
      answer({ method }, response) {
        if (method !== 'GET') return false
        gets.push(performance.now())
        sendEvent(response)
        response.end()
        return true
      },
    })
    await waitFor('some', () => gets.length >= 9)
    const [first, last] = [gets[0] ?? 0, gets[8] ?? 0]
    // Waits are drawn, and the last four alone may be 512 ms long; without growth all would be 16 ms long.
    expect(last - first).toBeGreaterThan(150)
  })

  it('that loses its session in the handshake waits for no list of it', async () => {
    let sessions = 0
    const { url, close } = await listen((request, response) => {
      void readMessage(request).then(({ id, method }) => {
        if (method === 'initialize') {
          response.setHeader('mcp-session-id', `session-${(sessions += 1)}`)
          answerInitialize(response, id, { tools: {} })
        } else if (request.method === 'GET') response.writeHead(404).end()
        else if (method === 'notifications/initialized') response.writeHead(202).end()
      })
    })
    ends.push(close)
    const test = await startUpstreams([httpServer('http', url)])
    await waitFor('another session', () => sessions === 2)
    await test.stop()
  })

  it('drops progress for a call that wants none, though the server guesses its token', async () => {
    const test = await start({
      answer({ id, method }, response) {
        if (method !== 'tools/call') return false
        sendEvent(response, { method: 'notifications/progress', params: { progressToken: id, progress: 1 } })
        sendEvent(response, { id, result: {} })
        response.end()
        return true
      },
    })
    const notifications: Heard[] = []
    expect((await test.call('http', 'x', {}, { heard: notifications })).kind).toBe('result')
    expect(notifications).toEqual([])
  })

  it('asks for the lists anew when its GET stream was cut, because it may have missed a change', async () => {
    const streams: ServerResponse[] = []
    let name = 'first'
    const test = await start({
      capabilities: { tools: {} },
      limits: { relistDelayMs: 1 },
      answer({ id, method }, response) {
        if (method === 'tools/list') {
          answerResult(response, id, { tools: [{ name, inputSchema: { type: 'object' } }] })
          return true
        }
        if (method !== 'GET') return false
        streams.push(response)
        sendEvent(response)
        return true
      },
    })
    const stream = await waitFor('the GET stream', () => streams[0])
    name = 'second'
    stream.destroy()
    await waitFor('the new list', () => test.statuses.at(-1)?.offer?.tools.includes('"second"'))
    expect(test.statuses.map((status) => status.status)).toEqual(['starting', 'ready', 'ready'])
  })

  it.each([
    ['goes on with', 'knows', 1],
    ['renews', 'has forgotten', 2],
  ])(
    '%s a session whose GET stream is refused with 400 when a ping says that its server %s it',
    async (_, says, to) => {
      let sessions = 0
      let pings = 0
      const test = await start({
        answer({ id, method }, response) {
          if (method === 'initialize') response.setHeader('mcp-session-id', `session-${(sessions += 1)}`)
          if (method === 'GET') response.writeHead(sessions === 1 ? 400 : 405).end()
          else if (method === 'ping') {
            pings += 1
            if (says === 'knows') answerResult(response, id, {})
            else response.writeHead(400).end()
          } else if (method === 'tools/call') answerResult(response, id, {})
          else return false
          return true
        },
      })
      await waitFor('the ping and what follows', () => pings === 1 && sessions === to)
      expect((await test.call('http', 'x')).kind).toBe('result')
      expect([pings, sessions]).toEqual([1, to])
      expect(test.statuses.map((status) => status.status)).toEqual(['starting', 'ready'])
    },
  )
})

describe("a refusal of a call that is the server's own error", () => {
  const refused = async (status: number, body: unknown, type = 'application/json; charset=utf-8'): Promise<unknown> => {
    const test = await start({
      answer({ id, method }, response) {
        if (method !== 'tools/call') return false
        response.writeHead(status, { 'content-type': type })
        response.end(JSON.stringify(body).replace('"ID"', String(id)))
        return true
      },
    })
    return test.call('http', 'x')
  }
  const error = { code: -32_602, message: 'no such tool', data: { n: 1 } }

  it.each([400, 403, 404, 500])('with status %d reaches its client', async (status) => {
    expect(await refused(status, { jsonrpc: '2.0', id: 'ID', error })).toEqual({
      kind: 'error',
      error: JSON.stringify(error),
    })
  })

  it.each([
    ['of no request', { jsonrpc: '2.0', id: null, error }, 'application/json'],
    ['of another request', { jsonrpc: '2.0', id: 99, error }, 'application/json'],
    ['in another type', { jsonrpc: '2.0', id: 'ID', error }, 'text/html'],
    ['too long', { jsonrpc: '2.0', id: 'ID', error: { ...error, data: 'x'.repeat(70_000) } }, 'application/json'],
    ['no error', { jsonrpc: '2.0', id: 'ID' }, 'application/json'],
  ])('is not one %s', async (_, body, type) => {
    expect(await refused(400, body, type)).toMatchObject({ kind: 'rejected', error: { code: 'server-failed' } })
  })
})
