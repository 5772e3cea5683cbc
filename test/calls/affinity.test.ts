import { describe, expect, it } from 'vitest'
import type { Call, Caller, Outcome } from '../../src/calls/call.ts'
import { Dispatch } from '../../src/calls/dispatch.ts'
import { silentLog } from '../../src/log/log.ts'
import { RoundRobin } from '../../src/routing/choose.ts'
import { View } from '../../src/routing/view.ts'
import type { Replica } from '../../src/state/command.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { CallId, NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { member, replica } from '../routing/replicas.ts'

const done: Outcome = { kind: 'result', result: asJsonText('{}') }
const gone: Outcome = { kind: 'not-sent', error: new OperatingError('server-unavailable', 'no') }
const nodes = ['n1', 'n2', 'n3', 'n4', 'n5']
const caller: Caller = { hear: () => undefined, cancelled: new AbortController().signal, left: null }

/** A server on five nodes; `tried` says where each call went, `pins` where its session is. */
function cluster(isolation: Replica['isolation'], options: { asks?: boolean; down?: string[] } = {}) {
  const tried: string[] = []
  const pins = new Map<string, NodeId>()
  const perform = (node: string): Promise<Outcome> => {
    tried.push(node)
    return Promise.resolve(options.down?.includes(node) === true ? gone : done)
  }
  const dispatch = new Dispatch({
    view: new View({
      self: 'n1' as NodeId,
      state: {
        catalogVersion: 1,
        members: () => nodes.map((node) => member(node)),
        replicas: () => nodes.map((node) => replica({ server: 'files', node, isolation })),
      },
      reachable: () => true,
      draining: () => false,
    }),
    roundRobin: new RoundRobin(),
    here: { call: () => perform('n1'), resume: () => expect.fail() },
    peers: { call: (node) => perform(node), resume: () => expect.fail() },
    sessions: {
      asks: () => options.asks ?? false,
      pinOf: (session) => pins.get(session),
      pin: (session, _, node) => pins.set(session, node),
    },
    clock: { monotonic: () => 0 },
    log: silentLog,
    observe: () => undefined,
  })
  let calls = 0
  const call = async (session: string | null, given: Partial<Call> = {}): Promise<readonly string[]> => {
    const before = tried.length
    const routed: string[] = []
    const origin =
      session === null ? null : { session: session as SessionId, requestId: asJsonText('1'), isKept: false }
    const id = `n1.1.${(calls += 1)}` as CallId
    const made = { id, server: 'files' as ServerName, method: 'tools/call', params: asJsonText('{}'), timeoutMs: null }
    await dispatch.call({ ...made, origin, ...given }, { ...caller, routed: (node) => routed.push(node) })
    expect(routed).toEqual(tried.slice(before))
    return routed
  }
  const callAll = async (sessions: readonly (string | null)[]): Promise<readonly string[]> => {
    const went: string[] = []
    for (const session of sessions) went.push(...(await call(session)))
    return went
  }
  return { call, callAll, pins }
}

describe('calls of a session', () => {
  it.each<[Replica['isolation'], boolean]>([
    ['session', false],
    ['session', true],
    ['asking', true],
  ])(
    'to a server that is isolated by %s (asks: %s) go to one node, which is pinned at once',
    async (isolation, asks) => {
      const { call, callAll, pins } = cluster(isolation, { asks })
      const [first] = await call('s1')
      expect(pins.get('s1')).toBe(first)
      for (let n = 0; n < 5; n += 1) expect(await call('s1')).toEqual([first])
      expect(await callAll(['a', 'b', 'c', 'd', 'e', 'f'])).toEqual(
        ['a', 'b', 'c', 'd', 'e', 'f'].map((id) => pins.get(id)),
      )
      expect(new Set(pins.values()).size).toBeGreaterThan(1)
    },
  )

  it.each<[Replica['isolation'], boolean]>([
    ['shared', true],
    ['asking', false],
  ])('to a server that is %s (asks: %s) go to all in turn, and nothing is pinned', async (isolation, asks) => {
    const { callAll, pins } = cluster(isolation, { asks })
    expect(new Set(await callAll(nodes.map(() => 's1'))).size).toBe(5)
    expect(pins.size).toBe(0)
  })

  it.each<[string, Partial<Call>]>([
    ['resources/subscribe', { method: 'resources/subscribe' }],
    ['resources/unsubscribe', { method: 'resources/unsubscribe' }],
    ['tasks/get', { method: 'tasks/get' }],
    ['a call that begins a task', { params: asJsonText('{"name":"x","task":{"ttl":1}}') }],
  ])('%s goes where the session is pinned, of a shared server too', async (_, given) => {
    const { call, pins } = cluster('shared')
    pins.set('s1', 'n4' as NodeId)
    expect(await call('s1', given)).toEqual(['n4'])
    expect(await call('s1', given)).toEqual(['n4'])
    expect(await call('s1', { params: asJsonText('{"arguments":{"task":1}}') })).not.toEqual(await call('s1'))
  })

  it('whose node can not be reached go elsewhere, and stay there', async () => {
    const down = ['n4']
    const { call, pins } = cluster('session', { down })
    pins.set('s1', 'n4' as NodeId)
    const went = await call('s1')
    expect(went[0]).toBe('n4')
    expect(went.length).toBe(2)
    down.pop()
    expect(await call('s1')).toEqual([went[1]])
  })

  it('of nobody, as an operator’s, are bound to no node', async () => {
    const { callAll, pins } = cluster('session')
    expect(new Set(await callAll(nodes.map(() => null))).size).toBe(5)
    expect(pins.size).toBe(0)
  })
})
