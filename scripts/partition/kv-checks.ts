/**
 * What must be true of the key-value operations of a run, whatever happened to nodes and links. Pure functions of the run;
 * every check names what it looked at, or the first thing that is wrong.
 */
import { checkHistory, type Operation as LinearOperation } from '../../test/simulation/linearizability.ts'
import { groupBy, type Deed } from './deeds.ts'
import { ofKind } from './measures.ts'
import type { CheckResult, FinalNode, Operation, Run, Timeline } from './types.ts'

/** A value under a key at a revision, as somebody was told. */
type Sighting = {
  readonly key: string
  readonly value: string
  readonly revision: number
  readonly by: string
}

export function kvChecks(run: Run, deeds: readonly Deed[]): CheckResult[] {
  const puts = ofKind(deeds, 'kv-put')
  const sightings = sightingsOf(run)
  return [
    linearizable(deeds),
    noLostWrite(puts, run.finals),
    noRefusedWrite(puts, sightings),
    writtenOnce(puts, sightings),
    ifMatchHolds(puts, sightings),
    staleNeverBack(run),
  ]
}

/** Shared by all checks: ok without problems, and otherwise failed with the first few. */
export function verdict(check: string, problems: readonly string[], looked: string): CheckResult {
  if (problems.length === 0) return { check, isOk: true, detail: looked }
  const more = problems.length > problemsShown ? [`and ${problems.length - problemsShown} more`] : []
  return { check, isOk: false, detail: [...problems.slice(0, problemsShown), ...more].join('\n') }
}

const problemsShown = 5

function linearizable(deeds: readonly Deed[]): CheckResult {
  const operations = deeds.flatMap((deed): LinearOperation[] => {
    const { client, key, value, calledUs, okUs, outcome } = deed
    const common = { client, key, value, calledUs }
    if (deed.kind === 'kv-put' && outcome !== 'refused')
      return [{ ...common, kind: 'write', answeredUs: okUs ?? Infinity }]
    return deed.kind === 'kv-get' && okUs !== null ? [{ ...common, kind: 'read', answeredUs: okUs }] : []
  })
  const wrong = checkHistory(operations)
  return verdict('linearizable', wrong === null ? [] : [wrong], `${operations.length} writes and reads`)
}

/** An acknowledged write is there in the end, on every node, or a later one of its key is. */
function noLostWrite(puts: readonly Deed[], finals: readonly FinalNode[]): CheckResult {
  const acknowledged = puts.filter(({ outcome }) => outcome === 'ok')
  const tellers = finals.filter(({ entries }) => entries !== null)
  const problems = tellers.length === 0 ? ['no node told its state in the end'] : []
  for (const { id, entries } of tellers) {
    for (const { key, value, revision } of acknowledged) {
      const entry = entries?.[key]
      const isThere = entry !== undefined && revision !== null && entry.revision >= revision
      const isSame = entry?.revision !== revision || entry.value === value
      if (isThere && isSame) continue
      const had = entry === undefined ? 'nothing' : `${String(entry.value)} of revision ${entry.revision}`
      problems.push(`${key}: ${value} was acknowledged at revision ${revision}, and ${id} has ${had} in the end`)
    }
  }
  return verdict('no-lost-write', problems, `${acknowledged.length} acknowledged writes on ${tellers.length} nodes`)
}

/** Nobody ever sees what was refused, nor what nobody wrote. */
function noRefusedWrite(puts: readonly Deed[], sightings: readonly Sighting[]): CheckResult {
  const outcomes = new Map(puts.map(({ key, value, outcome }) => [`${key} ${value}`, outcome]))
  const problems = sightings.flatMap(({ key, value, by }) => {
    const outcome = outcomes.get(`${key} ${value}`)
    if (outcome === undefined) return [`${key}: ${by} saw ${value}, which nobody wrote`]
    return outcome === 'refused' ? [`${key}: ${by} saw ${value}, which was refused`] : []
  })
  const refused = puts.filter(({ outcome }) => outcome === 'refused')
  return verdict('no-refused-write', [...new Set(problems)], `${refused.length} refused writes, never seen`)
}

