import { describe, expect, it } from 'vitest'
import type { MemberEvent } from '../../src/gossip/effects.ts'
import type { GossipMessage } from '../../src/gossip/messages.ts'
import { GossipDriver } from '../../src/peers/gossip-driver.ts'
import { GossipLinks } from '../../src/peers/gossip-links.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { encodeGossipMessage } from '../../src/wire/gossip-codec.ts'
import { ManualClock } from '../consensus/manual-clock.ts'
import { helloOf, recordingLog } from '../transport/rig.ts'

/** Drivers on one clock, and lanes between them that come and go as the drivers dial and a test wants. */
class Lab {
  readonly clock = new ManualClock()
  readonly stations = new Map<NodeId, Station>()
  readonly open = new Set<string>()
  #input: (() => void)[] = []

  add(number: number, generation = 1): Station {
    const station = new Station(this, number, generation)
    this.stations.set(station.node, station)
    return station
  }

  /** Delivered before the next tick of anyone. */
  later(deliver: () => void): void {
    this.#input.push(deliver)
  }

  drain(): void {
    while (this.#input.length > 0) this.#input.shift()?.()
  }

  run(ms: number): void {
    for (let at = 0; at < ms; at += 10) {
      this.clock.advance(10)
      this.drain()
    }
  }

  connect(a: Station, b: Station): void {
    if (this.open.has(pair(a.node, b.node))) return
    this.open.add(pair(a.node, b.node))
    a.driver.opened(helloOf(b.node, { generation: b.generation }))
    b.driver.opened(helloOf(a.node, { generation: a.generation }))
  }

  disconnect(a: NodeId, b: NodeId): void {
    if (!this.open.delete(pair(a, b))) return
    this.stations.get(a)?.driver.closed(b)
    this.stations.get(b)?.driver.closed(a)
  }

  /** Its process is gone at once. */
  kill(station: Station): void {
    station.driver.stop()
    this.stations.delete(station.node)
    for (const other of this.stations.keys()) this.disconnect(other, station.node)
  }
}

class Station {
  readonly node: NodeId
  readonly generation: number
  readonly address: string
  readonly driver: GossipDriver
  readonly told: MemberEvent[] = []
  readonly logged: { event: string; fields: Record<string, unknown> }[] = []
  readonly dialled = new Set<string>()
  readonly afterIo: (() => void)[] = []
  isSlow = false

  constructor(lab: Lab, number: number, generation: number) {
    this.node = n(number)
    this.generation = generation
    this.address = `n${number}:1`
    this.driver = new GossipDriver({
      node: this.node,
      generation,
      address: this.address,
      seed: number,
      probeIntervalMs: 1000,
      probeTimeoutMs: 500,
      transport: {
        dial: (address) => {
          this.dialled.add(address)
          lab.later(() => {
            const other = [...lab.stations.values()].find((each) => each.address === address)
            if (other !== undefined && this.dialled.has(address)) lab.connect(this, other)
          })
        },
        undial: (address) => this.dialled.delete(address),
        disconnect: (peer) => lab.disconnect(this.node, peer),
        send: (peer, _, type, payload) => {
          if (!lab.open.has(pair(this.node, peer))) return false
          const copy = new Uint8Array(payload)
          lab.later(() => lab.stations.get(peer)?.driver.frame(this.node, type, copy))
          return true
        },
      },
      clock: lab.clock,
      afterIo: (run) => (this.isSlow ? this.afterIo.push(run) : run()),
      log: recordingLog(this.logged),
    })
    this.driver.onMember((event) => this.told.push(event))
    this.driver.start()
  }

  knows(...others: Station[]): void {
    this.driver.setContacts(others.map(({ node, address }) => ({ node, address })))
  }

  view(): Record<string, string> {
    return Object.fromEntries(
      this.driver.members().map(({ node, status, generation }) => [node, `${status} ${generation}`]),
    )
  }

