import { afterEach, describe, expect, it } from 'vitest'
import { LinkWaits } from '../../src/peers/link-waits.ts'
import { Patience } from '../../src/peers/patience.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { ManualClock } from '../consensus/manual-clock.ts'
import { Relay } from '../transport/strangers.ts'
import { waitFor } from '../wait.ts'
import { ask, linked, makeCall, origin, result, resume, startNode, stopNodes } from './lane-rig.ts'

afterEach(stopNodes)

const id = (text: string): NodeId => text as NodeId
const ids = (text: string): NodeId[] => text.split(' ').filter(Boolean).map(id)
const members = (voters: string, learners = '', votersOutgoing = '') => ({
  voters: ids(voters),
  votersOutgoing: ids(votersOutgoing),
  learners: ids(learners),
})
const long = { livenessMs: 3000, linkWaitMs: 2000 }
const short = { livenessMs: 1000, linkWaitMs: 500 }
/** From the loss until new links are no more expected. */
const returnMs = 1150
const clock = { nowMs: 0, monotonic: () => clock.nowMs }
const patienceOf = (self: string): Patience => new Patience({ self: id(self), clock })
const of = (patience: Patience, node: string) => ({
  livenessMs: patience.livenessMs(id(node)),
  linkWaitMs: patience.linkWaitMs(id(node)),
})

describe('a peer', () => {
  it('is waited for shortly while consensus has lost its lanes to it, and no longer', () => {
    const patience = patienceOf('a')
    patience.follow(members('a b c'), ids('b c'))
    expect([of(patience, 'b'), of(patience, 'c')]).toEqual([long, long])
    patience.follow(members('a b c'), ids('c'))
    expect([of(patience, 'b'), of(patience, 'c')]).toEqual([{ ...short, linkWaitMs: 2000 }, long])
    clock.nowMs += returnMs - 1
    // Said again, as it is each second.
    patience.follow(members('a b c'), ids('c'))
    expect(of(patience, 'b').linkWaitMs).toBe(2000)
    clock.nowMs += 1
    expect([of(patience, 'b'), of(patience, 'c')]).toEqual([short, long])
    patience.follow(members('a b c'), ids('b c'))
    expect(of(patience, 'b')).toEqual(long)
  })

  it('is waited for as long as ever where nothing is known of it: before its lanes, and when it is no member', () => {
    const patience = patienceOf('a')
    patience.follow(null, ids('b'))
    patience.follow(members('a b c'), [])
    expect([of(patience, 'b'), of(patience, 'x')]).toEqual([long, long])
    patience.follow(members('a b c'), ids('b'))
    patience.follow(members('a c'), [])
    expect(of(patience, 'b')).toEqual(long)
    patience.follow(members('a b c'), [])
    expect(of(patience, 'b')).toEqual(long)
  })

  it('counts if it or this node votes, now or until a change is over', () => {
    const learner = patienceOf('l')
    for (const reached of ['a m o', '']) learner.follow(members('a', 'l m', 'o'), ids(reached))
    const voter = patienceOf('a')
    for (const reached of ['l', '']) voter.follow(members('a', 'l'), ids(reached))
    clock.nowMs += returnMs
    expect(['a', 'm', 'o'].map((node) => of(learner, node))).toEqual([short, long, short])
    expect(of(voter, 'l')).toEqual(short)
  })
})

describe('a node that is silent', () => {
  it('is given up where it is lost: what is asked there is unknown, also when it comes back; no other link ends', async () => {
    const lost = new Set<NodeId>()
    const b = await startNode('b', { transport: { livenessMs: 60_000 } })
    const c = await startNode('c', { transport: { livenessMs: 60_000 } })
    const relays = await Promise.all([Relay.to(b.address), Relay.to(c.address)])
    try {
      // Without the rule nothing ends within the time of this test.
      const a = await startNode('a', {
        join: relays.map(({ address }) => address),
        transport: {
          livenessMs: 60_000,
          livenessMsOf: (peer) => (lost.has(peer) ? 400 : 60_000),
          handshakeTimeoutMs: 300,
        },
        limits: { linkWaitMs: (node) => (lost.has(node) ? 100 : 60_000) },
      })
      await linked(a, b)
      await linked(a, c)
      const call = makeCall({}, { origin })
      const [there, alive] = [ask(a, b, call), ask(a, c, makeCall({}, { origin }))]
      await waitFor('the calls', () => b.serving.length + c.serving.length === 2)
      for (const { relay } of relays) relay.swallow(true)
      lost.add(b.node)
      expect(await there.promise).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown' } })
      expect(await resume(a, b, call.id).promise).toMatchObject({ kind: 'unknown' })
      expect([a.links.reachable(c.node), alive.outcome]).toEqual([true, null])

      lost.clear()
      for (const { relay } of relays) relay.swallow(false)
      await linked(a, b)
      b.serving[0]?.end(result('"done"'))
      c.serving[0]?.end(result('"done"'))
      expect(await alive.promise).toEqual(result('"done"'))
      expect(there.outcome).toMatchObject({ kind: 'unknown' })
      expect([b.serving.length, c.serving.length]).toEqual([1, 1])
    } finally {
      for (const { relay } of relays) await relay.close()
    }
  })
})

describe('a wait for a link', () => {
  it('gets shorter when its node is lost meanwhile', async () => {
    const clock = new ManualClock()
    let limitMs = 2000
    const waits = new LinkWaits({ clock, linkWaitMs: () => limitMs })
    const wait = waits.wait(id('b'), null)
    clock.advance(1000)
    limitMs = 500
    clock.advance(250)
    await wait
    expect(clock.timers).toBe(0)
  })

  it.each([
    { how: 'fell silent, and its links are ended', lostForMs: 750, returnsMs: null, overMs: 500 },
    { how: 'is lost while both links are reset', lostForMs: 0, returnsMs: null, overMs: returnMs },
    { how: 'comes back to consensus after such a reset', lostForMs: 0, returnsMs: 1100, overMs: 2000 },
  ])('is over in time where its node $how', async ({ lostForMs, returnsMs, overMs }) => {
    const clock = new ManualClock()
    const patience = new Patience({ self: id('a'), clock })
    const waits = new LinkWaits({ clock, linkWaitMs: (node) => patience.linkWaitMs(node) })
    for (const reached of ['b', '']) patience.follow(members('a b'), ids(reached))
    clock.advance(lostForMs)
    let isOver = false
    const wait = waits.wait(id('b'), null).then(() => (isOver = true))
    clock.advance(returnsMs ?? 0)
    if (returnsMs !== null) patience.follow(members('a b'), ids('b'))
    clock.advance(overMs - (returnsMs ?? 0) - 1)
    await Promise.resolve()
    expect(isOver).toBe(false)
    clock.advance(100)
    await wait
    expect(clock.timers).toBe(0)
  })

  it('is not over after a pause of this process: what came meanwhile is seen first', async () => {
    const clock = new ManualClock()
    const waits = new LinkWaits({ clock, linkWaitMs: () => 500 })
    let isOver = false
    const wait = waits.wait(id('b'), null).then(() => (isOver = true))
    clock.pause(10_000)
    clock.advance(0)
    await Promise.resolve()
    expect([isOver, clock.timers]).toEqual([false, 1])
    waits.opened(id('b'))
    await wait
    expect(clock.timers).toBe(0)
  })
})
