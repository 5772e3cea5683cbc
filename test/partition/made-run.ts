import type { FinalNode, Operation, Run, TimelineEntry } from '../../scripts/partition/types.ts'

/** Runs as the checks of scripts/partition get them, made by hand. Times are given in ms. */
type Made = Partial<Omit<Operation, 'calledUs' | 'answeredUs' | 'outcome'>>

function operation(kind: Operation['kind'], times: readonly [number, number | null], made: Made): Operation {
  const [calledMs, answeredMs] = times
  return {
    client: 'c',
    node: 'n1',
    kind,
    key: 'partition/k0',
    attempt: 1,
    value: null,
    revision: null,
    expects: null,
    why: null,
    calledUs: calledMs * 1000,
    answeredUs: answeredMs === null ? null : answeredMs * 1000,
    outcome: answeredMs === null ? 'unknown' : 'ok',
    ...made,
  }
}

export function put(value: string, times: readonly [number, number | null], made: Made = {}): Operation {
  return operation('kv-put', times, { value, ...made })
}

export function get(value: string | null, times: readonly [number, number | null], made: Made = {}): Operation {
  return operation('kv-get', times, { value, revision: value === null ? 0 : null, ...made })
}

export function staleGet(revision: number, times: readonly [number, number | null], made: Made = {}): Operation {
  return operation('kv-stale-get', times, { value: revision === 0 ? null : `v${revision}`, revision, ...made })
}

export function call(id: string, times: readonly [number, number | null], made: Made = {}): Operation {
  return operation('call', times, { key: id, value: id, ...made })
}

export function refused(one: Operation, why = '503 no-leader'): Operation {
  return { ...one, outcome: 'refused', revision: null, why }
}

export function phase(phase: 'workload-started' | 'healed', atMs: number): TimelineEntry {
  return { kind: 'phase', phase, atUs: atMs * 1000 }
}

export function ended(node: string, atMs: number, isExpected: boolean): TimelineEntry {
  return { kind: 'process', node, what: 'ended', how: 'SIGKILL', isExpected, atUs: atMs * 1000 }
}

export function started(node: string, atMs: number): TimelineEntry {
  return { kind: 'process', node, what: 'started', how: null, isExpected: true, atUs: atMs * 1000 }
}

const ids = ['n1', 'n2', 'n3']

export function finalNode(id: string, entries: FinalNode['entries'] = {}): FinalNode {
  const members = ids.map((member) => ({
    id: member,
    status: 'alive',
    raft: member === 'n1' ? 'leader' : 'voter',
    disagrees: null,
  }))
  const raft = { leader: 'n1', voters: ids, learners: [] }
  return { id, status: {}, raft, members, entries, state: { index: 9, sum: 'abc' } }
}

export function madeRun(part: Partial<Run> = {}): Run {
  return {
    scenario: 'made',
    about: 'by hand',
    seed: 1,
    weaken: null,
    timeline: [],
    history: [],
    executions: [],
    convergence: { isReached: true, tookMs: 100, amiss: [] },
    finals: ids.map((id) => finalNode(id)),
    expectations: [],
    leftovers: [],
    ...part,
  }
}
