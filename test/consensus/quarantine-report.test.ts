import { describe, expect, it } from 'vitest'
import { QuarantineReport } from '../../src/consensus/quarantine-report.ts'
import type { MemberProgress, RaftStatus } from '../../src/raft/effects.ts'
import type { Quarantine } from '../../src/storage/log-store.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { n1, n2 } from '../fixtures/log-batches.ts'

const n3 = 'n3' as NodeId

function report({ isRecovering = false, last = null as Quarantine | null } = {}) {
  const lines: string[] = []
  const store = { lastQuarantine: last }
  const made = new QuarantineReport({ store, isRecovering, log: (level, event) => lines.push(`${level} ${event}`) })
  const raft = (change: Partial<RaftStatus>): void => {
    const status = { id: n1, role: 'follower', term: 2, leader: n2, lastIndex: 7, isRecovering: false, progress: [] }
    const configuration = { voters: [n1, n2, n3], votersOutgoing: [], learners: [] }
    made.raftChanged({ ...status, configuration, ...change } as unknown as RaftStatus)
  }
  return { made, lines, store, raft }
}

const quarantine: Quarantine = { why: 'entry 5 is damaged', lostUpTo: 9, verified: null }

describe('the report of a quarantine', () => {
  it('is said at the start and at the end, once each, with what the store found by then', () => {
    const { made, lines, store, raft } = report({ isRecovering: true, last: quarantine })
    made.start()
    for (let again = 0; again < 2; again += 1) raft({ isRecovering: true })
    expect(made.status).toEqual({ ...quarantine, isOver: false })
    store.lastQuarantine = { ...quarantine, verified: true }
    for (let again = 0; again < 2; again += 1) raft({})
    expect(made.status).toEqual({ ...quarantine, verified: true, isOver: true })
    expect(lines).toEqual(['error quarantined', 'info quarantine-ended'])
  })

  it('names the way out where the others are no majority, so that nothing ends it by itself', () => {
    for (const voters of [[n1], [n1, n2]]) {
      const { made, lines, raft } = report({ isRecovering: true, last: quarantine })
      made.start()
      const configuration = { voters, votersOutgoing: [], learners: [] } as unknown as RaftStatus['configuration']
      for (let again = 0; again < 2; again += 1) raft({ isRecovering: true, configuration })
      expect(lines).toEqual(['error quarantined', 'error quarantine-lasts'])
      expect(made.status?.why).toMatch(/^entry 5 is damaged; without n1 .*raft recover/)
      raft({ isRecovering: true })
      expect(made.status?.why).toBe('entry 5 is damaged')
    }
  })

  it('says nothing of a node that joins, nor of a quarantine that was over before', () => {
    const joining = report({ isRecovering: true })
    joining.made.start()
    joining.raft({})
    const well = report({ last: quarantine })
    well.made.start()
    well.raft({})
    expect([joining.lines, well.lines, joining.made.status]).toEqual([[], [], null])
    expect(well.made.status).toMatchObject({ isOver: true })
  })

  it('tells loudly of a loss that Raft found', () => {
    const { made, lines, raft } = report()
    raft({})
    expect(made.status).toBeNull()
    raft({ isRecovering: true })
    expect(made.status).toEqual({
      why: 'the log ends at 7, before what leader n2 of term 2 has from this node as durable',
      lostUpTo: 0,
      verified: null,
      isOver: false,
    })
    raft({})
    expect(made.status).toMatchObject({ isOver: true })
    expect(lines).toEqual(['error entries-lost', 'info quarantine-ended'])
  })

  it('names a voter that says so of itself, where this node leads', () => {
    const { lines, raft } = report()
    const progress = (isRecovering: boolean): MemberProgress[] => [
      { node: n1, match: 0, state: 'probe', isActive: true, isRecovering, isDiskFull: false },
    ]
    const learner = { voters: [n2], votersOutgoing: [], learners: [n1] } as unknown as RaftStatus['configuration']
    raft({ role: 'leader', progress: progress(true), configuration: learner })
    expect(lines).toEqual([])
    for (const isRecovering of [true, true, false, false]) raft({ role: 'leader', progress: progress(isRecovering) })
    expect(lines).toEqual(['error peer-recovering', 'info peer-recovered'])
    raft({ role: 'leader', progress: progress(true) })
    raft({})
    raft({ role: 'leader', progress: progress(true) })
    expect(lines.slice(2)).toEqual(['error peer-recovering', 'error peer-recovering'])
  })
})
