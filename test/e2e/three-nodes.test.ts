import { mkdtempSync, readFileSync, existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { waitFor } from '../wait.ts'
import { errorCode, getJson, putUntilDone, request } from './http-json.ts'
import { connectClient, fixture, textOf } from './mcp-client.ts'

// Three real processes over real sockets and disks: the fixture `echo` on n1 and n2, `slow` on n3.
let cluster: LocalCluster
const records = path.join(mkdtempSync(path.join(tmpdir(), 'quorate-records-')), 'slow.txt')

beforeAll(async () => {
  const echo = { command: process.execPath, args: [fixture('echo')] }
  const slow = { command: process.execPath, args: [fixture('slow')], env: { SLOW_RECORD: records } }
  cluster = await startLocalCluster({
    nodes: 3,
    servers: {
      echo: { ...echo, placement: { where: { tier: 'front' } } },
      slow: { ...slow, placement: { where: { node: 'n3' } } },
    },
    labels: { n1: { tier: 'front' }, n2: { tier: 'front' } },
  })
  await waitFor('both servers in every catalog', async () => {
    const lists = await Promise.all(cluster.nodes.map(toolNames))
    return lists.every((list) => list.includes('echo__echo') && list.includes('slow__count'))
  })
})

afterAll(async () => {
  await cluster.stop()
})

describe('three nodes', () => {
  it('offer every client the same tools in the same order, on whichever node it asks', async () => {
    const [first, second, third] = await Promise.all(cluster.nodes.map(toolNames))
    expect(second).toEqual(first)
    expect(third).toEqual(first)
  })

  it('answer a call on every node, wherever the server runs', async () => {
    for (const node of cluster.nodes) {
      const client = await connectClient(node.mcpUrl)
      const echoed = await client.callTool({ name: 'echo__echo', arguments: { text: `from ${node.id}` } })
      expect(textOf(echoed)).toBe(`from ${node.id}`)
      const counted = await client.callTool({ name: 'slow__count', arguments: { steps: 2, delayMs: 1 } })
      expect(textOf(counted)).toBe('counted to 2')
      await client.close()
    }
  })

  it('show one server unrenamed under its own address', async () => {
    const client = await connectClient(`${cluster.node('n1').mcpUrl}/slow`)
    expect((await client.listTools()).tools.map((tool) => tool.name)).toEqual(['count'])
    expect(textOf(await client.callTool({ name: 'count', arguments: { steps: 1, delayMs: 1 } }))).toBe('counted to 1')
    await client.close()
  })

  it('spread the calls of a server over the nodes that offer it', async () => {
    const client = await connectClient(cluster.node('n3').mcpUrl)
    const pids = new Set<string>()
    for (let n = 0; n < 6; n += 1) {
      const { structuredContent } = await client.callTool({ name: 'echo__pid', arguments: {} })
      pids.add(JSON.stringify(structuredContent))
    }
    expect(pids.size).toBe(2)
    await client.close()
  })

  it('deliver every progress notification of a forwarded call in order, then the result', async () => {
    const client = await connectClient(cluster.node('n1').mcpUrl)
    const seen: number[] = []
    const result = await client.callTool({ name: 'slow__count', arguments: { steps: 50, delayMs: 2 } }, undefined, {
      onprogress: ({ progress }) => seen.push(progress),
    })
    expect(textOf(result)).toBe('counted to 50')
    expect(seen).toEqual(Array.from({ length: 50 }, (_, at) => at + 1))
    await client.close()
  })

  it('cancel a forwarded call there and nowhere else', async () => {
    const client = await connectClient(cluster.node('n1').mcpUrl)
    const abort = new AbortController()
    const count = (label: string, signal?: AbortSignal): Promise<unknown> =>
      client.callTool(
        { name: 'slow__count', arguments: { steps: 40, delayMs: 25, label } },
        undefined,
        signal === undefined ? {} : { signal },
      )
    const kept = count('kept')
    const cancelled = count('unwanted', abort.signal).catch((error: unknown) => String(error))
    await waitFor(
      'both to have started',
      () => recorded().includes('started unwanted') && recorded().includes('started kept'),
    )
    abort.abort('changed my mind')
    expect(await cancelled).toContain('changed my mind')
    await waitFor('the cancellation at the server', () => recorded().includes('cancelled unwanted'))
    expect(textOf(await kept)).toBe('counted to 40')
    expect(recorded().filter((line) => line.startsWith('cancelled'))).toEqual(['cancelled unwanted'])
    await client.close()
  })

  it('cancel the call of a client that goes away in mid-call', async () => {
    const session = await openSession(cluster.node('n2').mcpUrl)
    const gone = new AbortController()
    const params = { name: 'slow__count', arguments: { steps: 1000, delayMs: 20, label: 'gone' } }
    const call = fetch(cluster.node('n2').mcpUrl, {
      method: 'POST',
      headers: session,
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }),
      signal: gone.signal,
    }).catch(() => null)
    await waitFor('the call to have started', () => recorded().includes('started gone'))
    gone.abort()
    await call
    await waitFor('the cancellation at the server', () => recorded().includes('cancelled gone'))
  })

  it('agree on leader, members and servers', async () => {
    const statuses = await Promise.all(cluster.nodes.map((node) => getJson(`${node.url}/v1/status`)))
    expect(new Set(statuses.map((status) => status['leader'])).size).toBe(1)
    const members = await getJson(`${cluster.node('n2').url}/v1/members`)
    expect(JSON.stringify(members)).toMatch(/n1.*n2.*n3/)
    const raft = await getJson(`${cluster.node('n3').url}/v1/raft`)
    expect(raft['voters']).toEqual(['n1', 'n2', 'n3'])
  })

  it('take a write on any node and read it on any other', async () => {
    for (const [at, writer] of cluster.nodes.entries()) {
      const put = await request(`${writer.url}/v1/kv/shared%2Fkey`, { method: 'PUT', body: JSON.stringify({ at }) })
      expect(put.status, JSON.stringify(put.body)).toBe(200)
      for (const reader of cluster.nodes) {
        const got = await getJson(`${reader.url}/v1/kv/shared%2Fkey`)
        expect(got).toEqual({ key: 'shared/key', value: { at }, revision: put.body['revision'] })
      }
    }
  })

  it('let exactly one of many compare-and-set writers win, on whichever nodes they ask', async () => {
    const url = (node: LocalNode): string => `${node.url}/v1/kv/lock`
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, at) => {
        const node = cluster.nodes[at % 3]
        if (node === undefined) throw new Error('no such node')
        return request(url(node), { method: 'PUT', body: String(at), headers: { 'if-match': '"0"' } })
      }),
    )
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(1)
    expect(answers.filter((answer) => answer.status === 412)).toHaveLength(11)
  })

  it('serve a session on every node at once, and answer 404 on every node for one that has ended', async () => {
    const session = await openSession(cluster.node('n1').mcpUrl)
    const body = JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'ping' })
    const statuses = (): Promise<number[]> =>
      Promise.all(
        cluster.nodes.map(
          async (node) => (await request(node.mcpUrl, { method: 'POST', headers: session, body })).status,
        ),
      )
    expect(await statuses()).toEqual([200, 200, 200])
    expect((await request(cluster.node('n2').mcpUrl, { method: 'DELETE', headers: session })).status).toBe(204)
    await waitFor('the end everywhere', async () => (await statuses()).every((status) => status === 404))
  })

  it('withdraw what a server offers when it goes, and offer it again when it is back', async () => {
    const { structuredContent } = await callOn(cluster.node('n2').mcpUrl + '/echo', 'pid')
    const listed = await getJson(`${cluster.node('n3').url}/v1/servers/echo`)
    expect(listed['status']).toBe('ready')
    const { pid } = structuredContent as { pid: number }
    process.kill(pid, 'SIGKILL')
    const replicaStates = async (): Promise<string> =>
      JSON.stringify(await getJson(`${cluster.node('n3').url}/v1/servers/echo`))
    await waitFor('the replica to be withdrawn', async () =>
      /"status":"(?:starting|failed)"/.test(await replicaStates()),
    )
    await waitFor('the replica to be back', async () => !/"status":"(?:starting|failed)"/.test(await replicaStates()))
  })
})

