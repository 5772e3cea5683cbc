import { afterEach, describe, expect, it } from 'vitest'
import type { Outcome } from '../../src/calls/call.ts'
import { WordsHere } from '../../src/calls/client-words.ts'
import { KeptCalls } from '../../src/calls/kept-calls.ts'
import { silentLog } from '../../src/log/log.ts'
import type { CallsLaneOptions } from '../../src/peers/calls-lane.ts'
import { realClock } from '../../src/std/clock.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { Signal } from '../../src/std/signal.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { waitFor } from '../wait.ts'
import { ask, linked, makeCall, origin, pair, result, resume, session, startNode, stopNodes } from './lane-rig.ts'
import type { Asker, RigNode } from './lane-rig.ts'

// Calls that outlive the node where they came in: node b performs them, with its own keeping, for clients at a and c.
afterEach(stopNodes)

type Work = { hear(text: string): void; end(outcome: Outcome): void; readonly cancelled: Signal }

/** What a server's node has: calls that are kept, and servers that do what the test says. */
function keeping() {
  const works: Work[] = []
  const told = { unattended: (): void => undefined }
  const kept = new KeptCalls({
    node: 'b' as NodeId,
    upstreams: {
      call: (_, hear, cancelled) =>
        new Promise((end) => {
          works.push({ hear: (text) => hear(asJsonText(text)), end, cancelled })
          cancelled.addEventListener('abort', () => end({ kind: 'cancelled' }))
        }),
    },
    clock: realClock,
    log: silentLog,
    unattended: { begin: () => told.unattended(), end: () => undefined },
  })
  return { kept, works, told, work: (at = 0): Work => works[at] ?? expect.fail('nothing is performed') }
}

async function three(limits: Partial<CallsLaneOptions> = {}) {
  const at = keeping()
  const b = await startNode('b', { serve: at.kept, limits })
  const a = await startNode('a', { join: [b.address], limits })
  const c = await startNode('c', { join: [a.address, b.address], limits })
  await linked(a, b, c)
  return { a, b, c, ...at }
}

const seqs = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, at) => from + at)
const withOrigin = (isKept = false): ReturnType<typeof makeCall> => makeCall({}, { origin: { ...origin, isKept } })
const heard = (asker: Asker, count: number): Promise<unknown> =>
  waitFor(`${count} events`, () => asker.seqs.length >= count)

describe('a call whose client’s node dies', () => {
  it('goes on, and from every event on another node gets all that follows, once and in order, and the outcome', async () => {
    const { a, b, c, works, work } = await three({ linkWaitMs: () => 100 })
    const last = 12
    const asked = seqs(0, last).map(() => ask(a, b, withOrigin(true)))
    await waitFor('the calls', () => works.length === last + 1)
    for (const each of works) for (const n of seqs(1, 6)) each.hear(`${n}`)
    await Promise.all(asked.map((each) => heard(each, 6)))
    await a.links.close()
    for (const each of asked) expect(await each.promise).toMatchObject({ kind: 'unknown' })
    // Some are resumed while events come, some after them, and some after the end.
    const resumed = asked.map(({ call }, after) => {
      if (after % 3 === 1) for (const n of seqs(7, last)) work(after).hear(`${n}`)
      if (after % 3 === 2) {
        for (const n of seqs(7, last)) work(after).hear(`${n}`)
        work(after).end(result(`"${after}"`))
      }
      return resume(c, b, call.id, after)
    })
    for (const [after, each] of works.entries()) {
      if (after % 3 === 0) for (const n of seqs(7, last)) each.hear(`${n}`)
      if (after % 3 !== 2) each.end(result(`"${after}"`))
    }
    for (const [after, each] of resumed.entries()) {
      expect(await each.promise).toEqual(result(`"${after}"`))
      expect(each.seqs).toEqual(seqs(after + 1, last))
      expect(each.came).toEqual(each.seqs.map(String))
    }
    expect(works.some(({ cancelled }) => cancelled.aborted)).toBe(false)
  })

  it('is taken over from it when it lives after all, and it learns so', async () => {
    const { a, b, c, works, work } = await three()
    const asked = ask(a, b, withOrigin())
    await waitFor('the call', () => works.length === 1)
    work().hear('1')
    await heard(asked, 1)
    const back = resume(c, b, asked.call.id, 1)
    expect(await asked.promise).toEqual({ kind: 'left' })
    work().hear('2')
    work().end(result('"done"'))
    expect(await back.promise).toEqual(result('"done"'))
    expect([asked.came, back.came]).toEqual([['1'], ['2']])
  })

  it('is of no other session, and what was never kept is unknown', async () => {
    const { a, b, c, works, work } = await three()
    const asked = ask(a, b, withOrigin())
    await waitFor('the call', () => works.length === 1)
    const ref = { id: asked.call.id, session: '22222222-2222-4222-8222-222222222222' as typeof session, after: 0 }
    expect(await c.lane.calls.resume(b.node, ref, asked)).toMatchObject({ kind: 'unknown' })
    work().end(result('1'))
    expect(await asked.promise).toEqual(result('1'))
    expect(await resume(c, b, asked.call.id).promise).toMatchObject({ kind: 'unknown' })
  })
})

