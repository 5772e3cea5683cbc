import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log/log.ts'
import { Draining } from '../../src/node/draining.ts'
import { Traffic } from '../../src/node/traffic.ts'
import type { Drain } from '../../src/state/command.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { ManualClock } from '../consensus/manual-clock.ts'

const limitMs = 8000
const n2 = 'n2' as NodeId

/** A node's drain in the test's hands; `did`: what it asked of the node, in order. */
function makeDraining() {
  const clock = new ManualClock()
  const traffic = new Traffic(clock)
  const world = {
    wanted: null as Drain | null,
    sessions: 0,
    successors: [] as NodeId[],
    transferFails: false,
    leaveFails: 0,
    leaveError: new OperatingError('no-leader', 'no leader is known'),
  }
  const did: string[] = []
  const draining = new Draining({
    node: 'n1' as NodeId,
    limitMs,
    traffic,
    sessions: () => world.sessions,
    wanted: () => world.wanted,
    successors: () => world.successors,
    handOver: async (to) => {
      did.push(`hand over to ${to}`)
      if (world.transferFails) throw new OperatingError('timeout', 'nobody took over')
      world.successors = []
    },
    said: (how) => did.push(`say ${how}`),
    abandon: () => did.push('abandon'),
    leave: async () => {
      did.push('leave')
      world.leaveFails -= 1
      if (world.leaveFails >= 0) throw world.leaveError
    },
    left: () => did.push('left'),
    clock,
    log: silentLog,
  })
  return { clock, traffic, world, did, draining }
}

