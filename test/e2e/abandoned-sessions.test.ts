import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster } from '../../scripts/lib/local-cluster.ts'
import { waitFor } from '../wait.ts'
import { fixture } from './mcp-client.ts'

// The fixture `echo` on n1, a process for each session, and nobody says goodbye.
const sessions = 1000
const atOnce = 8
let cluster: LocalCluster

beforeAll(async () => {
  const echo = {
    command: process.execPath,
    args: [fixture('echo')],
    isolation: 'session',
    isolatedMax: 32,
    placement: { where: { node: 'n1' } },
  } as const
  cluster = await startLocalCluster({
    nodes: 3,
    servers: { echo },
    config: { mcp: { sessionIdleMs: 5000, sessionsMax: sessions } },
  })
})

afterAll(async () => {
  await cluster.stop()
})

describe('sessions that are dropped without goodbye', () => {
  it('leave no process and no session behind', { timeout: 300_000 }, async () => {
    const node = cluster.node('n1')
    await waitFor('the tool', async () => (await (await fetch(`${node.url}/v1/tools`)).text()).includes('echo__echo'))
    const before = node.children().length
    let started = 0
    let most = 0
    const open = async (): Promise<void> => {
      while (started < sessions) {
        started += 1
        const text = `session ${started}`
        const session = await openSession()
        expect(await callEcho(session, text)).toContain(`"text":"${text}"`)
        most = Math.max(most, node.children().length)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, open))
    expect(most).toBeGreaterThan(before + 16)
    // Those that are being ended count until they have.
    expect(most).toBeLessThanOrEqual(before + 32 + 2 * atOnce)
    await waitFor('every process of a session to end', () => node.children().length === before, 60_000)
    await waitFor('every session to end', async () => {
      const { sessions: left } = (await (await fetch(`${node.url}/v1/sessions`)).json()) as { sessions: unknown[] }
      return left.length === 0
    })
  })
})

async function openSession(): Promise<string> {
  const answer = await post(null, 'initialize', {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'forgetful', version: '1.0.0' },
  })
  await answer.text()
  const session = answer.headers.get('mcp-session-id')
  if (session === null) throw new Error(`no session: ${answer.status}`)
  return session
}

async function callEcho(session: string, text: string): Promise<string> {
  const answer = await post(session, 'tools/call', { name: 'echo__echo', arguments: { text } })
  return answer.text()
}

function post(session: string | null, method: string, params: object): Promise<Response> {
  return fetch(cluster.node('n1').mcpUrl, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...(session === null ? {} : { 'mcp-session-id': session }),
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  })
}