describe('a cluster without its leader', () => {
  it('keeps every acknowledged write and goes on serving calls; the killed node catches up', async () => {
    const leader = cluster.node(await cluster.leader())
    const living = cluster.nodes.filter((node) => node !== leader)
    const [front] = living
    if (front === undefined) throw new Error('nobody is left')
    // A server that lives on a living node, whichever node leads.
    const tool = leader.id === 'n3' ? 'echo__echo' : 'slow__count'
    const args = leader.id === 'n3' ? { text: 'x' } : { steps: 1, delayMs: 1 }
    const client = await connectClient(front.mcpUrl)
    const acknowledged = new Map<string, number>()
    const load = { running: true }
    let callsAfterKill = 0
    let killed = false
    const writer = async (): Promise<void> => {
      for (let n = 0; load.running; n += 1) {
        const answer = await putUntilDone(`${front.url}/v1/kv/load/${n}`, n)
        expect([200, 504], JSON.stringify(answer.body)).toContain(answer.status)
        if (answer.status === 200) acknowledged.set(`load/${n}`, n)
      }
    }
    const caller = async (): Promise<void> => {
      while (load.running) {
        const result = await client.callTool({ name: tool, arguments: args })
        expect(result.isError ?? false).toBe(false)
        if (killed) callsAfterKill += 1
      }
    }
    const loaded = Promise.all([writer(), writer(), caller(), caller()])
    try {
      await waitFor('some writes', () => acknowledged.size > 20)
      await leader.kill('SIGKILL')
      killed = true
      const before = acknowledged.size
      await waitFor('writes under a new leader', () => acknowledged.size > before + 20, 20_000)
      await waitFor('calls to go on', () => callsAfterKill > 20)
    } finally {
      load.running = false
      await loaded
    }
    await client.close()
    await leader.restart()
    for (const node of cluster.nodes) await expectAll(node, acknowledged)
  })

  it('is there again with every acknowledged write after all three were killed', async () => {
    const acknowledged = new Map<string, number>()
    for (let n = 0; n < 20; n += 1) {
      const node = cluster.nodes[n % 3]
      const answer = await putUntilDone(`${node?.url}/v1/kv/all/${n}`, n)
      expect(answer.status).toBe(200)
      acknowledged.set(`all/${n}`, n)
    }
    await Promise.all(cluster.nodes.map((node) => node.kill('SIGKILL')))
    await Promise.all(cluster.nodes.map((node) => node.restart()))
    for (const node of cluster.nodes) await expectAll(node, acknowledged)
  })

  it('says 503 or 504 exactly, and serves stale reads, when there is no majority', async () => {
    const [alone, ...others] = cluster.nodes
    if (alone === undefined) throw new Error('no node')
    const put = await putUntilDone(`${alone.url}/v1/kv/minority`, 'before')
    expect(put.status).toBe(200)
    await Promise.all(others.map((node) => node.kill('SIGKILL')))
    const refused = await waitFor('a refusal that says no leader', async () => {
      const answer = await request(`${alone.url}/v1/kv/minority`, {
        method: 'PUT',
        body: '"after"',
        headers: { 'x-request-timeout-ms': '1000' },
      })
      expect([503, 504]).toContain(answer.status)
      return answer.status === 503 ? answer : null
    })
    expect(errorCode(refused)).toBe('no-leader')
    expect(refused.headers.get('retry-after')).not.toBeNull()
    // A write is refused as soon as its way to the leader is gone; that the leader is gone takes an election timeout.
    await waitFor('the node to be not ready', async () => (await request(`${alone.url}/readyz`)).status === 503)
    expect((await fetch(`${alone.url}/healthz`)).status).toBe(200)
    const read = await request(`${alone.url}/v1/kv/minority`)
    expect(read.status).toBe(503)
    const stale = await getJson(`${alone.url}/v1/kv/minority?consistency=stale`)
    expect(stale['value']).toBe('before')
    await Promise.all(others.map((node) => node.restart()))
    expect((await putUntilDone(`${alone.url}/v1/kv/minority`, 'again')).status).toBe(200)
  })
})

