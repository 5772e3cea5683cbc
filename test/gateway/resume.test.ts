import { describe, expect, it } from 'vitest'
import { positionsMax } from '../../src/gateway/event-ids.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import {
  eventsOf,
  filesReplica,
  idEventsOf,
  openSession,
  OpenStream,
  performer,
  sessionAt,
  sqlReplica,
  startGateway,
  toolCall,
} from './gateway-under-test.ts'
import type { GatewayUnderTestOptions, UnderTest } from './gateway-under-test.ts'

const withToken = '{"progressToken":"t"}'
const done = { kind: 'result', result: asJsonText('{"content":[]}') } as const
const note = (n: number): string => `{"jsonrpc":"2.0","method":"notifications/message","params":{"data":${n}}}`

/** Two nodes of one cluster: n1, and n3 to which clients come when n1 is gone. */
async function startTwo(options: GatewayUnderTestOptions = {}): Promise<[UnderTest, UnderTest]> {
  const first = await startGateway(options)
  const { sessions, mail } = first
  return [first, await startGateway({ ...options, sessions, mail, node: 'n3' })]
}

describe('the stream of a call', () => {
  it('begins with an id and goes on with one for each event, which say node, call and place', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const response = await session.post(toolCall({ id: '"a"', tool: 'files__wait', meta: withToken }))
    const call = await waitFor('the call', () => under.calls[0])
    expect(call.call.origin).toEqual({ session: session.id, requestId: '"a"', isKept: true })
    call.hear(note(1))
    call.hear(note(2))
    call.end(done)
    const events = idEventsOf(await response.text())
    expect(events.map(({ id }) => id?.split('~').slice(0, 4))).toEqual(
      ['0', '1', '2', 'end'].map((seq) => ['c', performer, 'n1.1.1', seq]),
    )
    expect(events.map(({ message }) => message === undefined)).toEqual([true, false, false, false])
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length)
  })

  it('has no event without data for a client of an older revision, which can not read one', async () => {
    const under = await startGateway()
    const session = await openSession(under.url, '2025-06-18')
    const response = await session.post(toolCall({ id: '1', tool: 'files__wait', meta: withToken }))
    const call = await waitFor('the call', () => under.calls[0])
    call.hear(note(1))
    call.end(done)
    const events = idEventsOf(await response.text())
    expect(events.map(({ message }) => message === undefined)).toEqual([false, false])
    expect(events.every(({ id }) => id !== undefined)).toBe(true)
  })

  it('names the node that a further try goes to', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const response = await session.post(toolCall({ id: '1', tool: 'files__wait', meta: withToken }))
    const call = await waitFor('the call', () => under.calls[0])
    call.caller.routed?.(performer)
    call.caller.routed?.('n9' as typeof performer)
    call.end(done)
    const events = idEventsOf(await response.text())
    expect(events.map(({ id }) => id?.split('~')[1])).toEqual(['n2', 'n9', 'n9'])
  })

  it('has no ids for a request whose own id is too long to be in one', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const id = `"${'x'.repeat(600)}"`
    const response = await session.post(toolCall({ id, tool: 'files__wait', meta: withToken }))
    const call = await waitFor('the call', () => under.calls[0])
    expect(call.call.origin?.isKept).toBe(false)
    call.end(done)
    expect(idEventsOf(await response.text())).toMatchObject([{ id: undefined, message: { id: 'x'.repeat(600) } }])
  })
})

