import { afterEach, describe, expect, it } from 'vitest'
import type { MailPosition } from '../../src/calls/call.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { NodeId, QuestionId, ServerName } from '../../src/vocabulary/ids.ts'
import { encodeMailMessage } from '../../src/wire/mail-codec.ts'
import { frameTypes } from '../../src/wire/frame-types.ts'
import { waitFor } from '../wait.ts'
import { linked, pair, session, startNode, stopNodes } from './lane-rig.ts'
import type { RigNode } from './lane-rig.ts'

afterEach(stopNodes)

const server = 'files' as ServerName

function put(node: RigNode, ...texts: string[]): void {
  for (const text of texts) node.boxes.put(session, { server, message: asJsonText(text) })
}

/** A stream of the session at the node. `has`: the positions that its event id would say now. */
function listen(node: RigNode, from: ReadonlyMap<NodeId, MailPosition> = new Map()) {
  const stream = { came: [] as string[], has: new Map(from), displaced: 0, stop: (): void => undefined }
  stream.stop = node.lane.mailroom.read(session, from, {
    at: (of, position) => void stream.has.set(of, position),
    mail(of, epoch, { seq, message }) {
      stream.has.set(of, { epoch, seq })
      stream.came.push(`${of} ${message}`)
    },
    displaced: () => (stream.displaced += 1),
  })
  return stream
}
const numbered = (node: string, from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, at) => `${node} ${from + at}`)

async function three(): Promise<[RigNode, RigNode, RigNode]> {
  const b = await startNode('b')
  const a = await startNode('a', { join: [b.address] })
  const c = await startNode('c', { join: [a.address, b.address] })
  await linked(a, b, c)
  return [a, b, c]
}

describe('mail', () => {
  it('of all nodes comes to the node that has the stream, and goes on at another when that one dies', async () => {
    const [a, b, c] = await three()
    put(b, '1', '2')
    const first = listen(a)
    await waitFor('all boxes', () => first.has.size === 3 && first.came.length === 2)
    put(b, '3')
    put(c, '1')
    await waitFor('the mail', () => first.came.length === 4)
    const has = new Map(first.has).set(b.node, { epoch: 1, seq: 2 })
    await a.links.close()
    put(b, '4')
    const second = listen(c, has)
    put(b, '5')
    await waitFor('the mail that was missed', () => second.came.length === 3)
    expect(first.came.filter((text) => text.startsWith('b'))).toEqual(numbered('b', 1, 3))
    expect(second.came).toEqual(numbered('b', 3, 5))
    expect(second.displaced).toBe(0)
  })

  it('goes on where it stood when a link comes back', async () => {
    const [a, b] = await pair()
    const stream = listen(a)
    put(b, '1')
    await waitFor('the first', () => stream.came.length === 1)
    b.transport.disconnect(a.node)
    put(b, '2', '3')
    await waitFor('the others', () => stream.came.length === 3)
    put(b, '4')
    await waitFor('the last', () => stream.came.length === 4)
    expect(stream.came).toEqual(numbered('b', 1, 4))
  })

  it('comes to the latest stream only, and the one before learns so', async () => {
    const [a, b, c] = await three()
    const first = listen(a)
    await waitFor('all boxes', () => first.has.size === 3)
    const second = listen(c)
    await waitFor('the displacement', () => first.displaced === 1)
    await waitFor('all boxes', () => second.has.size === 3)
    put(a, '1')
    put(b, '1')
    await waitFor('the mail', () => second.came.length === 2)
    expect([first.came, second.displaced]).toEqual([[], 0])
    second.stop()
    // Though it may be handed to the stream that was stopped, which b does not know yet.
    put(b, '2')
    const third = listen(a)
    await waitFor('what nobody has read', () => third.came.length === 1)
    expect(third.came).toEqual(['b 2'])
    for (const node of [a, b, c]) expect(node.lane.mailroom.size).toBe(node === a ? 1 : 0)
  })

  it('that comes when the stream’s node is gone is read by nobody, and so by who begins anew at another', async () => {
    const [a, b, c] = await three()
    const first = listen(a)
    await waitFor('all boxes', () => first.has.size === 3)
    await a.links.close()
    await waitFor('the end of the links', () => b.said.closed.length === 1 && c.said.closed.length === 1)
    expect([b, c].map((node) => node.boxes.counters.boxes)).toEqual([0, 0])
    put(b, '1')
    const second = listen(c)
    await waitFor('the mail', () => second.came.length === 1)
    expect(second.came).toEqual(['b 1'])
  })

  it('that comes faster than a node takes it is fetched by that node, and nothing is missed', async () => {
    const [a, b] = await pair({ outboxBytesMax: 40_000 })
    const stream = listen(a)
    await waitFor('both boxes', () => stream.has.size === 2)
    b.valve.isShut = true
    for (let n = 1; n <= 100; n += 1) put(b, `"${String(n).padEnd(1000, 'x')}"`)
    expect(b.lane.counters.peersBehind).toBe(1)
    b.valve.isShut = false
    await waitFor('all', () => stream.came.length === 100)
    expect(stream.came.map((text) => Number.parseInt(text.slice(3), 10))).toEqual(
      Array.from({ length: 100 }, (_, at) => at + 1),
    )
  })

  it('that is larger than a frame is left out and counted', async () => {
    const [a, b] = await pair({ limits: { frameBytesMax: 4096, sendBufferBytesMax: 65_536 } })
    const stream = listen(a)
    put(b, `"${'x'.repeat(5000)}"`, '2')
    await waitFor('the other', () => stream.came.length === 1)
    expect(stream.came).toEqual(['b 2'])
    expect(b.lane.counters.mailsDropped).toBe(1)
  })

  it('whose frames make no sense is counted, and the link stays', async () => {
    const [a, b] = await pair()
    const { type, payload } = encodeMailMessage({ kind: 'mail-displaced', reading: 77 })
    b.transport.send(a.node, 'calls', type, payload)
    b.transport.send(a.node, 'calls', frameTypes['mail-open'], Uint8Array.of(0x90))
    b.transport.send(a.node, 'calls', frameTypes['client-word'], Uint8Array.of(0x90))
    await waitFor('the count', () => a.lane.counters.framesMalformed === 2)
    expect(a.links.reachable(b.node)).toBe(true)
  })
})

