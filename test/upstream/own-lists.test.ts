import { afterEach, describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log/log.ts'
import { deferred } from '../../src/std/deferred.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { defaultLimits } from '../../src/upstream/limits.ts'
import type { McpConnection } from '../../src/upstream/mcp-connection.ts'
import type { ListReply } from '../../src/upstream/offer-lists.ts'
import { OwnLists, type Listed } from '../../src/upstream/own-lists.ts'
import type { ConfiguredServer } from '../../src/vocabulary/configured-server.ts'
import type { ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { countingClock } from '../counting-clock.ts'
import { startFixture, type FixtureProcess } from '../fixtures/fixture-process.ts'
import { waitFor } from '../wait.ts'
import { addSession, httpServer, resultOf, startUpstreams, type UnderTest } from './upstreams-under-test.ts'

const name = 'scripted' as ServerName
let running: { readonly test: UnderTest; readonly fixture: FixtureProcess }[] = []

afterEach(async () => {
  for (const { test, fixture } of running) {
    await test.stop()
    await fixture.stop()
  }
  running = []
})

async function start(server: Partial<ConfiguredServer> = {}): Promise<UnderTest> {
  const fixture = await startFixture('scripted', 'http')
  const test = await startUpstreams([{ ...httpServer(name, `http://127.0.0.1:${fixture.port}/mcp`), ...server }])
  running.push({ test, fixture })
  await test.ready(name)
  return test
}

const whole = { conditional: true, pageSize: 100 }

/** At the server's own address. */
function open(test: UnderTest, roots: object = whole, path = `/mcp/${name}`): SessionId {
  return addSession(test, 'a', { path, capabilities: { roots } })
}

async function list(test: UnderTest, session: SessionId, timeoutMs?: number): Promise<string[]> {
  const outcome = await test.call(
    name,
    '',
    {},
    { method: 'tools/list', params: '{}', session, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
  )
  if (outcome.kind !== 'result') return [outcome.kind]
  return (JSON.parse(outcome.result) as { tools: { name: string }[] }).tools.map((tool) => tool.name)
}

async function play(test: UnderTest, session: SessionId, ...steps: object[]): Promise<void> {
  resultOf(await test.call(name, 'script', { steps: [...steps, { answer: '{"content":[]}' }] }, { session }))
}

const changesTold = (test: UnderTest): string[] =>
  test.mails.map(({ message }) => message).filter((message) => message.includes('list_changed'))
const told = (test: UnderTest, count: number): Promise<true> =>
  waitFor(`${count} changes`, () => changesTold(test).length >= count)
const shownToAll = (test: UnderTest, tool: string): Promise<true> =>
  waitFor(
    `${tool} to be offered to all`,
    () => test.upstreams.statuses().get(name)?.offer?.tools.includes(tool) === true,
  )
/** Whatever was told before has come by then: another change, that is told. */
async function changesUntilAnother(test: UnderTest, session: SessionId): Promise<number> {
  const before = changesTold(test).length
  await play(test, session, { growOwn: true })
  await waitFor('another change', () => changesTold(test).length > before)
  return changesTold(test).length - 1
}

describe("a session's own lists", () => {
  it('are those of its own upstream, of which clients see what they may', async () => {
    const test = await start({ deny: { tools: ['bare', 'own *'], resources: [], prompts: [] } })
    const session = open(test)
    expect(await list(test, session)).toEqual(['conditional', 'script', 'dotted.name-1_x/y', 'spaced', 'last'])
    expect(test.upstreams.statuses().get(name)?.offer?.tools).not.toContain('conditional')
    // What it may not see has changed.
    await play(test, session, { growOwn: true })
    expect(await list(test, session)).toHaveLength(5)
    expect(changesTold(test)).toEqual([])
  })

  it.each([
    ['whole', whole, 1],
    // Who was given a page is taken to ask for the rest, which is asked for here too: three pages more.
    ['page by page', { conditional: true }, 4],
  ])('change by themselves, and it is told once each, when they were answered %s', async (_how, roots, listed) => {
    const test = await start()
    const session = open(test, roots)
    await list(test, session)
    await play(test, session, { listed })
    expect(changesTold(test)).toEqual([])
    for (const count of [1, 2]) {
      await play(test, session, { growOwn: true })
      await told(test, count)
    }
    await list(test, session)
    expect(await changesUntilAnother(test, session)).toBe(2)
    expect(new Set(changesTold(test))).toEqual(
      new Set(['{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}']),
    )
  })

  it('are told of a change of what all are offered by the catalog alone', async () => {
    const test = await start()
    const session = open(test)
    await list(test, session)
    await play(test, session, { grow: 'tools' })
    await shownToAll(test, 'grown 5')
    expect(await changesUntilAnother(test, session)).toBe(0)
  })

  it('that were asked for in vain are told of when they turn out to be others than the catalog has', async () => {
    const test = await start()
    const session = open(test, { ...whole, opensAfterMs: 300 })
    expect(await list(test, session, 100)).toEqual(['not-sent'])
    await told(test, 1)
    expect(await list(test, session)).toContain('conditional')
    expect(await changesUntilAnother(test, session)).toBe(1)
  })

  it('that came too late are told of', async () => {
    const test = await start()
    const session = open(test, { ...whole, listsAfterMs: 300 })
    expect(await list(test, session, 100)).toEqual(['unknown'])
    await told(test, 1)
  })

  it.each([
    ['whole', whole],
    ['page by page', { conditional: true }],
  ])('that were answered %s before are told of when they come too late the next time', async (_how, roots) => {
    const test = await start()
    const session = open(test, { ...roots, listsAfterMs: 60 })
    await list(test, session)
    expect(await list(test, session, 20)).toEqual(['unknown'])
    await told(test, 1)
    expect(await changesUntilAnother(test, session)).toBe(1)
  })

  it('are known still to a client that has cancelled its next request for them', async () => {
    const test = await start()
    const session = open(test, whole)
    await list(test, session)
    const cancelled = new AbortController()
    const listed = test.call(name, '', {}, { method: 'tools/list', params: '{}', session, signal: cancelled.signal })
    cancelled.abort('{"requestId":1}')
    expect((await listed).kind).toBe('cancelled')
    await play(test, session, { grow: 'tools' })
    await shownToAll(test, 'grown 5')
    expect(await changesUntilAnother(test, session)).toBe(0)
  })

  it('that were asked for in vain and are what the catalog has are not told of', async () => {
    const test = await start()
    const session = open(test, { pageSize: 100, opensAfterMs: 300 })
    expect(await list(test, session, 100)).toEqual(['not-sent'])
    await list(test, session)
    expect(await changesUntilAnother(test, session)).toBe(0)
  })

  it('are known still when its upstream has to be opened anew', async () => {
    const test = await start({ isolatedMax: 1 })
    const session = open(test)
    await list(test, session)
    const other = addSession(test, 'b', { path: `/mcp/${name}`, capabilities: { roots: {} } })
    await list(test, other)
    expect(await changesUntilAnother(test, session)).toBe(0)
  })

  it('concern nobody where several servers stand on one URL', async () => {
    const test = await start()
    const session = open(test, whole, '/mcp')
    const other = addSession(test, 'b', { path: `/mcp/${name}`, capabilities: { roots: whole } })
    await play(test, session, { growOwn: true })
    await changesUntilAnother(test, other)
    expect(test.mails.map((mail) => mail.session)).toEqual([other])
  })
})

/** Of one session, `upstream` of which is what it has now. */
function listsOf(test: { upstream: Listed; readonly mails: string[] }, timers = new Set<object>()): OwnLists {
  return new OwnLists({
    server: name,
    clock: countingClock(timers),
    log: silentLog,
    limits: { ...defaultLimits, relistDelayMs: 1 },
    find: () => test.upstream,
    offered: () => Promise.resolve(null),
    allowed: (_kind, list) => list,
    mail: (_session, message) => test.mails.push(message),
  })
}

function upstreamThat(ask: () => Promise<ListReply>): Listed {
  return {
    connection: { ask } as unknown as McpConnection,
    initialize: asJsonText('{"capabilities":{"tools":{}}}'),
  }
}

const one = 'a' as SessionId
const itsTools = (): Promise<ListReply> =>
  Promise.resolve({ kind: 'result', text: asJsonText('{"tools":[{"name":"own"}]}') })

it("a session's lists are looked at again when its upstream was replaced while it was asked", async () => {
  const asked = deferred<void>()
  const lost = deferred<ListReply>()
  const first = upstreamThat(() => {
    asked.resolve()
    return lost.promise
  })
  const test = { upstream: first, mails: [] as string[] }
  const lists = listsOf(test)
  lists.changed(one, ['tools'])
  await asked.promise
  test.upstream = upstreamThat(itsTools)
  lists.lookAgain(one)
  lost.reject(new Error('its session is lost'))
  await waitFor('the change', () => test.mails.length === 1)
  lists.stop()
})

it('what a session knew of its lists is forgotten, and not looked at any more', async () => {
  const test = { upstream: upstreamThat(itsTools), mails: [] as string[] }
  const timers = new Set<object>()
  const lists = listsOf(test, timers)
  for (const count of [1, 2]) {
    lists.changed(one, ['tools'])
    await waitFor('the change', () => test.mails.length === count)
    lists.forget(one)
  }
  lists.changed(one, ['tools'])
  expect(timers.size).toBe(1)
  lists.forget(one)
  expect(timers.size).toBe(0)
})
