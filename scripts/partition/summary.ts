/** What a run was, for people (a timeline, a table, the verdicts) and as JSON. Functions of the run and its checks only. */
import { tableLines } from '../lib/table.ts'
import { deedsOf, isMismatch, type Deed } from './deeds.ts'
import {
  availabilityOf,
  gapsOf,
  leaderCount,
  ofKind,
  okTimes,
  operationKinds,
  recoveryMs,
  windowOf,
} from './measures.ts'
import type { Availability, Operation, Run, Summarize, Summary, Timeline, TimelineEntry } from './types.ts'

/** Gaps between acknowledged writes that the timeline tells. */
const toldGapUs = 500_000
/** Of what did not go well so many reasons are told, the most frequent first. */
const reasonsShown = 8

const names: Readonly<Record<Operation['kind'], string>> = {
  'kv-put': 'writes',
  'kv-get': 'reads',
  'kv-stale-get': 'stale reads',
  call: 'calls',
}

export const summarize: Summarize = (run, checks) => {
  const deeds = deedsOf(run.history)
  const window = windowOf(run)
  const available = (kind: Operation['kind']): Availability => availabilityOf(ofKind(deeds, kind), window)
  return {
    scenario: run.scenario,
    seed: run.seed,
    isOk: checks.every(({ isOk }) => isOk),
    checks,
    byKind: {
      'kv-put': available('kv-put'),
      'kv-get': available('kv-get'),
      'kv-stale-get': available('kv-stale-get'),
      call: available('call'),
    },
    recoveryMs: recoveryMs({ ...run, members: run.finals.map(({ id }) => id) }),
    convergenceMs: run.convergence.isReached ? run.convergence.tookMs : null,
    leaders: leaderCount(run.timeline),
    durationMs: (run.timeline.at(-1)?.atUs ?? 0) / 1000,
  }
}

export function printSummary(run: Run, summary: Summary): string {
  const deeds = deedsOf(run.history)
  const weakened = run.weaken === null ? '' : `, weakened: ${run.weaken}`
  return [
    `${run.scenario}: ${run.about.trim()} (seed ${run.seed}${weakened})`,
    '',
    ...timelineLines(run, deeds),
    '',
    ...clientLines(summary),
    ...reasonLines(deeds),
    '',
    `recovered ${after(summary.recoveryMs)}; converged ${after(summary.convergenceMs)}; ${summary.leaders} leaders`,
    '',
    ...checkLines(summary),
    `${run.scenario} ${summary.isOk ? 'passed' : 'FAILED'} in ${seconds(summary.durationMs * 1000)}`,
  ].join('\n')
}

function timelineLines(run: Run, deeds: readonly Deed[]): string[] {
  const gaps = gapsOf(okTimes(ofKind(deeds, 'kv-put')), windowOf(run))
  const told = gaps.flatMap(({ fromUs, toUs }) =>
    toUs - fromUs < toldGapUs
      ? []
      : [{ atUs: fromUs, text: `  no write is acknowledged for ${seconds(toUs - fromUs)}` }],
  )
  const rows = [...entriesTold(run.timeline), ...told].toSorted((a, b) => a.atUs - b.atUs)
  return rows.map(({ atUs, text }) => `${seconds(atUs).padStart(9)}  ${text}`)
}

/** What several nodes see is told once, when the first does; a member's events again only after another one of it. */
function entriesTold(timeline: Timeline): { atUs: number; text: string }[] {
  const seen = new Set<string>()
  const lastOfMember = new Map<string, string>()
  return timeline.flatMap((entry) => {
    const text = textOf(entry)
    if (entry.kind === 'member') {
      if (lastOfMember.get(entry.node) === entry.event) return []
      lastOfMember.set(entry.node, entry.event)
    } else if (entry.kind === 'leader' || entry.kind === 'configuration') {
      if (seen.has(text) || (entry.kind === 'leader' && entry.leader === null)) return []
      seen.add(text)
    }
    return [{ atUs: entry.atUs, text }]
  })
}

function textOf(entry: TimelineEntry): string {
  switch (entry.kind) {
    case 'phase':
      return `-- ${entry.phase.replaceAll('-', ' ')}`
    case 'step':
      return entry.resolved === entry.text ? `> ${entry.text}` : `> ${entry.text} (${entry.resolved})`
    case 'leader':
      return `  ${entry.leader ?? 'nobody'} leads in term ${entry.term}`
    case 'configuration': {
      const learners = entry.learners.length === 0 ? '' : `, learners ${entry.learners.join(', ')}`
      return `  voters ${entry.voters.join(', ')}${learners}`
    }
    case 'member':
      return `  ${entry.node} is ${entry.event} for ${entry.seenBy}`
    case 'process': {
      const how = entry.how === null ? '' : ` (${entry.how})`
      return `  process of ${entry.node} ${entry.what}${how}${entry.isExpected ? '' : ', and no step had asked for it'}`
    }
  }
}

function clientLines({ byKind }: Summary): string[] {
  const head = ['clients', 'ok', 'refused', 'unknown', 'other revision', 'available %', 'longest gap ms']
  const rows = operationKinds.map((kind) => {
    const { ok, refused, unknown, mismatched, availability, longestGapMs } = byKind[kind]
    const counts = [ok, refused, unknown, mismatched].map(String)
    return [names[kind], ...counts, (availability * 100).toFixed(1), longestGapMs.toFixed(0)]
  })
  return tableLines(head, rows)
}

function reasonLines(deeds: readonly Deed[]): string[] {
  const counts = new Map<string, number>()
  for (const deed of deeds) {
    if (deed.outcome === 'ok' || isMismatch(deed)) continue
    const reason = `${names[deed.kind]} ${deed.outcome}: ${deed.why}`
    counts.set(reason, (counts.get(reason) ?? 0) + 1)
  }
  const sorted = [...counts].toSorted(([, a], [, b]) => b - a)
  return sorted.slice(0, reasonsShown).map(([reason, count]) => `  ${count} ${reason}`)
}

function checkLines({ checks }: Summary): string[] {
  const width = Math.max(...checks.map(({ check }) => check.length))
  return checks.map(({ check, isOk, detail }) => {
    const indented = detail.replaceAll('\n', `\n${' '.repeat(width + 8)}`)
    return `${isOk ? 'ok    ' : 'FAILED'}  ${check.padEnd(width)}  ${indented}`
  })
}

function after(ms: number | null): string {
  return ms === null ? 'never' : `${seconds(ms * 1000)} after healing`
}

function seconds(us: number): string {
  return `${(us / 1_000_000).toFixed(2)} s`
}
