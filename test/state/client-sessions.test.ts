import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Command, CommandResult, SessionOpening } from '../../src/state/command.ts'
import { decodeSnapshot, encodeSnapshot } from '../../src/state/snapshot.ts'
import { ClusterState } from '../../src/state/state.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { clientSessionsMax, pinsMax, sessionsLengthMax, subscriptionsMax } from '../../src/vocabulary/session-limits.ts'
import { anyLog, sessionIdOf } from './arbitrary.ts'

const [s1, s2, s3] = [sessionIdOf(1), sessionIdOf(2), sessionIdOf(3)]
const [files, sql] = ['files', 'sql'] as [ServerName, ServerName]
const [n1, n2] = ['n1', 'n2'] as [NodeId, NodeId]
const done = expect.objectContaining({ kind: 'done' }) as CommandResult
const refusedFor = (part: string): unknown => ({ kind: 'refused', reason: expect.stringContaining(part) })

/** Log time is what `at` says. */
class Fed extends ClusterState {
  at = 1_000_000

  feed(command: Command | null): CommandResult {
    return this.apply({
      index: this.appliedIndex + 1,
      time: this.at,
      command: command && { command, idempotencyKey: null },
    })
  }

  open(id: SessionId, given: Partial<SessionOpening> = {}): CommandResult {
    const usual = { path: '/mcp', transport: 'streamable-http', protocolVersion: '2025-11-25', idleMs: 60_000 } as const
    const words = { clientInfo: asJsonText('{}'), capabilities: asJsonText('{}') }
    return this.feed({ kind: 'session-open', session: { id, ...usual, ...words, ...given } })
  }

  /** Nothing but time. */
  pass(ms: number): void {
    this.at += ms
    this.feed(null)
  }

  ids(): SessionId[] {
    return this.clientSessions().map(({ id }) => id)
  }
}

function restored(state: ClusterState): Fed {
  const image = decodeSnapshot(new Uint8Array(Buffer.concat([...encodeSnapshot(state.capture())])))
  if ('malformed' in image) throw new Error(image.malformed)
  const other = new Fed()
  other.restore(image)
  return other
}

const touch = (...ids: SessionId[]): Command => ({ kind: 'session-touch', ids })
const close = (id: SessionId): Command => ({ kind: 'session-close', id })
const subscribe = (id: SessionId, uri: string, server = files): Command => ({
  kind: 'session-subscribe',
  id,
  server,
  uri,
})
const unsubscribe = (id: SessionId, uri: string, server = files): Command => ({
  kind: 'session-unsubscribe',
  id,
  server,
  uri,
})
const pin = (id: SessionId, server: ServerName, node: NodeId): Command => ({ kind: 'session-pin', id, server, node })

describe("a client's session", () => {
  it('is known as it was opened, from then until it is closed, and that it has ended is told once', () => {
    const state = new Fed()
    const capabilities = asJsonText('{"roots":{}}')
    expect(state.open(s1, { path: '/mcp/files', transport: 'sse', capabilities })).toEqual(done)
    expect(state.clientSession(s1)).toEqual({
      id: s1,
      path: '/mcp/files',
      transport: 'sse',
      protocolVersion: '2025-11-25',
      clientInfo: '{}',
      capabilities,
      idleMs: 60_000,
      openedAt: 1_000_000,
      usedAt: 1_000_000,
      level: null,
      subscriptions: [],
      pins: new Map(),
    })
    expect(state.takeChange().sessionsEnded).toEqual([])
    expect(state.feed(close(s1))).toEqual(done)
    expect([state.clientSession(s1), state.clientSessionCount]).toEqual([undefined, 0])
    expect(state.takeChange().sessionsEnded).toEqual([s1])
    expect(state.takeChange().sessionsEnded).toEqual([])
  })

  it('is not opened where there is one with its id, which stays as it is', () => {
    const state = new Fed()
    state.open(s1)
    expect(state.open(s1, { path: '/mcp/files' })).toEqual(refusedFor('a session with this id'))
    expect(state.clientSession(s1)?.path).toBe('/mcp')
  })

  it('may be opened anew when it has ended, and remembers nothing', () => {
    const state = new Fed()
    state.open(s1)
    state.feed(pin(s1, files, n1))
    state.feed(close(s1))
    expect(state.open(s1)).toEqual(done)
    expect(state.clientSession(s1)?.pins.size).toBe(0)
  })

  it.each<[string, Command]>([
    ['closed', close(s1)],
    ['given a log level', { kind: 'session-level', id: s1, level: 'debug' }],
    ['given a subscription', subscribe(s1, 'a:')],
    ['rid of a subscription', unsubscribe(s1, 'a:')],
    ['pinned', pin(s1, files, n1)],
  ])('that is not there is not %s', (_, command) => {
    const state = new Fed()
    state.open(s2)
    expect(state.feed(command)).toEqual({ kind: 'not-found' })
    expect(state.ids()).toEqual([s2])
  })

  it('keeps the last log level that its client asked for', () => {
    const state = new Fed()
    state.open(s1)
    for (const level of ['debug', 'error'] as const) state.feed({ kind: 'session-level', id: s1, level })
    expect(state.clientSession(s1)?.level).toBe('error')
  })
})

