import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { asJsonText } from '../../src/std/json-text.ts'
import type { UpstreamLimits } from '../../src/upstream/limits.ts'
import type { ConfiguredServer } from '../../src/vocabulary/configured-server.ts'
import type { ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { waitFor } from '../wait.ts'
import {
  addSession,
  heardOf,
  isAlive,
  messageOf,
  resultOf,
  startUpstreams,
  stdioServer,
  testNode,
  type Heard,
  type UnderTest,
} from './upstreams-under-test.ts'

let running: UnderTest[] = []
let folder: string
let record: string

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'quorate-sessions-'))
  record = path.join(folder, 'record')
})

afterEach(async () => {
  await Promise.all(running.map((one) => one.stop()))
  running = []
  rmSync(folder, { recursive: true, force: true })
})

const askable = { capabilities: { elicitation: {}, roots: { listChanged: true } } }
const name = 'sessions' as ServerName

async function start(
  server: Partial<ConfiguredServer> = {},
  { env = {}, limits = {} }: { env?: Record<string, string>; limits?: Partial<UpstreamLimits> } = {},
): Promise<UnderTest> {
  const test = await startUpstreams([{ ...stdioServer(name, { SESSIONS_RECORD: record, ...env }), ...server }], {
    exitGraceMs: 200,
    ...limits,
  })
  running.push(test)
  await test.ready(name)
  return test
}

type Who = { pid: number; client: Record<string, unknown>; said: string[] }

async function who(test: UnderTest, session?: SessionId): Promise<Who> {
  const outcome = await test.call(name, 'who', {}, session === undefined ? {} : { session })
  return resultOf(outcome).structuredContent as unknown as Who
}

const pids = (): number[] => (existsSync(record) ? readFileSync(record, 'utf8').trim().split('\n').map(Number) : [])
const mailsTo = (test: UnderTest, session: SessionId): Heard[] =>
  test.mails.filter((mail) => mail.session === session).map(({ message }) => heardOf(message))
const subscriptionsTo = (...uris: string[]) => uris.map((uri) => ({ server: name, uri }))
const pinned = { pins: new Map([[name, testNode]]) }

describe('a stdio server whose isolation is auto', () => {
  it('gives each session that can be asked a process of its own, with the client in its handshake, and one to all others', async () => {
    const test = await start()
    expect(test.upstreams.statuses().get(name)?.isolation).toBe('asking')
    const [a, b] = [addSession(test, 'a', askable), addSession(test, 'b', askable)]
    const [c, d] = [addSession(test, 'c'), addSession(test, 'd')]
    const [first, again, other, plain, plainToo] = [
      await who(test, a),
      await who(test, a),
      await who(test, b),
      await who(test, c),
      await who(test, d),
    ]
    expect(again.pid).toBe(first.pid)
    expect(new Set([first.pid, other.pid, plain.pid]).size).toBe(3)
    expect(plainToo.pid).toBe(plain.pid)
    expect(first.client).toEqual({
      protocolVersion: '2025-06-18',
      ...askable,
      clientInfo: { name: 'client a', version: '1.0' },
    })
    expect(plain.client).toMatchObject({ capabilities: {}, clientInfo: { name: 'quorate' } })
    expect(first.said).toEqual(['notifications/initialized'])
    expect([...test.upstreams.figures().own]).toEqual([[name, 2]])
  })

  it('that keeps tasks gives every session one of its own', async () => {
    const test = await start({}, { env: { SESSIONS_CAPABILITIES: '{"tasks":{}}' } })
    expect(test.statuses.map(({ isolation }) => isolation)).toEqual(['asking', 'session'])
    const [c, d] = [addSession(test, 'c'), addSession(test, 'd')]
    expect((await who(test, c)).pid).not.toBe((await who(test, d)).pid)
    // An operator's call is nobody's.
    expect((await who(test)).client).toMatchObject({ clientInfo: { name: 'quorate' } })
  })

  it('gives nobody one of its own when it is configured as shared', async () => {
    const test = await start({ isolation: 'shared' })
    const [a, b] = [addSession(test, 'a', askable), addSession(test, 'b', askable)]
    expect((await who(test, a)).pid).toBe((await who(test, b)).pid)
  })
})

