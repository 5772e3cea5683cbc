import { describe, expect, it } from 'vitest'
import type { MemberView } from '../../src/gossip/effects.ts'
import { AutopilotDriver } from '../../src/node/autopilot.ts'
import type { AutopilotDriverOptions } from '../../src/node/autopilot.ts'
import { autopilotSample, autopilotView, voterWarnings } from '../../src/node/autopilot-views.ts'
import { ClusterEvents } from '../../src/node/cluster-events.ts'
import type { ConfigurationChange } from '../../src/raft/configuration.ts'
import type { RaftStatus } from '../../src/raft/effects.ts'
import type { Clock, Timer } from '../../src/std/clock.ts'
import type { Deferred } from '../../src/std/deferred.ts'
import { silentLog } from '../../src/log/log.ts'
import { deferred } from '../../src/std/deferred.ts'
import { Random } from '../../src/std/random.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { changed, clusterOf, observationOf, options } from '../autopilot/lab.ts'
import type { Cluster } from '../autopilot/lab.ts'

/** Time that passes when it is told to. */
class ManualClock implements Clock {
  #nowMs = 0
  readonly timers = new Set<{ readonly atMs: number; readonly fire: () => void }>()

  now(): number {
    return this.#nowMs
  }

  monotonic(): number {
    return this.#nowMs
  }

  after(ms: number, fire: () => void): Timer {
    const timer = { atMs: this.#nowMs + ms, fire }
    this.timers.add(timer)
    return { cancel: () => void this.timers.delete(timer) }
  }

  /** What was promised meanwhile has happened behind each timer. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms
    for (;;) {
      const [next] = [...this.timers].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)
      if (next === undefined) break
      this.timers.delete(next)
      this.#nowMs = next.atMs
      next.fire()
      await settle()
    }
    this.#nowMs = endMs
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve()
}

class Leader {
  readonly clock = new ManualClock()
  readonly proposed: string[] = []
  readonly logged: string[] = []
  readonly buried: string[] = []
  readonly events = new ClusterEvents(() => 7)
  readonly drains = new Map<NodeId, 'drain' | 'leave'>()
  readonly said = new Map<string, string>()
  readonly driver: AutopilotDriver
  cluster: Cluster
  role: RaftStatus['role'] = 'leader'
  appliedIndex = 0
  /** Of the change that was proposed last. */
  outcome: Deferred<void> = deferred()

  constructor(cluster: string) {
    this.cluster = clusterOf(cluster)
    const note = (event: string, fields: Readonly<Record<string, unknown>> = {}): void => {
      this.logged.push(`${event} ${String(fields['decided'] ?? fields['change'])} ${String(fields['member'])}`)
    }
    this.driver = new AutopilotDriver({
      ...options,
      raft: () => this.status(),
      gossip: {
        members: () => [...this.#seen().gossip].map(([node, status]) => ({ node, status }) as MemberView),
        remove: (node) => this.buried.push(node),
        said: (node) => ({ state: new Map([['draining', this.said.get(node) ?? 'false']]), gauges: new Map() }),
      },
      state: this.#state(),
      change: (change) => this.#change(change),
      events: this.events,
      clock: this.clock,
      random: new Random(1),
      log: { ...silentLog, info: note },
    })
    this.events.raftChanged(this.status())
    this.driver.start()
  }

  status(): RaftStatus {
    return { ...this.#seen().raft, role: this.role }
  }

  /** The proposed change is committed. */
  async done(kind: 'promote' | 'remove', node: string): Promise<void> {
    this.cluster = changed(this.cluster, { kind, node: node as NodeId })
    this.events.raftChanged(this.status())
    this.outcome.resolve()
    await settle()
  }

  async refused(code: 'change-refused' | 'outcome-unknown'): Promise<void> {
    this.outcome.reject(new OperatingError(code, 'no'))
    await settle()
  }

  #seen(): ReturnType<typeof observationOf> {
    return observationOf(this.cluster, this.clock.monotonic())
  }

  #state(): AutopilotDriverOptions['state'] {
    const appliedIndex = (): number => this.appliedIndex
    return {
      drains: () => this.drains,
      get appliedIndex() {
        return appliedIndex()
      },
    }
  }

  #change({ kind, node }: ConfigurationChange): Promise<void> {
    this.proposed.push(`${kind} ${node}`)
    this.outcome = deferred()
    return this.outcome.promise
  }
}

