import { afterEach, describe, expect, it } from 'vitest'
import type { ServedCalls } from '../../src/calls/measured-upstreams.ts'
import { SelfReport } from '../../src/node/self-report.ts'
import type { SelfReportOptions } from '../../src/node/self-report.ts'
import type { ServerName } from '../../src/vocabulary/ids.ts'
import { ManualClock } from '../consensus/manual-clock.ts'

let report: SelfReport | undefined
afterEach(() => report?.stop())

/** A node with things under way, and what it says. */
function startReport(parts: Partial<SelfReportOptions> = {}): {
  state: Map<string, string>
  gauges: () => Record<string, number>
  clock: ManualClock
} {
  const clock = new ManualClock()
  const state = new Map<string, string>()
  let gauges: ReadonlyMap<string, number> = new Map()
  const gossip = {
    setState: (key: string, value: string) => void state.set(key, value),
    setGauges: (given: ReadonlyMap<string, number>) => void (gauges = given),
  }
  const counters = { oldestWriteMs: 3, syncP99Ms: 12.3456, diskFreeBytes: 1000 }
  const raft = { id: 'n1', commitIndex: 50, configuration: { voters: ['n1'], votersOutgoing: [], learners: [] } }
  const status = { raft, counters } as unknown as ReturnType<SelfReportOptions['consensus']>
  report = new SelfReport({
    gossip: gossip as unknown as SelfReportOptions['gossip'],
    member: {
      addresses: { http: 'h:1', peer: 'h:2', raft: 'h:3' },
      labels: { zone: 'a' },
      version: '1.2.3',
      startedAt: 7,
    },
    capacity: { cpu: 4, gpu: null, memory: 2 ** 34 },
    consensus: () => status,
    cluster: { queues: { proposals: 2, reads: 3 }, state: { appliedIndex: 42 } },
    calls: () => ({ active: 5, forwarded: 4 }),
    takeServers: () => new Map(),
    clock,
    ...parts,
  })
  report.start()
  return { state, gauges: () => Object.fromEntries(gauges), clock }
}

describe('what a node says of itself', () => {
  it('is who it is and what it has, but for what is not configured', () => {
    expect(Object.fromEntries(startReport().state)).toEqual({
      version: '1.2.3',
      startedAt: '7',
      draining: 'false',
      'address.http': 'h:1',
      'address.peer': 'h:2',
      'address.raft': 'h:3',
      'capacity.cpu': '4',
      'capacity.memoryBytes': '17179869184',
      'label.zone': 'a',
      role: 'voter',
    })
  })

  it('is how it fares: process, disk, queues and room', () => {
    expect(startReport().gauges()).toEqual({
      cpu: expect.any(Number) as number,
      rssBytes: expect.any(Number) as number,
      loopDelayMs: expect.any(Number) as number,
      activeCalls: 5,
      oldestWriteMs: 3,
      syncP99Ms: 12.346,
      diskFreeBytes: 1000,
      'queue.proposals': 2,
      'queue.reads': 3,
      'queue.forwardedCalls': 4,
      'queue.committedEntries': 8,
      serversLeftOut: 0,
    })
  })

  it('has no entries that wait while the state is newer than what consensus has said', () => {
    const cluster = { queues: { proposals: 0, reads: 0 }, state: { appliedIndex: 51 } }
    expect(startReport({ cluster }).gauges()['queue.committedEntries']).toBe(0)
  })

  it('is how its servers fare, of the calls since it said so last', () => {
    const sql = new Map([['sql' as ServerName, { calls: 4, failed: 1, totalMs: 10 }]])
    const taken: ReadonlyMap<ServerName, ServedCalls>[] = [new Map(), sql]
    const { gauges, clock } = startReport({ takeServers: () => taken.shift() ?? new Map() })
    expect(gauges()).not.toHaveProperty(['latencyMs.sql'])
    clock.advance(5000)
    expect(gauges()).toMatchObject({ 'latencyMs.sql': 2.5, 'errorRate.sql': 0.25 })
    clock.advance(5000)
    expect(gauges()).not.toHaveProperty(['latencyMs.sql'])
  })
})