describe('a client that comes back to another node', () => {
  it('gets what follows its last event and the answer, with the id of its request', async () => {
    const [first, second] = await startTwo()
    const session = await openSession(first.url)
    const answer = new OpenStream(await session.post(toolCall({ id: '"ä"', tool: 'files__wait', meta: withToken })))
    const call = await waitFor('the call', () => first.calls[0])
    call.hear(note(1))
    await answer.until((text) => text.includes('"data":1'))
    const from = answer.events.at(-1)?.id ?? ''
    await answer.cancel()
    await waitFor('it to be left', () => call.caller.left?.aborted)
    const rest = await sessionAt(second.url, session.id).listen({ from })
    const resumed = await waitFor('it to be resumed', () => second.resumed[0])
    expect([resumed.node, resumed.ref]).toEqual([performer, { id: call.call.id, session: session.id, after: 1 }])
    resumed.hear(note(2))
    resumed.end(done)
    const events = idEventsOf(await rest.text())
    expect(events.map(({ message }) => message)).toEqual([
      JSON.parse(note(2)),
      { jsonrpc: '2.0', id: 'ä', result: { content: [] } },
    ])
    expect(events.map(({ id }) => id?.split('~')[3])).toEqual(['2', 'end'])
    expect(second.gateway.counters()).toMatchObject({ resumed: 1, activeCalls: 0 })
  })

  it('may come back again, as often as its stream breaks', async () => {
    const [first, second] = await startTwo()
    const session = await openSession(first.url)
    const answer = new OpenStream(await session.post(toolCall({ id: '1', tool: 'files__wait', meta: withToken })))
    await answer.until((text) => text.includes('id: '))
    let from = answer.events.at(-1)?.id ?? ''
    await answer.cancel()
    for (const [at, under] of [second, first, second].entries()) {
      const stream = new OpenStream(await sessionAt(under.url, session.id).listen({ from }))
      const resumed = await waitFor('it to be resumed', () => under.resumed.find(({ ref }) => ref.after === at))
      resumed.hear(note(at))
      await stream.until((text) => text.includes(`"data":${at}`))
      from = stream.events.at(-1)?.id ?? ''
      await stream.cancel()
      await waitFor('it to be left', () => resumed.caller.left?.aborted)
      expect(resumed.signal.aborted).toBe(false)
    }
  })

  it.each(['unknown', 'not-sent', 'rejected'] as const)(
    'is told that the outcome is unknown when the call’s node says %s',
    async (kind) => {
      const [first, second] = await startTwo({
        resume: ({ end }) => end({ kind, error: new OperatingError('server-unavailable', 'node n2 is gone') }),
      })
      const session = await openSession(first.url)
      const response = await session.post(toolCall({ id: '7', tool: 'files__wait', meta: withToken }))
      const stream = new OpenStream(response)
      await stream.until((text) => text.includes('id: '))
      const rest = await sessionAt(second.url, session.id).listen({ from: stream.events[0]?.id ?? '' })
      expect(eventsOf(await rest.text())).toMatchObject([
        { id: 7, error: { code: -31_003, data: { retry: 'outcome-unknown', traceId: 'n1.1.1' } } },
      ])
      await stream.cancel()
    },
  )

  it('may cancel there', async () => {
    const [first, second] = await startTwo()
    const session = await openSession(first.url)
    const stream = new OpenStream(await session.post(toolCall({ id: '7', tool: 'files__wait', meta: withToken })))
    await stream.until((text) => text.includes('id: '))
    const there = sessionAt(second.url, session.id)
    const rest = await there.listen({ from: stream.events[0]?.id ?? '' })
    const resumed = await waitFor('it to be resumed', () => second.resumed[0])
    await there.post('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}')
    expect(eventsOf(await rest.text())).toEqual([])
    expect(resumed.signal.aborted).toBe(true)
    await stream.cancel()
  })

  it('that has the answer is told that there is nothing more to ask for', async () => {
    const [first, second] = await startTwo()
    const session = await openSession(first.url)
    const response = await session.post(toolCall({ id: '7', tool: 'files__wait', meta: withToken }))
    ;(await waitFor('the call', () => first.calls[0])).end(done)
    const from = idEventsOf(await response.text()).at(-1)?.id ?? ''
    expect((await sessionAt(second.url, session.id).listen({ from })).status).toBe(204)
    expect(second.resumed).toEqual([])
  })

  it('gets names of the cluster in what follows, too', async () => {
    const [first, second] = await startTwo()
    const session = await openSession(first.url)
    const body = toolCall({ id: '1', tool: 'files__wait', args: '{}', meta: withToken }).replace(
      '"arguments"',
      '"task":{},"arguments"',
    )
    const stream = new OpenStream(await session.post(body))
    await stream.until((text) => text.includes('id: '))
    const rest = await sessionAt(second.url, session.id).listen({ from: stream.events[0]?.id ?? '' })
    const resumed = await waitFor('it to be resumed', () => second.resumed[0])
    resumed.end({ kind: 'result', result: asJsonText('{"task":{"taskId":"1"}}') })
    expect(eventsOf(await rest.text())).toMatchObject([{ result: { task: { taskId: 'files:1' } } }])
    await stream.cancel()
  })

  it('is refused with an id that is none, a session that is not its own, and beyond its calls', async () => {
    const under = await startGateway({ limits: { sessionCallsMax: 1 } })
    const session = await openSession(under.url)
    expect((await session.listen({ from: '17' })).status).toBe(400)
    const from = 'c~n2~n1.1.1~0~files~plain~MQ'
    expect((await sessionAt(under.url, 'nobody').listen({ from })).status).toBe(404)
    const first = await session.listen({ from })
    const refused = await session.listen({ from })
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1'])
    await first.body?.cancel()
  })
})

