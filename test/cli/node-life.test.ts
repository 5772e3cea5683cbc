import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { FakeNode, refuse, runAgainst } from './fake-node.ts'

// The node that is asked, and another that outlives it.
const node = new FakeNode()
const other = new FakeNode()
let url = ''
let otherUrl = ''
beforeAll(async () => {
  url = await node.open()
  otherUrl = await other.open()
})
afterAll(() => Promise.all([node.close(), other.close()]))
afterEach(() => {
  for (const each of [node, other]) {
    each.answers.clear()
    each.seen.length = 0
  }
})

const members = (...list: object[]): { body: unknown } => ({ body: { members: list } })
const n1 = { id: 'n1', status: 'alive', draining: 'no', addresses: { http: 'h:1' } }
const n2 = { id: 'n2', status: 'alive', draining: 'draining', addresses: { http: 'h:2' } }
const asked = (of: FakeNode): string[] =>
  of.seen.filter(({ method }) => method !== 'GET').map(({ method, url: path }) => `${method} ${path}`)

describe('node drain', () => {
  it('waits until the node is drained, and says how to take it back', async () => {
    node.answers.set('POST /v1/nodes/n2/drain', { body: { id: 'n2', wanted: 'drain' } })
    node.answers.set('GET /v1/members', [members(n1, n2), members(n1, n2), members(n1, { ...n2, draining: 'drained' })])
    expect(await runAgainst(url, ['node', 'drain', 'n2'])).toEqual({
      code: 0,
      stdout: '',
      stderr:
        'n2 drains; waiting until nothing is in flight there\n' +
        'n2 is drained, and stays so when it is started again; next: stop or upgrade it, or quorate node drain n2 --cancel\n',
    })
    expect(node.seen.filter(({ method }) => method === 'GET')).toHaveLength(3)
  })

  it('--no-wait says that it has begun, --json the answer', async () => {
    node.answers.set('POST /v1/nodes/n2/drain', { body: { id: 'n2', wanted: 'drain' } })
    expect(await runAgainst(url, ['node', 'drain', 'n2', '--no-wait'])).toEqual({
      code: 0,
      stdout: '',
      stderr: 'n2 drains; to take that back: quorate node drain n2 --cancel\n',
    })
    const { stdout } = await runAgainst(url, ['node', 'drain', 'n2', '--no-wait', '--json'])
    expect(JSON.parse(stdout)).toEqual({ id: 'n2', wanted: 'drain' })
  })

  it.each([
    ['waits until the node serves', 0, { ...n2, draining: 'no' }, 'n2 serves again; next: quorate node list'],
    [
      'says so where the node is down',
      0,
      { ...n2, status: 'left' },
      'n2 is down, and serves when it is started again; next: quorate node list',
    ],
    ['comes too late for a node that has left', 1, n1, 'error: n2 has left; it was too late to take that back'],
  ])('--cancel takes it back, and %s', async (_, code, later, text) => {
    node.answers.set('DELETE /v1/nodes/n2/drain', { body: { id: 'n2', wanted: null } })
    node.answers.set('GET /v1/members', [members(n1, n2), members(n1, later)])
    expect(await runAgainst(url, ['node', 'drain', 'n2', '--cancel'])).toMatchObject({ code, stderr: `${text}\n` })
    expect(node.seen.filter(({ method }) => method === 'GET')).toHaveLength(2)
  })

  it('--cancel --no-wait says what was asked only', async () => {
    node.answers.set('DELETE /v1/nodes/n2/drain', { body: { id: 'n2', wanted: null } })
    expect(await runAgainst(url, ['node', 'drain', 'n2', '--cancel', '--no-wait'])).toMatchObject({
      code: 0,
      stderr: 'the drain of n2 is taken back; next: quorate node list\n',
    })
  })

  it.each(['drain', 'leave'])('that waits ends with 1 when its %s is taken back meanwhile', async (what) => {
    node.answers.set('GET /v1/status', { body: { node: 'n1' } })
    node.answers.set(`POST /v1/nodes/n2/${what}`, { body: {} })
    const serving = members(n1, { ...n2, draining: 'no' })
    // Leave looks once before it asks.
    const before = what === 'leave' ? [serving] : []
    node.answers.set('GET /v1/members', [...before, serving, members(n1, n2), serving])
    const { code, stderr } = await runAgainst(url, ['node', what, 'n2'])
    expect([code, stderr.split('\n')[1]]).toEqual([1, `error: n2 serves again: its ${what} was taken back meanwhile`])
  })

  it.each([
    ['dies', { ...n2, status: 'dead' }, 'n2 is dead: it did not end its drain; to take it out: quorate node remove n2'],
    ['stops', { ...n2, status: 'left' }, 'n2 has stopped before it was drained'],
  ])('ends with 1 when the node %s meanwhile', async (_, gone, message) => {
    node.answers.set('POST /v1/nodes/n2/drain', { body: {} })
    node.answers.set('GET /v1/members', [members(n1, n2), members(n1, gone)])
    const { code, stderr } = await runAgainst(url, ['node', 'drain', 'n2'])
    expect([code, stderr.split('\n')[1]]).toEqual([1, `error: ${message}`])
  })

  it.each([
    ['change-refused', 1],
    ['not-found', 3],
    ['no-leader', 4],
  ])('ends at %s with %i', async (code, exit) => {
    node.answers.set('POST /v1/nodes/n2/drain', refuse(409, code))
    expect(await runAgainst(url, ['node', 'drain', 'n2'])).toMatchObject({
      code: exit,
      stderr: `error: message of ${code}\n`,
    })
  })
})

