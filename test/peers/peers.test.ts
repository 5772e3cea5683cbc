import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { asJsonText } from '../../src/std/json-text.ts'
import type { Call, CallEvent, Caller, Outcome } from '../../src/calls/call.ts'
import type { CallId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { encodeCallMessage } from '../../src/wire/call-codec.ts'
import { frameTypes } from '../../src/wire/frame-types.ts'
import { pack } from '../../src/wire/pack.ts'
import { waitFor } from '../wait.ts'
import { ask, linked, makeCall, pair, progress, result, startNode, stopNodes } from './lane-rig.ts'

afterEach(stopNodes)

/** toEqual compares errors by their message only. */
function errorFields(outcome: Outcome): unknown {
  if (!('error' in outcome) || outcome.kind === 'error') return null
  const { code, message, retry, retryAfterMs, details } = outcome.error
  return { code, message, retry, retryAfterMs, details }
}

const nobody: Caller = { hear: () => undefined, cancelled: new AbortController().signal, left: null }
const serving = (call: () => Promise<Outcome>): { call: () => Promise<Outcome> } => ({ call })

describe('a call to another node', () => {
  it('arrives as it was made, and its hundred events come back in order before the result', async () => {
    const [a, b] = await pair()
    const call: Call = {
      ...makeCall(),
      params: asJsonText('{ "n": 12345678901234567890, "text": "é\\u0000" }'),
      timeoutMs: 1500,
    }
    const asked = ask(a, b, call)
    const [served] = await waitFor('the call', () => b.serving.length === 1 && b.serving)
    expect(served?.call).toEqual(call)
    for (let n = 0; n < 100; n += 1) served?.hear(progress(n + 1))
    served?.end(result('{ "content": [] }'))
    expect(await asked.promise).toEqual(result('{ "content": [] }'))
    expect(asked.came).toEqual(Array.from({ length: 100 }, (_, n) => `{"progress":${n + 1}}`))
  })

  it.each<[string, Outcome]>([
    ['an error of the server', { kind: 'error', error: asJsonText('{"code":-32602,"message":"no"}') }],
    [
      'that the server is not here',
      { kind: 'rejected', error: new OperatingError('not-here', 'files does not run on b', { retry: 'elsewhere' }) },
    ],
    [
      'that it was not sent',
      {
        kind: 'not-sent',
        error: new OperatingError('server-unavailable', 'files is down', { retry: 'after', retryAfterMs: 50 }),
      },
    ],
    [
      'an unknown outcome',
      { kind: 'unknown', error: new OperatingError('outcome-unknown', 'files died', { details: { signal: 9 } }) },
    ],
  ])('ends with %s', async (_, outcome) => {
    const [a, b] = await pair(
      {},
      serving(() => Promise.resolve(outcome)),
    )
    const came = await ask(a, b).promise
    expect(came).toEqual(outcome)
    expect(errorFields(came)).toEqual(errorFields(outcome))
  })

  it('carries nothing after its result', async () => {
    const [a, b] = await pair()
    const first = ask(a, b)
    const [served] = await waitFor('the call', () => b.serving.length === 1 && b.serving)
    served?.end(result('1'))
    await first.promise
    served?.hear(progress(1))
    served?.end(result('2'))
    const second = ask(a, b)
    await waitFor('the second call', () => b.serving.length === 2)
    b.serving[1]?.end(result('3'))
    expect(await second.promise).toEqual(result('3'))
    expect(first.came).toEqual([])
    expect(a.lane.counters.framesIgnored).toBe(0)
  })

  it('goes to the one node that is meant, among three', async () => {
    const b = await startNode('b', { serve: serving(() => Promise.resolve(result('"b"'))) })
    const c = await startNode('c', { serve: serving(() => Promise.resolve(result('"c"'))), join: [b.address] })
    const a = await startNode('a', { join: [b.address, c.address] })
    await linked(a, b, c)
    expect(await Promise.all([ask(a, b), ask(a, c), ask(c, b)].map((asked) => asked.promise))).toEqual(
      ['"b"', '"c"', '"b"'].map(result),
    )
  })

  it('is masked when serving it fails by accident, and the log has the cause', async () => {
    const [a, b] = await pair(
      {},
      serving(() => Promise.reject(new Error('the inner cause'))),
    )
    const outcome = await ask(a, b).promise
    expect(outcome).toMatchObject({ kind: 'unknown', error: { code: 'internal', retry: 'outcome-unknown' } })
    expect(JSON.stringify(outcome)).not.toContain('inner cause')
    expect(b.logged.find((each) => each.event === 'call-serve-failed')?.fields['error']).toMatchObject({
      message: 'the inner cause',
    })
  })
})

describe('a cancellation', () => {
  it('reaches the right call on the right node, and no other', async () => {
    const b = await startNode('b')
    const c = await startNode('c')
    const a = await startNode('a', { join: [b.address, c.address] })
    await waitFor('both links', () => a.links.reachable(b.node) && a.links.reachable(c.node))
    const asked = [ask(a, b), ask(a, b), ask(a, c)] as const
    await waitFor('the calls', () => b.serving.length === 2 && c.serving.length === 1)
    asked[0].cancel()
    expect(await asked[0].promise).toEqual({ kind: 'cancelled' })
    await waitFor('the cancellation', () => b.serving[0]?.caller.cancelled.aborted)
    b.serving[0]?.end({ kind: 'cancelled' })
    b.serving[1]?.end(result('1'))
    c.serving[0]?.end(result('2'))
    expect([await asked[1].promise, await asked[2].promise]).toEqual([result('1'), result('2')])
    expect([b.serving[1]?.caller.cancelled.aborted, c.serving[0]?.caller.cancelled.aborted]).toEqual([false, false])
  })

  it('before the call sends nothing', async () => {
    const [a, b] = await pair()
    const framesIn = b.transport.counters.framesIn
    const outcome = await a.lane.calls.call(b.node, makeCall(), { ...nobody, cancelled: AbortSignal.abort() })
    expect(outcome).toEqual({ kind: 'cancelled' })
    const next = ask(a, b)
    await waitFor('the next call', () => b.serving.length === 1)
    expect(b.transport.counters.framesIn).toBe(framesIn + 1)
    b.serving[0]?.end(result('1'))
    await next.promise
  })

  it('after the result does nothing', async () => {
    const [a, b] = await pair(
      {},
      serving(() => Promise.resolve(result('1'))),
    )
    const asked = ask(a, b)
    await asked.promise
    const framesIn = b.transport.counters.framesIn
    asked.cancel()
    await ask(a, b).promise
    expect(b.transport.counters.framesIn).toBe(framesIn + 1)
  })
})

describe('calls that the node which performs them gives up', () => {
  it('are ended here and told as of unknown outcome there, and the link stands', async () => {
    const [a, b] = await pair()
    const asked = ask(a, b)
    await waitFor('the call', () => b.serving.length === 1)
    const why = new OperatingError('outcome-unknown', 'node b was drained')
    b.lane.abandonServed(why)
    expect(await asked.promise).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown' } })
    expect(b.serving[0]?.caller.cancelled.aborted).toBe(true)
    b.serving[0]?.end(result('"late"'))
    const next = ask(a, b)
    await waitFor('another call', () => b.serving.length === 2)
    b.serving[1]?.end(result('"done"'))
    expect(await next.promise).toEqual(result('"done"'))
    expect(a.lane.counters.framesIgnored).toBe(0)
  })
})

describe('a link that breaks', () => {
  it('makes the outcome of its calls unknown at once, and aborts what it carried', async () => {
    const [a, b] = await pair()
    const asked = ask(a, b)
    await waitFor('the call', () => b.serving.length === 1)
    await a.links.close()
    expect(await asked.promise).toMatchObject({
      kind: 'unknown',
      error: { code: 'outcome-unknown', retry: 'outcome-unknown' },
    })
    await waitFor('the abortion', () => b.serving[0]?.caller.cancelled.aborted)
    b.serving[0]?.hear(progress(1))
    b.serving[0]?.end(result('1'))
    await nextTurn()
    expect(asked.came).toEqual([])
    expect(b.said.closed).toEqual(['a'])
  })

  it('is noticed by the asking side when the serving node goes', async () => {
    const [a, b] = await pair()
    const asked = ask(a, b)
    await waitFor('the call', () => b.serving.length === 1)
    await b.links.close()
    expect(await asked.promise).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown' } })
    await waitFor('the report', () => a.said.closed.length === 1)
    const late = await ask(a, b).promise
    expect(late).toMatchObject({ kind: 'not-sent', error: { code: 'server-unavailable', retry: 'elsewhere' } })
  })

  it('does not carry the end of an old call into the next link', async () => {
    const [a, b] = await pair()
    const asked = ask(a, b)
    await waitFor('the call', () => b.serving.length === 1)
    await a.links.close()
    await asked.promise
    const again = await startNode('a', { join: [b.address], hello: { generation: 2 } })
    await linked(again, b)
    const framesIn = again.transport.counters.framesIn
    b.serving[0]?.end(result('1'))
    const next = ask(again, b)
    await waitFor('the next call', () => b.serving.length === 2)
    b.serving[1]?.end(result('2'))
    expect(await next.promise).toEqual(result('2'))
    expect(again.transport.counters.framesIn).toBe(framesIn + 1)
  })
})

describe('the limits', () => {
  it('of calls under way: the asking side does not send more, the serving side refuses more', async () => {
    const b = await startNode('b', { limits: { callsPerPeerMax: 2 } })
    const a = await startNode('a', { join: [b.address], limits: { callsPerPeerMax: 3 } })
    await linked(a, b)
    const asked = [ask(a, b), ask(a, b)]
    await waitFor('the calls', () => b.serving.length === 2)
    expect(await ask(a, b).promise).toMatchObject({
      kind: 'rejected',
      error: { code: 'overloaded', retry: 'elsewhere' },
    })
    const reverse = [ask(b, a), ask(b, a)]
    expect(await ask(b, a).promise).toMatchObject({ kind: 'not-sent', error: { code: 'overloaded' } })
    await waitFor('the reverse calls', () => a.serving.length === 2)
    for (const served of [...a.serving, ...b.serving]) served.end(result('1'))
    await Promise.all([...asked, ...reverse].map((each) => each.promise))
    const more = ask(a, b)
    await waitFor('one more call', () => b.serving.length === 3)
    b.serving[2]?.end(result('2'))
    expect(await more.promise).toEqual(result('2'))
  })

  it('of the bytes that calls under way came in: the asking side sends no more, the serving side refuses more', async () => {
    const b = await startNode('b', { limits: { callBytesPerPeerMax: 2000 } })
    const a = await startNode('a', { join: [b.address], limits: { callBytesPerPeerMax: 3000 } })
    await linked(a, b)
    const large = (): Call => makeCall({ text: 'x'.repeat(900) })
    const asked = [ask(a, b, large()), ask(a, b, large())]
    await waitFor('the calls', () => b.serving.length === 2)
    const third = await ask(a, b, large()).promise
    expect(third).toMatchObject({ kind: 'rejected', error: { code: 'overloaded', retry: 'elsewhere' } })
    expect(third.kind === 'rejected' && third.error.message).toContain('2000 bytes of calls')
    const reverse = [ask(b, a, large()), ask(b, a, large())]
    const unsent = await ask(b, a, large()).promise
    expect(unsent).toMatchObject({ kind: 'not-sent', error: { code: 'overloaded', retry: 'elsewhere' } })
    await waitFor('the reverse calls', () => a.serving.length === 2)
    for (const served of [...a.serving, ...b.serving]) served.end(result('1'))
    await Promise.all([...asked, ...reverse].map((each) => each.promise))
    // Alone it may be larger than all together.
    const alone = ask(a, b, makeCall({ text: 'x'.repeat(2500) }))
    await waitFor('the large call', () => b.serving.length === 3)
    b.serving[2]?.end(result('2'))
    expect(await alone.promise).toEqual(result('2'))
    const again = [ask(a, b, large()), ask(a, b, large())]
    await waitFor('both again', () => b.serving.length === 5)
    for (const served of b.serving.slice(3)) served.end(result('3'))
    for (const { promise } of again) expect(await promise).toEqual(result('3'))
  })

  const small = { limits: { frameBytesMax: 4096, sendBufferBytesMax: 1024 }, outboxBytesMax: 8192 }

  it('of a frame: a call that is larger is not sent, and the message names the limit', async () => {
    const [a, b] = await pair(small)
    const outcome = await ask(a, b, makeCall({ text: 'x'.repeat(5000) })).promise
    expect(outcome).toMatchObject({ kind: 'not-sent', error: { code: 'too-large' } })
    expect(outcome.kind === 'not-sent' && outcome.error.message).toContain('4084')
    expect(b.serving).toEqual([])
  })

  it('of a frame: a result that is larger is unknown, and the message names the limit', async () => {
    const [a, b] = await pair(
      small,
      serving(() => Promise.resolve(result(`"${'x'.repeat(5000)}"`))),
    )
    const outcome = await ask(a, b).promise
    expect(outcome).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown' } })
    expect(outcome.kind === 'unknown' && outcome.error.message).toContain('4084')
    expect(a.links.reachable(b.node)).toBe(true)
  })

  it('of the send buffer: results wait in order, events of a call that nobody can resume are dropped beyond the limit and counted', async () => {
    const [a, b] = await pair({
      limits: { frameBytesMax: 1024 * 1024, sendBufferBytesMax: 64 * 1024 },
      outboxBytesMax: 40 * 1024 * 1024,
    })
    const asked = [ask(a, b), ask(a, b)]
    await waitFor('the calls', () => b.serving.length === 2)
    const big: CallEvent = { seq: 1, message: asJsonText(`"${'x'.repeat(500_000)}"`) }
    for (let n = 0; n < 200; n += 1) b.serving[0]?.hear(big)
    b.serving[0]?.hear(progress(1))
    b.serving[0]?.end(result('1'))
    b.serving[1]?.end(result(`"${'y'.repeat(500_000)}"`))
    expect(await asked[0]?.promise).toEqual(result('1'))
    expect((await asked[1]?.promise)?.kind).toBe('result')
    expect(b.lane.counters.eventsDropped).toBeGreaterThan(0)
    expect(asked[0]?.came.length).toBe(201 - b.lane.counters.eventsDropped)
    expect(asked[0]?.came.at(-1)).toBe('{"progress":1}')
  })
})

describe('frames that make no sense', () => {
  it('of unknown calls are ignored and counted', async () => {
    const [a, b] = await pair()
    const id = 'x.1.1' as CallId
    for (const message of [
      { kind: 'call-event', id, event: progress(1) },
      { kind: 'call-end', id, outcome: result('1') },
      { kind: 'call-cancel', id, params: null },
      { kind: 'call-leave', id },
    ] as const) {
      const { type, payload } = encodeCallMessage(message)
      b.transport.send(a.node, 'calls', type, payload)
    }
    await waitFor('the count', () => a.lane.counters.framesIgnored === 4)
    expect(a.links.reachable(b.node)).toBe(true)
  })

  it('are counted, and logged once a second, and the link stays', async () => {
    const [a, b] = await pair()
    b.transport.send(a.node, 'calls', 64, Uint8Array.of(1, 2, 3))
    b.transport.send(a.node, 'calls', 200, Uint8Array.of(0x90))
    await waitFor('the count', () => a.lane.counters.framesMalformed === 2)
    expect(a.logged.filter((each) => each.event === 'call-frame-malformed').length).toBe(1)
    expect(a.links.reachable(b.node)).toBe(true)
  })

  it('end the call that they are of, at once, as unknown', async () => {
    const [a, b] = await pair()
    const asked = ask(a, b)
    await waitFor('the call', () => b.serving.length === 1)
    b.transport.send(a.node, 'calls', frameTypes['call-end'], pack([asked.call.id, 'of a later version', 7]))
    const outcome = await asked.promise
    expect(outcome).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown' } })
    expect(outcome.kind === 'unknown' && outcome.error.message).toContain('the answer of node b can not be read')
    expect(a.lane.counters.framesMalformed).toBe(1)
    b.serving[0]?.end(result('1'))
    await waitFor('the late answer', () => a.lane.counters.framesIgnored === 1)
  })

  it('of a call that can not be read refuse it at once, but never one that is under way', async () => {
    const [a, b] = await pair()
    const asked = ask(a, b)
    await waitFor('the call', () => b.serving.length === 1)
    b.transport.send(a.node, 'calls', frameTypes['call-start'], pack(['b.1.1', 'files', 7]))
    a.transport.send(b.node, 'calls', frameTypes['call-start'], pack([asked.call.id, 'files', 7]))
    await waitFor('the counts', () => a.lane.counters.framesMalformed + b.lane.counters.framesMalformed === 2)
    // Nobody waits for the one that was sent past the calls.
    await waitFor('the refusal', () => b.lane.counters.framesIgnored === 1)
    b.serving[0]?.end(result('1'))
    expect(await asked.promise).toEqual(result('1'))
  })

  it('of a call that is under way already start it no second time', async () => {
    const [a, b] = await pair()
    const asked = ask(a, b)
    await waitFor('the call', () => b.serving.length === 1)
    expect(await ask(a, b, asked.call).promise).toMatchObject({ kind: 'not-sent', error: { code: 'internal' } })
    const { type, payload } = encodeCallMessage({ kind: 'call-start', call: asked.call })
    a.transport.send(b.node, 'calls', type, payload)
    await waitFor('the count', () => b.lane.counters.framesIgnored === 1)
    b.serving[0]?.end(result('1'))
    expect(await asked.promise).toEqual(result('1'))
    expect(b.serving.length).toBe(1)
  })
})

describe('the links', () => {
  it('tell who came with which addresses, and who left', async () => {
    const addresses = { http: '127.0.0.1:1', peer: '127.0.0.1:2', raft: '127.0.0.1:4444' }
    const b = await startNode('b', { hello: { addresses } })
    const a = await startNode('a', { join: [b.address] })
    await linked(a, b)
    expect(a.said.opened.map((hello) => [hello.node, hello.addresses.raft])).toEqual([['b', '127.0.0.1:4444']])
    await b.links.close()
    await waitFor('the report', () => a.said.closed.length === 1)
    expect(a.links.reachable(b.node)).toBe(false)
  })

  it('follow the member directory, and keep what the configuration names', async () => {
    const [b, c] = [await startNode('b'), await startNode('c')]
    const a = await startNode('a', { join: [b.address] })
    a.links.setDirectory([a.address, b.address, c.address])
    await linked(a, c)
    await linked(a, b)
    a.links.setDirectory([])
    await c.links.close()
    await b.links.close()
    await waitFor('both to be gone', () => a.said.closed.length === 2)
    expect(a.said.opened.length).toBe(2)
    expect(a.said.failed).toEqual([])
  })

  it('say what to do about a refusal, and that a duplicate must not go on', async () => {
    const a = await startNode('a')
    const twin = await startNode('a', { join: [a.address], hello: { generation: 5 } })
    await waitFor('the failure', () => twin.said.failed.length === 1)
    expect(twin.said.failed[0]?.code).toBe('duplicate-node')
    expect(a.said.failed).toEqual([])
    const line = twin.logged.find((each) => each.event === 'peer-refused')
    expect(line?.fields).toMatchObject({ code: 'duplicate-node', advice: expect.stringContaining('node.id') })
  })
})