describe('a node that stops', () => {
  it('lets clients go that can come back for a call of another node, and answers the others', async () => {
    const [first, second] = await startTwo()
    const session = await openSession(first.url)
    const response = await session.post(toolCall({ id: '7', tool: 'files__wait', meta: withToken }))
    const call = await waitFor('the call', () => first.calls[0])
    await first.gateway.stop()
    const text = await response.text()
    expect(text).toMatch(/retry: \d+\n\n$/)
    expect(eventsOf(text)).toEqual([])
    expect([call.caller.left?.aborted, call.signal.aborted]).toEqual([true, false])
    const rest = await sessionAt(second.url, session.id).listen({ from: idEventsOf(text)[0]?.id ?? '' })
    ;(await waitFor('it to be resumed', () => second.resumed[0])).end(done)
    expect(eventsOf(await rest.text())).toHaveLength(1)
  })

  it('answers a call that it performs itself', async () => {
    const under = await startGateway({ node: performer })
    const session = await openSession(under.url)
    const response = await session.post(toolCall({ id: '7', tool: 'files__wait', meta: withToken }))
    await waitFor('the call', () => under.calls[0])
    await under.gateway.stop()
    expect(eventsOf(await response.text())).toMatchObject([{ id: 7, error: { code: -31_003 } }])
  })
})