describe("a session's own process", () => {
  it('ends with the session, and calls that it had are unknown', async () => {
    const test = await start({ isolation: 'session' })
    const a = addSession(test, 'a')
    const { pid } = await who(test, a)
    const heard: Heard[] = []
    const call = test.call(name, 'pause', { ms: 20, beats: 10_000 }, { session: a, heard, meta: { progressToken: 1 } })
    await waitFor('the call to be under way', () => heard.length > 0)
    test.sessions.delete(a)
    test.upstreams.sessionsEnded([a])
    expect((await call).kind).toBe('unknown')
    await waitFor('the process to end', () => !isAlive(pid))
    const outcome = await test.call(name, 'who', {}, { session: a })
    expect(outcome).toMatchObject({ kind: 'rejected', error: { code: 'not-found' } })
  })

  it('ends when the session has not used it for as long as it may be idle, and not while a call is under way', async () => {
    const test = await start({ isolation: 'session' })
    const [a, b] = [addSession(test, 'a', { idleMs: 150 }), addSession(test, 'b', { idleMs: 150 })]
    const long = test.call(name, 'pause', { ms: 600, beats: 0 }, { session: b })
    const { pid } = await who(test, a)
    await waitFor('the process to end', () => !isAlive(pid))
    expect((await long).kind).toBe('result')
    expect((await who(test, a)).pid).not.toBe(pid)
  })

  it('makes room for another when there are as many as may be; where all are in use a call is refused', async () => {
    const test = await start({ isolation: 'session', isolatedMax: 2 })
    const [a, b, c] = [addSession(test, 'a'), addSession(test, 'b'), addSession(test, 'c')]
    const [first, second] = [await who(test, a), await who(test, b)]
    await who(test, a)
    const third = await who(test, c)
    await waitFor('the one longest unused to end', () => !isAlive(second.pid))
    expect([isAlive(first.pid), isAlive(third.pid)]).toEqual([true, true])
    const calls = [a, c].map((session) => test.call(name, 'pause', { ms: 300, beats: 0 }, { session }))
    const refused = await test.call(name, 'who', {}, { session: b })
    expect(refused).toMatchObject({
      kind: 'rejected',
      error: { code: 'overloaded', retry: 'after', retryAfterMs: 5000 },
    })
    expect((await Promise.all(calls)).map(({ kind }) => kind)).toEqual(['result', 'result'])
  })

  it('that can not be opened leaves the call unsent, with the reason', async () => {
    const test = await start({ isolation: 'session' })
    const a = addSession(test, 'a', { protocolVersion: '1999-01-01' })
    const outcome = await test.call(name, 'who', {}, { session: a })
    expect(outcome.kind).toBe('not-sent')
    expect(messageOf(outcome)).toBe(
      'server sessions can not be opened for the session (server sessions speaks MCP 1999-01-01, which is not known here)',
    )
    expect([...test.upstreams.figures().own]).toEqual([[name, 0]])
  })

  it('that fails at its start is not started by every call', async () => {
    const test = await start({ isolation: 'session' }, { limits: { restartDelayMinMs: 300, restartDelayMaxMs: 300 } })
    const [a, b] = [addSession(test, 'a', { protocolVersion: '1999-01-01' }), addSession(test, 'b')]
    const messages: string[] = []
    for (let call = 1; call <= 5; call += 1) {
      const outcome = await test.call(name, 'who', {}, { session: a })
      expect(outcome).toMatchObject({ kind: 'not-sent', error: { code: 'server-unavailable' } })
      messages.push(messageOf(outcome))
    }
    expect(messages[4]).toMatch(/^server sessions was lost by the session, and is opened again in \d+ ms$/)
    expect(pids()).toHaveLength(2)
    await who(test, b)
    addSession(test, 'a')
    await waitFor('its time', async () => (await test.call(name, 'who', {}, { session: a })).kind === 'result')
    expect(pids()).toHaveLength(4)
  })

  it('is not opened while as many as may be are still being closed', async () => {
    const test = await start(
      { isolation: 'session', isolatedMax: 1 },
      { env: { SESSIONS_STAYS: '1' }, limits: { exitGraceMs: 1500 } },
    )
    const [a, b, c] = [addSession(test, 'a'), addSession(test, 'b'), addSession(test, 'c')]
    await who(test, a)
    await who(test, b)
    expect(await test.call(name, 'who', {}, { session: c })).toMatchObject({
      kind: 'rejected',
      error: { code: 'overloaded' },
    })
    await waitFor(
      'the first to be gone',
      async () => (await test.call(name, 'who', {}, { session: c })).kind === 'result',
    )
  })

  it('makes room where it is not subscribed to anything, if one can', async () => {
    const test = await start({ isolation: 'session', isolatedMax: 2 })
    const a = addSession(test, 'a', { subscriptions: subscriptionsTo('a://1'), ...pinned })
    const [b, c] = [addSession(test, 'b'), addSession(test, 'c')]
    const [first, second] = [await who(test, a), await who(test, b)]
    await who(test, c)
    await waitFor('the other to end', () => !isAlive(second.pid))
    expect(isAlive(first.pid)).toBe(true)
  })

  it('does not outlive a cancel of the call that opens it, nor delay it', async () => {
    const test = await start({ isolation: 'session' })
    const a = addSession(test, 'a')
    const controller = new AbortController()
    const call = test.call(name, 'who', {}, { session: a, signal: controller.signal })
    controller.abort()
    expect(await call).toEqual({ kind: 'cancelled' })
    expect((await who(test, a)).said).toEqual(['notifications/initialized'])
  })

  it('that died is made anew by the next call, with the level and the subscriptions of the record', async () => {
    const test = await start({ isolation: 'session' })
    const subscribed = {
      level: 'warning',
      subscriptions: [...subscriptionsTo('a://1', 'a://2'), { server: 'other' as ServerName, uri: 'b://' }],
    } as const
    const a = addSession(test, 'a', subscribed)
    const before = await who(test, a)
    expect((await test.call(name, 'die', {}, { session: a })).kind).toBe('unknown')
    const after = await who(test, a)
    expect(after.pid).not.toBe(before.pid)
    expect(after.said).toEqual(['notifications/initialized', 'level warning', 'subscribe a://1', 'subscribe a://2'])
  })

  it('that died is made anew without a call when this node keeps subscriptions of the session there', async () => {
    const test = await start({ isolation: 'session' })
    const a = addSession(test, 'a', { subscriptions: subscriptionsTo('a://1'), ...pinned })
    const b = addSession(test, 'b', { subscriptions: subscriptionsTo('a://1') })
    for (const session of [a, b]) await test.call(name, 'die', {}, { session })
    await waitFor('the process of a', () => pids().length === 4)
    expect([...test.upstreams.figures().own]).toEqual([[name, 1]])
    expect((await who(test, a)).said).toContain('subscribe a://1')
    expect(pids()).toHaveLength(4)
  })

  it('is opened for what its session is subscribed to as soon as there is room', async () => {
    const test = await start({ isolation: 'session', isolatedMax: 1 }, { limits: { isolatedRetryAfterMs: 20 } })
    const a = addSession(test, 'a', { subscriptions: subscriptionsTo('a://1'), ...pinned })
    const b = addSession(test, 'b')
    const call = test.call(name, 'pause', { ms: 200, beats: 0 }, { session: b })
    test.upstreams.pinned({ session: a, server: name, node: testNode })
    await waitFor('the process of a', () => pids().length === 3)
    expect((await call).kind).toBe('result')
    expect((await who(test, a)).said).toContain('subscribe a://1')
    expect(pids()).toHaveLength(3)
  })

  it('goes, as soon as no call uses it, when another node keeps what the session has there', async () => {
    const test = await start({ isolation: 'session' })
    const [a, b] = [addSession(test, 'a'), addSession(test, 'b')]
    const heard: Heard[] = []
    const [idle, busy] = [await who(test, a), await who(test, b)]
    const call = test.call(name, 'pause', { ms: 50, beats: 4 }, { session: b, heard, meta: { progressToken: 1 } })
    await waitFor('the call to be under way', () => heard.length > 0)
    for (const session of [a, b]) test.upstreams.pinned({ session, server: name, node: 'elsewhere' as typeof testNode })
    await waitFor('the idle one to end', () => !isAlive(idle.pid))
    expect(await call).toMatchObject({ kind: 'result' })
    await waitFor('the other to end', () => !isAlive(busy.pid))
  })

  it('is there again when this node has started again, where the session is subscribed to something', async () => {
    const subscribed = { subscriptions: subscriptionsTo('a://1') }
    const servers = [{ ...stdioServer(name, { SESSIONS_RECORD: record }), isolation: 'session' as const }]
    const test = await startUpstreams(servers)
    running.push(test)
    const [a] = [addSession(test, 'a', { ...subscribed, ...pinned }), addSession(test, 'b', subscribed)]
    await waitFor('the upstream of a', () => test.upstreams.figures().own.get(name) === 1)
    expect((await who(test, a)).said).toContain('subscribe a://1')
    expect(pids()).toHaveLength(2)
  })

  it('stays, also without calls, as long as its session is known to be used, as by an open stream', async () => {
    const test = await start({ isolation: 'session' })
    const [a, b] = [addSession(test, 'a', { idleMs: 150 }), addSession(test, 'b', { idleMs: 150 })]
    const [used, unused] = [await who(test, a), await who(test, b)]
    // As of half a second from now.
    addSession(test, 'a', { idleMs: 150, usedAt: Date.now() + 500 })
    await waitFor('the unused one to end', () => !isAlive(unused.pid))
    expect(isAlive(used.pid)).toBe(true)
    await waitFor('the other to end', () => !isAlive(used.pid))
  })

  it('is not opened for what the client says before its first call, and not told of it', async () => {
    const test = await start({ isolation: 'session' })
    const a = addSession(test, 'a')
    const word = { kind: 'notification', method: 'notifications/roots/list_changed', params: null } as const
    test.upstreams.say(a, { ...word, server: name })
    // It has no older answer about roots: it asks for them when it wants to know them.
    expect((await who(test, a)).said).toEqual(['notifications/initialized'])
    expect(pids()).toHaveLength(2)
  })

  it('is told what the client says that is no request, and no other session hears of it', async () => {
    const test = await start({ isolation: 'session' })
    const [a, b] = [addSession(test, 'a'), addSession(test, 'b')]
    await Promise.all([who(test, a), who(test, b)])
    const word = { kind: 'notification', method: 'notifications/roots/list_changed', params: asJsonText('{}') } as const
    test.upstreams.say(a, { ...word, server: null })
    test.upstreams.say(a, { ...word, server: 'other' as ServerName })
    expect((await who(test, a)).said).toEqual(['notifications/initialized', 'notifications/roots/list_changed'])
    expect((await who(test, b)).said).toEqual(['notifications/initialized'])
  })

  it('has what it says outside of a call put into the mail, whole, and what it says in one told to the call', async () => {
    const test = await start({ isolation: 'session' })
    const a = addSession(test, 'a')
    const heard: Heard[] = []
    const odd = { method: 'notifications/odd', params: { b: 1, a: [1] }, delayMs: 20 }
    await test.call(name, 'say', odd, { session: a, heard })
    expect(heard.map(({ text }) => text)).toEqual([
      '{"jsonrpc":"2.0","method":"notifications/odd","params":{"b":1,"a":[1]}}',
    ])
    const updated = { method: 'notifications/resources/updated', params: { uri: 'a://1' }, delayMs: 20 }
    await test.call(name, 'say', updated, { session: a, heard })
    expect(heard).toHaveLength(1)
    await test.call(name, 'later', { delayMs: 10 }, { session: a, heard })
    await waitFor('the mail', () => mailsTo(test, a).length === 4)
    expect(mailsTo(test, a).map(({ method }) => method)).toEqual([
      'notifications/resources/updated',
      'notifications/message',
      'notifications/odd',
      'roots/list',
    ])
  })
})
