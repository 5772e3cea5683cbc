import type { ServerResponse } from 'node:http'
import { describe, expect, it, onTestFinished } from 'vitest'
import { StdioBridge } from '../../src/cli/stdio-bridge.ts'
import { BridgedNodes, silenceDefaults } from '../../src/cli/stdio-nodes.ts'
import type { Silence } from '../../src/cli/stdio-nodes.ts'
import { bridgeCodes } from '../../src/cli/stdio-lines.ts'
import { rpcCodes } from '../../src/gateway/errors.ts'
import { defaultLimits } from '../../src/gateway/limits.ts'
import { Random } from '../../src/std/random.ts'
import { waitFor } from '../wait.ts'
import { answerJson, sendEvent, startNode, type Asked, type ScriptedNode } from './scripted-node.ts'

type UnderTest = { bridge: StdioBridge; lines: string[]; said: string[] }

function bridgeTo(nodes: readonly ScriptedNode[], patienceMs = 3000, silence = silenceDefaults): UnderTest {
  const lines: string[] = []
  const said: string[] = []
  const bridge = new StdioBridge({
    urls: nodes.map((node) => node.url),
    random: new Random(1),
    patienceMs,
    silence,
    write: (line) => void lines.push(line),
    say: (text) => void said.push(text),
  })
  onTestFinished(() => bridge.stop())
  return { bridge, lines, said }
}

const initialize = '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}'
const initialized = '{"jsonrpc":"2.0","method":"notifications/initialized"}'

async function open(nodes: readonly ScriptedNode[], patienceMs?: number, silence?: Silence): Promise<UnderTest> {
  const under = bridgeTo(nodes, patienceMs, silence)
  await under.bridge.take(initialize)
  await under.bridge.take(initialized)
  under.lines.length = 0
  return under
}

function call(id: string, name = 'x'): string {
  return `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"${name}"}}`
}

function answered({ lines }: UnderTest, count = 1): Promise<unknown[]> {
  return waitFor(
    () => `${count} lines, not ${lines.join('\n')}`,
    () => (lines.length >= count ? lines.map((line) => JSON.parse(line) as unknown) : undefined),
  )
}

const named = (node: ScriptedNode, name: string): Asked[] => node.asked.filter((asked) => asked.name === name)

describe('lines', () => {
  it('pass byte for byte, both ways, with the session and its version on all that follows initialize', async () => {
    const answer = '{ "jsonrpc":"2.0",\n"id":  "\\u0061b",\r\n"result":{"n":12345678901234567890,"x":null}, "more":1 }'
    const node = await startNode(({ name, response }) => {
      if (name === 'tools/call') response.writeHead(200, { 'content-type': 'application/json' }).end(answer)
      return name === 'tools/call'
    })
    const under = await open([node])
    const line = '{ "method":"tools/call", "id":"\\u0061b", "params":{"big":98765432109876543210}, "jsonrpc":"2.0" }'
    await under.bridge.take(line)
    await answered(under)
    expect(under.lines).toEqual([answer.replaceAll(/[\r\n]+/g, ' ')])
    const asked = named(node, 'tools/call')[0]
    expect(asked?.text).toBe(line)
    expect(asked?.headers).toMatchObject({ 'mcp-session-id': 'session-1', 'mcp-protocol-version': '2025-11-25' })
    expect(node.asked[0]?.headers).not.toHaveProperty('mcp-session-id')
  })

  it.each([
    ['{"jsonrpc":', rpcCodes.parseError],
    ['[]', rpcCodes.invalidRequest],
    ['7', rpcCodes.invalidRequest],
  ])('%s is answered with an error, and nothing is sent', async (line, code) => {
    const node = await startNode()
    const under = bridgeTo([node])
    await under.bridge.take(line)
    expect(under.lines.map((text) => JSON.parse(text) as unknown)).toMatchObject([{ id: null, error: { code } }])
    expect(node.asked).toEqual([])
  })

  it('leave in order: what follows a notification waits until that is accepted', async () => {
    const held: Asked[] = []
    const node = await startNode((asked) => {
      if (asked.name === 'notifications/roots/list_changed') held.push(asked)
      return held.includes(asked)
    })
    const under = await open([node])
    await under.bridge.take('{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}')
    await under.bridge.take(call('1'))
    const first = await waitFor('the notification', () => held[0])
    expect(named(node, 'tools/call')).toEqual([])
    first.response.writeHead(202).end()
    await answered(under)
  })

  it('errors of the bridge have the codes of the gateway', () => {
    expect(rpcCodes).toMatchObject(bridgeCodes)
  })

  it("a node's refusal is the client's answer, under its own id", async () => {
    const node = await startNode(({ name, response }) => {
      if (name === 'tools/call')
        answerJson(response, { id: null, error: { code: -32_000, message: 'too large', data: { n: 1 } } }, 413)
      return name === 'tools/call'
    })
    const under = await open([node])
    await under.bridge.take(call('"seven"'))
    expect(await answered(under)).toEqual([
      { jsonrpc: '2.0', id: 'seven', error: { code: -32_000, message: 'too large', data: { n: 1 } } },
    ])
  })
})

