import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { isMismatch } from '../../scripts/partition/deeds.ts'
import { Requests, type Answer } from '../../scripts/partition/requests.ts'
import { rpcCodes } from '../../src/gateway/errors.ts'
import { FakeNode, type FakeAnswer } from './fake-node.ts'

let node: FakeNode
let requests: Requests

beforeEach(async () => {
  node = new FakeNode()
  await node.listen()
  requests = new Requests()
})

afterEach(async () => {
  await requests.close()
  await node.close()
})

const plain = { key: 'partition/k0', value: 'a', idempotencyKey: null, expects: null }
const error = (code: string): object => ({ error: { code } })

function putAnswered(answer: FakeAnswer): Promise<Answer> {
  node.answer = () => answer
  return requests.put(node.target(), plain)
}

describe('a write', () => {
  it('is ok with its revision, sends what it is asked to send, and asks for an answer in time', async () => {
    node.answer = () => ({ status: 200, body: { key: plain.key, revision: 7 } })
    const answer = await requests.put(node.target(), { ...plain, idempotencyKey: 'i', expects: 0 })
    expect(answer).toMatchObject({ outcome: 'ok', revision: 7 })
    const [asked] = node.asked
    expect(asked).toMatchObject({ method: 'PUT', path: '/v1/kv/partition/k0', body: 'a' })
    expect(asked?.headers).toMatchObject({ 'idempotency-key': 'i', 'if-match': '"0"', 'x-request-timeout-ms': '1500' })
  })

  it('is refused where the answer proves that it was not done', async () => {
    expect(await putAnswered({ status: 503, body: error('no-leader') })).toMatchObject({
      outcome: 'refused',
      why: '503 no-leader',
    })
    const mismatch = await putAnswered({ status: 412, body: error('revision-mismatch') })
    expect(mismatch.outcome).toBe('refused')
    expect(isMismatch(mismatch)).toBe(true)
    const gone = new FakeNode()
    await gone.listen()
    const target = gone.target()
    await gone.close()
    expect(await requests.put(target, plain)).toMatchObject({ outcome: 'refused', why: 'ECONNREFUSED' })
  })

  it('is of unknown outcome after every other answer, and without one', async () => {
    expect(await putAnswered({ status: 504, body: error('outcome-unknown') })).toMatchObject({
      outcome: 'unknown',
      why: '504 outcome-unknown',
    })
    expect((await putAnswered({ status: 500, body: 'no JSON' })).outcome).toBe('unknown')
    expect((await putAnswered({ status: 502, body: {} })).outcome).toBe('unknown')
    expect((await putAnswered('cut')).outcome).toBe('unknown')
  })
})

describe('a read', () => {
  it('sees a value with its revision, or that nothing is there', async () => {
    node.answer = () => ({ status: 200, body: { key: 'k', value: 'a', revision: 7 } })
    expect(await requests.get(node.target(), 'k', 'stale')).toMatchObject({ outcome: 'ok', value: 'a', revision: 7 })
    expect(node.asked[0]?.path).toBe('/v1/kv/k?consistency=stale')
    node.answer = () => ({ status: 404, body: error('not-found') })
    expect(await requests.get(node.target(), 'k', 'linearizable')).toMatchObject({
      outcome: 'ok',
      value: null,
      revision: 0,
    })
  })
})

describe('a call', () => {
  const rpcError = (code: number): FakeAnswer => ({
    status: 200,
    body: { id: 1, error: { code, data: { code: 'c' } } },
  })
  const result = { id: 1, result: { content: [{ type: 'text', text: 'c-1' }] } }

  async function called(answer: FakeAnswer): Promise<Answer & { isGone: boolean }> {
    node.answer = () => answer
    return requests.call(await requests.openSession(node.target()), { name: 'counting__count', arguments: {} })
  }

  it('is ok with its text, as JSON and as a stream', async () => {
    expect(await called({ status: 200, body: result })).toMatchObject({ outcome: 'ok', value: 'c-1' })
    const stream = `: hello\n\nevent: message\ndata: ${JSON.stringify(result)}\n\n`
    const streamed = await called({ status: 200, body: stream, type: 'text/event-stream' })
    expect(streamed).toMatchObject({ outcome: 'ok', value: 'c-1' })
  })

  it('is refused by the codes that say that no server has seen it', async () => {
    for (const code of [rpcCodes.unavailable, rpcCodes.rejected, rpcCodes.overloaded, rpcCodes.invalidParams])
      expect((await called(rpcError(code))).outcome).toBe('refused')
    expect(await called(rpcError(rpcCodes.unavailable))).toMatchObject({ why: '-31001 c' })
    expect(await called({ status: 503, body: {} })).toMatchObject({ outcome: 'refused', isGone: false })
  })

  it('is refused by a node that does not know its session, which is gone then', async () => {
    expect(await called({ status: 404, body: {} })).toMatchObject({ outcome: 'refused', isGone: true })
  })

  it('is of unknown outcome after every other answer, and without one', async () => {
    for (const code of [rpcCodes.outcomeUnknown, rpcCodes.accident, rpcCodes.internalError])
      expect((await called(rpcError(code))).outcome).toBe('unknown')
    expect((await called({ status: 200, body: { id: 1, result: { isError: true, content: [] } } })).outcome).toBe(
      'unknown',
    )
    expect((await called({ status: 200, body: '' })).outcome).toBe('unknown')
    expect((await called('cut')).outcome).toBe('unknown')
  })
})
