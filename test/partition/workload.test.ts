import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { History, Weakening } from '../../scripts/partition/types.ts'
import { createWorkload } from '../../scripts/partition/workload.ts'
import { rpcCodes } from '../../src/gateway/errors.ts'
import { waitFor } from '../wait.ts'
import { FakeNode, type Asked, type FakeAnswer } from './fake-node.ts'

let node: FakeNode

beforeEach(async () => {
  node = new FakeNode()
  await node.listen()
})

afterEach(async () => {
  await node.close()
})

/** Until the node was asked so often; then stops. */
async function load(
  answer: (asked: Asked) => FakeAnswer,
  { isDone, weaken = null }: { isDone: () => boolean; weaken?: Weakening | null },
): Promise<History> {
  node.answer = answer
  const began = performance.now()
  const workload = createWorkload({ seed: 1, now: () => Math.round((performance.now() - began) * 1000), weaken })
  workload.start(() => [node.target()])
  try {
    await waitFor('the node to be asked enough', isDone)
  } finally {
    await workload.stop()
  }
  return workload.stop()
}

const puts = (): Asked[] => node.asked.filter(({ method }) => method === 'PUT')
const calls = (): Asked[] => node.asked.filter(({ method }) => method === 'POST')

function argumentsOf({ body }: Asked): { id: string; attempt: number } {
  return (body as { params: { arguments: { id: string; attempt: number } } }).params.arguments
}

function calledIds(): string[] {
  return calls().map((call) => argumentsOf(call).id)
}

function answerRising(): () => FakeAnswer {
  let revision = 0
  return () => ({ status: 200, body: { value: 'v', revision: (revision += 1) } })
}

const unknown: FakeAnswer = { status: 504, body: { error: { code: 'outcome-unknown' } } }

describe('the workload', () => {
  it('sends a write of unknown outcome again only as the same one, with its Idempotency-Key', async () => {
    const history = await load(() => unknown, { isDone: () => puts().length >= 40 })
    const byValue = new Map<unknown, Asked[]>()
    for (const put of puts()) byValue.set(put.body, [...(byValue.get(put.body) ?? []), put])
    const sent = [...byValue.values()]
    expect(sent.some((all) => all.length > 1)).toBe(true)
    expect(sent.some((all) => all[0]?.headers['idempotency-key'] === undefined)).toBe(true)
    for (const all of sent) {
      const keys = new Set(all.map(({ headers }) => headers['idempotency-key']))
      expect(keys.size).toBe(1)
      expect(all.length === 1 || !keys.has(undefined)).toBe(true)
    }
    expect(history.filter(({ kind }) => kind === 'kv-put').length).toBe(puts().length)
  })

  it('never sends a call of unknown outcome again', async () => {
    const answer = { status: 200, body: { id: 1, error: { code: rpcCodes.outcomeUnknown } } }
    await load(() => answer, { isDone: () => calls().length >= 10 })
    expect(new Set(calledIds()).size).toBe(calls().length)
  })

  it('sends a refused call again under its id, as the next attempt', async () => {
    const answer = { status: 200, body: { id: 1, error: { code: rpcCodes.unavailable } } }
    const history = await load(() => answer, { isDone: () => calls().length >= 10 })
    expect(new Set(calledIds()).size).toBeLessThan(calls().length)
    const sent = calls().map((call) => `${argumentsOf(call).id} ${argumentsOf(call).attempt}`)
    expect(new Set(sent).size).toBe(sent.length)
    const noted = history.flatMap(({ kind, key, attempt }) => (kind === 'call' ? [`${key} ${attempt}`] : []))
    expect(noted.toSorted()).toEqual(sent.toSorted())
  })

  it('writes no value twice by itself, and asks for revisions that it has seen', async () => {
    const history = await load(answerRising(), { isDone: () => puts().length >= 60 })
    const first = history.filter(({ kind, attempt }) => kind === 'kv-put' && attempt === 1)
    expect(new Set(first.map(({ value }) => value)).size).toBe(first.length)
    const asked = puts().flatMap(({ headers }) => headers['if-match'] ?? [])
    expect(asked.length).toBeGreaterThan(0)
    expect(asked.some((match) => match !== '"0"')).toBe(true)
  })

  it('repeats an acknowledged write now and then, with its Idempotency-Key, unless it is weakened', async () => {
    const repeated = (): Asked[] => puts().filter(({ body }, at) => puts().findIndex((put) => put.body === body) < at)
    const isDone = (): boolean => repeated().length > 0
    await load(answerRising(), { isDone })
    expect(repeated().map(({ headers }) => headers['idempotency-key'])).not.toContain(undefined)
    node.asked.length = 0
    await load(answerRising(), { isDone, weaken: 'new-identity' })
    expect(new Set(repeated().map(({ headers }) => headers['idempotency-key']))).toEqual(new Set([undefined]))
  })

  it('asks the nodes that are there: a new one too, and one that has left no more', async () => {
    const second = new FakeNode()
    await second.listen()
    const workload = createWorkload({ seed: 1, now: () => 0, weaken: null })
    const answer = (): FakeAnswer => ({ status: 200, body: { value: 'v', revision: 1 } })
    node.answer = second.answer = answer
    let targets = [node.target('n1')]
    workload.start(() => targets)
    try {
      await waitFor('the first node to be asked', () => node.asked.length > 0)
      targets = [node.target('n1'), second.target('n2')]
      await waitFor('the second node to be asked of every kind', () =>
        second.asked.some(({ method }) => method === 'POST'),
      )
      targets = [second.target('n2')]
      // A client that still asks the first has begun before it left; each asks once at most.
      const before = node.asked.length
      await waitFor('the second node to be asked more', () => second.asked.length > 40)
      expect(node.asked.length - before).toBeLessThanOrEqual(8)
    } finally {
      await workload.stop()
      await second.close()
    }
  })

  it('notes a tenth of what was done as refused, an other node, or another consistency, when it is weakened so', async () => {
    const ok: FakeAnswer = { status: 200, body: { value: 'v', revision: 1 } }
    const mistaken = await load(() => ok, { isDone: () => puts().length >= 60, weaken: 'ok-is-refused' })
    expect(mistaken.some(({ kind, why }) => kind === 'kv-put' && why === 'ok-is-refused')).toBe(true)
    node.asked.length = 0
    const reads = (): Asked[] => node.asked.filter(({ method }) => method === 'GET')
    await load(() => ok, { isDone: () => reads().length >= 10, weaken: 'stale-reads' })
    expect(reads().every(({ path }) => path.endsWith('consistency=stale'))).toBe(true)
    node.asked.length = 0
    await load(() => ok, { isDone: () => puts().length >= 60, weaken: 'ignore-if-match' })
    expect(puts().filter(({ headers }) => headers['if-match'] !== undefined)).toEqual([])
  })
})
