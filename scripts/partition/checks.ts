/**
 * All checks of a run: pure functions of what was recorded. Each can fail, and `--weaken` shows it in a real run:
 * `weakening` says of each check which switch breaks it.
 */
import { deedsOf, groupBy, type Deed } from './deeds.ts'
import { kvChecks, verdict } from './kv-checks.ts'
import { measure, ofKind, operationKinds } from './measures.ts'
import type { Check, CheckResult, Execution, FinalNode, Run, Weakening } from './types.ts'

/** The switch with which a real run fails the check; other checks may fail with it. */
export const weakening = {
  linearizable: 'stale-reads',
  'no-lost-write': 'drop-write',
  'no-refused-write': 'ok-is-refused',
  'written-once': 'new-identity',
  'if-match-holds': 'ignore-if-match',
  'stale-never-back': 'mixed-nodes',
  'no-call-twice': 'execute-twice',
  'no-call-unexecuted': 'skip-calls',
  'no-refused-call': 'ok-is-refused',
  converged: 'no-heal',
  'members-agree': 'no-heal',
  'states-equal': 'drop-write',
  'no-leftover': 'leave-process',
  'no-lost-process': 'lost-process',
  'load-is-real': 'all-unknown',
  expectations: 'all-unknown',
} as const satisfies Record<string, Weakening>

/** So many of each kind must have gone well, or the other checks looked at nothing. */
const okMin = 10

export const checkRun: Check = (recorded) => {
  const run = recorded.weaken === 'drop-write' ? withoutNewestWrite(recorded) : recorded
  const deeds = deedsOf(run.history)
  const calls = ofKind(deeds, 'call')
  return [
    ...kvChecks(run, deeds),
    noCallTwice(run.executions),
    noCallUnexecuted(calls, run.executions),
    noRefusedCall(calls, run.executions),
    converged(run),
    membersAgree(run.finals),
    statesEqual(run.finals),
    noLeftover(run),
    noLostProcess(run),
    loadIsReal(deeds),
    expectations(run, deeds),
  ]
}

function noCallTwice(executions: readonly Execution[]): CheckResult {
  const problems = [...groupBy(executions, ({ key }) => key)].flatMap(([key, times]) =>
    times.length === 1
      ? []
      : [`call ${key} was executed ${times.length} times (attempts ${times.map(({ attempt }) => attempt).join(', ')})`],
  )
  return verdict('no-call-twice', problems, `${executions.length} executions`)
}

function noCallUnexecuted(calls: readonly Deed[], executions: readonly Execution[]): CheckResult {
  const executed = new Set(executions.map(({ key }) => key))
  const done = calls.filter(({ outcome }) => outcome === 'ok')
  const problems = done.flatMap(({ key }) => (executed.has(key) ? [] : [`call ${key} was answered, and not executed`]))
  return verdict('no-call-unexecuted', problems, `${done.length} calls that were answered`)
}

function noRefusedCall(calls: readonly Deed[], executions: readonly Execution[]): CheckResult {
  const executed = new Set(executions.map(({ key, attempt }) => `${key} ${attempt}`))
  const refused = calls.flatMap(({ attempts }) => attempts.filter(({ outcome }) => outcome === 'refused'))
  const problems = refused.flatMap(({ key, attempt, node, why }) =>
    executed.has(`${key} ${attempt}`)
      ? [`attempt ${attempt} of call ${key} was refused by ${node} (${why}), and executed`]
      : [],
  )
  return verdict('no-refused-call', problems, `${refused.length} refused attempts`)
}

function converged({ convergence: { isReached, tookMs, amiss } }: Run): CheckResult {
  const problems = isReached ? [] : [`not after ${seconds(tookMs)} s`, ...amiss]
  return verdict('converged', problems, `${seconds(tookMs)} s after the cluster was healed`)
}

