/** What clients felt, as numbers: of a run's history and timeline only, so that any recorded run can be measured again. */
import { isMismatch, type Deed } from './deeds.ts'
import type { Availability, Expectation, Operation, Phase, Run, Timeline } from './types.ts'

export const operationKinds = ['kv-put', 'kv-get', 'kv-stale-get', 'call'] as const satisfies Operation['kind'][]

type Window = { readonly fromUs: number; readonly toUs: number }

const slotUs = 250_000
/** What a node does again when it has recovered. */
const recoveredKinds = ['kv-put', 'kv-get', 'call'] as const

/** When it was told last: a cluster may be whole more than once. */
function phaseUs(timeline: Timeline, phase: Phase): number | null {
  return timeline.findLast((entry) => entry.kind === 'phase' && entry.phase === phase)?.atUs ?? null
}

/** While clients began something new. */
export function windowOf({ timeline, history }: Pick<Run, 'timeline' | 'history'>): Window {
  const fromUs = phaseUs(timeline, 'workload-started') ?? 0
  return { fromUs, toUs: Math.max(fromUs, history.at(-1)?.calledUs ?? 0) }
}

export function availabilityOf(deeds: readonly Deed[], window: Window): Availability {
  const count = (isCounted: (deed: Deed) => boolean): number => deeds.filter(isCounted).length
  const okUs = okTimes(deeds)
  const slots = Math.max(1, Math.ceil((window.toUs - window.fromUs) / slotUs))
  const served = new Set(okUs.map((atUs) => Math.floor((atUs - window.fromUs) / slotUs)))
  return {
    ok: count(({ outcome }) => outcome === 'ok'),
    refused: count((deed) => deed.outcome === 'refused' && !isMismatch(deed)),
    unknown: count(({ outcome }) => outcome === 'unknown'),
    mismatched: count(isMismatch),
    availability: [...served].filter((slot) => slot >= 0 && slot < slots).length / slots,
    longestGapMs: Math.max(...gapsOf(okUs, window).map(({ fromUs, toUs }) => toUs - fromUs)) / 1000,
  }
}

/** The times without an ok answer, in their order: between every two, before the first and after the last. */
export function gapsOf(okUs: readonly number[], { fromUs, toUs }: Window): Window[] {
  const inside = okUs.filter((atUs) => atUs > fromUs && atUs < toUs).toSorted((a, b) => a - b)
  const ends = [...inside, toUs]
  return ends.map((end, at) => ({ fromUs: at === 0 ? fromUs : (ends[at - 1] ?? fromUs), toUs: end }))
}

export function okTimes(deeds: readonly Deed[]): number[] {
  return deeds.flatMap(({ okUs }) => okUs ?? [])
}

/** From `healed` until every member has done a write, a read and a call that began after it; null: never. */
export function recoveryMs({ timeline, history, members }: RecoveryOf): number | null {
  const healedUs = phaseUs(timeline, 'healed')
  if (healedUs === null) return null
  const firstOk = (id: string, kind: Operation['kind']): number => {
    const answered = history.flatMap((operation) =>
      operation.node === id && operation.kind === kind && operation.outcome === 'ok' && operation.calledUs >= healedUs
        ? (operation.answeredUs ?? [])
        : [],
    )
    return Math.min(Infinity, ...answered)
  }
  const lastUs = Math.max(healedUs, ...members.flatMap((id) => recoveredKinds.map((kind) => firstOk(id, kind))))
  return lastUs === Infinity ? null : (lastUs - healedUs) / 1000
}

type RecoveryOf = Pick<Run, 'timeline' | 'history'> & { readonly members: readonly string[] }

/** Leaders, counted once a term. */
export function leaderCount(timeline: Timeline): number {
  const pairs = timeline.flatMap((entry) =>
    entry.kind === 'leader' && entry.leader !== null ? [`${entry.term} ${entry.leader}`] : [],
  )
  return new Set(pairs).size
}

/** Null: there is no such number, and whatever was expected of it did not happen. */
export function measure(subject: Expectation['subject'], run: Run, deeds: readonly Deed[]): number | null {
  switch (subject) {
    case 'gap':
      return availabilityOf(ofKind(deeds, 'kv-put'), windowOf(run)).longestGapMs
    case 'availability':
      return availabilityOf(ofKind(deeds, 'kv-put'), windowOf(run)).availability
    case 'recovery':
      return recoveryMs({ ...run, members: run.finals.map(({ id }) => id) })
    case 'leaders':
      return leaderCount(run.timeline)
    case 'failed-calls':
      return ofKind(deeds, 'call').filter(({ outcome }) => outcome !== 'ok').length
  }
}

export function ofKind(deeds: readonly Deed[], kind: Operation['kind']): Deed[] {
  return deeds.filter((deed) => deed.kind === kind)
}
