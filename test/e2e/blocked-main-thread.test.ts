import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster } from '../../scripts/lib/local-cluster.ts'
import { waitFor } from '../wait.ts'
import { getJson, putUntilDone } from './http-json.ts'
import { connectClient, fixture, textOf } from './mcp-client.ts'

// Consensus has a thread of its own so that nothing in the main thread deposes a leader: seen on real processes.
const blockMs = 2000
let cluster: LocalCluster

beforeAll(async () => {
  const env = { NODE_OPTIONS: `--import ${fixture('block-main-thread')}`, BLOCK_MS: String(blockMs) }
  const slow = { command: process.execPath, args: [fixture('slow')], placement: { where: { node: 'n3' } } }
  cluster = await startLocalCluster({ nodes: 3, env, servers: { slow } })
})

afterAll(async () => {
  await cluster.stop()
})

async function raftOf(id: string): Promise<Record<string, unknown>> {
  return getJson(`${cluster.node(id).url}/v1/raft`)
}

describe('a main thread that is blocked for twice the election timeout', () => {
  it('deposes nobody: not on the leader, and not on a follower', async () => {
    const leader = await cluster.leader()
    const { term } = await raftOf(leader)
    for (const id of [leader, ...cluster.nodes.map((node) => node.id).filter((id) => id !== leader)]) {
      const blockedAt = performance.now()
      await cluster.node(id).kill('SIGUSR2')
      let longestMs = 0
      await waitFor(`${id} to have been blocked`, async () => {
        const askedAt = performance.now()
        await raftOf(id)
        longestMs = Math.max(longestMs, performance.now() - askedAt)
        return performance.now() - blockedAt >= blockMs
      })
      expect(longestMs, 'the main thread was blocked').toBeGreaterThan(blockMs / 2)
      const views = await Promise.all(cluster.nodes.map((node) => raftOf(node.id)))
      expect(views.map((view) => [view['leader'], view['term']])).toEqual(views.map(() => [leader, term]))
    }
    expect((await putUntilDone(`${cluster.node(leader).url}/v1/kv/after`, 1)).status).toBe(200)
  })

  it('breaks no call, on the node of its server or that of its client, and no link', async () => {
    await waitFor('the tool', async () => {
      const answer = await fetch(`${cluster.node('n1').url}/v1/tools`)
      return (await answer.text()).includes('slow__count')
    })
    const client = await connectClient(cluster.node('n1').mcpUrl)
    for (const id of ['n3', 'n1']) {
      const steps: number[] = []
      const call = client.callTool({ name: 'slow__count', arguments: { steps: 150, delayMs: 20 } }, undefined, {
        onprogress: ({ progress }) => steps.push(progress),
      })
      await waitFor('the call to be under way', () => steps.length > 3)
      const heard = steps.length
      await cluster.node(id).kill('SIGUSR2')
      expect(textOf(await call), id).toBe('counted to 150')
      expect(steps.length - heard, 'it was under way meanwhile').toBeGreaterThan(100)
      expect(steps, id).toEqual(Array.from({ length: 150 }, (_, at) => at + 1))
    }
    await client.close()
    for (const { id, logFile } of cluster.nodes)
      expect(readFileSync(logFile, 'utf8'), id).not.toContain('peer-disconnected')
  })
})