async function expectAll(node: LocalNode, acknowledged: ReadonlyMap<string, number>): Promise<void> {
  for (const [key, value] of acknowledged) {
    const got = await waitFor(`${key} on ${node.id}`, async () => {
      const answer = await request(`${node.url}/v1/kv/${key}`)
      return answer.status === 503 ? null : answer
    })
    expect(got.body['value'], `${key} on ${node.id}`).toBe(value)
  }
}

async function toolNames(node: LocalNode): Promise<string[]> {
  const client = await connectClient(node.mcpUrl)
  try {
    return (await client.listTools()).tools.map((tool) => tool.name)
  } finally {
    await client.close()
  }
}

async function callOn(url: string, name: string): Promise<{ [member: string]: unknown; structuredContent?: unknown }> {
  const client = await connectClient(url)
  try {
    return await client.callTool({ name, arguments: {} })
  } finally {
    await client.close()
  }
}

/** Initializes a session by hand and answers the headers of its further requests. */
async function openSession(url: string): Promise<Record<string, string>> {
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'by-hand', version: '1' } }
  const body = JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'initialize', params })
  const answer = await request(url, { method: 'POST', headers, body })
  const session = answer.headers.get('mcp-session-id')
  if (session === null) throw new Error('initialize gave no session')
  const named = { ...headers, 'mcp-session-id': session, 'mcp-protocol-version': '2025-11-25' }
  await fetch(url, {
    method: 'POST',
    headers: named,
    body: JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' }),
  })
  return named
}

function recorded(): string[] {
  return existsSync(records)
    ? readFileSync(records, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
    : []
}