describe('the stream of a session', () => {
  const updated = '{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}'
  const mail = (seq: number) => ({ seq, server: 'files' as ServerName, message: asJsonText(updated) })

  it('says with each event how far the client has come with each node, and goes on from there elsewhere', async () => {
    const [first, second] = await startTwo()
    const session = await openSession(first.url)
    const stream = new OpenStream(await session.listen())
    await stream.until((text) => text.includes('id: '))
    first.mail.deliver('n2', 5, mail(1))
    first.mail.deliver('n3', 6, mail(9))
    first.mail.deliver('n2', 5, mail(2))
    await stream.until((text) => text.split('updated').length === 4)
    const ids = stream.events.map(({ id }) => id?.split('~').slice(4).toSorted())
    expect(ids).toEqual([[], ['n2:5:1'], ['n2:5:1', 'n3:6:9'], ['n2:5:2', 'n3:6:9']])
    const again = new OpenStream(
      await sessionAt(second.url, session.id).listen({ from: stream.events.at(-1)?.id ?? '' }),
    )
    await again.until((text) => text.includes('id: '))
    expect(Object.fromEntries(second.mail.readings.at(-1)?.positions ?? [])).toEqual({
      n2: { epoch: 5, seq: 2 },
      n3: { epoch: 6, seq: 9 },
    })
    // The older one was displaced by the newer.
    expect(await stream.until(() => false)).toBe(stream.text)
    await again.cancel()
    await waitFor('its end', () => second.mail.readings.every(({ isOpen }) => !isOpen))
  })

  it('keeps the places of so many nodes, and forgets those heard of longest ago', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const stream = new OpenStream(await session.listen())
    await stream.until((text) => text.includes('id: '))
    const nodes = Array.from({ length: positionsMax + 1 }, (_, at) => `node${at}`)
    for (const node of nodes.slice(0, -1)) under.mail.deliver(node, 1, mail(1))
    under.mail.deliver('node0', 1, mail(2))
    under.mail.deliver(nodes.at(-1) ?? '', 1, mail(1))
    await stream.until((text) => text.split('updated').length === positionsMax + 3)
    const known = stream.events
      .at(-1)
      ?.id?.split('~')
      .slice(4)
      .map((position) => position.split(':')[0])
    expect(known).toEqual([...nodes.slice(2, -1), 'node0', nodes.at(-1)])
    await stream.cancel()
  })

  it('says from where on mail comes, before any has come', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    const stream = new OpenStream(await session.listen())
    await stream.until((text) => text.includes('id: '))
    under.mail.readings[0]?.reader.at(performer, { epoch: 5, seq: 3 })
    await stream.until((text) => text.includes('n2:5:3'))
    expect(stream.events.map(({ message }) => message)).toEqual([undefined, undefined])
    await stream.cancel()
  })

  it('tells a client that comes back of the lists that have changed meanwhile, and of no other', async () => {
    const [first, second] = await startTwo()
    const session = await openSession(first.url)
    const stream = new OpenStream(await session.listen())
    await stream.until((text) => text.includes('id: '))
    const from = stream.events[0]?.id ?? ''
    await stream.cancel()
    second.show([filesReplica])
    const there = new OpenStream(await sessionAt(second.url, session.id).listen({ from }))
    await there.until((text) => text.includes('prompts/list_changed'))
    expect(there.events.flatMap(({ message }) => message ?? [])).toEqual([
      { jsonrpc: '2.0', method: 'notifications/tools/list_changed' },
      { jsonrpc: '2.0', method: 'notifications/prompts/list_changed' },
    ])
    const last = there.events.at(-1)?.id ?? ''
    await there.cancel()
    const same = new OpenStream(await sessionAt(second.url, session.id).listen({ from: last }))
    await same.until((text) => text.includes('id: '))
    second.show([filesReplica, sqlReplica])
    await same.until((text) => text.includes('prompts/list_changed'))
    expect(same.events.flatMap(({ message }) => message ?? [])).toHaveLength(2)
    await same.cancel()
  })

  it('names tasks as the client knows them, on its own address as their server does', async () => {
    const under = await startGateway()
    const status = '{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"1"}}'
    for (const [url, shown] of [
      [under.url, 'files:1'],
      [`${under.url}/files`, '1'],
    ] as const) {
      const session = await openSession(url)
      const stream = new OpenStream(await session.listen())
      await stream.until((text) => text.includes('id: '))
      under.mail.deliver('n2', 1, { seq: 1, server: 'files' as ServerName, message: asJsonText(status) })
      await stream.until((text) => text.includes('taskId'))
      expect(stream.events.at(-1)?.message).toMatchObject({ params: { taskId: shown } })
      await stream.cancel()
    }
  })

  it('ends with its session, wherever that was closed', async () => {
    const [first, second] = await startTwo()
    const session = await openSession(first.url)
    const stream = await sessionAt(second.url, session.id).listen()
    const waiting = sessionAt(second.url, session.id).post(toolCall({ id: '1', tool: 'files__wait' }))
    const call = await waitFor('the call', () => second.calls[0])
    expect((await fetch(first.url, { method: 'DELETE', headers: { 'Mcp-Session-Id': session.id } })).status).toBe(204)
    expect(eventsOf(await stream.text())).toEqual([])
    expect(await (await waiting).text()).toBe('')
    expect(call.signal.aborted).toBe(true)
    expect(first.sessions.find(session.id as SessionId)).toBeUndefined()
  })

  it('is one of so many on a node', async () => {
    const under = await startGateway({ limits: { streamsMax: 1 } })
    const [one, two] = [await openSession(under.url), await openSession(under.url)]
    const stream = await one.listen()
    const refused = await two.listen()
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '30'])
    await stream.body?.cancel()
    await waitFor('room for another', async () => {
      const response = await two.listen()
      await response.body?.cancel()
      return response.status === 200
    })
  })
})
