import { describe, expect, it } from 'vitest'
import type { Call, Caller, Outcome } from '../../src/calls/call.ts'
import { makeCallIds } from '../../src/calls/call-ids.ts'
import { Dispatch } from '../../src/calls/dispatch.ts'
import type { CallEnd } from '../../src/calls/dispatch.ts'
import { Serve } from '../../src/calls/serve.ts'
import { silentLog } from '../../src/log/log.ts'
import { RoundRobin } from '../../src/routing/choose.ts'
import { View } from '../../src/routing/view.ts'
import type { Replica } from '../../src/state/command.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { deferred } from '../../src/std/deferred.ts'
import type { CallId, NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { member, replica } from '../routing/replicas.ts'

const call: Call = {
  id: 'n1.1.1' as CallId,
  server: 'files' as ServerName,
  method: 'tools/call',
  params: asJsonText('{"name":"read"}'),
  timeoutMs: null,
  origin: null,
}
const done: Outcome = { kind: 'result', result: asJsonText('{"n":12345678901234567890}') }
const refused = (kind: 'not-sent' | 'rejected' | 'unknown'): Outcome => ({
  kind,
  error: new OperatingError('server-unavailable', 'no'),
})
const caller: Caller = { hear: () => undefined, cancelled: new AbortController().signal, left: null }

/**
 * A dispatch on n1 in a cluster whose nodes answer as scripted; `tried` says who was asked, in order, `timesMs` within which
 * time. Each look at the clock finds it 5 ms later.
 */
function scripted(options: { replicas: readonly Replica[]; answer: (node: string, try_: number) => Outcome }): {
  dispatch: Dispatch
  tried: string[]
  timesMs: (number | null)[]
  ended: CallEnd[]
} {
  const tried: string[] = []
  const timesMs: (number | null)[] = []
  const ended: CallEnd[] = []
  const perform = (node: string, given: Call): Promise<Outcome> => {
    expect({ ...given, timeoutMs: null }).toEqual(call)
    timesMs.push(given.timeoutMs)
    tried.push(node)
    return Promise.resolve(options.answer(node, tried.length))
  }
  const resumed = (node: string): Promise<Outcome> => {
    tried.push(`resume ${node}`)
    return Promise.resolve(options.answer(node, tried.length))
  }
  let now = 0
  const dispatch = new Dispatch({
    view: new View({
      self: 'n1' as NodeId,
      state: {
        catalogVersion: 1,
        members: () => ['n1', 'n2', 'n3', 'n4', 'n5'].map((node) => member(node)),
        replicas: () => options.replicas,
      },
      reachable: () => true,
      draining: () => false,
    }),
    roundRobin: new RoundRobin(),
    here: { call: (given) => perform('local', given), resume: () => resumed('local') },
    peers: { call: (node, given) => perform(node, given), resume: (node) => resumed(node) },
    sessions: { asks: () => true, pinOf: () => undefined, pin: () => expect.fail('nothing is pinned') },
    clock: { monotonic: () => (now += 5) },
    log: silentLog,
    observe: (end) => ended.push(end),
  })
  return { dispatch, tried, timesMs, ended }
}
/** No upstream may be asked. */
const nobody = {
  call: (): Promise<Outcome> => expect.fail('nothing may be performed'),
  resume: (): Promise<Outcome> => expect.fail('nothing may be resumed'),
}
const on = (...nodes: string[]): Replica[] => nodes.map((node) => replica({ server: 'files', node }))

describe('dispatch', () => {
  it('performs a call of a server on this node here, and another on the one node that runs it', async () => {
    const local = scripted({ replicas: on('n1'), answer: () => done })
    expect(await local.dispatch.call(call, caller)).toBe(done)
    expect(local.tried).toEqual(['local'])
    const remote = scripted({ replicas: on('n3'), answer: () => done })
    expect(await remote.dispatch.call(call, caller)).toBe(done)
    expect(remote.tried).toEqual(['n3'])
    expect(remote.ended).toEqual([
      { server: 'files', method: 'tools/call', outcome: 'result', durationMs: 5, node: 'n3', remote: true },
    ])
  })

  it.each(['not-sent', 'rejected'] as const)('tries the next replica after %s', async (kind) => {
    const { dispatch, tried, timesMs } = scripted({
      replicas: on('n2', 'n3'),
      answer: (_, count) => (count === 1 ? refused(kind) : done),
    })
    expect(await dispatch.call(call, caller)).toBe(done)
    expect(tried).toEqual(['n2', 'n3'])
    expect(timesMs).toEqual([null, null])
    expect(dispatch.counters).toMatchObject({ active: 0, retries: 1 })
    expect(dispatch.counters.byOutcome.result).toBe(1)
  })

  it.each<Outcome>([
    refused('unknown'),
    { kind: 'error', error: asJsonText('{"code":-32603,"message":"x"}') },
    { kind: 'cancelled' },
    done,
  ])('returns $kind as it came and never tries again', async (outcome) => {
    const { dispatch, tried } = scripted({ replicas: on('n2', 'n3'), answer: () => outcome })
    expect(await dispatch.call(call, caller)).toBe(outcome)
    expect(tried).toHaveLength(1)
  })

  it('gives up after three tries with the last answer', async () => {
    const { dispatch, tried } = scripted({ replicas: on('n2', 'n3', 'n4', 'n5'), answer: () => refused('rejected') })
    expect((await dispatch.call(call, caller)).kind).toBe('rejected')
    expect(tried).toEqual(['n2', 'n3', 'n4'])
  })

  it('says how many of its calls wait for another node', async () => {
    const waiting: number[] = []
    const { dispatch } = scripted({
      replicas: on('n2'),
      answer: () => {
        waiting.push(dispatch.counters.forwarded)
        return done
      },
    })
    await dispatch.call(call, caller)
    expect([...waiting, dispatch.counters.forwarded]).toEqual([1, 0])
    const local = scripted({
      replicas: on('n1'),
      answer: () => (waiting.push(local.dispatch.counters.forwarded), done),
    })
    await local.dispatch.call(call, caller)
    expect(waiting).toEqual([1, 0])
  })

  it('gives a further try only what is left of the time', async () => {
    const { dispatch, tried, timesMs } = scripted({ replicas: on('n2', 'n3', 'n4'), answer: () => refused('not-sent') })
    expect((await dispatch.call({ ...call, timeoutMs: 59 }, caller)).kind).toBe('not-sent')
    expect(tried).toEqual(['n2', 'n3'])
    expect(timesMs).toEqual([59, 54])
    expect(dispatch.counters.retries).toBe(1)
  })

  it('tries no further once the caller has cancelled', async () => {
    const cancellation = new AbortController()
    const { dispatch, tried } = scripted({
      replicas: on('n2', 'n3'),
      answer: () => {
        cancellation.abort()
        return refused('not-sent')
      },
    })
    expect(await dispatch.call(call, { ...caller, cancelled: cancellation.signal })).toEqual({ kind: 'cancelled' })
    expect(tried).toEqual(['n2'])
  })

  it('says that nothing was sent, and why, when no replica can take the call', async () => {
    const { dispatch, tried, ended } = scripted({
      replicas: [replica({ server: 'files', node: 'n1', status: 'failed', reason: 'exit code 3' })],
      answer: () => done,
    })
    const outcome = await dispatch.call(call, caller)
    expect(outcome).toMatchObject({ kind: 'not-sent', error: { code: 'server-unavailable' } })
    expect(outcome.kind === 'not-sent' && outcome.error.message).toContain('exit code 3')
    expect(tried).toEqual([])
    expect(ended).toMatchObject([{ outcome: 'not-sent', node: null, remote: false }])
  })
})

describe('a call that is resumed', () => {
  const ref = { id: call.id, session: 's' as SessionId, after: 3 }

  it('goes to the node that performs it, this one or another, and nowhere else', async () => {
    const { dispatch, tried } = scripted({ replicas: on('n2', 'n3'), answer: () => refused('unknown') })
    expect((await dispatch.resume('n1' as NodeId, ref, caller)).kind).toBe('unknown')
    expect((await dispatch.resume('n9' as NodeId, ref, caller)).kind).toBe('unknown')
    expect(tried).toEqual(['resume local', 'resume n9'])
    expect(dispatch.counters).toMatchObject({ active: 0, retries: 0 })
  })
})

describe('serve', () => {
  it('rejects a call of a server that does not run here, before any work', async () => {
    const serve = new Serve({
      here: nobody,
      runs: () => false,
      takes: () => true,
    })
    expect(await serve.call(call, caller)).toMatchObject({
      kind: 'rejected',
      error: { code: 'not-here', retry: 'elsewhere' },
    })
    expect(serve.counters).toEqual({ active: 0, served: 0, refused: 1 })
  })

  it('rejects every call while it takes none, before any work', async () => {
    const serve = new Serve({
      here: nobody,
      runs: () => true,
      takes: () => false,
    })
    expect(await serve.call(call, caller)).toMatchObject({
      kind: 'rejected',
      error: { code: 'draining', retry: 'elsewhere' },
    })
  })

  it('rejects what is above its limit, and takes calls again when others have ended', async () => {
    const answer = deferred<Outcome>()
    const serve = new Serve({
      here: { ...nobody, call: () => answer.promise },
      runs: () => true,
      takes: () => true,
      activeMax: 1,
    })
    const first = serve.call(call, caller)
    expect(await serve.call(call, caller)).toMatchObject({ kind: 'rejected', error: { code: 'overloaded' } })
    answer.resolve(done)
    expect(await first).toBe(done)
    expect(await serve.call(call, caller)).toBe(done)
    expect(serve.counters).toEqual({ active: 0, served: 2, refused: 1 })
  })
})

describe('call ids', () => {
  it('name node and generation and never repeat', () => {
    const next = makeCallIds('n1' as NodeId, 7)
    expect([next(), next()]).toEqual(['n1.7.1', 'n1.7.2'])
  })
})
