import { describe, expect, it } from 'vitest'
import { checkRun, weakening } from '../../scripts/partition/checks.ts'
import { weakenings } from '../../scripts/partition/types.ts'
import type { Expectation, Operation, Run } from '../../scripts/partition/types.ts'
import { call, ended, finalNode, get, madeRun, phase, put, refused, staleGet, started } from './made-run.ts'

const key = 'partition/k0'
const ids = ['n1', 'n2', 'n3']

/** Null: the check passed; else why not. */
function failure(check: keyof typeof weakening, part: Partial<Run>): string | null {
  const result = checkRun(madeRun(part)).find((each) => each.check === check)
  expect(result, check).toBeDefined()
  return result?.isOk === true ? null : (result?.detail ?? '')
}

function atTheEnd(value: string, revision: number): Run['finals'] {
  return ids.map((id) => finalNode(id, { [key]: { value, revision } }))
}

/** A run in which everything happens, and nothing is wrong. */
const good: Partial<Run> = {
  history: [
    put('a', [0, 10], { revision: 4 }),
    put('b', [20, null]),
    put('b', [30, 40], { attempt: 2, revision: 5 }),
    put('c', [50, 60], { revision: 6, expects: 5 }),
    refused(put('d', [70, 80])),
    refused(put('e', [70, 80], { expects: 5 }), '412 revision-mismatch'),
    get('c', [90, 95], { revision: 6 }),
    refused(call('c-1', [10, 11])),
    call('c-1', [20, 30], { attempt: 2 }),
    call('c-2', [30, null]),
    call('c-3', [40, null]),
  ].concat(
    ...Array.from({ length: 10 }, (_, at): Operation[] => [
      put(`p${at}`, [100 + at, 100.5 + at], { key: 'partition/k1', revision: 10 + at }),
      get(`p${at}`, [100.6 + at, 100.9 + at], { key: 'partition/k1', revision: 10 + at }),
      staleGet(10 + at, [100.6 + at, 100.9 + at], { key: 'partition/k1', value: `p${at}` }),
      call(`good-${at}`, [100 + at, 101 + at]),
    ]),
  ),
  executions: [
    { key: 'c-1', attempt: 2 },
    { key: 'c-2', attempt: 1 },
    ...Array.from({ length: 10 }, (_, at) => ({ key: `good-${at}`, attempt: 1 })),
  ],
  finals: ids.map((id) =>
    finalNode(id, { [key]: { value: 'c', revision: 6 }, 'partition/k1': { value: 'p9', revision: 19 } }),
  ),
  timeline: [ended('n1', 5, true), started('n1', 6)],
}

describe('the checks of a run', () => {
  it('pass one in which nothing is wrong, and name what they looked at', () => {
    const results = checkRun(madeRun(good))
    expect(results.filter(({ isOk }) => !isOk)).toEqual([])
    expect(results.map(({ check }) => check)).toEqual(Object.keys(weakening))
  })

  it('have a switch each, and every switch breaks one', () => {
    expect(Object.values(weakening).filter((each) => !(each in weakenings))).toEqual([])
    expect(Object.keys(weakenings).filter((each) => !Object.values<string>(weakening).includes(each))).toEqual([])
  })
})

describe('linearizable', () => {
  it('fails when a read misses what was acknowledged before it', () => {
    const history = [put('a', [0, 10], { revision: 4 }), put('b', [20, 30], { revision: 5 }), get('a', [40, 50])]
    expect(failure('linearizable', { history })).toContain('no order explains it')
  })

  it('takes all attempts of a write for one, that ends with the first answer', () => {
    const answered = put('b', [60, 70], { attempt: 2, revision: 5 })
    const attempts = [put('b', [20, null]), answered, { ...answered, attempt: 3, answeredUs: 200_000 }]
    const early = [put('a', [0, 10], { revision: 4 }), ...attempts, get('b', [30, 35], { revision: 5 })]
    expect(failure('linearizable', { history: early })).toBe(null)
    expect(failure('linearizable', { history: [...early, get('a', [80, 90])] })).toContain('no order explains it')
    const late = [put('a', [0, 10], { revision: 4 }), ...attempts, get('a', [80, 90])]
    expect(failure('linearizable', { history: late })).toContain('no order explains it')
  })

  it('lets a write of unknown outcome happen, and a refused one not', () => {
    const history = [put('a', [0, null]), get('a', [10, 20], { revision: 4 })]
    expect(failure('linearizable', { history })).toBe(null)
    const [write, read] = history
    if (write === undefined || read === undefined) throw new Error('there are two')
    expect(failure('linearizable', { history: [refused(write), read] })).toContain('no order explains it')
  })
})