/** However often a write was sent: it has one revision, and a revision has one write. */
function writtenOnce(puts: readonly Deed[], sightings: readonly Sighting[]): CheckResult {
  const problems = new Set<string>()
  const revisions = new Map<string, Sighting>()
  const values = new Map<number, Sighting>()
  for (const sighting of sightings) {
    const { key, value, revision, by } = sighting
    const name = `${key} ${value}`
    const other = revisions.get(name)
    if (other !== undefined && other.revision !== revision)
      problems.add(`${key}: ${value} has revision ${other.revision} for ${other.by}, and ${revision} for ${by}`)
    else revisions.set(name, sighting)
    const same = values.get(revision)
    if (same !== undefined && (same.key !== key || same.value !== value))
      problems.add(`revision ${revision} is ${same.key} ${same.value} for ${same.by}, and ${name} for ${by}`)
    else values.set(revision, sighting)
  }
  const repeated = puts.filter(({ attempts }) => attempts.length > 1)
  return verdict('written-once', [...problems], `${repeated.length} writes that were sent more than once`)
}

/** Between the revision that a write asked for and its own no other write of the key is known. */
function ifMatchHolds(puts: readonly Deed[], sightings: readonly Sighting[]): CheckResult {
  const byKey = groupBy(sightings, ({ key }) => key)
  const conditional = puts.filter(({ expects, outcome }) => expects !== null && outcome === 'ok')
  const problems = conditional.flatMap(({ key, value, expects, revision }) => {
    const between = byKey.get(key)?.find((seen) => seen.revision > (expects ?? 0) && seen.revision < (revision ?? 0))
    if (between === undefined) return []
    return [`${key}: ${value} went over ${expects} to ${revision}, but ${between.value} is ${between.revision}`]
  })
  return verdict('if-match-holds', problems, `${conditional.length} writes that asked for a revision and got it`)
}

/** On one node, in one life of its process, a stale read never sees an older revision than one that ended before it. */
function staleNeverBack({ history, timeline }: Run): CheckResult {
  const reads = history.filter(({ kind, outcome }) => kind === 'kv-stale-get' && outcome === 'ok')
  const lives = groupBy(reads, (read) => `${read.node} ${lifeOf(read, timeline)} ${read.key}`)
  const problems: string[] = []
  for (const [life, group] of lives) {
    if (life.includes(' between ')) continue
    for (const read of group) {
      const before = group.find((other) => endOf(other) < read.calledUs && isNewer(other, read))
      if (before === undefined) continue
      problems.push(
        `${read.key}: ${read.node} gave revision ${read.revision} at ${seconds(read.calledUs)}, after ${before.revision} at ${seconds(before.calledUs)}`,
      )
    }
  }
  return verdict('stale-never-back', problems, `${reads.length} stale reads`)
}

/** Which start of its node answered a read; `between` where it may have been either of two. */
function lifeOf(read: Operation, timeline: Timeline): string {
  const starts = timeline.filter(
    (entry) => entry.kind === 'process' && entry.node === read.node && entry.what === 'started',
  )
  const before = (atUs: number): number => starts.filter((start) => start.atUs <= atUs).length
  const life = before(read.calledUs)
  return life === before(endOf(read)) ? String(life) : 'between'
}

function isNewer(one: Operation, other: Operation): boolean {
  return (one.revision ?? 0) > (other.revision ?? 0)
}

function endOf({ answeredUs }: Operation): number {
  return answeredUs ?? Infinity
}

function seconds(us: number): string {
  return `${(us / 1_000_000).toFixed(2)} s`
}

/** Every value that somebody was told together with its revision: writers, readers, and the nodes in the end. */
function sightingsOf({ history, finals }: Run): Sighting[] {
  const told = history.flatMap(({ kind, key, value, revision, outcome, client, calledUs }): Sighting[] => {
    if (kind === 'call' || outcome !== 'ok' || value === null || revision === null) return []
    return [{ key, value, revision, by: `${client} at ${seconds(calledUs)}` }]
  })
  const left = finals.flatMap(({ id, entries }) =>
    Object.entries(entries ?? {}).map(([key, { value, revision }]) => ({
      key,
      value: String(value),
      revision,
      by: `${id} in the end`,
    })),
  )
  return [...told, ...left]
}
