import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Command, CommandResult } from '../../src/state/command.ts'
import { answersMax, answerWindowMs } from '../../src/state/answers.ts'
import { ClusterState } from '../../src/state/state.ts'
import { asJsonText } from '../../src/std/json-text.ts'

const set = (key: string, value: string, expect: number | null = null): Command => ({
  kind: 'kv-set',
  key,
  value: asJsonText(value),
  expect,
})
const remove = (key: string): Command => ({ kind: 'kv-delete', key, expect: null })

class Fed extends ClusterState {
  time = 0

  feed(command: Command, idempotencyKey: string | null = null, laterMs = 0): CommandResult {
    this.time += laterMs
    return this.apply({ index: this.appliedIndex + 1, time: this.time, command: { command, idempotencyKey } })
  }
}

describe('a write under an idempotency key', () => {
  it('is applied once; a repeated one is answered as the first was, and changes nothing', () => {
    const state = new Fed()
    expect(state.feed(set('a', '1'), 'k')).toEqual({ kind: 'done', revision: 1 })
    state.feed(set('a', '2'))
    state.takeChange()
    expect(state.feed(set('a', '1'), 'k')).toEqual({ kind: 'done', revision: 1 })
    expect(state.kvGet('a')).toEqual({ key: 'a', value: '2', revision: 2 })
    expect(state.takeChange().kv).toEqual([])
    expect(state.answerCount).toBe(1)
  })

  it.each<[string, Command, CommandResult]>([
    ['a mismatch', set('a', '2', 9), { kind: 'revision-mismatch', revision: 0 }],
    ['a key that is not there', remove('a'), { kind: 'not-found' }],
  ])('is answered alike when the answer was %s, whatever was written since', (_, command, result) => {
    const state = new Fed()
    expect(state.feed(command, 'k')).toEqual(result)
    for (let n = 0; n < 10; n += 1) state.feed(set('a', '1'))
    expect(state.feed(command, 'k')).toEqual(result)
    expect(state.kvGet('a')?.value).toBe('1')
  })

  it.each<[string, Command]>([
    ['another value', set('a', '2')],
    ['another key', set('b', '1')],
    ['another expectation', set('a', '1', 0)],
    ['another method', remove('a')],
  ])('is refused when the key was used for %s, and the first answer stays', (_, other) => {
    const state = new Fed()
    state.feed(set('a', '1'), 'k')
    expect(state.feed(other, 'k')).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('used for another'),
    })
    expect(state.feed(set('a', '1'), 'k')).toEqual({ kind: 'done', revision: 1 })
    expect(state.kvGet('a')).toMatchObject({ value: '1' })
  })

  it('is known for the window of log time to its last millisecond, and not longer, whatever entry ends it', () => {
    const state = new Fed()
    state.feed(set('a', '1'), 'k')
    expect(state.feed(set('a', '1'), 'k', answerWindowMs - 1)).toEqual({ kind: 'done', revision: 1 })
    state.apply({ index: 3, time: answerWindowMs, command: null })
    expect(state.answerCount).toBe(0)
    state.time = answerWindowMs
    expect(state.feed(set('a', '1'), 'k')).toEqual({ kind: 'done', revision: 4 })
  })

  it('expires by log time alone: an entry with an older time changes nothing', () => {
    const state = new Fed()
    state.apply({ index: 1, time: 5000, command: null })
    state.feed(set('a', '1'), 'k')
    expect(state.capture()).toMatchObject({ time: 5000, answers: [{ key: 'k', time: 5000 }] })
  })

  it('is forgotten, the oldest first, when there are more newer ones than are kept', () => {
    const state = new Fed()
    for (let n = 0; n <= answersMax; n += 1) state.feed(remove('missing'), `k${n}`)
    expect(state.answerCount).toBe(answersMax)
    const [oldest] = state.capture().answers
    expect(oldest?.key).toBe('k1')
  })

  it('is applied exactly once in any interleaving of retries with other writes', () => {
    const write = fc.record({ id: fc.nat({ max: 5 }), other: fc.boolean() })
    fc.assert(
      fc.property(fc.array(write, { maxLength: 80 }), (writes) => {
        const state = new Fed()
        const answers = new Map<number, CommandResult>()
        let puts = 0
        for (const { id, other } of writes) {
          if (other) state.feed(set('counter', '0'))
          const answer = state.feed(set(`written/${id}`, String(id)), `retry-${id}`)
          const first = answers.get(id) ?? { kind: 'done', revision: state.appliedIndex }
          expect(answer).toEqual(first)
          answers.set(id, first)
        }
        for (const event of state.takeChange().kv) if (event.key.startsWith('written/')) puts += 1
        expect(puts).toBe(answers.size)
      }),
      { numRuns: 300 },
    )
  })
})
