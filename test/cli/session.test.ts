import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { FakeNode, refuse, runAgainst } from './fake-node.ts'

const node = new FakeNode()
let url = ''
beforeAll(async () => {
  url = await node.open()
})
afterAll(() => node.close())
afterEach(() => node.answers.clear())

const id = '11111111-2222-4333-8444-555555555555'
const session = {
  id,
  client: 'inspector 1.0',
  protocolVersion: '2025-11-25',
  path: '/mcp/files',
  startedAt: 0,
  lastUsedAt: 60_000,
}

describe('session list', () => {
  it('prints a line for each session of the cluster', async () => {
    node.answers.set('GET /v1/sessions', { body: { sessions: [session, { ...session, client: '' }] } })
    const { code, stdout } = await runAgainst(url, ['session', 'list'])
    const rest = '2025-11-25\t/mcp/files\t1970-01-01T00:00:00.000Z\t1970-01-01T00:01:00.000Z'
    expect([code, stdout]).toEqual([0, `${id}\tinspector 1.0\t${rest}\n${id}\t-\t${rest}\n`])
  })

  it('says where to point a client when there is none', async () => {
    node.answers.set('GET /v1/sessions', { body: { sessions: [] } })
    expect(await runAgainst(url, ['session', 'list'])).toEqual({
      code: 0,
      stdout: '',
      stderr: `no sessions: point an MCP client at ${url}/mcp\n`,
    })
  })
})

describe('session close', () => {
  it('says what it means, or prints the answer as JSON', async () => {
    node.answers.set(`DELETE /v1/sessions/${id}`, { body: { id } })
    const { code, stdout, stderr } = await runAgainst(url, ['session', 'close', id])
    expect([code, stdout]).toEqual([0, ''])
    expect(stderr).toContain(`session ${id} has ended on every node`)
    expect((await runAgainst(url, ['session', 'close', id, '--json'])).stdout).toBe(`{"id":"${id}"}\n`)
  })

  it.each([
    [404, 'not-found', 3],
    [503, 'no-leader', 4],
    [504, 'outcome-unknown', 5],
  ] as const)('that is answered %i is %s, so %i', async (status, errorCode, code) => {
    node.answers.set('DELETE /v1/sessions/a%2Fb', refuse(status, errorCode))
    expect(await runAgainst(url, ['session', 'close', 'a/b'])).toMatchObject({ code })
  })
})
