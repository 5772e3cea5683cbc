import { afterEach, describe, expect, it } from 'vitest'
import { nodeOfQuestion } from '../../src/calls/question-ids.ts'
import { asJsonText, toJsonText } from '../../src/std/json-text.ts'
import type { UpstreamLimits } from '../../src/upstream/limits.ts'
import type { ConfiguredServer } from '../../src/vocabulary/configured-server.ts'
import type { QuestionId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { waitFor } from '../wait.ts'
import {
  addSession,
  heardOf,
  messageOf,
  resultOf,
  startUpstreams,
  stdioServer,
  testNode,
  type Heard,
  type UnderTest,
} from './upstreams-under-test.ts'

let running: UnderTest[] = []

afterEach(async () => {
  await Promise.all(running.map((one) => one.stop()))
  running = []
})

const name = 'sessions' as ServerName
const askable = { capabilities: { elicitation: {} } }
const question = { method: 'elicitation/create', params: { message: 'Who?', _meta: { progressToken: 7, x: 1 } } }

async function start(
  server: Partial<ConfiguredServer> = {},
  limits: Partial<UpstreamLimits> = {},
): Promise<{ test: UnderTest; a: SessionId; b: SessionId }> {
  const test = await startUpstreams([{ ...stdioServer(name), ...server }], { exitGraceMs: 200, ...limits })
  running.push(test)
  await test.ready(name)
  return { test, a: addSession(test, 'a', askable), b: addSession(test, 'b', askable) }
}

/** What a client is asked in a call, and the call. */
async function asked(test: UnderTest, session: SessionId, input: object = question) {
  const heard: Heard[] = []
  const call = test.call(name, 'ask', input, { session, heard })
  const first = await waitFor('the question', () => heard[0])
  return { call, heard, first, id: first.id as QuestionId }
}

const answered = async (call: ReturnType<UnderTest['call']>) => resultOf(await call).structuredContent
const mailsTo = (test: UnderTest, session: SessionId): Heard[] =>
  test.mails.filter((mail) => mail.session === session).map(({ message }) => heardOf(message))

describe('a question of a server to a client', () => {
  it('comes in the call, with an id of ours that names this node, and otherwise as the server wrote it', async () => {
    const { test, a } = await start()
    const { call, first, id } = await asked(test, a)
    expect(nodeOfQuestion(id)).toBe(testNode)
    expect(first.text).toBe(
      `{"jsonrpc":"2.0","id":"${id}","method":"elicitation/create","params":{"message":"Who?","_meta":{"progressToken":"${id}","x":1}}}`,
    )
    expect(test.upstreams.figures().questions).toBe(1)
    test.upstreams.say(a, {
      kind: 'answer',
      question: id,
      result: asJsonText('{"action":"accept","content":{"n":12345678901234567890}}'),
    })
    expect(await answered(call)).toMatchObject({ answer: { id: 'ask-1', result: { action: 'accept' } } })
    expect(test.upstreams.figures().questions).toBe(0)
  })

  it('gets the error of the client as it is', async () => {
    const { test, a } = await start()
    const { call, id } = await asked(test, a)
    const error = { code: -1, message: 'User rejected', data: { x: [1] } }
    test.upstreams.say(a, { kind: 'refusal', question: id, error: toJsonText(error) })
    expect(await answered(call)).toMatchObject({ answer: { id: 'ask-1', error } })
  })

  it('is answered by nobody but the session that was asked, and once', async () => {
    const { test, a, b } = await start()
    const { call, id } = await asked(test, a)
    test.upstreams.say(b, { kind: 'answer', question: id, result: asJsonText('{"from":"b"}') })
    test.upstreams.say(a, { kind: 'answer', question: `${id}x` as QuestionId, result: asJsonText('{"from":"guess"}') })
    test.upstreams.say(a, { kind: 'answer', question: id, result: asJsonText('{"from":"a"}') })
    test.upstreams.say(a, { kind: 'answer', question: id, result: asJsonText('{"from":"a again"}') })
    expect(await answered(call)).toMatchObject({ answer: { result: { from: 'a' } } })
  })

  it('that equals another of another session gets the answer of its own client', async () => {
    const { test, a, b } = await start()
    const [one, two] = [await asked(test, a), await asked(test, b)]
    expect(one.id).not.toBe(two.id)
    test.upstreams.say(b, { kind: 'answer', question: two.id, result: asJsonText('{"from":"b"}') })
    test.upstreams.say(a, { kind: 'answer', question: one.id, result: asJsonText('{"from":"a"}') })
    expect(await answered(one.call)).toMatchObject({ answer: { id: 'ask-1', result: { from: 'a' } } })
    expect(await answered(two.call)).toMatchObject({ answer: { id: 'ask-1', result: { from: 'b' } } })
  })

  it("gets progress of the client's answer under its own token", async () => {
    const { test, a } = await start()
    const { call, id } = await asked(test, a)
    const params = toJsonText({ progressToken: id, progress: 1, message: 'typing' })
    test.upstreams.say(a, { kind: 'progress', question: id, params })
    test.upstreams.say(a, { kind: 'answer', question: id, result: asJsonText('{}') })
    expect(await answered(call)).toMatchObject({ progress: [{ progressToken: 7, progress: 1, message: 'typing' }] })
  })

  it('that the server cancels is cancelled at the client, and an answer to it goes nowhere', async () => {
    const { test, a } = await start()
    const heard: Heard[] = []
    const call = test.call(name, 'withdraw', {}, { session: a, heard })
    await waitFor('the cancel', () => heard.length === 2)
    const [first, second] = heard
    expect(second).toMatchObject({
      method: 'notifications/cancelled',
      params: { requestId: first?.id, reason: 'changed my mind' },
    })
    test.upstreams.say(a, { kind: 'answer', question: first?.id as QuestionId, result: asJsonText('{}') })
    expect(await answered(call)).toEqual({ answer: 'none' })
  })

  it('that comes after its call is mail, and is answered all the same', async () => {
    const { test, a } = await start()
    await test.call(name, 'later', { delayMs: 20 }, { session: a })
    const mail = await waitFor('the mail', () => mailsTo(test, a).find(({ method }) => method === 'roots/list'))
    test.upstreams.say(a, { kind: 'answer', question: mail.id as QuestionId, result: asJsonText('{"roots":[]}') })
    await waitFor('the answer', async () => {
      const { said } = resultOf(await test.call(name, 'who', {}, { session: a })).structuredContent as {
        said: string[]
      }
      return said.includes('answered {"roots":[]}')
    })
  })

  it('gives its call the longest time that it may have, and then its own time again', async () => {
    const { test, a } = await start({ timeoutMs: 150, timeoutMaxMs: 60_000 })
    // The first call opens the upstream.
    await test.call(name, 'who', {}, { session: a, timeoutMs: 10_000 })
    const askedAt = performance.now()
    const { call, id } = await asked(test, a)
    await waitFor('more than the time', () => performance.now() > askedAt + 600)
    test.upstreams.say(a, { kind: 'answer', question: id, result: asJsonText('{"late":1}') })
    expect(await answered(call)).toMatchObject({ answer: { result: { late: 1 } } })
  })

  it('that was answered leaves its call its own time and no more', async () => {
    const { test, a } = await start({ timeoutMs: 150, timeoutMaxMs: 60_000 })
    await test.call(name, 'who', {}, { session: a, timeoutMs: 10_000 })
    const { call, id } = await asked(test, a, { ...question, hangs: true })
    test.upstreams.say(a, { kind: 'answer', question: id, result: asJsonText('{}') })
    expect(messageOf(await call)).toMatch(/^server sessions did not answer tools\/call ask within \d+ ms$/)
  })

  it('that the server cancels after its call has been answered is cancelled by mail', async () => {
    const { test, a } = await start()
    const heard: Heard[] = []
    expect((await test.call(name, 'leave', { delayMs: 50 }, { session: a, heard })).kind).toBe('result')
    await waitFor('the cancel', () => mailsTo(test, a).length === 1)
    expect(mailsTo(test, a)[0]).toMatchObject({
      method: 'notifications/cancelled',
      params: { requestId: heard[0]?.id },
    })
    expect(heard).toHaveLength(1)
  })

  it('is cancelled at the client when its server dies', async () => {
    const { test, a } = await start()
    const { call, heard, id } = await asked(test, a)
    await test.call(name, 'die', {}, { session: a })
    expect((await call).kind).toBe('unknown')
    expect(heard[1]).toMatchObject({ method: 'notifications/cancelled', params: { requestId: id } })
    expect(test.upstreams.figures().questions).toBe(0)
  })

  it('is taken back when too many are open', async () => {
    const { test, a } = await start({}, { questionsOpenMax: 2 })
    const calls = [await asked(test, a), await asked(test, a), await asked(test, a)]
    const [first] = calls
    expect(await answered(first?.call ?? Promise.reject(new Error('no call')))).toMatchObject({
      answer: { error: { code: -32_603, message: '2 later questions are open' } },
    })
    expect(test.upstreams.figures().questions).toBe(2)
  })

  it('on a process that sessions share is refused, since nothing says whose it is', async () => {
    const { test, a } = await start({ isolation: 'shared' })
    const heard: Heard[] = []
    const outcome = await test.call(name, 'ask', question, { session: a, heard })
    expect(resultOf(outcome).structuredContent).toMatchObject({ answer: { error: { code: -32_601 } } })
    expect([heard, test.mails]).toEqual([[], []])
  })
})

describe('the time of a call', () => {
  it('is extended by progress', async () => {
    const { test, a } = await start({ timeoutMs: 200 })
    await test.call(name, 'who', {}, { session: a, timeoutMs: 10_000 })
    const meta = { progressToken: 't' }
    const outcome = await test.call(name, 'pause', { ms: 60, beats: 8 }, { session: a, meta })
    expect(outcome.kind).toBe('result')
  })

  it('is not extended past its longest', async () => {
    const { test, a } = await start({ timeoutMs: 200, timeoutMaxMs: 400 })
    await test.call(name, 'who', {}, { session: a, timeoutMs: 10_000 })
    const before = performance.now()
    const meta = { progressToken: 't' }
    const outcome = await test.call(name, 'pause', { ms: 50, beats: 100 }, { session: a, meta })
    expect(outcome.kind).toBe('unknown')
    expect(messageOf(outcome)).toMatch(/^server sessions did not answer tools\/call pause within 4\d\d ms$/)
    expect(performance.now() - before).toBeLessThan(2000)
  })

  it('is not extended by progress when the caller has set it', async () => {
    const { test, a } = await start()
    const meta = { progressToken: 't' }
    const outcome = await test.call(name, 'pause', { ms: 50, beats: 100 }, { session: a, meta, timeoutMs: 250 })
    expect(messageOf(outcome)).toBe('server sessions did not answer tools/call pause within 250 ms')
  })
})

describe('a task', () => {
  it.each(['session', 'shared'] as const)(
    'tells of itself after its call by mail, under the token of the call (%s)',
    async (isolation) => {
      const { test, a, b } = await start({ isolation })
      const heard: Heard[] = []
      const params = '{"name":"task","task":{"ttl":1000},"_meta":{"progressToken":"mine"}}'
      const outcome = await test.call(name, '', {}, { session: a, heard, params })
      expect(outcome).toEqual({ kind: 'result', result: '{"task":{"taskId":"task-1","status":"working","ttl":null}}' })
      await waitFor('the mail', () => mailsTo(test, a).length === 2)
      expect(mailsTo(test, a).map(({ text }) => text)).toEqual([
        '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mine","progress":7}}',
        '{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"task-1","status":"completed","ttl":null}}',
      ])
      expect([heard, mailsTo(test, b)]).toEqual([[], []])
    },
  )

  it('on a process that sessions share is nothing to a session that did not begin it', async () => {
    const { test, a, b } = await start({ isolation: 'shared' })
    await test.call(name, '', {}, { session: a, params: '{"name":"task","task":{},"_meta":{"progressToken":1}}' })
    const asked = (method: string, session: SessionId) =>
      test.call(name, '', {}, { session, method, params: '{"taskId":"task-1"}' })
    for (const method of ['tasks/get', 'tasks/result', 'tasks/cancel'])
      expect(await asked(method, b)).toEqual({ kind: 'error', error: '{"code":-32602,"message":"Task not found"}' })
    expect(await asked('tasks/get', a)).toMatchObject({ kind: 'result' })
    const [own, other] = ['{"taskId":"task-1","ttl":null}', '{"taskId":"task-0","ttl":null}']
    expect(await asked('tasks/list', a)).toEqual({ kind: 'result', result: `{"unusual":1,"tasks":[${other},${own}]}` })
    expect(await asked('tasks/list', b)).toEqual({ kind: 'result', result: `{"unusual":1,"tasks":[${other}]}` })
  })
})