  get logEvents(): string[] {
    return this.logged.map(({ event }) => event)
  }
}

const n = (number: number): NodeId => `n${number}` as NodeId
const pair = (a: NodeId, b: NodeId): string => [a, b].sort().join(' ')

/** So many that know each other; the first is who the others start from. */
function formed(count: number): { lab: Lab; all: Station[] } {
  const lab = new Lab()
  const all = Array.from({ length: count }, (_, at) => lab.add(at + 1))
  for (const each of all.slice(1)) each.knows(...all.slice(0, 1))
  lab.run(10_000)
  for (const each of all) expect(Object.values(each.view())).toEqual(Array.from({ length: count - 1 }, () => 'alive 1'))
  return { lab, all }
}

function ping(from: number, generation: number): GossipMessage {
  const sender = { node: n(from), generation, incarnation: 0, address: `n${from}:1` }
  return { from: sender, to: n(1), claims: [], kind: 'ping', seq: 1 }
}

describe('nodes that gossip', () => {
  it('find each other from one contact, and tell what they say of themselves', () => {
    const { lab, all } = formed(5)
    all[4]?.driver.setState('role', 'learner')
    all[4]?.driver.setGauges(new Map([['cpu', 0.5]]))
    lab.run(10_000)
    for (const each of all.slice(0, 4)) {
      const { state, gauges } = each.driver.said(n(5))
      expect([state.get('role'), gauges.get('cpu')]).toEqual(['learner', 0.5])
    }
  })

  it('call one dead whose process is gone, and alive when its next start says so', () => {
    const { lab, all } = formed(3)
    const [one, , three] = all as [Station, Station, Station]
    lab.kill(three)
    lab.run(9000)
    expect(one.view()).toEqual({ n2: 'alive 1', n3: 'dead 1' })
    expect(one.logEvents).toContain('member-dead')
    const again = lab.add(3, 2)
    again.knows(one)
    lab.run(5000)
    expect(one.view()).toEqual({ n2: 'alive 1', n3: 'alive 2' })
  })

  it('hear that one leaves, before its connections end', async () => {
    const { lab, all } = formed(3)
    const leaving = all[2]?.driver.leave(1000)
    lab.run(900)
    await leaving
    expect(all[0]?.view()).toEqual({ n2: 'alive 1', n3: 'left 1' })
    expect(all[1]?.view()).toEqual({ n1: 'alive 1', n3: 'left 1' })
  })

  it('tell what changes in what others say of themselves', () => {
    const { lab, all } = formed(3)
    const [one, two] = all as [Station, Station]
    const changes: unknown[] = []
    one.driver.onChange(({ owner, key, value }) => changes.push([owner, key, value]))
    two.driver.setState('draining', 'draining')
    one.driver.setState('draining', 'draining')
    lab.run(3000)
    expect(changes).toEqual([['n2', 'draining', 'draining']])
  })

  it('hear that an operator has removed one, and that one hears it too', () => {
    const { lab, all } = formed(3)
    const [one, two, three] = all as [Station, Station, Station]
    const ended: string[] = []
    three.driver.onEnded((phase) => ended.push(phase))
    one.driver.remove(three.node)
    lab.run(3000)
    expect([one.view(), two.view()]).toEqual([
      { n2: 'alive 1', n3: 'left 1' },
      { n1: 'alive 1', n3: 'left 1' },
    ])
    expect(ended).toEqual(['removed'])
  })

  it('hear of a later start of theirs', () => {
    const { lab, all } = formed(2)
    const [one, two] = all as [Station, Station]
    const ended: string[] = []
    two.driver.onEnded((phase) => ended.push(phase))
    lab.disconnect(one.node, two.node)
    one.driver.opened(helloOf(two.node, { generation: 9 }))
    const claim = { node: two.node, generation: 9, incarnation: 0, address: 'n9:1' }
    const news: GossipMessage = { kind: 'news', from: claim, to: one.node, claims: [] } as unknown as GossipMessage
    const { type, payload } = encodeGossipMessage(news)
    one.driver.frame(two.node, type, payload)
    one.driver.closed(two.node)
    lab.connect(one, two)
    lab.run(40_000)
    expect(ended).toEqual(['superseded'])
  })

  it('do not wait for a goodbye that nobody can hear', async () => {
    const lab = new Lab()
    const alone = lab.add(1)
    const leaving = alone.driver.leave(60_000)
    lab.run(1000)
    await leaving
    alone.driver.stop()
    lab.run(100)
    expect(lab.clock.timers).toBe(0)
  })
})

describe('a message', () => {
  it.each([
    ['of the process that has proven itself counts', ping(2, 7), 0],
    ['in the name of another node is refused', ping(3, 7), 1],
    ['of another start of the node is refused', ping(2, 8), 1],
  ])('%s', (_, message, refused) => {
    const lab = new Lab()
    const one = lab.add(1)
    one.driver.opened(helloOf('n2', { generation: 7 }))
    const { type, payload } = encodeGossipMessage(message)
    one.driver.frame(n(2), type, payload)
    expect(one.driver.counters.messagesRefused).toBe(refused)
    expect(one.driver.members().length).toBe(1 - refused)
  })

  it('that can not be read is refused and counted, and told of once a second', () => {
    const lab = new Lab()
    const one = lab.add(1)
    one.driver.opened(helloOf('n2'))
    one.driver.frame(n(2), 96, Uint8Array.of(0xc1))
    one.driver.frame(n(2), 111, Uint8Array.of(0x90))
    expect(one.driver.counters.messagesRefused).toBe(2)
    lab.clock.advance(1000)
    one.driver.frame(n(2), 111, Uint8Array.of(0x90))
    const told = one.logged.filter(({ event }) => event === 'gossip-message-refused')
    expect(told.map(({ fields }) => fields['count'])).toEqual([1, 2])
  })
})

describe('a node that did not run for a while', () => {
  it('reads what has come meanwhile before its tick, and doubts itself before others', () => {
    const { lab, all } = formed(3)
    const [one, two] = all as [Station, Station, Station]
    one.isSlow = true
    lab.clock.pause(20_000)
    // The others ran all the time, as far as it can see: what they said lies in its sockets.
    lab.clock.advance(0)
    expect(one.afterIo.length).toBe(1)
    const before = one.driver.counters.messagesIn
    lab.drain()
    const { type, payload } = encodeGossipMessage({
      from: { node: two.node, generation: 1, incarnation: 0, address: two.address },
      to: one.node,
      claims: [],
      kind: 'news',
    })
    one.driver.frame(two.node, type, payload)
    expect(one.driver.counters.messagesIn).toBeGreaterThan(before)
    one.isSlow = false
    one.afterIo.shift()?.()
    expect(one.driver.status().health).toBeGreaterThan(0)
    lab.run(1000)
    expect(one.told.filter(({ kind }) => kind === 'suspect' || kind === 'dead')).toEqual([])
  })
})

describe('a lane', () => {
  it('that nobody uses is closed, but for those that are to stay', () => {
    const lab = new Lab()
    const third = lab.add(3)
    third.driver.opened(helloOf('n9'))
    lab.open.add(pair(n(3), n(9)))
    lab.run(29_000)
    expect(third.driver.counters.openNow).toBe(1)
    lab.run(2000)
    expect(third.driver.counters.openNow).toBe(0)
    const keeper = lab.add(4)
    keeper.driver.keepOpen(new Set([n(9)]))
    keeper.driver.opened(helloOf('n9'))
    lab.run(40_000)
    expect(keeper.driver.counters.openNow).toBe(1)
  })

  it('is dialled when there is something to say, and no more when nobody answers', () => {
    const lab = new Lab()
    const one = lab.add(1)
    one.driver.setContacts([{ node: n(2), address: 'n2:1' }])
    lab.run(200)
    expect([...one.dialled]).toEqual(['n2:1'])
    one.driver.setContacts([])
    lab.run(5000)
    expect([...one.dialled]).toEqual([])
  })

  it('that breaks has its peer suspected soon, among however many', () => {
    const suspectedAfter = (kill: (lab: Lab, station: Station) => void): number => {
      const { lab, all } = formed(20)
      const [one, , three] = all as [Station, Station, Station]
      for (const each of all)
        each.driver.keepOpen(new Set(all.map(({ node }) => node).filter((to) => to !== each.node)))
      lab.run(1000)
      kill(lab, three)
      for (let ms = 0; ms < 20_000; ms += 100) {
        lab.run(100)
        if (one.told.some(({ kind, node }) => kind === 'suspect' && node === three.node)) return ms
      }
      return Infinity
    }
    // All probe it as soon as they see that its lane is gone; of itself, each probes one of nineteen a second.
    expect(suspectedAfter((lab, station) => lab.kill(station))).toBeLessThan(2500)
  })

  it.each([
    ['nobody used it did not break', 26_000, false],
    ['its peer went away did', 20_000, true],
  ])('that closed because %s', (_, quietMs, isBroken) => {
    const clock = new ManualClock()
    const nothing = (): void => undefined
    const transport = { dial: nothing, undial: nothing, disconnect: nothing, send: () => true }
    const links = new GossipLinks({ transport, clock, addressOf: () => undefined, waitMs: 500 })
    links.opened(helloOf('n2'))
    clock.advance(20_000)
    links.heard(n(2))
    clock.advance(quietMs)
    expect(links.closed(n(2))).toBe(isBroken)
  })
  it('keeps a few messages for one that is dialled, refuses more, and hands back what waited too long', () => {
    const clock = new ManualClock()
    const sent: unknown[] = []
    const transport = {
      dial: () => undefined,
      undial: () => undefined,
      disconnect: () => undefined,
      send: (...frame: unknown[]) => sent.push(frame) > 0,
    }
    const links = new GossipLinks({ transport, clock, addressOf: () => 'n2:1', waitMs: 500 })
    const message = { ...ping(1, 1), to: n(2) }
    const kept = Array.from({ length: 40 }, () => links.send(message)).filter((isKept) => isKept)
    expect(kept).toHaveLength(16)
    clock.advance(500)
    expect([links.tick().length, links.send(message)]).toEqual([16, true])
    links.opened(helloOf('n2'))
    expect(sent).toHaveLength(1)
  })
})