/** In the end every member answers, and all say the same of everyone: gossip of who lives, Raft of who counts. */
function membersAgree(members: readonly FinalNode[]): CheckResult {
  const ids = members.map(({ id }) => id).toSorted()
  const problems: string[] = []
  const views = new Map<string, string>()
  for (const { id, raft, members: seen } of members) {
    if (raft === null || seen === null) {
      problems.push(`${id} did not answer`)
      continue
    }
    const live = seen.filter(({ status }) => status === 'alive').map((member) => String(member['id']))
    if (live.toSorted().join() !== ids.join())
      problems.push(`${id} sees ${live.join(', ')} alive, and members are ${ids.join(', ')}`)
    for (const member of seen.filter(({ disagrees }) => disagrees !== null))
      problems.push(`${id} on ${String(member['id'])}: ${String(member['disagrees'])}`)
    const [voters, learners] = [namesIn(raft['voters']), namesIn(raft['learners'])]
    const counted = seen.filter((member) => member['raft'] !== 'none').map((member) => String(member['id']))
    if (counted.toSorted().join() !== [...voters, ...learners].toSorted().join())
      problems.push(
        `${id} lists ${counted.join(', ')} as counted, and its Raft counts ${[...voters, ...learners].join(', ')}`,
      )
    const roles = seen.map((member) => `${String(member['id'])} ${String(member['raft'])}`)
    views.set(id, `leader ${String(raft['leader'])}, voters ${voters.join(', ')}, ${roles.toSorted().join(', ')}`)
  }
  if (new Set(views.values()).size > 1) problems.push(...[...views].map(([id, view]) => `${id}: ${view}`))
  return verdict('members-agree', problems, `${members.length} nodes: ${[...views.values()][0] ?? ''}`)
}

function namesIn(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String).toSorted() : []
}

/** The keys of the workload, and the sum over everything that the nodes have agreed to. */
function statesEqual(members: readonly FinalNode[]): CheckResult {
  const problems: string[] = []
  const [first] = members
  for (const { id, entries, state } of members) {
    if (entries === null || state === null) problems.push(`${id} did not tell its state`)
    else if (first !== undefined) {
      const other = differingKey(entries, first.entries ?? {})
      if (other !== null) problems.push(`${other} is not the same on ${id} and ${first.id}`)
      else if (state.index !== first.state?.index || state.sum !== first.state.sum)
        problems.push(
          `the state of ${id} at ${state.index} is ${state.sum}, of ${first.id} at ${first.state?.index} ${first.state?.sum}`,
        )
    }
  }
  const keys = Object.keys(first?.entries ?? {}).length
  return verdict('states-equal', problems, `${members.length} nodes, ${keys} keys, at index ${first?.state?.index}`)
}

type Entries = NonNullable<FinalNode['entries']>

function differingKey(one: Entries, other: Entries): string | null {
  const keys = [...new Set([...Object.keys(one), ...Object.keys(other)])]
  const isSame = (key: string): boolean =>
    one[key]?.revision === other[key]?.revision && one[key]?.value === other[key]?.value
  return keys.find((key) => !isSame(key)) ?? null
}

function noLeftover({ leftovers }: Run): CheckResult {
  const problems = leftovers.map(({ pid, of }) => `process ${pid} of ${of} was left`)
  return verdict('no-leftover', problems, 'no process is left')
}

function noLostProcess({ timeline }: Run): CheckResult {
  const ends = timeline.filter((entry) => entry.kind === 'process' && entry.what === 'ended')
  const problems = ends.flatMap((end) =>
    end.kind === 'process' && !end.isExpected
      ? [`${end.node} ended at ${seconds(end.atUs / 1000)} s (${end.how}), and no step had asked for it`]
      : [],
  )
  return verdict('no-lost-process', problems, `${ends.length} ends of nodes, all asked for`)
}

function loadIsReal(deeds: readonly Deed[]): CheckResult {
  const counts = operationKinds.map(
    (kind) => [kind, ofKind(deeds, kind).filter(({ outcome }) => outcome === 'ok').length] as const,
  )
  const problems = counts.flatMap(([kind, count]) => (count < okMin ? [`only ${count} ${kind} went well`] : []))
  return verdict('load-is-real', problems, counts.map(([kind, count]) => `${count} ${kind}`).join(', '))
}

/** The scenario's own lines. */
function expectations(run: Run, deeds: readonly Deed[]): CheckResult {
  const lines = run.expectations.map(({ line, text, subject, comparison, value }) => {
    const actual = measure(subject, run, deeds)
    const isMet = actual !== null && (comparison === '<=' ? actual <= value : actual >= value)
    return { isMet, told: `${text} (line ${line}): ${actual === null ? 'it never was' : Number(actual.toFixed(3))}` }
  })
  const problems = lines.flatMap(({ isMet, told }) => (isMet ? [] : [told]))
  return verdict('expectations', problems, lines.map(({ told }) => told).join('\n') || 'none')
}

/** As if the first node had lost the newest write of all. */
function withoutNewestWrite(run: Run): Run {
  const [first, ...others] = run.finals
  const newest = Object.entries(first?.entries ?? {}).toSorted(([, a], [, b]) => b.revision - a.revision)[0]
  if (first === undefined || newest === undefined) return run
  const entries = Object.fromEntries(Object.entries(first.entries ?? {}).filter(([key]) => key !== newest[0]))
  return { ...run, finals: [{ ...first, entries }, ...others] }
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(2)
}