describe('node leave', () => {
  it('of another node waits until it is a member no more', async () => {
    node.answers.set('GET /v1/status', { body: { node: 'n1' } })
    node.answers.set('POST /v1/nodes/n2/leave', { body: { id: 'n2', wanted: 'leave' } })
    node.answers.set('GET /v1/members', [members(n1, n2), members(n1, n2), members(n1)])
    node.answers.set('GET /v1/raft', { body: { voters: ['n1'] } })
    expect(await runAgainst(url, ['node', 'leave', 'n2'])).toEqual({
      code: 0,
      stdout: '',
      stderr:
        'n2 drains, and leaves when nothing is in flight there\n' +
        `n2 has left, and its process ends; n1 is the only voter now; next: quorate node list --url ${url}\n`,
    })
  })

  it('without a name is of the node that is asked, and another says that it has left', async () => {
    const witness = { ...n2, draining: 'no', addresses: { http: new URL(otherUrl).host } }
    node.answers.set('GET /v1/status', { body: { node: 'n1' } })
    node.answers.set('GET /v1/members', members(n1, witness))
    node.answers.set('POST /v1/nodes/n1/leave', { body: { id: 'n1', wanted: 'leave' } })
    other.answers.set('GET /v1/members', [members(n1, witness), members(witness)])
    other.answers.set('GET /v1/raft', { body: { voters: ['n2', 'n3'] } })
    const { code, stderr } = await runAgainst(url, ['node', 'leave'])
    expect([code, stderr.split('\n')[1]]).toEqual([
      0,
      `n1 has left, and its process ends; the voters are n2, n3 now; next: quorate node list --url ${otherUrl}`,
    ])
    expect(asked(node)).toEqual(['POST /v1/nodes/n1/leave'])
  })
})

describe('node remove', () => {
  it('says who counts now, and what to do to replace it', async () => {
    node.answers.set('DELETE /v1/nodes/n2', { body: { id: 'n2' } })
    node.answers.set('GET /v1/members', [members(n1, { ...n2, status: 'dead' }), members(n1)])
    node.answers.set('GET /v1/raft', { body: { voters: ['n1', 'n3'] } })
    expect(await runAgainst(url, ['node', 'remove', 'n2'])).toEqual({
      code: 0,
      stdout: '',
      stderr: 'removed n2; the voters are n1, n3 now; next, to replace it: quorate token create\n',
    })
    expect(asked(node)).toEqual(['DELETE /v1/nodes/n2'])
  })

  it('--force says so to the node', async () => {
    node.answers.set('DELETE /v1/nodes/n2', refuse(409, 'change-refused'))
    expect((await runAgainst(url, ['node', 'remove', 'n2', '--force'])).code).toBe(1)
    expect(asked(node)).toEqual(['DELETE /v1/nodes/n2?force=true'])
  })
})
