import { describe, expect, it } from 'vitest'
import { checkRun } from '../../scripts/partition/checks.ts'
import { deedsOf } from '../../scripts/partition/deeds.ts'
import { availabilityOf, gapsOf, leaderCount, recoveryMs } from '../../scripts/partition/measures.ts'
import { printSummary, summarize } from '../../scripts/partition/summary.ts'
import type { Operation, Run, TimelineEntry } from '../../scripts/partition/types.ts'
import { call, ended, get, madeRun, phase, put, refused } from './made-run.ts'

const ms = 1000

function leader(id: string, term: number, seenBy = 'n1', atMs = 0): TimelineEntry {
  return { kind: 'leader', seenBy, leader: id, term, atUs: atMs * ms }
}

describe('a deed', () => {
  it('is ok when one attempt was, refused when all were, and unknown otherwise', () => {
    const outcomes = (...attempts: Operation[]): string[] => deedsOf(attempts).map(({ outcome }) => outcome)
    const lost = put('a', [0, null])
    const no = refused(put('a', [10, 20], { attempt: 2 }))
    const yes = put('a', [30, 40], { attempt: 3, revision: 4 })
    expect(outcomes(lost, no, yes)).toEqual(['ok'])
    expect(outcomes(lost, no)).toEqual(['unknown'])
    expect(outcomes(no, refused(put('a', [10, 20], { attempt: 3 })))).toEqual(['refused'])
    expect(deedsOf([yes, no, lost])[0]).toMatchObject({ calledUs: 0, okUs: 40 * ms, revision: 4 })
  })

  it('is each read by itself, and each put of another key', () => {
    expect(
      deedsOf([get('a', [0, 1]), get('a', [0, 1]), put('a', [0, 1]), put('a', [0, 1], { key: 'k' })]),
    ).toHaveLength(4)
  })
})

describe('availability', () => {
  const window = { fromUs: 0, toUs: 1000 * ms }

  it('is the share of quarter seconds with an ok answer, and the longest gap, ends counted', () => {
    const deeds = deedsOf([put('a', [0, 100]), put('b', [0, 200]), put('c', [0, 600]), put('d', [0, null])])
    expect(availabilityOf(deeds, window)).toEqual({
      ok: 3,
      refused: 0,
      unknown: 1,
      mismatched: 0,
      availability: 0.5,
      longestGapMs: 400,
    })
    expect(availabilityOf([], window)).toMatchObject({ availability: 0, longestGapMs: 1000 })
  })

  it('counts what another revision refused by itself', () => {
    const deeds = deedsOf([refused(put('a', [0, 1]), '412 revision-mismatch'), refused(put('b', [0, 1]))])
    expect(availabilityOf(deeds, window)).toMatchObject({ refused: 1, mismatched: 1 })
  })

  it('has gaps that lie side by side', () => {
    expect(gapsOf([300, 100], { fromUs: 0, toUs: 500 })).toEqual([
      { fromUs: 0, toUs: 100 },
      { fromUs: 100, toUs: 300 },
      { fromUs: 300, toUs: 500 },
    ])
  })
})

describe('recovery', () => {
  const all = (node: string, atMs: number): Operation[] => [
    put(`${node}-${atMs}`, [atMs, atMs + 10], { node }),
    get(null, [atMs, atMs + 20], { node }),
    call(`${node}-${atMs}`, [atMs, atMs + 30], { node }),
  ]
  const members = ['n3', 'n1', 'n2']
  const healed = [phase('healed', 50), phase('healed', 100)]

  it('lasts until the last member has done everything that began after the last healing', () => {
    const history = ['n1', 'n2', 'n3'].flatMap((node, at) => [...all(node, 90), ...all(node, 110 + 100 * at)])
    expect(recoveryMs({ timeline: healed, history, members })).toBe(240)
  })

  it('is none without a call on every member, and without healing', () => {
    const history = [...all('n1', 110), ...all('n2', 110), ...all('n3', 110).slice(0, 2)]
    expect(recoveryMs({ timeline: healed, history, members })).toBe(null)
    expect(recoveryMs({ timeline: [], history: [...history, ...all('n3', 110)], members })).toBe(null)
  })
})

describe('leaders', () => {
  it('are counted once a term, whoever sees them', () => {
    expect(leaderCount([leader('n1', 2), leader('n1', 2, 'n2'), leader('n2', 3), leader('n1', 4)])).toBe(3)
  })
})

describe('the summary', () => {
  const run: Run = madeRun({
    scenario: 'isolate',
    about: 'one alone',
    timeline: [
      phase('workload-started', 0),
      leader('n1', 2),
      leader('n1', 2, 'n2', 5),
      { kind: 'step', line: 4, text: 'isolate leader', resolved: 'isolate n1', atUs: 1000 * ms },
      { kind: 'member', seenBy: 'n2', node: 'n1', event: 'dead', atUs: 1500 * ms },
      { kind: 'member', seenBy: 'n3', node: 'n1', event: 'dead', atUs: 1501 * ms },
      leader('n2', 3, 'n2', 2500),
      phase('healed', 2600),
      ended('n3', 2700, false),
    ],
    history: [put('a', [900, 1100], { revision: 4 }), put('b', [2000, 2600], { revision: 5 }), call('c', [2700, null])],
  })
  const text = printSummary(run, summarize(run, checkRun(run)))

  it('tells what happened in its order, each thing once, and when no write was acknowledged', () => {
    const lines = text.split('\n').flatMap((line) => /^\s+[\d.]+ s {2}(.+)$/.exec(line)?.[1]?.trim() ?? [])
    expect(lines).toEqual([
      '-- workload started',
      'n1 leads in term 2',
      'no write is acknowledged for 1.10 s',
      '> isolate leader (isolate n1)',
      'no write is acknowledged for 1.50 s',
      'n1 is dead for n2',
      'n2 leads in term 3',
      '-- healed',
      'process of n3 ended (SIGKILL), and no step had asked for it',
    ])
  })

  it('tells what clients got, the verdicts, and that it failed', () => {
    expect(text).toMatch(/^writes +2 +0 +0 +0 +18\.2 +1500$/m)
    expect(text).toMatch(/^ {2}1 calls unknown: null$/m)
    expect(text).toMatch(/^ok +linearizable +2 writes and reads$/m)
    expect(text).toMatch(/^FAILED +no-lost-process +n3 ended/m)
    expect(text).toContain('recovered never; converged 0.10 s after healing; 2 leaders')
    expect(text.trimEnd().split('\n').at(-1)).toBe('isolate FAILED in 2.70 s')
  })

  it('is ok only when every check is', () => {
    expect(summarize(run, [{ check: 'a', isOk: true, detail: '' }]).isOk).toBe(true)
    expect(summarize(run, [{ check: 'a', isOk: false, detail: '' }]).isOk).toBe(false)
  })
})
