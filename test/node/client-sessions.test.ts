import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log/log.ts'
import { ClientSessions } from '../../src/node/client-sessions.ts'
import { Cluster } from '../../src/node/cluster.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { ProposalContent, RefusalReason } from '../../src/raft/messages.ts'
import { decodeCommand } from '../../src/state/command-codec.ts'
import type { Command, SessionOpening } from '../../src/state/command.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { NodeId, ProposalId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { ManualClock } from '../consensus/manual-clock.ts'
import { sessionIdOf } from '../state/arbitrary.ts'

type Submitted = { readonly id: ProposalId; readonly content: ProposalContent }

/** One node's sessions before a consensus that does what a test says. */
class World {
  readonly clock = new ManualClock()
  readonly submitted: Submitted[] = []
  readonly asked: number[] = []
  isLeader = false
  readonly cluster: Cluster
  readonly sessions: ClientSessions
  readonly ended: SessionId[] = []
  #proposals = 0
  #index = 0

  constructor({ sessionsMax = 100 } = {}) {
    const { clock } = this
    this.cluster = new Cluster({
      submit: (id, content) => this.submitted.push({ id, content }),
      ask: (id) => this.asked.push(id),
      applied: () => undefined,
      nextId: () => `n1.1.${(this.#proposals += 1)}` as ProposalId,
      failed(why) {
        throw why
      },
      clock,
      log: silentLog,
    })
    const isLeader = (): boolean => this.isLeader
    this.sessions = new ClientSessions({ cluster: this.cluster, isLeader, sessionsMax, clock, log: silentLog })
    this.sessions.onEnded((ids) => this.ended.push(...ids))
  }

  /** All that was proposed, at the clock's time. */
  async commit(): Promise<void> {
    const entries = this.submitted.splice(0).map(({ id, content }): Entry => {
      this.#index += 1
      if (content.kind !== 'command') throw new Error('commands alone are proposed here')
      return { index: this.#index, term: 1, id, time: this.clock.now(), kind: 'command', data: content.data }
    })
    this.cluster.committed(entries)
    await settled()
  }

  async refuse(why: RefusalReason): Promise<void> {
    for (const { id } of this.submitted.splice(0)) this.cluster.refused(id, why)
    await settled()
  }

  /** What waits to be committed. */
  get proposed(): Command[] {
    return this.submitted.map(({ content }) => {
      const decoded = content.kind === 'command' ? decodeCommand(content.data) : null
      if (decoded === null || 'malformed' in decoded) throw new Error('it is no command')
      return decoded.command
    })
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms)
    await settled()
  }

  /** Committed at once. */
  async with(...ids: SessionId[]): Promise<this> {
    const opened = ids.map((id) => this.sessions.open(opening(id)))
    await this.commit()
    await Promise.all(opened)
    return this
  }
}