describe('a call whose link breaks while both nodes live', () => {
  it('goes on as soon as the link is there again: nothing is missed, and nothing is heard twice', async () => {
    const { a, b, works, work, told } = await three()
    const asked = ask(a, b, withOrigin())
    await waitFor('the call', () => works.length === 1)
    for (const n of seqs(1, 30)) work().hear(`${n}`)
    await heard(asked, 1)
    b.transport.disconnect(a.node)
    for (const n of seqs(31, 60)) work().hear(`${n}`)
    await heard(asked, 60)
    const isUnattended = new Promise<void>((resolve) => (told.unattended = resolve))
    a.transport.disconnect(b.node)
    await isUnattended
    work().end(result('"done"'))
    expect(await asked.promise).toEqual(result('"done"'))
    expect(asked.seqs).toEqual(seqs(1, 60))
  })

  it('may be left or cancelled meanwhile, and is waited for by who comes back before the link', async () => {
    const { a, b, c, works, work } = await three()
    const asked = [ask(a, b, withOrigin(true)), ask(a, b, withOrigin(true))] as const
    await waitFor('the calls', () => works.length === 2)
    for (const each of works) each.hear('1')
    b.valve.isShut = true
    a.transport.disconnect(b.node)
    await waitFor('the end of the link', () => !a.links.reachable(b.node))
    asked[0].leave()
    asked[1].cancel()
    expect(await Promise.all(asked.map(({ promise }) => promise))).toEqual([{ kind: 'left' }, { kind: 'cancelled' }])
    c.transport.disconnect(b.node)
    await waitFor('the end of the link', () => !c.links.reachable(b.node))
    const back = resume(c, b, asked[0].call.id, 0)
    const gone = resume(c, b, asked[1].call.id, 0)
    gone.leave()
    expect(await gone.promise).toEqual({ kind: 'left' })
    b.valve.isShut = false
    work(0).end(result('"done"'))
    expect(await back.promise).toEqual(result('"done"'))
    expect(back.came).toEqual(['1'])
  })

  it('is cancelled at its node as soon as the link is there again, whoever said so meanwhile', async () => {
    const { a, b, works, work, kept } = await three({ linkWaitMs: () => 5 })
    const other = makeCall({}, { origin: { ...origin, requestId: asJsonText('2') } })
    const [here, elsewhere] = [ask(a, b, withOrigin()), ask(a, b, other)]
    await waitFor('the calls', () => works.length === 2)
    a.transport.disconnect(b.node)
    await waitFor('the end of the link', () => !a.links.reachable(b.node))
    here.cancel()
    a.lane.calls.cancelRequest(session, asJsonText('2'), asJsonText('{"requestId":2}'))
    expect([await here.promise, await elsewhere.promise]).toEqual([{ kind: 'cancelled' }, { kind: 'cancelled' }])
    await waitFor('the cancellations', () => works.every(({ cancelled }) => cancelled.aborted))
    expect([work(0).cancelled.reason, work(1).cancelled.reason]).toEqual([null, '{"requestId":2}'])
    expect([here.outcome, kept.counters.inWork]).toEqual([{ kind: 'cancelled' }, 0])
    // Each by who cancels it; nobody comes back for the rest of a call that has been given up.
    expect(kept.counters.resumed).toBe(2)
  })

  it('is waited for no more when its node stops', async () => {
    const { a, b, works } = await three({ linkWaitMs: () => 60_000 })
    const asked = ask(a, b, withOrigin())
    await waitFor('the call', () => works.length === 1)
    await b.links.close()
    await waitFor('the end of the link', () => !a.links.reachable(b.node))
    await a.links.close()
    expect(await asked.promise).toMatchObject({ kind: 'unknown' })
  })
})

describe('a call whose own node dies', () => {
  it('is soon of unknown outcome, for who waits and for who comes back', async () => {
    const { a, b, c, works, work } = await three({ linkWaitMs: () => 100 })
    const asked = ask(a, b, withOrigin())
    await waitFor('the call', () => works.length === 1)
    work().hear('1')
    await heard(asked, 1)
    await b.links.close()
    expect(await asked.promise).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown' } })
    await waitFor('the end of the link', () => !c.links.reachable(b.node))
    expect(await resume(c, b, asked.call.id, 1).promise).toMatchObject({
      kind: 'unknown',
      error: { code: 'outcome-unknown', retry: 'outcome-unknown' },
    })
  })
})