describe("autopilot's driver", () => {
  it('carries out one decision after the other, and tells why', async () => {
    const leader = new Leader('1 2 3 | 4 5')
    const feed = leader.events.open()
    await leader.clock.pass(2000)
    expect(leader.proposed).toEqual(['promote 4'])
    await leader.clock.pass(3000)
    expect(leader.proposed, 'while it is under way').toHaveLength(1)
    await leader.done('promote', '4')
    expect(leader.proposed).toEqual(['promote 4', 'promote 5'])
    await leader.done('promote', '5')
    await leader.clock.pass(60_000)
    expect(leader.proposed).toHaveLength(2)
    expect((await feed.take()).filter(({ kind }) => kind === 'promoted')).toEqual([
      { kind: 'promoted', time: 7, node: '4', reason: 'autopilot: 5 voters are wanted' },
      { kind: 'promoted', time: 7, node: '5', reason: 'autopilot: 5 voters are wanted' },
    ])
    expect(leader.logged).toEqual([
      'autopilot-decides nothing 4',
      'autopilot-decides nothing 5',
      'autopilot-decides promote 4',
      'autopilot-changed promote 4',
      'autopilot-decides promote 5',
      'autopilot-changed promote 5',
    ])
    expect(autopilotSample(leader.driver)).toMatchObject({ isActiveNow: true, promotions: 2, voterTargetNow: 5 })
  })

  it('replaces a dead voter, and says of both events why', async () => {
    const leader = new Leader('1 2 3:dead | 4')
    await leader.clock.pass(60_000)
    await leader.done('promote', '4')
    const feed = leader.events.open()
    await leader.done('remove', '3')
    expect(leader.proposed).toEqual(['promote 4', 'remove 3'])
    expect(leader.buried, 'what gossip is told').toEqual(['3'])
    expect(await feed.take()).toContainEqual({
      kind: 'removed',
      time: 7,
      node: '3',
      reason: 'autopilot: the voter has been dead for 60 s',
    })
  })

  it('waits longer and longer when it is refused', async () => {
    const leader = new Leader('1 2 | 3')
    await leader.clock.pass(2000)
    const at: number[] = []
    for (const code of ['change-refused', 'outcome-unknown', 'change-refused', 'change-refused'] as const) {
      const before = leader.proposed.length
      await leader.refused(code)
      expect(leader.proposed, 'at once').toHaveLength(before)
      while (leader.proposed.length === before) await leader.clock.pass(10)
      at.push(leader.clock.monotonic())
    }
    expect(at.at(-1)).toBeGreaterThan(2800)
    expect(leader.driver.counters).toEqual({ promotions: 0, removals: 0, refusals: 4 })
    // An operator's change has no reason of autopilot's.
    await leader.refused('change-refused')
    const feed = leader.events.open()
    await leader.done('promote', '3')
    expect(await feed.take()).toContainEqual({ kind: 'promoted', time: 7, node: '3', reason: null })
  })

  it('proposes nothing by a status that is older than what is applied', async () => {
    const leader = new Leader('1 2 | 3')
    leader.appliedIndex = leader.status().commitIndex + 1
    await leader.clock.pass(9000)
    expect(leader.proposed).toEqual([])
    leader.appliedIndex -= 1
    leader.driver.look()
    expect(leader.proposed).toEqual(['promote 3'])
  })

  it('does nothing and thinks nothing while another leads, and begins anew when it leads again', async () => {
    const leader = new Leader('1 2 | 3')
    leader.role = 'follower'
    await leader.clock.pass(9000)
    expect([leader.proposed, autopilotView(leader.driver.verdict)]).toEqual([[], null])
    leader.role = 'leader'
    await leader.clock.pass(1900)
    expect([leader.proposed, leader.driver.verdict?.voterTarget]).toEqual([[], 3])
    await leader.clock.pass(2000)
    expect(leader.proposed).toEqual(['promote 3'])
  })

  it.each([
    ['by its own word', (leader: Leader) => leader.said.set('1', 'draining')],
    ['by what the nodes agree on', (leader: Leader) => leader.drains.set('1' as NodeId, 'leave')],
  ])('leaves it to others when its node is draining, %s', async (_, drain) => {
    const leader = new Leader('1 2 | 3')
    drain(leader)
    await leader.clock.pass(9000)
    expect(leader.proposed).toEqual([])
    const whoElse = '1 is draining: whoever leads next decides'
    expect(autopilotView(leader.driver.verdict)).toMatchObject({ next: null, holds: [whoElse] })
  })

  it('replaces who died while it was stopping, and not whom an operator has drained', async () => {
    const stopped = new Leader('1 2 3:left | 4')
    stopped.said.set('3', 'drained')
    await stopped.clock.pass(61_000)
    expect(stopped.proposed).toEqual(['promote 4'])
    const drained = new Leader('1 2 3:left | 4')
    drained.said.set('3', 'drained')
    drained.drains.set('3' as NodeId, 'drain')
    await drained.clock.pass(61_000)
    expect(drained.proposed).toEqual([])
  })

  it('leaves no timer behind', async () => {
    const leader = new Leader('1 2 | 3')
    await leader.clock.pass(2000)
    await leader.refused('change-refused')
    leader.driver.stop()
    expect(leader.clock.timers.size).toBe(0)
    leader.driver.look()
    expect(leader.proposed).toHaveLength(1)
  })

  it('warns of an even number of voters, but not while one is on its way', () => {
    const raft = (voters: string, more = {}): RaftStatus => {
      const { raft: status } = observationOf(clusterOf(voters), 0)
      return { ...status, configuration: { ...status.configuration, ...more } }
    }
    expect([null, raft('1'), raft('1 2 3'), raft('1 2', { votersOutgoing: ['1'] })].flatMap(voterWarnings)).toEqual([])
    expect(voterWarnings(raft('1 2 3 4'))).toEqual([
      '4 voters: an even number of voters tolerates no more failures than one less; let a node join, or remove one',
    ])
  })
})
