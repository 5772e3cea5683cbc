import { afterEach, describe, expect, it } from 'vitest'
import { deferred } from '../../src/std/deferred.ts'
import { asJsonText, toJsonText } from '../../src/std/json-text.ts'
import type { ConfiguredServer } from '../../src/vocabulary/configured-server.ts'
import type { QuestionId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { waitFor } from '../wait.ts'
import { startAskingServer, type AskingServer, type OpenCall } from './asking-http-server.ts'
import {
  addSession,
  heardOf,
  httpServer,
  startUpstreams,
  testNode,
  type CallOptions,
  type Heard,
  type UnderTest,
} from './upstreams-under-test.ts'

let running: UnderTest[] = []
let servers: AskingServer[] = []

afterEach(async () => {
  await Promise.all(running.map((one) => one.stop()))
  await Promise.all(servers.map((server) => server.close()))
  running = []
  servers = []
})

const name = 'http' as ServerName
const askable = { capabilities: { elicitation: {} } }

async function start(
  hasSessions: boolean,
  options: Partial<ConfiguredServer> = {},
  serverOptions: { refusedLevel?: string; unsubscribed?: Promise<void> } = {},
) {
  const server = await startAskingServer({ hasSessions, ...serverOptions })
  servers.push(server)
  const test = await startUpstreams([{ ...httpServer(name, server.url), ...options }])
  running.push(test)
  await test.ready(name)
  return {
    server,
    test,
    a: addSession(test, 'a', askable),
    b: addSession(test, 'b', askable),
    c: addSession(test, 'c'),
  }
}

/** A call that has reached the server, and what it hears. */
async function open({ server, test }: { server: AskingServer; test: UnderTest }, tool: string, options: CallOptions) {
  const heard: Heard[] = []
  const outcome = test.call(name, tool, {}, { ...options, heard })
  const call: OpenCall = await waitFor('the call', () => server.calls.get(tool))
  return { heard, outcome, call }
}

const whats = ({ heard }: AskingServer, of: RegExp): string[] =>
  heard.map(({ what }) => what).filter((what) => of.test(what))
const mailsTo = (test: UnderTest, session: SessionId): Heard[] =>
  test.mails.filter((mail) => mail.session === session).map(({ message }) => heardOf(message))
const setLevel = (level: string) => ({ method: 'logging/setLevel', params: toJsonText({ level }) })
const subscribe = (uri: string) => ({ method: 'resources/subscribe', params: toJsonText({ uri }) })
const unsubscribe = (uri: string) => ({ method: 'resources/unsubscribe', params: toJsonText({ uri }) })
const log = (level: string) => ({ method: 'notifications/message', params: { level, data: level } })
const updated = (uri: string) => ({ method: 'notifications/resources/updated', params: { uri } })
/** Announces what belongs to nobody, and tells how much of that was dropped so far. */
function dropped({ server, test }: { server: AskingServer; test: UnderTest }): number {
  server.announce(log('error'))
  return test.log.lines.filter(({ event }) => event === 'upstream-notification-dropped').length
}
const levelsOf = (heard: Heard[]) => heard.map(({ params }) => params?.['level'])

describe('a question on a connection that sessions share', () => {
  it('by URL is complete for the session that was asked, on whatever stream that is told', async () => {
    const { server, test, a } = await start(false)
    const { heard, call } = await open({ server, test }, 'one', { session: a })
    await waitFor('the GET stream', () => dropped({ server, test }) > 0)
    const params = { mode: 'url', elicitationId: 'e-1', url: 'https://example.com', message: 'Go there' }
    call.send({ id: 1, method: 'elicitation/create', params })
    await waitFor('the question', () => heard.length === 1)
    call.end()
    for (const elicitationId of ['e-2', 'e-1'])
      server.announce({ method: 'notifications/elicitation/complete', params: { elicitationId } })
    await waitFor('the mail', () => test.mails.length > 0)
    expect(test.mails.map(({ session, message }) => [session, heardOf(message).params])).toEqual([
      [a, { elicitationId: 'e-1' }],
    ])
  })

  it('by URL that a call ended with is complete for the session whose call it was', async () => {
    const { server, test, a, b } = await start(false)
    const elicitation = { mode: 'url', url: 'https://example.com', message: 'Go there' }
    for (const [tool, session] of [['one', a] as const, ['two', b] as const]) {
      const { outcome, call } = await open({ server, test }, tool, { session })
      const elicitations = [7, { ...elicitation, elicitationId: tool }, { ...elicitation, elicitationId: 1 }]
      call.fail({ code: -32_042, message: 'First go there', data: { elicitations } })
      expect(await outcome).toMatchObject({ kind: 'error' })
    }
    await waitFor('the GET stream', () => dropped({ server, test }) > 0)
    for (const elicitationId of ['two', 'three', 'one'])
      server.announce({ method: 'notifications/elicitation/complete', params: { elicitationId } })
    await waitFor('the mail', () => test.mails.length > 1)
    expect(test.mails.map(({ session, message }) => [session, heardOf(message).params])).toEqual([
      [b, { elicitationId: 'two' }],
      [a, { elicitationId: 'one' }],
    ])
  })

  it('is not cancelled by a word on no stream of a call that fits another as well', async () => {
    const { server, test, a, b } = await start(false)
    const one = await open({ server, test }, 'one', { session: a })
    const two = await open({ server, test }, 'two', { session: b })
    const cancel = { method: 'notifications/cancelled', params: { requestId: 0 } }
    for (const { call } of [one, two]) call.send({ id: 0, method: 'elicitation/create', params: {} })
    await waitFor('the questions', () => one.heard.length + two.heard.length === 2)
    await waitFor('the GET stream', () => dropped({ server, test }) > 0)
    const before = dropped({ server, test })
    server.announce(cancel)
    await waitFor('what follows', () => dropped({ server, test }) > before + 1)
    expect(test.upstreams.figures().questions).toBe(2)
    two.call.send(cancel)
    await waitFor('the cancel', () => two.heard.length === 2)
    server.announce(cancel)
    await waitFor('the other cancel', () => one.heard.length === 2)
    for (const { call } of [two, one]) call.end()
  })

  it('goes to the client of the call on whose stream it came', async () => {
    const { server, test, a, b } = await start(false)
    const one = await open({ server, test }, 'one', { session: a })
    const two = await open({ server, test }, 'two', { session: b })
    for (const { call } of [two, one]) call.send({ id: 0, method: 'elicitation/create', params: {} })
    await waitFor('the questions', () => one.heard.length + two.heard.length === 2)
    test.upstreams.say(b, {
      kind: 'answer',
      question: two.heard[0]?.id as QuestionId,
      result: asJsonText('{"from":"b"}'),
    })
    const answer = await waitFor('the answer', () => server.heard.find(({ what }) => what === 'answer'))
    expect(answer.message).toEqual({ jsonrpc: '2.0', id: 0, result: { from: 'b' } })
    for (const { call } of [two, one]) call.end()
    expect([(await one.outcome).kind, (await two.outcome).kind]).toEqual(['result', 'result'])
  })

  it.each([
    ['that came on no stream of a call', 'announce'],
    ['whose client can not be asked', 'unable'],
    ["of an operator's call", 'nobody'],
  ])('%s is refused', async (_what, way) => {
    const { server, test, a, c } = await start(false)
    const options = { announce: { session: a }, unable: { session: c } }[way] ?? {}
    const { heard, call } = await open({ server, test }, 'one', options)
    const question = { id: 'q', method: 'elicitation/create', params: {} }
    await waitFor('the answer', () => {
      if (way === 'announce') server.announce(question)
      else call.send(question)
      return server.heard.find(({ what }) => what === 'answer')
    })
    expect(server.heard.find(({ what }) => what === 'answer')?.message).toMatchObject({
      id: 'q',
      error: { code: -32_601 },
    })
    expect([heard, test.mails]).toEqual([[], []])
  })
})

describe('log messages on a connection that sessions share', () => {
  it('are told to nobody when they come on no stream of a call, also while there is one', async () => {
    const { server, test, a } = await start(false)
    const { heard, call } = await open({ server, test }, 'one', { session: a })
    await waitFor('the GET stream', () => dropped({ server, test }) > 0)
    call.end()
    expect([heard, test.mails]).toEqual([[], []])
  })

  it('have the level that one session was answered to have, also when that of another is refused later', async () => {
    const { server, test, a, b } = await start(false, {}, { refusedLevel: 'debug' })
    const refused = test.call(name, '', {}, { session: a, ...setLevel('debug') })
    const taken = test.call(name, '', {}, { session: b, ...setLevel('notice') })
    expect([(await refused).kind, (await taken).kind]).toEqual(['error', 'result'])
    await waitFor('the level of the other', () => whats(server, /setLevel/).includes('logging/setLevel info'))
  })

  it('are set to the most talkative level, and each session hears what its own lets through', async () => {
    const { server, test, a, b, c } = await start(false)
    expect((await test.call(name, '', {}, { session: a, ...setLevel('error') })).kind).toBe('result')
    expect((await test.call(name, '', {}, { session: b, ...setLevel('debug') })).kind).toBe('result')
    expect((await test.call(name, '', {}, { session: a, ...setLevel('warning') })).kind).toBe('result')
    expect(whats(server, /setLevel/)).toEqual(['logging/setLevel info', 'logging/setLevel debug'])
    const opened = await Promise.all([a, b, c].map((session) => open({ server, test }, session, { session })))
    for (const { call } of opened)
      for (const level of ['debug', 'info', 'notice', 'warning', 'odd']) call.send(log(level))
    await waitFor('the last', () => opened.every(({ heard }) => levelsOf(heard).includes('odd')))
    expect(opened.map(({ heard }) => levelsOf(heard))).toEqual([
      ['warning', 'odd'],
      ['debug', 'info', 'notice', 'warning', 'odd'],
      ['info', 'notice', 'warning', 'odd'],
    ])
    test.sessions.delete(b)
    test.upstreams.sessionsEnded([b])
    await waitFor('the level of those that are left', () => whats(server, /setLevel/).length === 3)
    expect(whats(server, /setLevel/)[2]).toBe('logging/setLevel info')
  })

  it('are all heard while nobody has asked for a level', async () => {
    const { server, test, c } = await start(false)
    const { heard, call } = await open({ server, test }, 'one', { session: c })
    call.send(log('debug'))
    await waitFor('the message', () => heard.length === 1)
    server.announce(log('error'))
    call.send(log('info'))
    await waitFor('the next', () => heard.length === 2)
    expect([levelsOf(heard), test.mails]).toEqual([['debug', 'info'], []])
  })

  it('have the level that the record of a session says, also when another node was told of it', async () => {
    const { server, test } = await start(false)
    const d = addSession(test, 'd', { level: 'debug' })
    const { heard, call } = await open({ server, test }, 'one', { session: d })
    await waitFor('the level', () => whats(server, /setLevel/).length === 1)
    call.send(log('debug'))
    await waitFor('the message', () => heard.length === 1)
    expect(whats(server, /setLevel/)).toEqual(['logging/setLevel debug'])
  })

  it('keep their level when the server refuses another', async () => {
    const { server, test, a } = await start(false, {}, { refusedLevel: 'debug' })
    await test.call(name, '', {}, { session: a, ...setLevel('error') })
    const refused = await test.call(name, '', {}, { session: a, ...setLevel('debug') })
    expect(refused).toEqual({ kind: 'error', error: '{"code":-32602,"message":"not that level"}' })
    const { heard, call } = await open({ server, test }, 'one', { session: a })
    for (const level of ['warning', 'error']) call.send(log(level))
    await waitFor('the message', () => heard.length > 0)
    expect(levelsOf(heard)).toEqual(['error'])
  })
})

describe('subscriptions on a connection that sessions share', () => {
  it('begin anew only when the end of the one before is answered', async () => {
    const released = deferred<void>()
    const { server, test, a, b } = await start(false, {}, { unsubscribed: released.promise })
    await test.call(name, '', {}, { session: a, ...subscribe('a://1') })
    const ending = test.call(name, '', {}, { session: a, ...unsubscribe('a://1') })
    const beginning = test.call(name, '', {}, { session: b, ...subscribe('a://1') })
    await test.call(name, '', {}, { session: b, ...subscribe('a://2') })
    await waitFor('the end', () => whats(server, /unsubscribe a/).length === 1)
    released.resolve()
    expect([(await ending).kind, (await beginning).kind]).toEqual(['result', 'result'])
    expect(whats(server, /1/)).toEqual([
      'resources/subscribe a://1',
      'resources/unsubscribe a://1',
      'resources/unsubscribe a://1 is done',
      'resources/subscribe a://1',
    ])
  })

  it('end upstream when the session ended before the server took them, and are not made for one that has ended', async () => {
    const { server, test, a } = await start(false)
    const call = test.call(name, '', {}, { session: a, ...subscribe('a://1') })
    test.sessions.delete(a)
    test.upstreams.sessionsEnded([a])
    expect((await call).kind).toBe('result')
    await waitFor('the end', () => whats(server, /subscribe/).includes('resources/unsubscribe a://1'))
    const late = await test.call(name, '', {}, { session: a, ...subscribe('a://2') })
    expect(late).toMatchObject({ kind: 'rejected', error: { code: 'not-found' } })
    const level = await test.call(name, '', {}, { session: a, ...setLevel('debug') })
    expect(level).toMatchObject({ kind: 'rejected', error: { code: 'not-found' } })
  })

  it('are one upstream for each resource, and every subscribed session is told of a change', async () => {
    const { server, test, a, b, c } = await start(false)
    for (const session of [a, b, a])
      expect((await test.call(name, '', {}, { session, ...subscribe('x://1') })).kind).toBe('result')
    await test.call(name, '', {}, { session: c, ...subscribe('x://2') })
    expect(whats(server, /subscribe/)).toEqual(['resources/subscribe x://1', 'resources/subscribe x://2'])
    for (const uri of ['x://1', 'x://1/part', 'x://10', 'x://2#part']) server.announce(updated(uri))
    await waitFor('the mail', () => mailsTo(test, c).length === 1)
    const urisOf = (session: SessionId) => mailsTo(test, session).map(({ params }) => params?.['uri'])
    expect([urisOf(a), urisOf(b), urisOf(c)]).toEqual([
      ['x://1', 'x://1/part'],
      ['x://1', 'x://1/part'],
      ['x://2#part'],
    ])
    expect((await test.call(name, '', {}, { session: a, ...unsubscribe('x://1') })).kind).toBe('result')
    expect(whats(server, /unsubscribe/)).toEqual([])
    expect((await test.call(name, '', {}, { session: b, ...unsubscribe('x://1') })).kind).toBe('result')
    test.upstreams.sessionsEnded([c])
    await waitFor('the end of both', () => whats(server, /unsubscribe/).length === 2)
    expect(whats(server, /unsubscribe/)).toEqual(['resources/unsubscribe x://1', 'resources/unsubscribe x://2'])
  })

  it('of what ends with a separator are told of what is under it', async () => {
    const { server, test, a } = await start(false)
    await test.call(name, '', {}, { session: a, ...subscribe('x://all/') })
    for (const uri of ['x://all', 'x://allways', 'x://all/one/two']) server.announce(updated(uri))
    await waitFor('the mail', () => mailsTo(test, a).length > 0)
    expect(mailsTo(test, a).map(({ params }) => params?.['uri'])).toEqual(['x://all/one/two'])
  })

  it('and the level are said again when the session upstream is made anew', async () => {
    const { server, test, a } = await start(true, { isolation: 'shared' })
    await test.call(name, '', {}, { session: a, ...subscribe('x://1') })
    await test.call(name, '', {}, { session: a, ...setLevel('debug') })
    server.forget()
    await waitFor('the second handshake', () => whats(server, /initialize$/).length === 2)
    await waitFor('all to be said again', () => whats(server, /subscribe|setLevel/).length === 4)
    expect(whats(server, /subscribe|setLevel/).sort()).toEqual([
      'logging/setLevel debug',
      'logging/setLevel debug',
      'resources/subscribe x://1',
      'resources/subscribe x://1',
    ])
    await waitFor('a change to be heard', () => {
      server.announce(updated('x://1'))
      return mailsTo(test, a).length > 0
    })
  })

  it('of a session that this node keeps now are made as its record says, and not those of others', async () => {
    const { server, test } = await start(false)
    const subscriptions = [
      { server: name, uri: 'x://1' },
      { server: 'other' as ServerName, uri: 'x://2' },
    ]
    const d = addSession(test, 'd', { subscriptions, pins: new Map([[name, testNode]]) })
    addSession(test, 'e', { subscriptions: [{ server: name, uri: 'x://3' }] })
    const pins = { d: testNode, e: 'elsewhere', nobody: testNode }
    for (const [id, node] of Object.entries(pins))
      test.upstreams.pinned({ session: id as SessionId, server: name, node: node as typeof testNode })
    await waitFor('the subscription', () => whats(server, /subscribe/).length > 0)
    server.announce(updated('x://1'))
    await waitFor('the mail', () => mailsTo(test, d).length === 1)
    expect(whats(server, /subscribe/)).toEqual(['resources/subscribe x://1'])
  })

  it('that another node keeps by now end here', async () => {
    const { server, test, a } = await start(false)
    await test.call(name, '', {}, { session: a, ...subscribe('x://1') })
    test.upstreams.pinned({ session: a, server: name, node: 'elsewhere' as typeof testNode })
    await waitFor('the end of it here', () => whats(server, /unsubscribe/).length === 1)
    server.announce(updated('x://1'))
    expect(mailsTo(test, a)).toEqual([])
  })

  it('are what the session said here, also while its record is behind', async () => {
    const { server, test, a } = await start(false)
    await test.call(name, '', {}, { session: a, ...subscribe('x://1') })
    await test.call(name, '', {}, { session: a, ...unsubscribe('x://1') })
    await test.call(name, '', {}, { session: a, ...subscribe('x://2') })
    addSession(test, 'a', { ...askable, subscriptions: [{ server: name, uri: 'x://1' }] })
    test.upstreams.pinned({ session: a, server: name, node: testNode })
    for (const uri of ['x://1', 'x://2']) server.announce(updated(uri))
    await waitFor('the mail', () => mailsTo(test, a).length > 0)
    expect(mailsTo(test, a).map(({ params }) => params?.['uri'])).toEqual(['x://2'])
  })

  it('that a session made on another node stay when it makes more here', async () => {
    const { server, test } = await start(false)
    const d = addSession(test, 'd', { subscriptions: [{ server: name, uri: 'x://1' }] })
    await test.call(name, '', {}, { session: d, ...subscribe('x://2') })
    await waitFor('both', () => whats(server, /subscribe/).length === 2)
    for (const uri of ['x://1', 'x://2']) server.announce(updated(uri))
    await waitFor('the mail', () => mailsTo(test, d).length === 2)
  })

  it('of a session that has not said them here end where its record has them no more', async () => {
    const { server, test } = await start(false)
    const subscribed = { subscriptions: [{ server: name, uri: 'x://1' }] }
    const [d, e] = [addSession(test, 'd', subscribed), addSession(test, 'e', subscribed)]
    for (const session of [d, e]) test.upstreams.pinned({ session, server: name, node: testNode })
    addSession(test, 'd')
    server.announce(updated('x://1'))
    await waitFor('the mail', () => mailsTo(test, e).length === 1)
    expect(mailsTo(test, d)).toEqual([])
  })
})

describe('an HTTP server that gives sessions', () => {
  it('gives each client one of its own, with its own handshake, and takes its leave with it', async () => {
    const { server, test, a, c } = await start(true)
    expect(test.upstreams.statuses().get(name)?.isolation).toBe('session')
    const one = await open({ server, test }, 'one', { session: a })
    const two = await open({ server, test }, 'two', { session: c })
    expect(one.call.session).not.toBe(two.call.session)
    const opened = server.heard.find(({ what, session }) => what === 'initialize' && session === one.call.session)
    expect(opened?.message.params).toMatchObject({
      capabilities: { elicitation: {} },
      clientInfo: { name: 'client a' },
    })
    one.call.end()
    await one.outcome
    test.upstreams.sessionsEnded([a])
    const left = await waitFor('the leave', () => server.heard.find(({ what }) => what === 'DELETE'))
    expect(left.session).toBe(one.call.session)
  })

  it('has what comes on the GET stream put into the mail, and what comes on that of a call told to the call', async () => {
    const { server, test, a } = await start(true)
    const { heard, call } = await open({ server, test }, 'one', { session: a })
    await waitFor('the mail', () => {
      server.announce(log('debug'))
      return mailsTo(test, a).length > 0
    })
    for (const what of [log('info'), updated('x://1'), { id: 1, method: 'roots/list' }]) call.send(what)
    await waitFor('the rest', () => heard.length === 3)
    expect(heard.map(({ method }) => method)).toEqual([
      'notifications/message',
      'notifications/resources/updated',
      'roots/list',
    ])
  })

  it('and forgets one, gets a new one with the level and the subscriptions, and the calls that met it once more', async () => {
    const { server, test } = await start(true)
    const d = addSession(test, 'd', { level: 'error', subscriptions: [{ server: name, uri: 'x://1' }] })
    const first = await open({ server, test }, 'one', { session: d })
    server.forget()
    const calls = ['two', 'three'].map((tool) => open({ server, test }, tool, { session: d }))
    const [two, three] = await Promise.all(calls)
    expect(two?.call.session).toBe(three?.call.session)
    expect(two?.call.session).not.toBe(first.call.session)
    const said = server.heard.filter(
      ({ session, what }) => session === two?.call.session && /subscribe|setLevel/.test(what),
    )
    expect(said.map(({ what }) => what).sort()).toEqual(['logging/setLevel error', 'resources/subscribe x://1'])
    for (const opened of [first, two, three]) opened?.call.end()
    for (const opened of [first, two, three]) expect((await opened?.outcome)?.kind).toBe('result')
  })
})