/** What was promised has happened. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
}

function opening(id: SessionId, given: Partial<SessionOpening> = {}): SessionOpening {
  const words = { clientInfo: asJsonText('{"name":"c"}'), capabilities: asJsonText('{}') }
  return { id, path: '/mcp', transport: 'sse', protocolVersion: 'v', idleMs: 60_000, ...words, ...given }
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'done'
  } catch (error) {
    return error instanceof OperatingError ? error.code : String(error)
  }
}

const [s1, s2, s3] = [sessionIdOf(1), sessionIdOf(2), sessionIdOf(3)]
const files = 'files' as ServerName
const [n1, n2] = ['n1', 'n2'] as [NodeId, NodeId]

describe('a session that is opened', () => {
  it('is found when its record is committed, and not before', async () => {
    const world = new World()
    const { sessions } = world
    const opened = sessions.open(opening(s1))
    await settled()
    expect([sessions.find(s1), sessions.count]).toEqual([undefined, 0])
    await world.commit()
    await opened
    expect(sessions.find(s1)).toMatchObject({ id: s1, path: '/mcp' })
    expect([sessions.all().length, sessions.count, sessions.figures.opened]).toEqual([1, 1, 1])
  })

  it('waits for a leader while one may be elected', async () => {
    const world = new World()
    const opened = codeOf(world.sessions.open(opening(s1)))
    for (let tries = 0; tries < 30; tries += 1) {
      await world.refuse('no-leader')
      await world.pass(100)
    }
    await world.commit()
    expect(await opened).toBe('done')
  })

  it('is refused when there is no leader for five seconds', async () => {
    const world = new World()
    const opened = codeOf(world.sessions.open(opening(s1)))
    for (let ms = 0; ms <= 5000; ms += 100) {
      await world.refuse('no-leader')
      await world.pass(100)
    }
    expect([await opened, world.submitted]).toEqual(['no-leader', []])
  })

  it('is refused for want of a majority when nobody commits it in time', async () => {
    const world = new World()
    const opened = codeOf(world.sessions.open(opening(s1)))
    await world.pass(5000)
    expect(await opened).toBe('no-quorum')
  })

  it('is there once, though the try of which nobody knew the outcome was committed after all', async () => {
    const world = new World()
    const opened = codeOf(world.sessions.open(opening(s1)))
    const [first] = world.submitted
    await world.refuse('overwritten')
    await world.pass(100)
    if (first !== undefined) world.submitted.unshift(first)
    await world.commit()
    expect([await opened, world.sessions.count]).toEqual(['done', 1])
  })

  it('is refused beyond what the cluster may have, and without asking it', async () => {
    const world = await new World({ sessionsMax: 1 }).with(s1)
    const error = await world.sessions.open(opening(s2)).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'overloaded', retry: 'after', retryAfterMs: 10_000 })
    expect(world.submitted).toEqual([])
  })

  it.each<[string, Partial<SessionOpening>]>([
    ['says more of itself', { clientInfo: asJsonText(`"${'x'.repeat(4095)}"`) }],
    ['can do more', { capabilities: asJsonText(`"${'x'.repeat(4095)}"`) }],
  ])('is a bad request when its client %s than a record holds', async (_, given) => {
    const world = new World()
    expect(await codeOf(world.sessions.open(opening(s1, given)))).toBe('bad-request')
    expect(world.submitted).toEqual([])
  })
})

describe('a session that this node does not know', () => {
  it('is sought once this node has caught up with the leader, by one read for all that look', async () => {
    const world = new World()
    const sought = [s1, s2, s3].map((id) => world.sessions.seek(id))
    const opened = world.sessions.open(opening(s1))
    await settled()
    expect(world.asked).toEqual([1])
    await world.commit()
    await opened
    world.cluster.readable(1, 1)
    await settled()
    expect(world.asked).toEqual([1, 2])
    world.cluster.readable(2, 1)
    expect((await Promise.all(sought)).map((session) => session?.id)).toEqual([s1, undefined, undefined])
    expect(world.sessions.figures.seeks).toBe(3)
  })

  it('is not sought when it is known, or when nothing has such an id', async () => {
    const world = await new World().with(s1)
    expect((await world.sessions.seek(s1))?.id).toBe(s1)
    expect(await world.sessions.seek('../../etc/passwd' as SessionId)).toBeUndefined()
    expect(world.asked).toEqual([])
  })

  it('is sought again when a leader is elected meanwhile, for less than three seconds', async () => {
    const world = new World()
    const sought = codeOf(world.sessions.seek(s1))
    for (let ms = 0; ms < 2900; ms += 100) {
      await settled()
      const id = world.asked.pop()
      if (id !== undefined) world.cluster.readRefused(id)
      await world.pass(100)
    }
    expect(await sought).toBe('no-leader')
  })
})

describe('a session that ends', () => {
  it('is told, whoever closed it, and when it expires', async () => {
    const world = await new World().with(s1, s2)
    const closed = world.sessions.close(s1)
    await world.commit()
    expect([await closed, world.ended]).toEqual([true, [s1]])
    const again = world.sessions.close(s1)
    await world.commit()
    expect(await again).toBe(false)
    world.clock.pause(60_000)
    await world.with(s3)
    expect(world.ended).toEqual([s1, s2])
  })

  it('has been closed, though the try before did it', async () => {
    const world = await new World().with(s1)
    const closed = world.sessions.close(s1)
    const [first] = world.submitted
    await world.refuse('overwritten')
    await world.pass(100)
    if (first !== undefined) world.submitted.unshift(first)
    await world.commit()
    expect(await closed).toBe(true)
  })
})

describe('what a session asks for', () => {
  it('is in its record when it is answered', async () => {
    const world = await new World().with(s1)
    const { sessions } = world
    const asked = [
      sessions.setLevel(s1, 'error'),
      sessions.subscribe(s1, { server: files, uri: 'a:' }),
      sessions.subscribe(s1, { server: files, uri: 'b:' }),
      sessions.unsubscribe(s1, { server: files, uri: 'a:' }),
    ]
    await world.commit()
    await Promise.all(asked)
    expect(sessions.find(s1)).toMatchObject({ level: 'error', subscriptions: [{ server: files, uri: 'b:' }] })
  })

  it('is refused when the session has ended, when there is too much of it, and when it is none', async () => {
    const world = await new World().with(s1)
    const { sessions } = world
    const gone = codeOf(sessions.setLevel(s2, 'error'))
    const many = Array.from({ length: 257 }, (_, n) => codeOf(sessions.subscribe(s1, { server: files, uri: `u:${n}` })))
    const long = codeOf(sessions.subscribe(s1, { server: files, uri: 'x'.repeat(4097) }))
    await world.commit()
    expect([await gone, await many[255], await many[256], await long]).toEqual([
      'not-found',
      'done',
      'overloaded',
      'bad-request',
    ])
  })
})

describe('that a session is in use', () => {
  const touches = (world: World): (readonly SessionId[])[] =>
    world.proposed.map((command) => (command.kind === 'session-touch' ? command.ids : []))

  it('is told when the cluster has known of no use for a quarter of its idle time, with what falls due just then', async () => {
    const world = await new World().with(s1)
    await world.pass(100)
    await world.with(s2)
    for (let times = 0; times < 3; times += 1) for (const id of [s1, s2, s3]) world.sessions.touch(id)
    await world.pass(14_900)
    expect(world.submitted).toEqual([])
    await world.pass(200)
    expect(touches(world)).toEqual([[s1, s2]])
    await world.commit()
    expect(world.sessions.find(s1)?.usedAt).toBe(15_200)
    await world.pass(60_000)
    expect([world.submitted, world.sessions.figures.touched]).toEqual([[], 2])
  })

  it('is told at once when that is overdue, so that no session ends that was used', async () => {
    const world = await new World().with(s1)
    await world.pass(59_000)
    world.sessions.touch(s1)
    await world.pass(200)
    await world.commit()
    await world.pass(59_000)
    await world.with(s2)
    expect(world.ended).toEqual([])
  })

  it('is told again until it is known', async () => {
    const world = await new World().with(s1)
    world.sessions.touch(s1)
    await world.pass(15_200)
    await world.refuse('no-leader')
    expect(world.submitted).toEqual([])
    await world.pass(1200)
    expect(touches(world)).toEqual([[s1]])
    await world.commit()
    await world.pass(15_000)
    expect(world.submitted).toEqual([])
  })

  it('is told of a thousand sessions at a time', async () => {
    const ids = Array.from({ length: 1001 }, (_, n) => sessionIdOf(n))
    const world = await new World({ sessionsMax: 2000 }).with(...ids)
    for (const id of ids) world.sessions.touch(id)
    await world.pass(15_200)
    expect(touches(world).map(({ length }) => length)).toEqual([1000])
    await world.commit()
    await world.pass(200)
    expect(touches(world).map(({ length }) => length)).toEqual([1])
  })

  it('is not told of a session that has ended', async () => {
    const world = await new World().with(s1)
    world.sessions.touch(s1)
    const closed = world.sessions.close(s1)
    await world.commit()
    await closed
    await world.pass(60_000)
    expect(world.submitted).toEqual([])
  })
})

describe('log time', () => {
  it('is moved on by the leader, and by nobody else, when a session would have ended otherwise', async () => {
    const world = await new World().with(s1)
    await world.pass(62_000)
    expect(world.submitted).toEqual([])
    world.isLeader = true
    await world.pass(1000)
    expect(world.proposed).toEqual([{ kind: 'session-touch', ids: [] }])
    await world.commit()
    expect(world.ended).toEqual([s1])
    await world.pass(10_000)
    expect(world.submitted).toEqual([])
  })

  it('is moved on again when that could not be told', async () => {
    const world = await new World().with(s1)
    world.isLeader = true
    await world.pass(60_000)
    await world.refuse('transferring')
    await world.pass(1000)
    expect(world.proposed).toEqual([{ kind: 'session-touch', ids: [] }])
  })
})

describe('a pin', () => {
  it('holds here at once, everywhere when it is committed, and is told once', async () => {
    const world = await new World().with(s1)
    const { sessions } = world
    expect(sessions.pinOf(s1, files)).toBeUndefined()
    sessions.pin(s1, files, n1)
    sessions.pin(s1, files, n1)
    expect([sessions.pinOf(s1, files), world.submitted.length]).toEqual([n1, 1])
    await world.commit()
    sessions.pin(s1, files, n1)
    expect([sessions.find(s1)?.pins.get(files), world.submitted.length]).toEqual([n1, 0])
    sessions.pin(s1, files, n2)
    expect(sessions.pinOf(s1, files)).toBe(n2)
    await world.commit()
    expect(sessions.pinOf(s1, files)).toBe(n2)
  })

  it('is none when it can not be told', async () => {
    const world = await new World().with(s1)
    world.sessions.pin(s1, files, n1)
    await world.refuse('disk-full')
    expect(world.sessions.pinOf(s1, files)).toBeUndefined()
  })

  it('is one of so many on their way to the cluster that a session can still begin', async () => {
    const world = await new World().with(s1)
    for (let n = 0; n < 5000; n += 1) world.sessions.pin(s1, `files-${n}` as ServerName, n1)
    expect(world.submitted.length).toBe(1024)
    const opened = codeOf(world.sessions.open(opening(s2)))
    await world.commit()
    expect(await opened).toBe('done')
  })
})

describe('sessions of a node that stops', () => {
  it('leave no timer, and nothing waits for them', async () => {
    const world = await new World().with(s1)
    world.sessions.touch(s1)
    const waiting = codeOf(world.sessions.setLevel(s1, 'debug'))
    await world.refuse('no-leader')
    world.sessions.stop()
    world.cluster.stop()
    expect(world.clock.timers).toBe(0)
    expect(await waiting).toBe('stopped')
    await world.pass(100_000)
    expect([world.clock.timers, world.submitted]).toEqual([0, []])
  })
})