describe('a caller that leaves', () => {
  it('may come back at the same node, also before the frames of its first connection have all arrived', async () => {
    const { a, b, works, work, kept } = await three()
    const first = ask(a, b, withOrigin())
    await waitFor('the call', () => works.length === 1)
    work().hear('1')
    await heard(first, 1)
    first.leave()
    expect(await first.promise).toEqual({ kind: 'left' })
    await waitFor('the leave', () => kept.counters.unattended === 1)
    for (const n of seqs(2, 50)) work().hear(`${n}`)
    const second = resume(a, b, first.call.id, 1)
    const third = resume(a, b, first.call.id, 1)
    for (const n of seqs(51, 99)) work().hear(`${n}`)
    expect(await second.promise).toEqual({ kind: 'left' })
    work().end(result('"done"'))
    expect(await third.promise).toEqual(result('"done"'))
    expect(third.seqs).toEqual(seqs(2, 99))
    expect(first.seqs).toEqual([1])
  })

  it('and cancels when it is back, cancels', async () => {
    const { a, b, c, works, work } = await three()
    const asked = ask(a, b, withOrigin())
    await waitFor('the call', () => works.length === 1)
    asked.leave()
    const back = resume(c, b, asked.call.id)
    back.cancel()
    expect(await back.promise).toEqual({ kind: 'cancelled' })
    await waitFor('the cancellation', () => work().cancelled.aborted)
  })
})

describe('a call without an origin', () => {
  it('ends with its link: nobody can come back for it', async () => {
    const { a, b, works, work } = await three()
    ask(a, b)
    await waitFor('the call', () => works.length === 1)
    await a.links.close()
    await waitFor('the cancellation', () => work().cancelled.aborted)
  })
})

describe('a cancellation at any node', () => {
  it('ends the call where it is performed, and tells its caller', async () => {
    const { a, b, works, work, kept } = await three()
    const asked = ask(a, b, withOrigin())
    const other = ask(a, b, makeCall({}, { origin: { ...origin, requestId: asJsonText('2') } }))
    await waitFor('the calls', () => works.length === 2)
    const words = new WordsHere({ calls: [b.lane.calls, kept], upstreams: { say: () => undefined } })
    words.say(session, { kind: 'cancel', requestId: asJsonText('1'), params: asJsonText('{"requestId":1}') })
    expect(await asked.promise).toEqual({ kind: 'cancelled' })
    expect([work(0).cancelled.aborted, work(1).cancelled.aborted, other.outcome]).toEqual([true, false, null])
  })

  it('ends the call at the node that asked for it, and there upstream', async () => {
    const { a, b, works, work } = await three()
    const asked = ask(a, b, withOrigin())
    const other = ask(a, b, makeCall({}, { origin: { ...origin, requestId: asJsonText('"1"') } }))
    await waitFor('the calls', () => works.length === 2)
    a.lane.calls.cancelRequest(session, asJsonText('1'), asJsonText('{"requestId":1}'))
    expect(await asked.promise).toEqual({ kind: 'cancelled' })
    await waitFor('the cancellation', () => work(0).cancelled.aborted)
    expect([work(1).cancelled.aborted, other.outcome]).toEqual([false, null])
  })
})

describe('a node that takes events more slowly than they arise', () => {
  const narrow = { outboxBytesMax: 40_000 }
  const big = (n: number): string => `"${String(n).padEnd(1000, 'x')}"`

  async function slow(): Promise<{ a: RigNode; b: RigNode } & ReturnType<typeof keeping>> {
    const at = keeping()
    const [a, b] = await pair(narrow, at.kept)
    return { a, b, ...at }
  }

  it('is told that it is behind, comes again by itself, and misses nothing', async () => {
    const { a, b, works, work, kept } = await slow()
    const asked = ask(a, b, withOrigin())
    await waitFor('the call', () => works.length === 1)
    b.valve.isShut = true
    for (const n of seqs(1, 100)) work().hear(big(n))
    expect(b.lane.counters.peersBehind).toBe(1)
    expect(kept.counters.unattended).toBe(1)
    b.valve.isShut = false
    await heard(asked, 100)
    work().hear('101')
    work().end(result('"done"'))
    expect(await asked.promise).toEqual(result('"done"'))
    expect(asked.seqs).toEqual(seqs(1, 101))
    expect(b.lane.counters.eventsDropped).toBe(0)
  })

  it('may cancel or leave the call meanwhile', async () => {
    const { a, b, works, work, kept } = await slow()
    const [cancelling, leaving] = [ask(a, b, withOrigin()), ask(a, b, withOrigin())]
    await waitFor('the calls', () => works.length === 2)
    b.valve.isShut = true
    for (const n of seqs(1, 100)) for (const each of works) each.hear(big(n))
    expect(b.lane.counters.peersBehind).toBe(2)
    cancelling.cancel()
    leaving.leave()
    await waitFor('the cancellation', () => work(0).cancelled.aborted)
    expect(await leaving.promise).toEqual({ kind: 'left' })
    b.valve.isShut = false
    work(1).end(result('"done"'))
    const back = resume(a, b, leaving.call.id, 99)
    expect(await back.promise).toEqual(result('"done"'))
    expect(back.seqs).toEqual([100])
    expect([work(1).cancelled.aborted, kept.counters.unattended]).toEqual([false, 0])
  })
})
