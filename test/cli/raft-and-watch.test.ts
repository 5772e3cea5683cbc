import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { waitFor } from '../wait.ts'
import { FakeNode, refuse, runAgainst } from './fake-node.ts'
import type { RunOptions } from './fake-node.ts'

const node = new FakeNode()
const other = new FakeNode()
let url = ''
let otherUrl = ''
beforeAll(async () => {
  url = await node.open()
  otherUrl = await other.open()
})
afterAll(async () => {
  await Promise.all([node.close(), other.close()])
})
afterEach(() => {
  for (const each of [node, other]) {
    each.answers.clear()
    each.seen.length = 0
  }
})
const run = (args: string[], options?: RunOptions): ReturnType<typeof runAgainst> => runAgainst(url, args, options)

describe('raft', () => {
  const view = {
    id: 'n1',
    role: 'leader',
    term: 3,
    leader: 'n1',
    commitIndex: 9,
    appliedIndex: 9,
    lastIndex: 10,
    firstIndex: 4,
    snapshotIndex: 6,
    configurationCommitted: false,
    voters: ['n1', 'n2'],
    votersOutgoing: ['n1'],
    learners: ['n3'],
    promotable: [],
    progress: [{ id: 'n2', matchIndex: 8, state: 'replicate', active: true }],
  }

  it('status prints one fact a line, and who is how far', async () => {
    node.answers.set('GET /v1/raft', { body: view })
    const { code, stdout } = await run(['raft', 'status'])
    expect(code).toBe(0)
    for (const line of [
      'role\tleader',
      'firstIndex\t4',
      'snapshotIndex\t6',
      'configurationCommitted\tfalse',
      'voters\tn1 n2',
      'votersOutgoing\tn1',
      'learners\tn3',
      'promotable\t-',
      'progress\tn2\t8\treplicate\tyes',
    ])
      expect(stdout.split('\n')).toContain(line)
  })

  it.each([
    [['transfer'], 'POST /v1/raft/transfer', '{}', { leader: 'n2' }, 'n2 leads now'],
    [['transfer', '--to', 'n2'], 'POST /v1/raft/transfer', '{"to":"n2"}', { leader: 'n2' }, 'n2 leads now'],
    [['add-learner', 'n4'], 'POST /v1/raft/learners', '{"id":"n4"}', { id: 'n4' }, 'added n4, which is a learner'],
    [
      ['add-learner', 'n4', '--promote', '--address', 'h:1'],
      'POST /v1/raft/learners',
      '{"id":"n4","address":"h:1","promote":true}',
      { id: 'n4' },
      'added n4, which becomes a voter once it has caught up',
    ],
    [['promote', 'n4'], 'POST /v1/raft/promote', '{"id":"n4"}', { id: 'n4' }, 'n4 is a voter'],
    [['remove', 'n4'], 'DELETE /v1/raft/members/n4', '', { id: 'n4' }, 'removed n4, whose process may be stopped now'],
  ])('%j asks the node and says what is done', async (args, path, body, answer, said) => {
    node.answers.set(path, { body: answer })
    expect(await run(['raft', ...args])).toEqual({
      code: 0,
      stdout: '',
      stderr: `${said}; next: quorate raft status\n`,
    })
    expect(node.seen[0]?.body).toBe(body)
    expect(JSON.parse((await run(['raft', ...args, '--json'])).stdout)).toEqual(answer)
  })

  it('transfer goes on to the leader that a follower names', async () => {
    const address = new URL(otherUrl).host
    node.answers.set('POST /v1/raft/transfer', refuse(421, 'not-leader', { details: { leader: 'n2', address } }))
    other.answers.set('POST /v1/raft/transfer', { body: { leader: 'n3' } })
    expect(await run(['raft', 'transfer', '--to', 'n3'])).toEqual({
      code: 0,
      stdout: '',
      stderr: `asking the leader, at ${address}\nn3 leads now; next: quorate raft status\n`,
    })
    expect(other.seen[0]?.body).toBe('{"to":"n3"}')
  })

  it('transfer gives up when every node names another, and when the leader has no known address', async () => {
    const [here, there] = [new URL(url).host, new URL(otherUrl).host]
    node.answers.set('POST /v1/raft/transfer', refuse(421, 'not-leader', { details: { address: there } }))
    other.answers.set('POST /v1/raft/transfer', refuse(421, 'not-leader', { details: { address: here } }))
    expect((await run(['raft', 'transfer'])).code).toBe(4)
    expect([node.seen.length, other.seen.length]).toEqual([2, 1])
    node.answers.set('POST /v1/raft/transfer', refuse(421, 'not-leader', { details: { address: null } }))
    expect(await run(['raft', 'transfer'])).toMatchObject({ code: 4, stderr: 'error: message of not-leader\n' })
  })
})

