import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { UpstreamLimits } from '../../src/upstream/limits.ts'
import type { ConfiguredServer } from '../../src/vocabulary/configured-server.ts'
import { waitFor } from '../wait.ts'
import { messageOf, resultOf, startUpstreams, stdioServer, type Heard, type UnderTest } from './upstreams-under-test.ts'

let running: UnderTest[] = []
let folder: string

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'quorate-stdio-'))
})

async function start(servers: ConfiguredServer[], limits?: Partial<UpstreamLimits>): Promise<UnderTest> {
  const started = await startUpstreams(servers, limits)
  running.push(started)
  return started
}

afterEach(async () => {
  await Promise.all(running.map((one) => one.stop()))
  running = []
  rmSync(folder, { recursive: true, force: true })
})

/** The first `failed` whose reason has the text. */
const failure = (test: UnderTest, text: string) =>
  waitFor(text, () => test.statuses.find(({ status, reason }) => status === 'failed' && reason.includes(text)))

describe('a stdio server', () => {
  it('becomes ready with everything that it offers, all pages, as its own text', async () => {
    const test = await start([stdioServer('echo', { ECHO_PAGE_SIZE: '3' })])
    const { offer, reason } = await test.ready('echo')
    expect(reason).toBe('')
    const tools = JSON.parse(offer?.tools ?? '') as { name: string }[]
    expect(tools.map((tool) => tool.name)).toEqual([
      'echo',
      'big',
      'line',
      'environment',
      'pid',
      'wrong',
      'refuse',
      'grow',
    ])
    expect(offer?.tools).toContain('"x-unusual":{"kept":true}')
    expect(JSON.parse(offer?.resources ?? '')).toHaveLength(1)
    expect(JSON.parse(offer?.resourceTemplates ?? '')).toHaveLength(1)
    expect(JSON.parse(offer?.prompts ?? '')).toHaveLength(1)
    expect(JSON.parse(offer?.initialize ?? '')).toMatchObject({ instructions: 'Say something.' })
    expect(test.statuses.map((status) => status.status)).toEqual(['starting', 'ready'])
  })

  it("gets the client's params byte for byte, but for the progress token", async () => {
    const test = await start([stdioServer('echo')])
    await test.ready('echo')
    const params =
      '{ "name":"line",\n "arguments":{"big":123456789012345678901,"e":"\\u00e9"}, "_meta":{"x":1.0,"progressToken":"t" } }'
    const line = resultOf(await test.call('echo', '', {}, { params })).content[0]?.text ?? ''
    const sent = line.slice(line.indexOf('"params":') + '"params":'.length, -1)
    const id = String((JSON.parse(line) as { id: number }).id)
    expect(sent).toBe(params.replaceAll('\n', ' ').replace('"t"', id))
  })

  it('answers with a result whose every byte stays', async () => {
    const test = await start([stdioServer('echo')])
    await test.ready('echo')
    expect(await test.call('echo', 'big')).toEqual({
      kind: 'result',
      result: '{"content":[],"big":12345678901234567890123,"x-unusual":[1.0,1e2,"\\u00e9"],"z":0,"a":1}',
    })
    expect(await test.call('echo', 'refuse')).toEqual({
      kind: 'error',
      error: '{"code":12345,"message":"no","data":{"big":98765432109876543210}}',
    })
    expect(await test.call('echo', 'wrong')).toMatchObject({ kind: 'result' })
  })

  it('answers resources/read and prompts/get as well', async () => {
    const test = await start([stdioServer('echo')])
    await test.ready('echo')
    const read = await test.call('echo', '', {}, { method: 'resources/read', params: '{"uri":"echo://greeting"}' })
    expect(read).toMatchObject({ kind: 'result', result: expect.stringContaining('hello') as string })
    const got = await test.call(
      'echo',
      '',
      {},
      { method: 'prompts/get', params: '{"name":"greet","arguments":{"name":"x"}}' },
    )
    expect(got).toMatchObject({ kind: 'result', result: expect.stringContaining('hello x') as string })
  })

  it('publishes a list that changed, and a burst of changes without every step of it', async () => {
    const test = await start([stdioServer('echo')], { relistDelayMs: 20 })
    await test.ready('echo')
    await Promise.all(['one', 'two', 'three'].map((name) => test.call('echo', 'grow', { name })))
    await waitFor('the new tools', () => test.statuses.at(-1)?.offer?.tools.includes('"three"'))
    expect(test.statuses.filter((status) => status.status === 'ready').length).toBeLessThan(4)
    expect(resultOf(await test.call('echo', 'three')).content[0]?.text).toBe('grown')
  })

  it('sees of our environment only what programs need, and what is configured', async () => {
    process.env['QUORATE_SECRET'] = 'never to be seen by a child process'
    try {
      const test = await start([stdioServer('echo', { GIVEN: 'yes' })])
      await test.ready('echo')
      const { names } = resultOf(await test.call('echo', 'environment')).structuredContent as { names: string[] }
      expect(names).toContain('GIVEN')
      expect(names).toContain('PATH')
      const allowed = /^(PATH|HOME|USER|LOGNAME|SHELL|TERM|LANG|LC_.*|TMPDIR|TZ|GIVEN)$/
      expect(names.filter((name) => !allowed.test(name))).toEqual([])
    } finally {
      delete process.env['QUORATE_SECRET']
    }
  })

  it('keeps progress of two callers with equal tokens apart, in order', async () => {
    const test = await start([stdioServer('slow')])
    await test.ready('slow')
    const one: Heard[] = []
    const two: Heard[] = []
    const outcomes = await Promise.all([
      test.call('slow', 'count', { steps: 5, delayMs: 10 }, { meta: { progressToken: 7 }, heard: one }),
      test.call('slow', 'count', { steps: 3, delayMs: 15 }, { meta: { progressToken: 7 }, heard: two }),
    ])
    expect(outcomes.map((outcome) => resultOf(outcome).content[0]?.text)).toEqual(['counted to 5', 'counted to 3'])
    const seen = (list: Heard[]) =>
      list.map(({ method, params }) => {
        const { progressToken, progress, total } = params ?? {}
        return [method, progressToken, progress, total]
      })
    expect(seen(one)).toEqual([1, 2, 3, 4, 5].map((step) => ['notifications/progress', 7, step, 5]))
    expect(seen(two)).toEqual([1, 2, 3].map((step) => ['notifications/progress', 7, step, 3]))
  })

  it('gives a token back as the text it came in', async () => {
    const test = await start([stdioServer('slow')])
    await test.ready('slow')
    const notifications: Heard[] = []
    const params = '{"name":"count","arguments":{"steps":1,"delayMs":1},"_meta":{"progressToken":"\\u0037"}}'
    await test.call('slow', '', {}, { params, heard: notifications })
    expect(notifications[0]?.text).toContain('"progressToken":"\\u0037"')
  })

  it('is told of a cancel, and no other server and no other call is', async () => {
    const records = ['a', 'b'].map((name) => path.join(folder, name))
    const [a = '', b = ''] = records
    const test = await start([
      stdioServer('one', { SLOW_RECORD: a }, 'slow'),
      stdioServer('two', { SLOW_RECORD: b }, 'slow'),
    ])
    await Promise.all([test.ready('one'), test.ready('two')])
    const controller = new AbortController()
    const notifications: Heard[] = []
    const input = (label: string) => ({ steps: 20, delayMs: 10, label })
    const cancelled = test.call('one', 'count', input('x'), {
      signal: controller.signal,
      meta: { progressToken: 1 },
      heard: notifications,
    })
    const kept = test.call('one', 'count', input('y'))
    const elsewhere = test.call('two', 'count', input('x'))
    await waitFor('progress', () => notifications.length > 2)
    controller.abort()
    expect(await cancelled).toEqual({ kind: 'cancelled' })
    const heard = notifications.length
    expect(await kept).toMatchObject({ kind: 'result' })
    expect(await elsewhere).toMatchObject({ kind: 'result' })
    expect(notifications.length).toBe(heard)
    expect(readFileSync(a, 'utf8').trim().split('\n').sort()).toEqual([
      'cancelled x',
      'finished y',
      'started x',
      'started y',
    ])
    expect(readFileSync(b, 'utf8')).toBe('started x\nfinished x\n')
  })

  it('is told of a cancel also when it has not read what fills its queue', async () => {
    const record = path.join(folder, 'record')
    const test = await start([stdioServer('slow', { SLOW_RECORD: record })], { stdinQueueBytesMax: 1000 })
    await test.ready('slow')
    const controller = new AbortController()
    const input = { steps: 100_000, delayMs: 10, label: 'x' }
    const cancelled = test.call('slow', 'count', input, { signal: controller.signal })
    await waitFor('the start', () => existsSync(record))
    const child = Number(readdirSync(path.join(test.dataDir, 'children'))[0]?.replace('.json', ''))
    process.kill(child, 'SIGSTOP')
    const filler = { steps: 1, delayMs: 1, label: 'y'.repeat(500_000) }
    const fillers = [1, 2].map(() => test.call('slow', 'count', filler))
    expect(await test.call('slow', 'count', filler)).toMatchObject({ kind: 'rejected', error: { code: 'overloaded' } })
    controller.abort()
    expect(await cancelled).toEqual({ kind: 'cancelled' })
    process.kill(child, 'SIGCONT')
    for (const outcome of await Promise.all(fillers)) expect(outcome.kind).toBe('result')
    await waitFor('the cancel', () => readFileSync(record, 'utf8').includes('cancelled x'))
  })

  it('is told in one write what is asked of it in one turn', async () => {
    const test = await start([stdioServer('chunks')])
    await test.ready('chunks')
    await Promise.all(Array.from({ length: 20 }, () => test.call('chunks', 'quiet')))
    const { structuredContent } = resultOf(await test.call('chunks', 'lines'))
    expect(structuredContent).toMatchObject({ chunks: expect.arrayContaining([20]) })
  })

  it('is cancelled after the time of the call, whose outcome is then unknown', async () => {
    const record = path.join(folder, 'record')
    const test = await start([stdioServer('slow', { SLOW_RECORD: record })])
    await test.ready('slow')
    const outcome = await test.call('slow', 'count', { steps: 1000, delayMs: 10, label: 't' }, { timeoutMs: 100 })
    expect(outcome).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown' } })
    expect(messageOf(outcome)).toBe('server slow did not answer tools/call count within 100 ms')
    await waitFor('the cancel', () => readFileSync(record, 'utf8').includes('cancelled t'))
  })

  it('does not get a call that was cancelled before', async () => {
    const test = await start([stdioServer('echo')])
    await test.ready('echo')
    expect(await test.call('echo', 'echo', {}, { signal: AbortSignal.abort() })).toEqual({ kind: 'cancelled' })
  })

  it('gets -32601 for every question but ping, and declares were none', async () => {
    const test = await start([stdioServer('asking')])
    await test.ready('asking')
    const refusal = { code: -32601, message: 'Method not found' }
    expect(resultOf(await test.call('asking', 'ask')).structuredContent).toEqual({
      answers: {
        ping: {},
        'sampling/createMessage': refusal,
        'elicitation/create': refusal,
        'roots/list': refusal,
      },
    })
  })

  it('has a log message passed to the one call under way, and progress dropped that belongs to none', async () => {
    const test = await start([stdioServer('asking')])
    await test.ready('asking')
    const notifications: Heard[] = []
    await test.call('asking', 'log', {}, { meta: { progressToken: 1 }, heard: notifications })
    expect(notifications.map(({ method }) => method)).toEqual(['notifications/message'])
  })

  it('has progress dropped that follows its result', async () => {
    const test = await start([stdioServer('asking')])
    await test.ready('asking')
    const notifications: Heard[] = []
    const outcome = await test.call('asking', 'late', {}, { meta: { progressToken: 1 }, heard: notifications })
    expect(resultOf(outcome).content[0]?.text).toBe('done')
    await test.call('asking', 'log')
    expect(notifications).toEqual([])
  })

  it('may print rubbish between its messages, which is counted and logged within bounds', async () => {
    const test = await start([stdioServer('chatty')], { logLinesPerSecond: 20 })
    await test.ready('chatty')
    expect(resultOf(await test.call('chatty', 'babble', { lines: 5000 })).content[0]?.text).toBe('babbled')
    expect(resultOf(await test.call('chatty', 'ok')).content[0]?.text).toBe('ok')
    const complaints = test.log.lines.filter((line) => line.event === 'upstream-rubbish')
    expect(complaints.length).toBeGreaterThan(4)
    expect(complaints.length).toBeLessThan(100)
  })

  it('reaches the log with its stderr line by line, cut and limited, without configured values', async () => {
    const test = await start([stdioServer('chatty', { CHATTY_SECRET: 'correct-horse-battery' })], {
      logLinesPerSecond: 10,
    })
    await test.ready('chatty')
    await test.call('chatty', 'leak')
    const texts = () =>
      test.log.lines.filter((line) => line.event === 'upstream-stderr').map((line) => String(line.fields['text']))
    await waitFor('the line', () => texts().includes('connecting with [redacted]'))
    await test.call('chatty', 'shout', { lines: 200, bytes: 20_000 })
    await waitFor('a cut line', () => texts().some((text) => text.startsWith('xxx')))
    expect(texts().length).toBeLessThan(60)
    expect(Math.max(...texts().map((text) => text.length))).toBe(8192)
    const rubbish = test.log.lines.filter((line) => line.event === 'upstream-rubbish')
    expect(rubbish.at(-1)?.fields['text']).toBe('debug: [redacted]')
    expect(JSON.stringify(test.log.lines)).not.toContain('correct-horse')
  })

  it('is ended when a line grows over the limit; the call is unknown and the server starts again', async () => {
    const test = await start([stdioServer('huge')], { messageBytesMax: 100_000 })
    await test.ready('huge')
    expect(resultOf(await test.call('huge', 'huge', { bytes: 99_000 })).content[0]?.text).toHaveLength(99_000)
    const outcome = await test.call('huge', 'huge', { bytes: 300_000 })
    expect(outcome).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown' } })
    expect(messageOf(outcome)).toBe('server huge wrote a line of more than 100000 bytes during tools/call huge')
    await waitFor('the restart', () => test.statuses.filter((status) => status.status === 'ready').length === 2)
    expect(resultOf(await test.call('huge', 'ok')).content[0]?.text).toBe('ok')
  })

  it('that dies in mid-call ends its calls as unknown at once, and starts again', async () => {
    const test = await start([stdioServer('failing')])
    await test.ready('failing')
    const silent = test.call('failing', 'silent')
    const outcome = await test.call('failing', 'die')
    expect(outcome).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown', retry: 'outcome-unknown' } })
    expect(messageOf(outcome)).toBe('server failing exited with code 7 during tools/call die')
    expect((await silent).kind).toBe('unknown')
    expect(test.statuses.at(-1)).toMatchObject({ status: 'failed', offer: { tools: expect.any(String) as string } })
    await waitFor('the restart', () => test.statuses.filter((status) => status.status === 'ready').length === 2)
    expect(resultOf(await test.call('failing', 'ok')).content[0]?.text).toBe('ok')
  })

  it('that answers with neither result nor error ends the call as unknown', async () => {
    const test = await start([stdioServer('failing')])
    await test.ready('failing')
    expect(await test.call('failing', 'bad')).toMatchObject({ kind: 'unknown' })
    expect((await test.call('failing', 'ok')).kind).toBe('result')
  })

  it('that can not start is given up after the limit of restarts, with its reason', async () => {
    const starts = path.join(folder, 'starts')
    const test = await start([stdioServer('failing', { FAIL_AT_START: '1', FAIL_STARTS: starts })], { restartsMax: 3 })
    const failed = await failure(test, 'given up')
    expect(failed.reason).toBe('server failing exited with code 3; given up after 3 restarts within 10 minutes')
    expect(readFileSync(starts, 'utf8').trim().split('\n')).toHaveLength(4)
    const outcome = await test.call('failing', 'ok')
    expect(outcome).toMatchObject({ kind: 'not-sent', error: { code: 'server-unavailable', retry: 'elsewhere' } })
    expect(messageOf(outcome)).toContain('exited with code 3')
  })

  it('that was healthy for long enough counts its restarts from zero again', async () => {
    const test = await start([stdioServer('failing')], { restartsMax: 1, healthyAfterMs: 0 })
    for (let death = 1; death <= 4; death += 1) {
      await waitFor('ready', () => test.statuses.filter((status) => status.status === 'ready').length === death)
      await test.call('failing', 'die')
    }
    await waitFor('ready again', () => test.statuses.filter((status) => status.status === 'ready').length === 5)
    expect(test.statuses.filter((status) => status.reason.includes('given up'))).toEqual([])
  })

  it('whose command does not exist, or speaks another protocol version, fails and disturbs no neighbour', async () => {
    const missing = stdioServer('missing')
    const test = await start([
      { ...missing, link: { kind: 'stdio', command: '/no/such/command', args: [], env: {}, cwd: null } },
      {
        ...missing,
        name: 'nul' as typeof missing.name,
        link: { kind: 'stdio', command: 'node', args: ['a\0b'], env: {}, cwd: null },
      },
      stdioServer('odd', { FAIL_VERSION: '1999-01-01' }, 'failing'),
      stdioServer('echo'),
    ])
    await test.ready('echo')
    expect((await failure(test, 'ENOENT')).reason).toBe('server missing can not be started (ENOENT)')
    expect((await failure(test, 'ERR_')).reason).toBe('server nul can not be started (ERR_INVALID_ARG_VALUE)')
    expect((await failure(test, 'MCP')).reason).toBe('server odd speaks MCP 1999-01-01, which is not known here')
  })

  it('that offers too much fails with its reason', async () => {
    const test = await start([stdioServer('huge', { HUGE_TOOLS: '20', HUGE_TOOL_BYTES: '60000' })])
    expect((await failure(test, 'offers')).reason).toBe('server huge offers more than 1048576 bytes')
  })

  it('that closes its stdin is ended and started again', async () => {
    const test = await start([stdioServer('failing')], { drainMs: 50 })
    await test.ready('failing')
    const deaf = test.call('failing', 'deaf')
    // The pipe breaks with the first message that meets it closed.
    await waitFor('the pipe to break', async () => {
      await Promise.race([test.call('failing', 'silent', {}, { timeoutMs: 50 }), deaf])
      return test.statuses.some((status) => status.reason === 'server failing closed its stdin')
    })
    expect((await deaf).kind).toBe('unknown')
    await waitFor('the restart', () => test.statuses.filter((status) => status.status === 'ready').length === 2)
  })

  it('that does not read gets a bounded queue; what waits was never sent, what is beyond is refused', async () => {
    const test = await start([stdioServer('failing')], { stdinQueueBytesMax: 1_000_000 })
    await test.ready('failing')
    const stalled = test.call('failing', 'stall')
    const big = { text: 'x'.repeat(400_000) }
    const calls = Array.from({ length: 8 }, () => test.call('failing', 'ok', big, { timeoutMs: 500 }))
    const kinds = (await Promise.all(calls)).map((outcome) => outcome.kind)
    expect(kinds.filter((kind) => kind === 'rejected').length).toBeGreaterThan(0)
    expect(kinds.filter((kind) => kind === 'not-sent').length).toBe(2)
    const waiting = test.call('failing', 'ok', big)
    await test.upstreams.stop()
    expect((await stalled).kind).toBe('unknown')
    expect((await waiting).kind).toBe('not-sent')
  })

  it('that does not read the answers to what it asks is ended, and starts again', async () => {
    const test = await start([stdioServer('failing')], { stdinQueueBytesMax: 50_000, answersWaitingBytesMax: 50_000 })
    await test.ready('failing')
    const outcome = await test.call('failing', 'nag')
    expect(outcome.kind).toBe('unknown')
    expect(messageOf(outcome)).toContain('server failing does not read the answers to what it asks')
    await waitFor('the next process', async () => (await test.call('failing', 'ok')).kind === 'result')
  })

  it('takes a limited number of calls at once', async () => {
    const test = await start([stdioServer('failing')], { callsInFlightMax: 2 })
    await test.ready('failing')
    const controller = new AbortController()
    const calls = [1, 2].map(() => test.call('failing', 'silent', {}, { signal: controller.signal }))
    expect(await test.call('failing', 'ok')).toMatchObject({ kind: 'rejected', error: { code: 'overloaded' } })
    controller.abort()
    await Promise.all(calls)
    expect((await test.call('failing', 'ok')).kind).toBe('result')
  })

  it('that is not there is said to be not here', async () => {
    const test = await start([])
    expect(await test.call('nobody', 'x')).toMatchObject({ kind: 'not-sent', error: { code: 'not-here' } })
  })
})