describe('the end of a session by disuse', () => {
  it('comes with the first entry at which it was unused for its idle time, of whatever kind', () => {
    const state = new Fed()
    state.open(s1)
    state.pass(59_999)
    expect(state.ids()).toEqual([s1])
    state.pass(1)
    expect([state.ids(), state.takeChange().sessionsEnded]).toEqual([[], [s1]])
  })

  it('is put off by a use that the cluster is told of, and by nothing else', () => {
    const state = new Fed()
    state.open(s1)
    state.open(s2)
    state.at += 50_000
    expect(state.feed(touch(s3, s1))).toEqual(done)
    for (const command of [subscribe(s2, 'a:'), pin(s2, files, n1)]) state.feed(command)
    state.pass(10_000)
    expect(state.ids()).toEqual([s1])
    expect(state.clientSession(s1)?.usedAt).toBe(1_050_000)
    state.pass(49_999)
    expect(state.ids()).toEqual([s1])
    state.pass(1)
    expect([state.ids(), state.takeChange().sessionsEnded]).toEqual([[], [s2, s1]])
  })

  it('comes before the entry that would use it at that time', () => {
    const state = new Fed()
    state.open(s1)
    state.at += 60_000
    state.feed(touch(s1))
    expect(state.ids()).toEqual([])
  })

  it('is foretold for the next of all, whatever the idle time of each', () => {
    const state = new Fed()
    expect(state.nextSessionEnd).toBeNull()
    state.open(s1, { idleMs: 60_000 })
    state.open(s2, { idleMs: 5000 })
    state.open(s3, { idleMs: 5000 })
    expect(state.nextSessionEnd).toBe(1_005_000)
    state.at += 4000
    state.feed(touch(s2))
    expect(state.nextSessionEnd).toBe(1_005_000)
    state.pass(1000)
    expect([state.ids().sort(), state.nextSessionEnd]).toEqual([[s1, s2], 1_009_000])
    state.pass(4000)
    expect([state.ids(), state.nextSessionEnd]).toEqual([[s1], 1_060_000])
  })
})

describe('what a session has subscribed', () => {
  it('is one subscription of each URI at each server, in the order of subscribing', () => {
    const state = new Fed()
    state.open(s1)
    for (const command of [subscribe(s1, 'b:'), subscribe(s1, 'a:'), subscribe(s1, 'b:'), subscribe(s1, 'b:', sql)])
      expect(state.feed(command)).toEqual(done)
    expect(state.feed(unsubscribe(s1, 'a:'))).toEqual(done)
    expect(state.feed(unsubscribe(s1, 'c:'))).toEqual(done)
    expect(state.clientSession(s1)?.subscriptions).toEqual([
      { server: files, uri: 'b:' },
      { server: sql, uri: 'b:' },
    ])
  })

  it('has a limit, at which what is subscribed already is still done', () => {
    const state = new Fed()
    state.open(s1)
    for (let n = 0; n < subscriptionsMax; n += 1) expect(state.feed(subscribe(s1, `u:${n}`))).toEqual(done)
    expect(state.feed(subscribe(s1, 'one more:'))).toEqual(refusedFor(`${subscriptionsMax} subscriptions`))
    expect(state.feed(subscribe(s1, 'u:0'))).toEqual(done)
    state.feed(unsubscribe(s1, 'u:0'))
    expect(state.feed(subscribe(s1, 'one more:'))).toEqual(done)
  })
})

describe('the pins of a session', () => {
  it('are told when they change, and when the session subscribes to something there', () => {
    const state = new Fed()
    state.open(s1)
    state.takeChange()
    const commands = [
      subscribe(s1, 'a:'),
      pin(s1, files, n1),
      pin(s1, files, n1),
      subscribe(s1, 'b:'),
      subscribe(s1, 'b:'),
    ]
    for (const command of commands) state.feed(command)
    const told = { session: s1, server: files, node: n1 }
    expect(state.takeChange().sessionsPinned).toEqual([told, told])
    expect(state.takeChange().sessionsPinned).toEqual([])
  })

  it('are the last node of each server, and the oldest goes for one too many', () => {
    const state = new Fed()
    state.open(s1)
    const server = (n: number): ServerName => `server-${n}` as ServerName
    for (let n = 0; n < pinsMax; n += 1) state.feed(pin(s1, server(n), n1))
    state.feed(pin(s1, server(0), n2))
    state.feed(pin(s1, server(1), n1))
    state.feed(pin(s1, files, n1))
    const pins = state.clientSession(s1)?.pins
    expect(pins?.size).toBe(pinsMax)
    expect([server(0), server(1), server(2), files].map((each) => pins?.get(each))).toEqual([n2, undefined, n1, n1])
  })
})