describe('no-lost-write', () => {
  const history = [put('a', [0, 10], { revision: 4 })]

  it('fails when one node has nothing of it in the end, or something older', () => {
    const finals = [...atTheEnd('a', 4).slice(0, 2), finalNode('n3')]
    expect(failure('no-lost-write', { history, finals })).toContain('n3 has nothing in the end')
    expect(failure('no-lost-write', { history, finals: atTheEnd('z', 3) })).toContain('n1 has z of revision 3')
  })

  it('fails when another value has its revision', () => {
    expect(failure('no-lost-write', { history, finals: atTheEnd('z', 4) })).toContain('acknowledged at revision 4')
  })

  it('passes what a later write went over', () => {
    expect(failure('no-lost-write', { history, finals: atTheEnd('z', 5) })).toBe(null)
  })

  it('fails when no node tells what it has', () => {
    expect(failure('no-lost-write', { history, finals: ids.map((id) => finalNode(id, null)) })).toContain('no node')
  })

  it('fails when the newest write is taken out by its switch', () => {
    expect(failure('no-lost-write', { ...good, weaken: 'drop-write' })).toContain('n1 has nothing in the end')
  })
})

describe('no-refused-write', () => {
  const history = [refused(put('a', [0, 10]))]

  it('fails when a reader sees it, and when it is there in the end', () => {
    expect(failure('no-refused-write', { history: [...history, get('a', [20, 30], { revision: 4 })] })).toContain(
      'saw a, which was refused',
    )
    expect(failure('no-refused-write', { history, finals: atTheEnd('a', 4) })).toContain('n1 in the end saw a')
  })

  it('fails when somebody sees what nobody wrote', () => {
    const seen = [staleGet(4, [20, 30])]
    expect(failure('no-refused-write', { history: seen })).toContain('saw v4, which nobody wrote')
  })

  it('passes what was refused first and acknowledged then', () => {
    const again = [...history, put('a', [20, 30], { attempt: 2, revision: 4 }), get('a', [40, 50], { revision: 4 })]
    expect(failure('no-refused-write', { history: again })).toBe(null)
  })
})

describe('written-once', () => {
  it('fails when a write has two revisions', () => {
    const twice = [put('a', [0, 10], { revision: 4 }), put('a', [20, 30], { attempt: 2, revision: 5 })]
    expect(failure('written-once', { history: twice })).toContain('a has revision 4')
    const seen = [put('a', [0, 10], { revision: 4 }), staleGet(5, [20, 30], { value: 'a' })]
    expect(failure('written-once', { history: seen })).toContain('a has revision 4')
  })

  it('fails when two writes have one revision', () => {
    const two = [put('a', [0, 10], { revision: 4 }), put('b', [20, 30], { key: 'partition/k1', revision: 4 })]
    expect(failure('written-once', { history: two })).toContain('revision 4 is')
  })
})

describe('if-match-holds', () => {
  const over = (expects: number): Operation => put('c', [20, 30], { expects, revision: 6 })

  it('fails when another write came between', () => {
    const a = put('a', [0, 10], { revision: 4 })
    const b = put('b', [0, 10], { revision: 5 })
    expect(failure('if-match-holds', { history: [a, b, over(4)] })).toContain('c went over 4 to 6, but b is 5')
    expect(failure('if-match-holds', { history: [a, over(0)] })).toContain('c went over 0 to 6, but a is 4')
  })

  it('passes when only other keys changed', () => {
    const other = put('b', [0, 10], { key: 'partition/k1', revision: 5 })
    expect(failure('if-match-holds', { history: [put('a', [0, 10], { revision: 4 }), other, over(4)] })).toBe(null)
  })
})

describe('stale-never-back', () => {
  const newer = staleGet(5, [0, 10])
  const older = staleGet(4, [20, 30])

  it('fails when a node gives an older revision later', () => {
    expect(failure('stale-never-back', { history: [newer, older] })).toContain('n1 gave revision 4')
    expect(failure('stale-never-back', { history: [newer, staleGet(0, [20, 30])] })).toContain('n1 gave revision 0')
  })

  it('passes reads of two nodes, of two lives of one, and at the same time', () => {
    expect(failure('stale-never-back', { history: [newer, { ...older, node: 'n2' }] })).toBe(null)
    expect(failure('stale-never-back', { history: [newer, older], timeline: [started('n1', 15)] })).toBe(null)
    expect(failure('stale-never-back', { history: [newer, older], timeline: [started('n1', 25)] })).toBe(null)
    expect(failure('stale-never-back', { history: [newer, staleGet(4, [5, 30])] })).toBe(null)
  })

  it('looks at one life even when the node had others', () => {
    const timeline = [started('n1', -10), started('n1', 100), started('n2', 15)]
    expect(failure('stale-never-back', { history: [newer, older], timeline })).toContain('n1 gave revision 4')
  })
})