describe('what clients say', () => {
  const question = `q.b.1.1.${'x'.repeat(16)}` as QuestionId

  it('arrives as it was said, in order', async () => {
    const [a, b] = await pair()
    const words = [
      { kind: 'answer', question, result: asJsonText('{ "n": 12345678901234567890 }') },
      { kind: 'refusal', question, error: asJsonText('{"code":-1}') },
      { kind: 'progress', question, params: asJsonText('{"progress":1}') },
      { kind: 'cancel', requestId: asJsonText('"1"'), params: asJsonText('{}') },
      { kind: 'notification', server, method: 'notifications/roots/list_changed', params: asJsonText('{}') },
    ] as const
    for (const word of words) a.lane.words.say(b.node, session, word)
    await waitFor('all', () => b.words.length === words.length)
    expect(b.words).toEqual(words.map((word) => ({ session, word })))
    expect([...a.lane.words.nodes()]).toEqual([b.node])
  })

  it('while the link is broken arrives when it is there again, once and in order; not after a node has been given up', async () => {
    const [a, b] = await pair()
    a.transport.disconnect(b.node)
    expect(a.links.reachable(b.node)).toBe(false)
    const says = (node: NodeId, n: number): void =>
      a.lane.words.say(node, session, { kind: 'answer', question, result: asJsonText(String(n)) })
    for (const n of [1, 2, 3]) says(b.node, n)
    await linked(a, b)
    says(b.node, 4)
    await waitFor('all', () => b.words.length >= 4)
    expect(b.words.map(({ word }) => 'result' in word && word.result)).toEqual(['1', '2', '3', '4'])
    says('z' as NodeId, 5)
    await waitFor('the end of the wait', () => a.lane.counters.wordsDropped === 1)
    expect(b.words.length).toBe(4)
  })

  it('and can not be sent is counted, and logged once a second', async () => {
    const [a, b] = await pair({ limits: { frameBytesMax: 4096, sendBufferBytesMax: 65_536 } })
    a.lane.words.say(b.node, session, { kind: 'answer', question, result: asJsonText(`"${'x'.repeat(5000)}"`) })
    for (let said = 0; said < 257; said += 1)
      a.lane.words.say('z' as NodeId, session, { kind: 'answer', question, result: asJsonText('1') })
    expect(a.lane.counters.wordsDropped, 'one too large, one too many').toBe(2)
    expect(a.logged.filter(({ event }) => event === 'client-word-dropped').length).toBe(1)
  })
})
