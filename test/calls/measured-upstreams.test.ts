import { describe, expect, it } from 'vitest'
import type { Call, Outcome } from '../../src/calls/call.ts'
import { MeasuredUpstreams } from '../../src/calls/measured-upstreams.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { CallId, ServerName } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'

const outcomes: Readonly<Record<Outcome['kind'], Outcome>> = {
  result: { kind: 'result', result: asJsonText('{}') },
  error: { kind: 'error', error: asJsonText('{"code":-32603,"message":"x"}') },
  unknown: { kind: 'unknown', error: new OperatingError('timeout', 'no') },
  'not-sent': { kind: 'not-sent', error: new OperatingError('server-unavailable', 'no') },
  rejected: { kind: 'rejected', error: new OperatingError('overloaded', 'no') },
  cancelled: { kind: 'cancelled' },
  left: { kind: 'left' },
}

/** Calls in turn: of which server, how each ends, and after how long. */
async function after(calls: readonly (readonly [string, Outcome['kind'], number])[]): Promise<MeasuredUpstreams> {
  let nowMs = 0
  let next: readonly [kind: Outcome['kind'], tookMs: number] = ['result', 0]
  const perform = (): Promise<Outcome> => {
    nowMs += next[1]
    return Promise.resolve(outcomes[next[0]])
  }
  const measured = new MeasuredUpstreams({ call: perform }, { monotonic: () => nowMs })
  for (const [name, kind, tookMs] of calls) {
    next = [kind, tookMs]
    const server = name as ServerName
    const call: Call = {
      id: '1' as CallId,
      server,
      method: 'tools/call',
      params: asJsonText('{}'),
      timeoutMs: null,
      origin: null,
    }
    expect(await measured.call(call, () => undefined, new AbortController().signal)).toBe(outcomes[kind])
  }
  return measured
}

describe('the measured upstreams', () => {
  it('tell of each server how many calls it was asked, how long they took, and how many failed', async () => {
    const measured = await after([
      ['files', 'result', 10],
      ['sql', 'error', 5],
      ['files', 'unknown', 1000],
      ['files', 'result', 30],
    ])
    expect(Object.fromEntries(measured.take())).toEqual({
      files: { calls: 3, failed: 1, totalMs: 1040 },
      sql: { calls: 1, failed: 1, totalMs: 5 },
    })
  })

  it.each(['not-sent', 'rejected', 'cancelled'] as const)('count no call that says nothing of it: %s', async (kind) => {
    expect((await after([['files', kind, 10]])).take().size).toBe(0)
  })

  it('tell nothing twice', async () => {
    const measured = await after([['files', 'result', 10]])
    expect(measured.take().size).toBe(1)
    expect(measured.take().size).toBe(0)
  })
})