describe('the checks of calls', () => {
  const once = { key: 'c-1', attempt: 1 }

  it('fail when one was executed twice', () => {
    expect(failure('no-call-twice', { executions: [once, once] })).toContain('c-1 was executed 2 times')
    expect(failure('no-call-twice', { executions: [once, { ...once, attempt: 2 }] })).toContain('attempts 1, 2')
  })

  it('fail when one was answered and not executed', () => {
    const history = [call('c-1', [0, 10])]
    expect(failure('no-call-unexecuted', { history })).toContain('c-1 was answered, and not executed')
    expect(failure('no-call-unexecuted', { history: [call('c-1', [0, null])] })).toBe(null)
  })

  it('fail when a refused attempt was executed', () => {
    const history = [refused(call('c-1', [0, 10]))]
    expect(failure('no-refused-call', { history, executions: [once] })).toContain('was refused by n1')
    expect(failure('no-refused-call', { history, executions: [{ ...once, attempt: 2 }] })).toBe(null)
  })
})

describe('the checks of the cluster', () => {
  const [n1, n2, n3] = ids.map((id) => finalNode(id)) as [
    ReturnType<typeof finalNode>,
    ...ReturnType<typeof finalNode>[],
  ]
  const others = [n2, n3].filter((node) => node !== undefined)
  const seenBy = (change: (id: string) => object): Run['finals'] => [
    { ...n1, members: (n1.members ?? []).map((member) => ({ ...member, ...change(String(member['id'])) })) },
    ...others,
  ]

  it('fail when it did not converge', () => {
    const convergence = { isReached: false, tookMs: 30_000, amiss: ['n3 is not ready'] }
    expect(failure('converged', { convergence })).toContain('n3 is not ready')
  })

  it('fail when gossip calls a member dead, or disagrees with Raft', () => {
    const dead = seenBy((id) => (id === 'n3' ? { status: 'dead' } : {}))
    expect(failure('members-agree', { finals: dead })).toContain('n1 sees n1, n2 alive')
    const odd = seenBy((id) => (id === 'n3' ? { disagrees: 'it says that it is a learner' } : {}))
    expect(failure('members-agree', { finals: odd })).toContain('n1 on n3: it says')
  })

  it('fail when members and Raft count differently, on one node or between nodes', () => {
    const uncounted = seenBy((id) => (id === 'n3' ? { raft: 'none' } : {}))
    expect(failure('members-agree', { finals: uncounted })).toContain('n1 lists n1, n2 as counted')
    const led = [{ ...n1, raft: { ...n1.raft, leader: 'n2' } }, ...others]
    expect(failure('members-agree', { finals: led })).toContain('leader n2')
  })

  it('fail when a node is a member no more, and still seen', () => {
    const left = [n1, ...others].filter(({ id }) => id !== 'n3')
    expect(failure('members-agree', { finals: left })).toContain('members are n1, n2')
  })

  it('fail when a node does not answer in the end', () => {
    expect(failure('members-agree', { finals: [{ ...n1, raft: null }, ...others] })).toContain('n1 did not answer')
    expect(failure('states-equal', { finals: [n1, ...others.map((node) => ({ ...node, state: null }))] })).toContain(
      'n2 did not tell its state',
    )
  })

  it('fail when states differ in a key, or in anything else', () => {
    const other = { ...n1, entries: { [key]: { value: 'a', revision: 4 } } }
    expect(failure('states-equal', { finals: [other, ...others] })).toContain(`${key} is not the same on n2 and n1`)
    const sum = { ...n1, state: { index: 9, sum: 'other' } }
    expect(failure('states-equal', { finals: [sum, ...others] })).toContain('the state of n2 at 9 is abc, of n1')
  })

  it('fail when a process is left, or ended by itself', () => {
    expect(failure('no-leftover', { leftovers: [{ pid: 7, of: 'node' }] })).toContain('process 7 of node was left')
    expect(failure('no-lost-process', { timeline: [ended('n2', 1500, false)] })).toContain('n2 ended at 1.50 s')
  })

  it('fail when there was no load to speak of', () => {
    expect(failure('load-is-real', {})).toContain('only 0 kv-put went well')
    const history = good.history?.filter(({ kind }) => kind !== 'call') ?? []
    expect(failure('load-is-real', { ...good, history })).toBe('only 0 call went well')
  })
})

describe('expectations', () => {
  const expected = (subject: Expectation['subject'], comparison: '<=' | '>=', value: number): Partial<Run> => ({
    ...good,
    timeline: [phase('workload-started', 0), phase('healed', 50)],
    expectations: [{ line: 3, text: 'as said', subject, comparison, value }],
  })

  it('fail when the number is on the wrong side', () => {
    expect(failure('expectations', expected('gap', '<=', 50))).toBe(null)
    expect(failure('expectations', expected('gap', '<=', 30))).toContain('as said (line 3): 40')
    expect(failure('expectations', expected('availability', '>=', 1))).toBe(null)
    expect(failure('expectations', expected('failed-calls', '<=', 2))).toBe(null)
    expect(failure('expectations', expected('failed-calls', '<=', 1))).toContain(': 2')
    expect(failure('expectations', expected('leaders', '>=', 1))).toContain(': 0')
  })

  it('fail when there is no number', () => {
    expect(failure('expectations', expected('recovery', '<=', 1000))).toContain('it never was')
  })
})