describe('kv', () => {
  it.each(['put k 1', 'delete k'])('%s hands an idempotency key on', async (command) => {
    const [verb = ''] = command.split(' ')
    node.answers.set(`${verb.toUpperCase()} /v1/kv/k`, { body: { key: 'k', revision: 12 } })
    expect((await run(['kv', ...command.split(' '), '--idempotency-key', 'once'])).code).toBe(0)
    expect(node.seen[0]?.headers).toMatchObject({ 'idempotency-key': 'once' })
    expect((await run(['kv', ...command.split(' '), '--idempotency-key', 'not this'])).code).toBe(2)
    expect(node.seen).toHaveLength(1)
  })
})

describe('kv watch', () => {
  const open = (revision: number): string => `event: open\ndata: {"revision":${revision}}\n\n`
  const put = (key: string, value: string, revision: number): string =>
    `id: ${revision}\nevent: put\n${`{"key":"${key}","value":${value},"revision":${revision}}`
      .split('\n')
      .map((line) => `data: ${line}\n`)
      .join('')}\n`
  const gone = (key: string, revision: number): string =>
    `id: ${revision}\nevent: delete\ndata: {"key":"${key}","revision":${revision}}\n\n`
  const compacted = { code: 'compacted', message: 'watch from 77', retry: 'never', details: { revision: 77 } }

  const watches = (of: FakeNode): string[] => of.seen.map((seen) => seen.url).filter((path) => path !== '/v1/status')

  /** Runs until the output has so many lines, then interrupts. */
  async function watch(args: string[], lines: number): Promise<{ code: number; stdout: string; stderr: string }> {
    const interrupt = new AbortController()
    const out = { stdout: '', stderr: '' }
    const ended = run(['kv', 'watch', ...args], { interrupt: interrupt.signal, out })
    await waitFor(`${lines} lines`, () => out.stdout.split('\n').length > lines)
    interrupt.abort()
    return ended
  }

  it('prints one line a change, whole values and large numbers too', async () => {
    const text = put('a', '{\n"n": 12345678901234567890}', 7)
    const stream = [
      open(5),
      put('b', '"x\\ty"', 6),
      text.slice(0, 20),
      text.slice(20),
      ': keep-alive\n\n',
      gone('a', 9),
    ]
    node.answers.set('GET /v1/kv', { stream, after: 'hold' })
    expect(await watch(['a*b', '--from', '5'], 3)).toEqual({
      code: 130,
      stdout: '6\tput\tb\t"x\\ty"\n7\tput\ta\t{ "n": 12345678901234567890}\n9\tdelete\ta\n',
      stderr: 'error: interrupted\n',
    })
    expect(node.seen[0]?.url).toBe('/v1/kv?watch=a*b&from=5')
    node.answers.set('GET /v1/kv', { stream, after: 'hold' })
    const { stdout } = await watch(['a*b', '--json'], 3)
    expect(stdout).toBe(
      '{"kind":"put","key":"b","value":"x\\ty","revision":6}\n{"kind":"put","key":"a","value":{ "n": 12345678901234567890},"revision":7}\n{"kind":"delete","key":"a","revision":9}\n',
    )
  })

  it('goes on behind the last change after the node was lost, however it was', async () => {
    node.answers.set('GET /v1/kv', [
      { stream: [open(5), put('a', '1', 6)], after: 'cut' },
      { cut: true },
      refuse(503, 'no-leader'),
      { stream: [open(7), put('a', '2', 8), 'event: progress\ndata: {"revision":40}\n\n'], after: 'end' },
      { stream: [open(40), `event: error\ndata: {"error":{"code":"stopped","message":"it stops"}}\n\n`], after: 'end' },
      { stream: [open(40), put('a', '3', 41)], after: 'hold' },
    ])
    const { stdout } = await watch(['*'], 3)
    expect(stdout).toBe('6\tput\ta\t1\n8\tput\ta\t2\n41\tput\ta\t3\n')
    expect(watches(node).map((path) => path.slice('/v1/kv?watch=*'.length))).toEqual([
      '',
      '&from=7',
      '&from=7',
      '&from=7',
      '&from=40',
      '&from=40',
    ])
  })

  it('goes on at the place where it began when it was lost before any change', async () => {
    node.answers.set('GET /v1/kv', [
      { stream: [open(5)], after: 'cut' },
      { stream: [open(5), put('a', '1', 5)], after: 'hold' },
    ])
    await watch(['*'], 1)
    expect(watches(node)[1]).toBe('/v1/kv?watch=*&from=5')
  })

  it('ends when the node can not go back so far, at once or later', async () => {
    node.answers.set('GET /v1/kv', { status: 410, body: { error: { ...compacted, traceId: 't' } } })
    expect(await run(['kv', 'watch', '*', '--from', '5'])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'error: watch from 77\n',
    })
    const error = `event: error\ndata: ${JSON.stringify({ error: compacted })}\n\n`
    node.answers.set('GET /v1/kv', { stream: [open(5), put('a', '1', 6), error], after: 'end' })
    expect(await run(['kv', 'watch', '*'])).toEqual({
      code: 1,
      stdout: '6\tput\ta\t1\n',
      stderr: 'error: watch from 77\n',
    })
  })

  it('goes on with the other nodes of the cluster, also when the first has lost its history', async () => {
    const members = [
      { id: 'n1', addresses: { http: new URL(url).host } },
      { id: 'n2', addresses: { http: new URL(otherUrl).host } },
      { id: 'n3', addresses: { http: '' } },
    ]
    for (const each of [node, other]) each.answers.set('GET /v1/status', { body: { node: 'n1', members } })
    node.answers.set('GET /v1/kv', [
      { stream: [open(5), put('a', '1', 6), ': rest\n\n'], after: 'hold' },
      refuse(410, 'compacted'),
    ])
    other.answers.set('GET /v1/kv', [
      { stream: [open(7), put('a', '2', 8)], after: 'cut' },
      { stream: [open(9), put('a', '3', 9)], after: 'hold' },
    ])
    const interrupt = new AbortController()
    const out = { stdout: '', stderr: '' }
    const ended = run(['kv', 'watch', '*'], { interrupt: interrupt.signal, out })
    await waitFor('the first change and the other nodes', () => {
      return out.stdout !== '' && node.seen.some((seen) => seen.url === '/v1/status')
    })
    node.cutAll()
    await waitFor('all changes', () => out.stdout.split('\n').length > 3)
    interrupt.abort()
    await ended
    expect(out.stdout).toBe('6\tput\ta\t1\n8\tput\ta\t2\n9\tput\ta\t3\n')
    expect(watches(node)).toEqual(['/v1/kv?watch=*', '/v1/kv?watch=*&from=9'])
    expect(watches(other)).toEqual(['/v1/kv?watch=*&from=7', '/v1/kv?watch=*&from=9'])
  })

  it('that never reached a node fails as every command does', async () => {
    expect((await runAgainst('http://127.0.0.1:1', ['kv', 'watch', '*'])).code).toBe(4)
  })

  it.each(['0', 'x', '1.5', '-1'])('refuses --from %s before it asks anybody', async (from) => {
    expect((await run(['kv', 'watch', '*', `--from=${from}`])).code).toBe(2)
    expect(node.seen).toEqual([])
  })
})