describe('questions and cancels', () => {
  it('a question in the stream of a call reaches the client, and its answer the node', async () => {
    let stream: ServerResponse | null = null
    const node = await startNode(({ name, text, response }) => {
      if (name === 'tools/call') {
        stream = response
        sendEvent(response, 'e0')
        sendEvent(response, 'e1', { id: 'q.n1.1.1.x', method: 'roots/list' })
        return true
      }
      if (text.includes('"roots"') && stream !== null) {
        sendEvent(stream, 'e2', { id: 1, result: { ok: true } })
        stream.end()
      }
      return false
    })
    const under = await open([node])
    await under.bridge.take(call('1'))
    expect(await answered(under)).toEqual([{ jsonrpc: '2.0', id: 'q.n1.1.1.x', method: 'roots/list' }])
    await under.bridge.take('{"jsonrpc":"2.0","id":"q.n1.1.1.x","result":{"roots":[]}}')
    expect((await answered(under, 2))[1]).toEqual({ jsonrpc: '2.0', id: 1, result: { ok: true } })
  })

  it('a cancel follows its request, and nothing is answered', async () => {
    const streams = new Map<unknown, ServerResponse>()
    const node = await startNode(({ name, id, text, response }) => {
      if (name === 'tools/call') streams.set(id, response)
      if (name === 'notifications/cancelled')
        streams.get((JSON.parse(text) as { params: { requestId: unknown } }).params.requestId)?.end()
      return name === 'tools/call'
    })
    const under = await open([node])
    await under.bridge.take(call('1'))
    await under.bridge.take(call('"1"'))
    await waitFor('both', () => streams.size === 2)
    await under.bridge.take('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"1"}}')
    await waitFor('the end of the one that was meant', () => streams.get('1')?.closed)
    // Of one that was cancelled nobody would hear.
    streams.get(1)?.destroy()
    expect(await answered(under)).toMatchObject([{ id: 1, error: { code: rpcCodes.outcomeUnknown } }])
  })

  it('what waits for a connection can be taken back, what has left can not', async () => {
    const node = await startNode(() => true)
    const nodes = new BridgedNodes({ urls: [node.url], connections: 1, silence: silenceDefaults })
    onTestFinished(() => nodes.close())
    const post = (text: string) =>
      nodes.perform({ method: 'POST', body: text, headers: {}, limitMs: 0, message: () => undefined })
    const first = post(call('1'))
    await waitFor('the first', () => node.asked[0])
    const second = post(call('2'))
    expect([first.withdraw(), second.withdraw()]).toEqual([false, true])
    expect(await second.ended).toMatchObject({ end: { kind: 'not-sent' } })
    node.asked[0]?.response.end()
    expect(await first.ended).toMatchObject({ end: { kind: 'done' } })
    expect(node.asked).toHaveLength(1)
  })

  it('a cancel of what no node has taken yet is told to none', async () => {
    const node = await startNode()
    const under = await open([node])
    await under.bridge.finish(10_000)
    await node.close()
    await under.bridge.take(call('1'))
    await under.bridge.take('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}')
    await under.bridge.finish(10_000)
    expect([under.lines, named(node, 'tools/call'), named(node, 'notifications/cancelled')]).toEqual([[], [], []])
  })
})

