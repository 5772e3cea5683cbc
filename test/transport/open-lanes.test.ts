import { describe, expect, it } from 'vitest'
import { OpenLanes } from '../../src/transport/open-lanes.ts'
import type { Contender } from '../../src/transport/open-lanes.ts'
import type { PeerHello } from '../../src/vocabulary/handshake.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { helloOf } from './rig.ts'

type Side = 'a' | 'b'
type Verdict = 'waiting' | 'admitted' | 'gave way' | 'open' | 'closed'

const hellos: Record<Side, PeerHello> = { a: helloOf('a'), b: helloOf('b') }
const other = (side: Side): Side => (side === 'a' ? 'b' : 'a')

/** One end of a connection, as its lane sees it; what is asked of it is kept. */
class End implements Contender {
  readonly lane = 'ctl'
  verdict: Verdict = 'waiting'
  terminated = false
  readonly role: 'dialer' | 'acceptor'
  readonly peer: PeerHello

  constructor(at: Side, dialler: Side) {
    this.role = at === dialler ? 'dialer' : 'acceptor'
    this.peer = hellos[other(at)]
  }

  get isClosed(): boolean {
    return this.verdict === 'closed' || this.verdict === 'gave way'
  }

  admit(): void {
    this.verdict = 'admitted'
  }

  giveWay(): void {
    this.verdict = 'gave way'
  }

  refuse(): void {
    throw new Error('nobody is refused here')
  }

  terminate(): void {
    this.terminated = true
  }

  send(): boolean {
    return true
  }

  probe(_: number, done: (alive: boolean) => void): void {
    done(true)
  }
}

/** Both nodes with connections between them, dialled by the given sides; each goes on one step at a time. */
class World {
  readonly lanes: Record<Side, OpenLanes>
  readonly connections: { dialler: Side; ends: Record<Side, End>; at: number }[]

  constructor(diallers: readonly Side[]) {
    const make = (node: Side): OpenLanes =>
      new OpenLanes({ node: hellos[node].node, probeTimeoutMs: 10, closed: () => undefined })
    this.lanes = { a: make('a'), b: make('b') }
    this.connections = diallers.map((dialler) => ({
      dialler,
      ends: { a: new End('a', dialler), b: new End('b', dialler) },
      at: 0,
    }))
  }

  /** The dialler has the acceptor's proof; the acceptor has the dialler's; the dialler hears the answer. */
  step(index: number): void {
    const connection = this.connections[index]
    if (connection === undefined) throw new Error('no such connection')
    const { dialler, ends } = connection
    const acceptor = other(dialler)
    const turn = connection.at
    connection.at += 1
    if (turn === 0) this.#decide(dialler, ends[dialler])
    else if (ends[dialler].verdict !== 'admitted') return
    else if (turn === 1) {
      this.#decide(acceptor, ends[acceptor])
      if (ends[acceptor].verdict === 'admitted') this.#open(acceptor, ends[acceptor])
    } else if (ends[acceptor].verdict === 'open') this.#open(dialler, ends[dialler])
    else {
      ends[dialler].verdict = 'closed'
      this.lanes[dialler].release(ends[dialler])
    }
  }

  /** Which connection each node has for the lane. */
  outcome(): Record<Side, number> {
    const held = (side: Side): number =>
      this.connections.findIndex(({ ends }) => ends[side] === this.lanes[side].find(hellos[other(side)].node, 'ctl'))
    return { a: held('a'), b: held('b') }
  }

  #decide(side: Side, end: End): void {
    this.lanes[side].decide(end, end.peer)
    if (end.verdict === 'gave way') this.lanes[side].release(end)
  }

  #open(side: Side, end: End): void {
    end.verdict = 'open'
    this.lanes[side].opened(end, end.peer)
  }
}

/** Every order in which each of `count` connections can take its three steps. */
function* orders(left: readonly number[]): Generator<number[]> {
  if (left.every((steps) => steps === 0)) yield []
  for (const [index, steps] of left.entries()) {
    if (steps === 0) continue
    for (const rest of orders(left.map((each, at) => (at === index ? each - 1 : each)))) yield [index, ...rest]
  }
}

describe('of several connections of a lane', () => {
  it.each<[string, Side[]]>([
    ['one dialled by each', ['a', 'b']],
    ['two dialled by the smaller and one by the greater id', ['a', 'a', 'b']],
    ['two dialled by the greater and one by the smaller id', ['b', 'b', 'a']],
    ['two dialled by the same', ['b', 'b']],
  ])('%s: in every order of events, both keep the same one and none that was open is closed', (_, diallers) => {
    let count = 0
    for (const order of orders(diallers.map(() => 3))) {
      const world = new World(diallers)
      for (const index of order) world.step(index)
      const { a, b } = world.outcome()
      expect([a, b], `order ${order.join('')}`).toEqual([a, a])
      expect(a, `order ${order.join('')}`).not.toBe(-1)
      expect(world.connections.some(({ ends }) => ends.a.terminated || ends.b.terminated)).toBe(false)
      count += 1
    }
    expect(count).toBe(diallers.length === 2 ? 20 : 1680)
  })

  it('of two claimed at once, the one dialled by the smaller id stays', () => {
    for (const rest of orders([2, 2])) {
      const world = new World(['a', 'b'])
      for (const index of [0, 1, ...rest]) world.step(index)
      expect(world.outcome()).toEqual({ a: 0, b: 0 })
    }
  })

  it('a new one of a peer that has lost the old one takes its place', () => {
    const world = new World(['b', 'b'])
    for (const index of [0, 0, 0]) world.step(index)
    const lost = world.connections[0]?.ends
    if (lost === undefined) throw new Error('no connection')
    lost.b.verdict = 'closed'
    world.lanes.b.release(lost.b)
    for (const index of [1, 1, 1]) world.step(index)
    expect(world.outcome()).toEqual({ a: 1, b: 1 })
    expect(lost.a.terminated).toBe(true)
  })
})

it('a lane is taken while it is open or claimed, and free when its connection is gone', () => {
  const world = new World(['a'])
  const b = 'b' as NodeId
  expect(world.lanes.a.isTaken(b, 'ctl')).toBe(false)
  world.step(0)
  expect([world.lanes.a.isTaken(b, 'ctl'), world.lanes.a.find(b, 'ctl')]).toEqual([true, undefined])
  world.step(0)
  world.step(0)
  const end = world.connections[0]?.ends.a
  expect(world.lanes.a.find(b, 'ctl')).toBe(end)
  if (end !== undefined) world.lanes.a.release(end)
  expect(world.lanes.a.isTaken(b, 'ctl')).toBe(false)
})