describe('a drain', () => {
  it('refuses new sessions at once, ends what is left when nothing was in flight for a second, and is taken back', () => {
    const { clock, traffic, world, did, draining } = makeDraining()
    traffic.begin()
    world.wanted = 'drain'
    draining.look()
    expect([draining.takes, draining.takesCalls, did]).toEqual(['known-sessions', true, ['say draining']])
    expect(draining.reason).toBe(
      'this node is being drained: it takes no new sessions; to take that back: quorate node drain n1 --cancel',
    )
    clock.advance(2000)
    traffic.begin()
    traffic.end()
    traffic.end()
    clock.advance(999)
    expect(draining.phase).toBe('draining')
    clock.advance(1)
    expect([draining.phase, draining.takes, draining.takesCalls]).toEqual(['drained', 'nothing', false])
    expect(did).toEqual(['say draining', 'say drained', 'abandon'])
    world.wanted = null
    draining.look()
    expect([draining.takes, draining.reason, clock.timers]).toEqual(['everything', null, 0])
    expect(did.at(-1)).toBe('say serving')
  })

  it('takes nothing in the last quarter of its time, and ends with it', () => {
    const { clock, traffic, world, did, draining } = makeDraining()
    traffic.begin()
    world.wanted = 'drain'
    draining.look()
    clock.advance(limitMs * 0.75)
    expect([draining.takes, draining.takesCalls]).toEqual(['endings', false])
    clock.advance(limitMs * 0.25)
    expect([draining.phase, did.at(-1)]).toEqual(['drained', 'abandon'])
  })

  it('hands leadership over before it is drained, and again until it is', async () => {
    const { clock, world, did, draining } = makeDraining()
    Object.assign(world, { wanted: 'drain', successors: [n2], transferFails: true })
    draining.look()
    await nextTurn()
    expect([draining.phase, did]).toEqual(['draining', ['say draining', 'hand over to n2']])
    world.transferFails = false
    clock.advance(1000)
    await nextTurn()
    expect([draining.phase, did.slice(2)]).toEqual(['drained', ['hand over to n2', 'say drained', 'abandon']])
    // Elected again.
    world.successors = [n2]
    draining.look()
    await nextTurn()
    expect(did.filter((each) => each.startsWith('hand over'))).toHaveLength(3)
  })

  it('of a node that leaves ends with its removal, however often that is refused', async () => {
    const { clock, world, did, draining } = makeDraining()
    Object.assign(world, { wanted: 'leave', leaveFails: 2 })
    draining.look()
    for (let n = 0; n < 3; n += 1) {
      await nextTurn()
      clock.advance(1000)
    }
    await nextTurn()
    expect(did.slice(3)).toEqual(['leave', 'leave', 'leave', 'left'])
    expect(clock.timers).toBe(0)
  })

  it('of a node that leaves is taken back where its removal was refused, and says why it is there', async () => {
    const { clock, world, did, draining } = makeDraining()
    Object.assign(world, { wanted: 'leave', leaveFails: 9 })
    draining.look()
    await nextTurn()
    expect(draining.reason).toBe(
      'this node is to leave the cluster and can not yet: no leader is known; to have it stay: quorate node drain n1 --cancel',
    )
    world.wanted = null
    draining.look()
    expect([draining.phase, did.at(-1), clock.timers]).toEqual(['serving', 'say serving', 0])
    clock.advance(5000)
    await nextTurn()
    expect(did.filter((each) => each === 'leave')).toHaveLength(1)
  })

  it('of a node that leaves is not taken back once nobody knows whether it is out', async () => {
    const { clock, world, draining } = makeDraining()
    Object.assign(world, { wanted: 'leave', leaveFails: 9 })
    world.leaveError = new OperatingError('outcome-unknown', 'no outcome')
    draining.look()
    await nextTurn()
    world.leaveError = new OperatingError('change-under-way', 'another change')
    clock.advance(1000)
    await nextTurn()
    world.wanted = null
    draining.look()
    expect(draining.phase).toBe('leaving')
  })

  it('of a node that leaves ends well when it hears from the others first that it is out', async () => {
    const { clock, world, did, draining } = makeDraining()
    expect(draining.removed()).toBe(false)
    Object.assign(world, { wanted: 'leave', leaveFails: 1 })
    draining.look()
    await nextTurn()
    expect([draining.removed(), did.at(-1), clock.timers]).toEqual([true, 'left', 0])
  })

  it('of a process that stops is over at once when nothing is in flight, and hands nothing over', async () => {
    const { clock, world, did, draining } = makeDraining()
    world.successors = [n2]
    expect(draining.isBusy).toBe(false)
    await draining.stop()
    expect([draining.phase, did, clock.timers]).toEqual(['drained', ['say draining', 'say drained', 'abandon'], 0])
  })

  it.each<[string, (parts: ReturnType<typeof makeDraining>) => void]>([
    ['a request is in flight', ({ traffic }) => traffic.begin()],
    ['a client has a session', ({ world }) => (world.sessions = 1)],
    ['a call of another node has ended just now', ({ traffic }) => void traffic.during(() => Promise.resolve())],
  ])('of a process that stops waits while %s', async (_, prepare) => {
    const parts = makeDraining()
    prepare(parts)
    await nextTurn()
    expect(parts.draining.isBusy).toBe(true)
    let isOver = false
    void parts.draining.stop().then(() => (isOver = true))
    await nextTurn()
    expect(isOver).toBe(false)
    parts.clock.advance(limitMs)
    await nextTurn()
    expect(isOver).toBe(true)
  })

  it('that is closed while it waits to leave leaves no timer', async () => {
    const { clock, world, draining } = makeDraining()
    Object.assign(world, { wanted: 'leave', leaveFails: 9 })
    draining.look()
    await nextTurn()
    expect(clock.timers).toBe(1)
    draining.close()
    expect(clock.timers).toBe(0)
  })

  it('that is closed leaves no timer', async () => {
    const { clock, traffic, world, draining } = makeDraining()
    traffic.begin()
    Object.assign(world, { wanted: 'drain', successors: [n2], transferFails: true })
    draining.look()
    await nextTurn()
    draining.close()
    traffic.end()
    draining.look()
    expect(clock.timers).toBe(0)
  })
})