describe('the sessions of a cluster', () => {
  it('have a limit', () => {
    const state = new Fed()
    state.open(s1)
    const [session] = state.clientSessions()
    if (session === undefined) throw new Error('it was opened')
    const sessions = Array.from({ length: clientSessionsMax }, (_, n) => ({ ...session, id: sessionIdOf(n + 10) }))
    state.restore({ ...state.capture(), sessions })
    expect(state.open(s1)).toEqual(refusedFor(`${clientSessionsMax} sessions`))
    state.feed(close(sessionIdOf(10)))
    expect(state.open(s1)).toEqual(done)
    expect(state.clientSessionCount).toBe(clientSessionsMax)
    state.pass(60_000)
    expect([state.clientSessionCount, state.takeChange().sessionsEnded.length]).toEqual([0, clientSessionsMax + 2])
  })

  it('hold no more text than a limit, restored ones too, which what ends makes free', () => {
    let state = new Fed()
    const length = sessionsLengthMax / 4
    // Longer than a codec lets through, so that few fill it.
    const long = { clientInfo: asJsonText('x'.repeat(length)) }
    for (const id of [s1, s2, s3]) expect(state.open(id, long)).toEqual(done)
    expect(state.feed(subscribe(s1, 'u'.repeat(length - 6)))).toEqual(done)
    for (let round = 0; round < 2; round += 1) {
      expect(state.feed(subscribe(s1, 'one'))).toEqual(refusedFor('characters already'))
      expect(state.open(sessionIdOf(4))).toEqual(refusedFor('characters already'))
      const image = state.capture()
      state = new Fed()
      state.restore(image)
    }
    state.feed(unsubscribe(s1, 'u'.repeat(length - 6)))
    expect(state.open(sessionIdOf(4))).toEqual(done)
    expect(state.open(sessionIdOf(5), long)).toEqual(refusedFor('characters already'))
    state.feed(close(s2))
    expect(state.open(sessionIdOf(5), long)).toEqual(done)
  })

  it('that a restored state does not have have ended, and those that were not told of before are told', () => {
    const state = new Fed()
    const before = new Fed()
    for (const id of [s1, s2]) before.open(id)
    for (const id of [s3, s1, s2]) state.open(id)
    state.feed(close(s1))
    state.restore(before.capture())
    expect(state.ids()).toEqual([s1, s2])
    expect(state.takeChange().sessionsEnded).toEqual([s1, s3])
  })

  it('that have subscribed to something are told to be pinned when they are restored', () => {
    const state = new Fed()
    for (const id of [s1, s2]) state.open(id)
    for (const server of [files, sql]) state.feed(pin(s1, server, n1))
    for (const command of [subscribe(s1, 'a:'), subscribe(s1, 'b:'), subscribe(s2, 'a:')]) state.feed(command)
    expect(restored(state).takeChange().sessionsPinned).toEqual([{ session: s1, server: files, node: n1 }])
  })

  it('are restored in the order in which they end', () => {
    const state = new Fed()
    for (const id of [s1, s2, s3]) state.open(id)
    state.at += 1000
    state.feed(touch(s1))
    const other = restored(state)
    expect(other.ids()).toEqual([s2, s3, s1])
    for (const each of [state, other]) {
      each.at = 1_060_000
      each.feed(null)
      expect(each.ids()).toEqual([s1])
    }
  })

  it('are what a plain list of them would be, and those that end are told, whatever is logged', () => {
    fc.assert(
      fc.property(anyLog(100), (log) => {
        const state = new Fed()
        let open = new Map<SessionId, { usedAt: number; idleMs: number }>()
        let time = 0
        log.forEach(({ envelope, laterMs }, at) => {
          time += laterMs
          state.apply({ index: at + 1, time, command: envelope && { ...envelope, idempotencyKey: null } })
          const ended = [...open].filter(([, { usedAt, idleMs }]) => usedAt + idleMs <= time).map(([id]) => id)
          open = new Map([...open].filter(([id]) => !ended.includes(id)))
          const command = envelope?.command
          if (command?.kind === 'session-open' && !open.has(command.session.id))
            open.set(command.session.id, { usedAt: time, idleMs: command.session.idleMs })
          if (command?.kind === 'session-close' && open.delete(command.id)) ended.push(command.id)
          if (command?.kind === 'session-touch') {
            for (const id of command.ids) {
              const session = open.get(id)
              if (session !== undefined) session.usedAt = time
            }
          }
          expect(new Set(state.ids())).toEqual(new Set(open.keys()))
          expect([...state.takeChange().sessionsEnded].sort()).toEqual(ended.sort())
          const ends = [...open.values()].map(({ usedAt, idleMs }) => usedAt + idleMs)
          expect(state.nextSessionEnd).toBe(ends.length === 0 ? null : Math.min(...ends))
        })
      }),
      { numRuns: 500 },
    )
  })
})