describe('another node', () => {
  it('takes over with the same session when one does not answer', async () => {
    const [first, second] = [await startNode(), await startNode()]
    const under = await open([first, second])
    await waitFor('the GET', () => named(first, 'HTTP GET')[0])
    await first.close()
    // A connection whose end has not been seen yet may take it: it is asked again.
    await under.bridge.take('{"jsonrpc":"2.0","id":0,"method":"ping"}')
    await answered(under)
    await under.bridge.take(call('1'))
    expect((await answered(under, 2))[1]).toEqual({ jsonrpc: '2.0', id: 1, result: {} })
    expect(named(second, 'tools/call')[0]?.headers['mcp-session-id']).toBe('session-1')
    expect(under.said.at(-1)).toMatch(/does not serve \((?:ECONNREFUSED|UND_ERR_SOCKET)\); going on at http/)
  })

  it('takes a call that has provably not been sent to the first', async () => {
    const [first, second] = [await startNode(), await startNode()]
    await first.close()
    const under = bridgeTo([first, second])
    await under.bridge.take(call('1'))
    expect(await answered(under)).toEqual([{ jsonrpc: '2.0', id: 1, result: {} }])
    expect(under.said).toEqual([expect.stringMatching(/does not serve \(ECONNREFUSED\); going on at http/)])
  })

  it('takes what a node that drains refuses', async () => {
    const first = await startNode(({ name, response }) => {
      if (name === 'tools/call') answerJson(response, { id: 1, error: { code: -31_001, message: 'drains' } }, 503)
      return name === 'tools/call'
    })
    const under = await open([first, await startNode()])
    await under.bridge.take(call('1'))
    expect(await answered(under)).toEqual([{ jsonrpc: '2.0', id: 1, result: {} }])
  })

  it.each([
    ['was cut', 'another node'],
    ['its node has ended', 'the same node'],
  ])('resumes a stream that %s at %s, with nothing twice and nothing missed', async (how, where) => {
    const progress = (value: number): object => ({ method: 'notifications/progress', params: { progress: value } })
    const answer = ({ name, method, headers, response }: Asked): boolean => {
      if (name === 'tools/call') {
        sendEvent(response, 'e0')
        sendEvent(response, 'e1', progress(1))
        setImmediate(() => void (how === 'was cut' ? response.destroy() : response.end()))
        return true
      }
      if (method !== 'GET' || headers['last-event-id'] === undefined) return false
      sendEvent(response, 'e2', progress(2))
      sendEvent(response, 'e3', { id: 1, result: {} })
      response.end()
      return true
    }
    const nodes = [await startNode(answer), await startNode(answer)]
    const under = await open(nodes)
    await under.bridge.take(call('1'))
    await under.bridge.finish(10_000)
    expect(under.lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      progress(1),
      progress(2),
      { id: 1, result: {} },
    ])
    const resumed = nodes.map((node) => node.asked.filter(({ headers }) => headers['last-event-id'] !== undefined))
    expect(resumed.map((asked) => asked.length)).toEqual(where === 'another node' ? [0, 1] : [1, 0])
    expect(resumed.flat()[0]?.headers).toMatchObject({ 'last-event-id': 'e1', 'mcp-session-id': 'session-1' })
  })

  it('goes on with what belongs to no call, from where that broke off', async () => {
    const first = await startNode(({ method, response }) => {
      if (method !== 'GET') return false
      sendEvent(response, 'm1', { method: 'notifications/tools/list_changed' })
      setImmediate(() => void response.destroy())
      return true
    })
    const second = await startNode(({ method, response }) => {
      if (method !== 'GET') return false
      sendEvent(response, 'm2', { method: 'notifications/prompts/list_changed' })
      return true
    })
    const under = await open([first, second])
    expect(await answered(under, 2)).toMatchObject([
      { method: 'notifications/tools/list_changed' },
      { method: 'notifications/prompts/list_changed' },
    ])
    expect(named(second, 'HTTP GET')[0]?.headers['last-event-id']).toBe('m1')
  })

  it('takes a node that says nothing more for dead: a stream goes on elsewhere, the rest is of unknown outcome', async () => {
    const first = await startNode(({ name, text, response }) => {
      if (name !== 'tools/call') return false
      // One has an id to come back with; of the other nothing is heard.
      if (text.includes('"streams"')) sendEvent(response, 'e1', { method: 'notifications/progress', params: {} })
      return true
    })
    const second = await startNode(({ headers, response }) => {
      if (headers['last-event-id'] !== 'e1') return false
      sendEvent(response, 'e2', { id: 1, result: {} })
      response.end()
      return true
    })
    const under = await open([first, second], 3000, { headMaxMs: 300, streamMaxMs: 300 })
    await under.bridge.take(call('1', 'streams'))
    await under.bridge.take(call('2', 'mute'))
    const lines = await answered(under, 3)
    expect(lines).toContainEqual({ jsonrpc: '2.0', id: 1, result: {} })
    expect(lines).toContainEqual(
      expect.objectContaining({ id: 2, error: expect.objectContaining({ code: rpcCodes.outcomeUnknown }) }),
    )
    expect([named(first, 'tools/call').length, named(second, 'tools/call').length]).toEqual([2, 0])
  })

  it('gives a node that lives the time that it needs for a sign of life', () => {
    const { keepAliveMs, streamAfterMs } = defaultLimits
    expect(silenceDefaults.streamMaxMs).toBeGreaterThanOrEqual(2 * keepAliveMs)
    expect(silenceDefaults.headMaxMs).toBeGreaterThanOrEqual(2 * streamAfterMs)
  })

  it('a call whose answer broke off without an event id is of unknown outcome; a list is asked for again', async () => {
    const first = await startNode(({ name, response }) => {
      if (name.startsWith('tools/')) response.destroy()
      return name.startsWith('tools/')
    })
    const second = await startNode()
    const under = await open([first, second])
    await under.bridge.take(call('1'))
    expect(await answered(under)).toMatchObject([
      { id: 1, error: { code: rpcCodes.outcomeUnknown, data: { code: 'outcome-unknown', retry: 'outcome-unknown' } } },
    ])
    expect(named(second, 'tools/call')).toEqual([])
    const other = await open([first, second])
    await other.bridge.take('{"jsonrpc":"2.0","id":2,"method":"tools/list"}')
    expect(await answered(other)).toEqual([{ jsonrpc: '2.0', id: 2, result: {} }])
  })

  it('a call that no node knows any more is of unknown outcome at once', async () => {
    const first = await startNode(({ name, response }) => {
      if (name !== 'tools/call') return false
      sendEvent(response, 'e0')
      setImmediate(() => void response.destroy())
      return true
    })
    const second = await startNode(({ method, response }) => {
      if (method !== 'GET') return false
      answerJson(response, { id: null, error: { code: rpcCodes.refusedRequest, message: 'unknown session' } }, 404)
      return true
    })
    const under = await open([first, second])
    await under.bridge.take(call('1'))
    expect(await answered(under)).toMatchObject([{ id: 1, error: { code: rpcCodes.outcomeUnknown } }])
  })

  it('that nobody is there is said after a while, and a later message may find one', async () => {
    const node = await startNode()
    const under = await open([node], 200)
    await node.close()
    await under.bridge.take(call('1'))
    expect(await answered(under)).toMatchObject([
      { id: 1, error: { code: rpcCodes.unavailable, message: `nothing answers at ${node.url.href}` } },
    ])
  })
})

