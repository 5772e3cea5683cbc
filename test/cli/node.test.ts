import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { FakeNode, refuse, runAgainst } from './fake-node.ts'

const node = new FakeNode()
let url = ''
beforeAll(async () => {
  url = await node.open()
})
afterAll(() => node.close())
afterEach(() => node.answers.clear())

const member = {
  id: 'n2',
  addresses: { http: 'h:1', peer: 'h:2', raft: 'h:3' },
  status: 'dead',
  draining: 'no',
  raft: 'voter',
  disagrees: 'Raft counts it as a voter, and it is dead',
  incarnation: 0,
  generation: 7,
  labels: {},
  capacity: { cpu: 4, gpu: null, memoryBytes: 17_179_869_184 },
  metrics: { cpu: 0.254, rssBytes: 104_857_600, loopDelayMs: 21.4, activeCalls: 3 },
  version: '1.2.3',
  startedAt: 1,
}
const line = 'n2\tdead\tvoter\t7\th:1\t25 %\t100 MiB\t21 ms\t3\tno\tRaft counts it as a voter, and it is dead\n'

describe('node list', () => {
  it('prints a line for each member, or the answer as JSON', async () => {
    node.answers.set('GET /v1/members', { body: { members: [member, { id: 'n3', status: 'unknown' }] } })
    expect(await runAgainst(url, ['node', 'list'])).toEqual({
      code: 0,
      stdout: `${line}n3\tunknown\t-\t-\t-\t-\t-\t-\t-\t-\t-\n`,
      stderr: '',
    })
    const { stdout } = await runAgainst(url, ['node', 'list', '--json'])
    expect((JSON.parse(stdout) as { members: unknown[] }).members[0]).toEqual(member)
  })

  it('--watch prints them once the stream is open, then a line for each event, and says when it ends', async () => {
    node.answers.set('GET /v1/members', { body: { members: [member] } })
    node.answers.set('GET /v1/events', {
      stream: [
        'event: open\ndata: {"node":"n1"}\n\n',
        'event: dead\ndata: {"time":0,"node":"n2","generation":7,"incarnation":0,"by":"n1"}\n\n: keep-alive\n\n',
        'event: configuration-changed\ndata: {"time":0,"voters":["n1","n3"],"votersOutgoing":[],"learners":[]}\n\n',
      ],
    })
    const { code, stdout, stderr } = await runAgainst(url, ['node', 'list', '--watch'])
    expect(stdout).toBe(
      `${line}1970-01-01T00:00:00.000Z\tdead\tnode n2\tgeneration 7\tincarnation 0\tby n1\n` +
        '1970-01-01T00:00:00.000Z\tconfiguration-changed\tvoters n1 n3\tvotersOutgoing -\tlearners -\n',
    )
    expect([code, stderr]).toEqual([4, `error: ${url} has ended the events; ask another node\n`])
    const json = await runAgainst(url, ['node', 'list', '--watch', '--json'])
    expect(json.stdout.split('\n')[1]).toBe(
      '{"kind":"dead","time":0,"node":"n2","generation":7,"incarnation":0,"by":"n1"}',
    )
  })

  it("--watch ends with the node's own error", async () => {
    const { body } = refuse(503, 'stopped')
    node.answers.set('GET /v1/events', { stream: [`event: error\ndata: ${JSON.stringify(body)}\n\n`] })
    expect((await runAgainst(url, ['node', 'list', '--watch'])).stderr).toContain('message of stopped')
  })
})

describe('node show', () => {
  it('prints one fact a line', async () => {
    node.answers.set('GET /v1/members', { body: { members: [member] } })
    const { code, stdout } = await runAgainst(url, ['node', 'show', 'n2'])
    expect(code).toBe(0)
    for (const each of [
      'status\tdead',
      'addresses.peer\th:2',
      'labels\t-',
      'capacity.gpu\t-',
      'capacity.memoryBytes\t17179869184',
      'metrics.cpu\t0.254',
      'generation\t7',
    ])
      expect(stdout.split('\n')).toContain(each)
  })

  it('of nobody is 3', async () => {
    node.answers.set('GET /v1/members', { body: { members: [] } })
    expect(await runAgainst(url, ['node', 'show', 'n9'])).toMatchObject({ code: 3, stdout: '' })
  })
})
