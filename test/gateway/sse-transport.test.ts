import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { TakeHanded } from '../../src/calls/call.ts'
import { ClusterMailroom } from '../../src/calls/mailroom.ts'
import { Mailboxes } from '../../src/calls/mailboxes.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { realClock } from '../../src/std/clock.ts'
import { deferred } from '../../src/std/deferred.ts'
import type { NodeId, QuestionId, SessionId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import {
  echo,
  filesReplica,
  initializeText,
  OpenStream,
  request,
  sqlReplica,
  startGateway,
  toolCall,
  type GatewayUnderTestOptions,
  type UnderTest,
} from './gateway-under-test.ts'
import { HandingInMemory, SessionsInMemory } from './ports-in-memory.ts'

type TestNode = UnderTest & { boxes: Mailboxes; taking: Map<NodeId, TakeHanded> }

/** Gateways of one cluster: its sessions are shared, its mail goes from any node to any other. */
async function startCluster(names: readonly string[], options: GatewayUnderTestOptions = {}): Promise<TestNode[]> {
  const sessions = new SessionsInMemory()
  const boxes = new Map(names.map((name) => [name as NodeId, new Mailboxes({ epoch: 1, clock: realClock })]))
  sessions.onEnded((ids) => {
    for (const box of boxes.values()) box.sessionsEnded(ids)
  })
  onTestFinished(() => {
    for (const box of boxes.values()) box.stop()
  })
  const taking = new Map<NodeId, TakeHanded>()
  const nodes: TestNode[] = []
  for (const [self, own] of boxes) {
    const closers = new Map<string, () => void>()
    const mailroom: ClusterMailroom = new ClusterMailroom({
      self,
      boxes: own,
      links: {
        nodes: () => [...boxes.keys()].filter((node) => node !== self),
        open(node, reading, opening) {
          const reader = {
            at: (position: { epoch: number; seq: number }) => mailroom.opened(node, reading, position),
            mail(mail: Parameters<ClusterMailroom['mail']>[2]['mail']) {
              mailroom.mail(node, reading, { epoch: 1, mail })
              return true
            },
            displaced: () => mailroom.displaced(reading),
          }
          const close = boxes.get(node)?.open(opening, reader)
          if (close !== undefined) closers.set(`${node} ${reading}`, close)
        },
        close: (node, reading) => closers.get(`${node} ${reading}`)?.(),
      },
    })
    const handing = new HandingInMemory(self, taking)
    const under = await startGateway({ ...options, node: self, sessions, mailroom, handing })
    nodes.push({ ...under, boxes: own, taking })
  }
  return nodes
}

/** The SDK's client of the old transport; `posts`: the node that takes its messages, whichever has the stream. */
async function connect(streams: UnderTest, posts: UnderTest = streams): Promise<Client> {
  const client = new Client({ name: 'old', version: '1' }, { capabilities: { roots: {} } })
  const transport = new SSEClientTransport(new URL(`${streams.origin}/sse`), {
    fetch: (url, init) => {
      const { pathname, search } = new URL(url)
      return fetch(`${init?.method === 'POST' ? posts.origin : streams.origin}${pathname}${search}`, init)
    },
  })
  await client.connect(transport)
  onTestFinished(() => client.close())
  return client
}

/** A stream of a client written by hand, and where its messages go. */
async function openStream({ origin }: UnderTest): Promise<{ stream: OpenStream; path: string; id: SessionId }> {
  const stream = new OpenStream(await fetch(`${origin}/sse`, { headers: { Accept: 'text/event-stream' } }))
  onTestFinished(() => stream.cancel())
  const text = await stream.until((sofar) => sofar.includes('\n\n'))
  const path = /^event: endpoint\ndata: (\/messages\?sessionId=\S+)\n\n/.exec(text)?.[1] ?? ''
  stream.text = ''
  return { stream, path, id: (/sessionId=([^&]+)/.exec(path)?.[1] ?? '') as SessionId }
}

function post({ origin }: UnderTest, path: string, body: string): Promise<Response> {
  return fetch(`${origin}${path}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
}

describe.each([
  ['the same node', ['n1']],
  ['another node', ['n1', 'n2']],
])('a client of HTTP+SSE whose messages go to %s', (_, names) => {
  const start = async (options: GatewayUnderTestOptions = {}) => {
    const nodes = await startCluster(names, options)
    const [streams, posts] = [nodes[0], nodes.at(-1)]
    if (streams === undefined || posts === undefined) throw new Error('no nodes')
    return { streams, posts }
  }

  it('initializes, lists and calls, and hears progress before the answer', async () => {
    const { streams, posts } = await start()
    const client = await connect(streams, posts)
    expect(client.getServerVersion()).toEqual({ name: 'quorate', version: '0.0.1' })
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('sql__query')
    const progress: number[] = []
    const call = client.callTool({ name: 'files__read', arguments: { n: 1 } }, undefined, {
      onprogress: (heard) => void progress.push(heard.progress),
    })
    const performed = await waitFor('the call', () => streams.calls[0])
    const token = /"progressToken":([^,}]+)/.exec(performed.call.params)?.[1]
    const params = asJsonText(`{"progressToken":${token},"progress":1}`)
    performed.notify({ method: 'notifications/progress', params })
    await waitFor('the progress', () => progress.length === 1)
    echo(performed)
    expect((await call).structuredContent).toMatchObject({ name: 'read', arguments: { n: 1 } })
    expect(streams.sessions.all()).toMatchObject([{ path: '/mcp', transport: 'sse', protocolVersion: '2025-11-25' }])
  })

  it('has its own ids back byte for byte, in the order of the answers, without event ids', async () => {
    const { streams, posts } = await start()
    const { stream, path } = await openStream(streams)
    expect((await post(posts, path, initializeText())).status).toBe(202)
    for (const id of ['"7"', '7', '12345678901234567890']) {
      expect((await post(posts, path, toolCall({ id, tool: 'files__wait' }))).status).toBe(202)
    }
    for (const at of [2, 1, 0])
      streams.calls[at]?.end({ kind: 'result', result: asJsonText('{"big":98765432109876543210}') })
    const text = await stream.until((sofar) => sofar.split('"big"').length === 4)
    const lines = text.split('\n').filter((line) => line.startsWith('data: '))
    expect(lines.slice(1)).toEqual(
      ['12345678901234567890', '7', '"7"'].map(
        (id) => `data: {"jsonrpc":"2.0","id":${id},"result":{"big":98765432109876543210}}`,
      ),
    )
    expect(text).not.toMatch(/^id:/m)
  })

  it('is asked by servers, and its answers and cancels go on as words', async () => {
    const { streams, posts } = await start()
    const client = await connect(streams, posts)
    const aborted = new AbortController()
    const call = client.callTool({ name: 'files__wait' }, undefined, { signal: aborted.signal })
    const performed = await waitFor('the call', () => streams.calls[0])
    const question = 'q.n1.1.1.x' as QuestionId
    performed.hear(`{"jsonrpc":"2.0","id":"${question}","method":"ping"}`)
    const word = await waitFor('the answer', () => streams.words[0]?.word)
    expect(word).toEqual({ kind: 'answer', question, result: '{}' })
    aborted.abort()
    await expect(call).rejects.toThrow('abort')
    await waitFor('the cancel', () => performed.signal.aborted)
  })

  it('hears nothing more of a call that it has cancelled', async () => {
    const { streams, posts } = await start({ deaf: true })
    const { stream, path } = await openStream(streams)
    await post(posts, path, initializeText())
    await post(posts, path, toolCall({ id: '1', tool: 'files__wait' }))
    const cancel = '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}'
    await post(posts, path, cancel)
    const performed = streams.calls[0]
    expect(performed?.signal.aborted).toBe(true)
    performed?.hear('{"late":"event"}')
    performed?.end({ kind: 'result', result: asJsonText('{"late":"result"}') })
    await waitFor('the end', () => streams.gateway.counters().activeCalls === 0)
    await post(posts, path, request('2', 'ping'))
    expect(await stream.until((text) => text.includes('"id":2'))).not.toContain('late')
  })

  it('hears of servers what concerns no call, with the names that it knows', async () => {
    const { streams, posts } = await start()
    const { stream, path, id } = await openStream(streams)
    await post(posts, path, initializeText())
    await stream.until((text) => text.includes('"serverInfo"'))
    const message = asJsonText('{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t"}}')
    posts.boxes.put(id, { server: filesReplica.server, message })
    expect(await stream.until((text) => text.includes('taskId'))).toContain('"taskId":"files:t"')
    streams.show([filesReplica])
    expect(await stream.until((text) => text.includes('tools/list_changed'))).toContain('prompts/list_changed')
  })

  it('hears of no change before the answer to initialize, and then of those that came after it', async () => {
    const { streams, posts } = await start()
    const { stream, path } = await openStream(streams)
    streams.show([filesReplica])
    await post(posts, path, initializeText())
    await stream.until((text) => text.includes('protocolVersion'))
    streams.show([sqlReplica])
    await stream.until((text) => text.includes('prompts/list_changed'))
    expect(stream.events.map(({ message }) => (message as { method?: string }).method)).toEqual([
      undefined,
      'notifications/tools/list_changed',
      'notifications/resources/list_changed',
      'notifications/prompts/list_changed',
    ])
  })

  it('has work under way until its call has ended, though no request of its is open', async () => {
    let active = 0
    const during: GatewayUnderTestOptions['during'] = async (work) => {
      active += 1
      return work().finally(() => (active -= 1))
    }
    const { streams, posts } = await start({ during })
    const { stream, path } = await openStream(streams)
    await post(posts, path, initializeText())
    await post(posts, path, toolCall({ id: '1', tool: 'files__wait' }))
    expect(active).toBe(1)
    streams.calls[0]?.end({ kind: 'result', result: asJsonText('{"done":true}') })
    await stream.until((text) => text.includes('"done"'))
    await waitFor('the end', () => active === 0)
  })

  it('ends its session, and what is in work for it, with its stream', async () => {
    const { streams, posts } = await start()
    const { stream, path, id } = await openStream(streams)
    await post(posts, path, initializeText())
    await post(posts, path, toolCall({ id: '1', tool: 'files__wait' }))
    await stream.cancel()
    await waitFor('the cancel', () => streams.calls[0]?.signal.aborted)
    expect(streams.sessions.find(id)).toBeUndefined()
    expect((await post(posts, path, request('2', 'ping'))).status).toBe(404)
    await waitFor('nothing left', () => posts.gateway.counters().activeCalls === 0)
    expect(streams.gateway.counters().streams).toBe(0)
  })

  it('is refused while the cluster can take no session, and begins when it can', async () => {
    const { streams, posts } = await start()
    const { stream, path } = await openStream(streams)
    streams.sessions.failure = new OperatingError('no-quorum', 'no majority answers')
    const refused = await post(posts, path, initializeText())
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1'])
    expect(await refused.json()).toMatchObject({ id: 0, error: { data: { code: 'no-quorum', retry: 'after' } } })
    streams.sessions.failure = null
    expect((await post(posts, path, initializeText())).status).toBe(202)
    await stream.until((text) => text.includes('"serverInfo"'))
  })

  it('has nothing in work after its stream has ended, though the cluster can not end its session now', async () => {
    const { streams, posts } = await start()
    const { stream, path, id } = await openStream(streams)
    await post(posts, path, initializeText())
    await post(posts, path, toolCall({ id: '1', tool: 'files__wait' }))
    streams.sessions.failure = new OperatingError('no-quorum', 'no majority answers')
    await stream.cancel()
    await waitFor('the cancel', () => streams.calls[0]?.signal.aborted)
    expect(streams.sessions.find(id)).toBeDefined()
    expect((await post(posts, path, request('2', 'ping'))).status).toBe(404)
    const touched = streams.sessions.touched.length
    await waitFor('the end of the call', () => streams.gateway.counters().activeCalls === 0)
    expect(streams.sessions.touched.length - touched).toBeLessThan(2)
  })

  it('leaves no session behind when its stream ends before its session is committed', async () => {
    const { streams, posts } = await start()
    const { stream, path } = await openStream(streams)
    const { sessions } = streams
    const [begun, commit] = [deferred<void>(), deferred<void>()]
    const open = sessions.open.bind(sessions)
    sessions.open = async (opening) => {
      begun.resolve()
      await commit.promise
      return open(opening)
    }
    const answer = post(posts, path, initializeText())
    await begun.promise
    await stream.cancel()
    await waitFor('the end of the stream', () => streams.gateway.counters().streams === 0)
    commit.resolve()
    expect((await answer).status).toBe(404)
    expect([sessions.all(), streams.boxes.counters.boxes]).toEqual([[], 0])
  })

  it('is told that the outcome of its calls is unknown before its stream ends with its node', async () => {
    const { streams, posts } = await start()
    const { stream, path } = await openStream(streams)
    await post(posts, path, initializeText())
    await post(posts, path, toolCall({ id: '"one"', tool: 'files__wait' }))
    streams.gateway.abandonSessions()
    const text = await stream.until(() => false)
    expect(text).toMatch(/"id":"one","error":\{"code":-31003/)
    await waitFor('the end of the session', () => streams.sessions.all().length === 0)
    expect((await post(posts, path, request('2', 'ping'))).status).toBe(404)
  })

  it('sees its stream end when its session is ended', async () => {
    const { streams, posts } = await start()
    const { stream, path, id } = await openStream(streams)
    await post(posts, path, initializeText())
    await streams.sessions.close(id)
    await stream.until(() => false)
    expect(streams.gateway.counters().streams).toBe(0)
  })
})

describe('the rules of HTTP+SSE', () => {
  const begun = async (limits = {}): Promise<{ under: TestNode; path: string; id: SessionId; stream: OpenStream }> => {
    const [under] = (await startCluster(['n1'], { limits })) as [TestNode]
    const opened = await openStream(under)
    expect((await post(under, opened.path, initializeText())).status).toBe(202)
    return { under, ...opened }
  }

  it('what the node of the stream can not be given is refused: to come again, or of unknown outcome', async () => {
    const [streams, posts] = (await startCluster(['n1', 'n2'])) as [TestNode, TestNode]
    const { path } = await openStream(streams)
    await post(posts, path, initializeText())
    const n1 = 'n1' as NodeId
    const posted = async (): Promise<unknown[]> => {
      const { status, headers } = await post(posts, path, request('1', 'ping'))
      return [status, headers.get('retry-after')]
    }
    posts.taking.set(n1, () => Promise.reject(new OperatingError('outcome-unknown', 'the link has gone')))
    expect(await posted()).toEqual([502, null])
    posts.taking.delete(n1)
    expect(await posted()).toEqual([503, '1'])
  })

  it('what another node hands over is held to the limits of bodies', async () => {
    const limits = { bodiesBytesMax: 1000, bodyBytesMax: 900 }
    const [streams] = (await startCluster(['n1', 'n2'], { limits })) as [TestNode]
    const { path, id } = await openStream(streams)
    await post(streams, path, initializeText())
    const take = streams.taking.get('n1' as NodeId)
    const size = async (bytes: number): Promise<number | undefined> =>
      (await take?.(id, Buffer.from(toolCall({ id: '1', tool: 'files__wait' }).padEnd(bytes))))?.status
    expect(await size(901)).toBe(413)
    expect(await size(900)).toBe(202)
    expect(await size(200)).toBe(503)
    streams.calls[0]?.end({ kind: 'result', result: asJsonText('{}') })
    await waitFor('the end', () => streams.gateway.counters().activeCalls === 0)
    expect(await size(200)).toBe(202)
  })

  it('nothing is taken before initialize', async () => {
    const [under] = (await startCluster(['n1'])) as [TestNode]
    const { path } = await openStream(under)
    expect((await post(under, path, request('1', 'ping'))).status).toBe(404)
    expect((await post(under, path, initializeText())).status).toBe(202)
    expect((await post(under, path, request('1', 'ping'))).status).toBe(202)
  })

  it('a session may be idle for two minutes, whatever others may be, and less where they may', async () => {
    const { under } = await begun()
    expect(under.sessions.all()).toMatchObject([{ idleMs: 120_000 }])
    const other = await begun({ sessionIdleMs: 90_000 })
    expect(other.under.sessions.all()).toMatchObject([{ idleMs: 90_000 }])
  })

  it('an open stream uses its session', async () => {
    const { under, id } = await begun({ sseSessionIdleMs: 80 })
    await waitFor('uses', () => under.sessions.touched.filter((touched) => touched === id).length > 3)
  })

  it('a second initialize, and one without a version, get an error on the stream', async () => {
    const { under, path, stream } = await begun()
    await post(under, path, initializeText())
    expect(await stream.until((text) => text.includes('"error"'))).toContain('initialized already')
    const other = await openStream(under)
    expect((await post(under, other.path, request('5', 'initialize'))).status).toBe(202)
    expect(await other.stream.until((text) => text.includes('"error"'))).toContain('"id":5,"error":{"code":-32602')
  })

  it.each([
    ['GET', '/messages?sessionId=x', 405],
    ['POST', '/sse', 405],
    ['DELETE', '/sse', 405],
    ['POST', '/messages', 400],
    ['POST', '/messages?sessionId=x', 404],
    ['POST', '/messages?sessionId=00000000-0000-4000-8000-000000000000', 404],
  ])('%s %s is %i', async (method, path, status) => {
    const { under } = await begun()
    const headers = { 'Content-Type': 'application/json' }
    const body = method === 'POST' ? { body: request('1', 'ping') } : {}
    expect((await fetch(`${under.origin}${path}`, { method, headers, ...body })).status).toBe(status)
  })

  it.each([
    ['{', 400],
    ['[]', 400],
    [`[${request('1', 'ping')}]`, 400],
    ['{"jsonrpc":"2.0","method":"notifications/initialized"}', 202],
  ])('a message %s is %i', async (body, status) => {
    const { under, path } = await begun()
    expect((await post(under, path, body)).status).toBe(status)
  })

  it('a session of one transport is none of the other', async () => {
    const { under, id } = await begun()
    const headers = { 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream' }
    const body = request('1', 'ping')
    const there = await fetch(under.url, { method: 'POST', headers: { ...headers, 'Mcp-Session-Id': id }, body })
    expect(there.status).toBe(404)
    const opened = await fetch(under.url, { method: 'POST', headers, body: initializeText() })
    const path = `/messages?sessionId=${opened.headers.get('mcp-session-id')}`
    expect((await post(under, path, body)).status).toBe(404)
  })

  it('a foreign page is refused, a stream beyond the limit too, and all while the node drains', async () => {
    const { under, path } = await begun({ sseStreamsMax: 1 })
    const get = (headers: Record<string, string>) =>
      fetch(`${under.origin}/sse`, { headers: { Accept: 'text/event-stream', ...headers } })
    expect((await get({ Origin: 'https://evil.example' })).status).toBe(403)
    expect((await get({})).status).toBe(503)
    under.take('known-sessions')
    expect((await post(under, path, request('1', 'ping'))).status).toBe(202)
    under.take('endings')
    expect((await post(under, path, request('1', 'ping'))).status).toBe(503)
  })

  it('a stream whose client does not begin a session is ended, and nothing is left of it', async () => {
    const [under] = (await startCluster(['n1'], { limits: { sessionIdleMs: 80 } })) as [TestNode]
    const { stream } = await openStream(under)
    await stream.until(() => false)
    expect([under.gateway.counters().streams, under.boxes.counters.boxes]).toEqual([0, 0])
  })

  it('nothing is left of a stream that is closed before its session begins', async () => {
    const [under] = (await startCluster(['n1'], { limits: { sessionIdleMs: 4000 } })) as [TestNode]
    const { stream } = await openStream(under)
    expect(under.gateway.counters().streams).toBe(1)
    await stream.cancel()
    await waitFor('the end', () => under.gateway.counters().streams === 0)
    expect(under.boxes.counters.boxes).toBe(0)
    // What the sweep finds is only what is open.
    const other = await openStream(under)
    await other.stream.until(() => false)
    expect(under.logged.filter(({ event }) => event === 'mcp-session-ended').map(({ fields }) => fields)).toEqual([
      { session: other.id.slice(0, 8) },
    ])
  })
})