describe('a session that the cluster has forgotten', () => {
  it('is made anew with its level and subscriptions, and the client looks at the lists again', async () => {
    let opened = 0
    let forgotten = ''
    const node = await startNode(({ name, id, headers, response }) => {
      if (name === 'resources/subscribe' && headers['mcp-session-id'] === 'session-2') {
        answerJson(response, { id, error: { code: -32_002, message: 'gone' } })
        return true
      }
      if (name === 'initialize') {
        opened += 1
        response.setHeader('mcp-session-id', `session-${opened}`)
        const capabilities = { tools: { listChanged: true }, logging: {} }
        answerJson(response, { id: 'own', result: { protocolVersion: '2025-11-25', capabilities } })
        return true
      }
      if (headers['mcp-session-id'] !== forgotten) return false
      answerJson(response, { id: null, error: { code: -32_000, message: 'unknown session' } }, 404)
      return true
    })
    const under = await open([node])
    await under.bridge.take('{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}')
    await under.bridge.take('{"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{"uri":"a"}}')
    await under.bridge.take('{"jsonrpc":"2.0","id":3,"method":"resources/subscribe","params":{"uri":"b"}}')
    await answered(under, 3)
    await under.bridge.take('{"jsonrpc":"2.0","id":4,"method":"resources/unsubscribe","params":{"uri":"a"}}')
    await answered(under, 4)
    under.lines.length = 0
    forgotten = 'session-1'
    const before = node.asked.length
    for (const id of ['5', '6']) await under.bridge.take(call(id))
    const lines = await answered(under, 3)
    expect(lines).toEqual([
      { jsonrpc: '2.0', method: 'notifications/tools/list_changed' },
      { jsonrpc: '2.0', id: expect.any(Number), result: {} },
      { jsonrpc: '2.0', id: expect.any(Number), result: {} },
    ])
    expect(opened).toBe(2)
    const later = node.asked.slice(before).filter(({ headers }) => headers['mcp-session-id'] === 'session-2')
    expect(later.filter(({ method }) => method === 'POST').map(({ name }) => name)).toEqual([
      'notifications/initialized',
      'logging/setLevel',
      'resources/subscribe',
      'tools/call',
      'tools/call',
    ])
    expect(later.some(({ text }) => text.includes('"uri":"b"'))).toBe(true)
    expect(under.said.filter((text) => text.includes('lacks'))).toEqual(['the new session lacks a subscription'])
  })

  it('listens once, also when the session is lost before the client has said that it is ready', async () => {
    let opened = 0
    const node = await startNode(({ name, method, headers, response }) => {
      if (name === 'initialize') {
        opened += 1
        response.setHeader('mcp-session-id', `session-${opened}`)
        answerJson(response, { id: 'own', result: { protocolVersion: '2025-11-25', capabilities: {} } })
        return true
      }
      if (headers['mcp-session-id'] === 'session-1') {
        answerJson(response, { id: null, error: { code: -32_000, message: 'unknown session' } }, 404)
        return true
      }
      if (method === 'GET') sendEvent(response, 'e0')
      return method === 'GET'
    })
    const under = bridgeTo([node])
    await under.bridge.take(initialize)
    await under.bridge.take(initialized)
    await under.bridge.take(initialized)
    await under.bridge.take(call('1'))
    await answered(under, 2)
    await waitFor('the stream', () => named(node, 'HTTP GET')[0])
    await under.bridge.take('{"jsonrpc":"2.0","id":2,"method":"ping"}')
    await answered(under, 3)
    expect([opened, named(node, 'HTTP GET').length]).toEqual([2, 1])
  })
})

describe('the end', () => {
  it('waits for answers, and then ends the session', async () => {
    const node = await startNode(({ name, id, response }) => {
      if (name === 'tools/call') setImmediate(() => answerJson(response, { id, result: {} }))
      return name === 'tools/call'
    })
    const under = await open([node])
    await under.bridge.take(call('1'))
    await under.bridge.finish(10_000)
    expect(under.lines).toHaveLength(1)
    await under.bridge.stop()
    expect(named(node, 'HTTP DELETE').map(({ headers }) => headers['mcp-session-id'])).toEqual(['session-1'])
  })

  it('does not wait for an answer that does not come', async () => {
    const node = await startNode(({ name }) => name === 'tools/call')
    const under = await open([node])
    await under.bridge.take(call('1'))
    await under.bridge.finish(20)
    await under.bridge.stop()
    expect([under.lines, named(node, 'HTTP DELETE').length]).toEqual([[], 1])
  })
})
