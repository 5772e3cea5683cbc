import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { waitFor } from '../wait.ts'
import { getJson, request } from './http-json.ts'
import { fixture } from './mcp-client.ts'

// Three nodes, of which each serves every session; sessions end after six seconds without use. The fixture `echo` on n1.
const idleMs = 6000
let cluster: LocalCluster
let nodes: readonly LocalNode[]

beforeAll(async () => {
  const echo = { command: process.execPath, args: [fixture('echo')] }
  cluster = await startLocalCluster({ nodes: 3, servers: { echo }, config: { mcp: { sessionIdleMs: idleMs } } })
  nodes = cluster.nodes
  await waitFor('the tool on every node', async () => {
    const lists = await Promise.all(nodes.map((node) => request(`${node.url}/v1/tools`)))
    return lists.every(({ body }) => JSON.stringify(body).includes('echo__echo'))
  })
})

afterAll(async () => {
  await cluster.stop()
})

describe('a session that one node opened', () => {
  it('is served by every node as soon as its client knows it, and ended on all of them by an operator', async () => {
    const [first, second, third] = nodes as [LocalNode, LocalNode, LocalNode]
    for (let round = 0; round < 20; round += 1) {
      const session = await open(first)
      expect(await Promise.all(nodes.map((node) => listTools(node, session)))).toEqual([200, 200, 200])
      const listed = (await getJson(`${second.url}/v1/sessions`))['sessions'] as Record<string, unknown>[]
      expect(listed).toContainEqual(
        expect.objectContaining({ id: session, client: 'plain 1.0.0', protocolVersion: '2025-11-25', path: '/mcp' }),
      )
      expect(await close(third, session)).toBe(200)
      for (const node of nodes)
        await waitFor(`the end on ${node.id}`, async () => (await listTools(node, session)) === 404)
      expect(await close(third, session)).toBe(404)
    }
  })

  it('ends without use, though nothing else happens in the cluster; one that is used anywhere does not', async () => {
    const [first, second, third] = nodes as [LocalNode, LocalNode, LocalNode]
    const [unused, used] = [await open(first), await open(first)]
    const endsAt = performance.now() + 2.5 * idleMs
    let round = 0
    await waitFor(
      'two and a half times the time that a session may be unused',
      async () => {
        round += 1
        expect(await listTools(round % 2 === 0 ? second : third, used)).toBe(200)
        return performance.now() > endsAt
      },
      60_000,
    )
    expect(await listTools(second, unused)).toBe(404)
    expect(await idsOn(third)).toEqual([used])
    await waitFor('its end, now that it is not used', async () => (await idsOn(first)).length === 0)
  })
})

describe('sessions in a cluster that loses nodes', () => {
  it('outlive the node that made them, leader or not; new ones wait until another leads', async () => {
    const leader = cluster.node(await cluster.leader())
    const others = nodes.filter((node) => node !== leader)
    const session = await open(leader)
    await leader.kill('SIGKILL')
    for (const node of others) expect(await listTools(node, session)).toBe(200)
    for (const node of others) expect(await listTools(node, await open(node))).toBe(200)
    const restarted = leader.restart()
    let isThere = false
    void restarted.then(() => (isThere = true))
    await waitFor(
      'the node that was killed',
      async () => {
        for (const node of others) expect(await listTools(node, session)).toBe(200)
        return isThere
      },
      60_000,
    )
    await restarted
    expect(await listTools(leader, session)).toBe(200)
  })

  it('are served without a majority, which new ones need', async () => {
    const [first, second, third] = nodes as [LocalNode, LocalNode, LocalNode]
    const session = await open(first)
    await Promise.all([second.kill('SIGKILL'), third.kill('SIGKILL')])
    const refused = await post(first, null, initialize)
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await listTools(first, session)).toBe(200)
    await Promise.all([second.restart(), third.restart()])
    expect(await listTools(third, await open(second))).toBe(200)
  })
})

const initialize = {
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'plain', version: '1.0.0' } },
}

async function open(node: LocalNode): Promise<string> {
  const answer = await post(node, null, initialize)
  const session = answer.headers.get('mcp-session-id')
  expect([answer.status, await answer.text()], node.id).toEqual([200, expect.stringContaining('"result"')])
  if (session === null) throw new Error(`${node.id} gave no session`)
  return session
}

async function listTools(node: LocalNode, session: string): Promise<number> {
  const answer = await post(node, session, { id: 2, method: 'tools/list' })
  expect(await answer.text()).toContain(answer.ok ? 'echo__echo' : 'error')
  return answer.status
}

async function close(node: LocalNode, session: string): Promise<number> {
  return (await request(`${node.url}/v1/sessions/${session}`, { method: 'DELETE' })).status
}

async function idsOn(node: LocalNode): Promise<unknown[]> {
  const listed = (await getJson(`${node.url}/v1/sessions`))['sessions'] as { id: unknown }[]
  return listed.map(({ id }) => id)
}

function post(node: LocalNode, session: string | null, message: object): Promise<Response> {
  return fetch(node.mcpUrl, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-11-25',
      ...(session === null ? {} : { 'mcp-session-id': session }),
    },
    body: JSON.stringify({ jsonrpc: '2.0', ...message }),
  })
}
