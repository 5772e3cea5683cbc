import { afterEach, describe, expect, it } from 'vitest'
import type { HandAnswer } from '../../src/calls/call.ts'
import { deferred } from '../../src/std/deferred.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import type { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { frameTypes } from '../../src/wire/frame-types.ts'
import { encodeHandMessage } from '../../src/wire/hand-codec.ts'
import { waitFor } from '../wait.ts'
import { linked, pair, session, startNode, stopNodes } from './lane-rig.ts'
import type { RigNode } from './lane-rig.ts'

afterEach(stopNodes)

const accepted: HandAnswer = { status: 202, retryAfterS: null, body: null }
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

/** What the node takes is answered with its own number. */
function takes(node: RigNode): string[] {
  const taken: string[] = []
  node.lane.handing.onHanded(async (of, message) => {
    expect(of).toBe(session)
    taken.push(text(message))
    return { status: 503, retryAfterS: 7, body: asJsonText(text(message)) }
  })
  return taken
}

function codeOf(promise: Promise<HandAnswer>): Promise<string> {
  return promise.then(
    ({ status }) => String(status),
    (error: unknown) => (error as OperatingError).code,
  )
}

describe('a message that is handed over', () => {
  it('comes as the bytes that it is, in order, and each has its own answer', async () => {
    const [a, b] = await pair()
    const taken = takes(b)
    const texts = Array.from({ length: 50 }, (_, at) => `${at}`)
    const answers = await Promise.all(texts.map((each) => a.lane.handing.hand(b.node, session, Buffer.from(each))))
    expect(taken).toEqual(texts)
    expect(answers).toEqual(texts.map((each) => ({ status: 503, retryAfterS: 7, body: each })))
  })

  it('is refused where no way leads to the node, and where the node takes none', async () => {
    const [a, b] = await pair({ limits: { frameBytesMax: 4096, sendBufferBytesMax: 65_536 } })
    const hand = (node: NodeId, bytes: number): Promise<string> =>
      codeOf(a.lane.handing.hand(node, session, Buffer.alloc(bytes)))
    expect(await hand('z' as NodeId, 1)).toBe('server-unavailable')
    expect(await hand(b.node, 1)).toBe('server-unavailable')
    const stop = b.lane.handing.onHanded(async () => accepted)
    expect(await hand(b.node, 1)).toBe('202')
    expect(await hand(b.node, 5000)).toBe('server-unavailable')
    stop()
    expect(await hand(b.node, 1)).toBe('server-unavailable')
  })

  it.each(['its node dies', 'this node stops'])(
    'is of unknown outcome when %s before it is answered',
    async (which) => {
      const [a, b] = await pair()
      const taken = deferred<void>()
      b.lane.handing.onHanded(() => {
        taken.resolve()
        return new Promise(() => undefined)
      })
      const answer = codeOf(a.lane.handing.hand(b.node, session, Buffer.from('1')))
      await taken.promise
      const closedAt = performance.now()
      await (which === 'its node dies' ? b : a).links.close()
      expect(await answer).toBe('outcome-unknown')
      expect(performance.now() - closedAt).toBeLessThan(3000)
    },
  )

  it('is answered by the node that was asked only', async () => {
    const b = await startNode('b')
    const c = await startNode('c')
    const a = await startNode('a', { join: [b.address, c.address] })
    await waitFor('both links', () => a.links.reachable(b.node) && a.links.reachable(c.node))
    await linked(a, b)
    const held = deferred<HandAnswer>()
    const taken = deferred<void>()
    b.lane.handing.onHanded(() => {
      taken.resolve()
      return held.promise
    })
    const answer = a.lane.handing.hand(b.node, session, Buffer.from('1'))
    await taken.promise
    for (const number of [0, 1, 2]) {
      const { type, payload } = encodeHandMessage({ kind: 'handed', number, answer: { ...accepted, status: 404 } })
      c.transport.send(a.node, 'calls', type, payload)
    }
    c.transport.send(a.node, 'calls', frameTypes.handed, Uint8Array.of(0x90))
    await waitFor('all that c sent', () => a.lane.counters.framesMalformed === 1)
    held.resolve(accepted)
    expect(await answer).toEqual(accepted)
  })
})
