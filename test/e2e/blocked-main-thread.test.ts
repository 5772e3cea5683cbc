import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster } from '../../scripts/lib/local-cluster.ts'
import { waitFor } from '../wait.ts'
import { getJson, putUntilDone } from './http-json.ts'
import { fixture } from './mcp-client.ts'

// Consensus has a thread of its own so that nothing in the main thread deposes a leader: seen on real processes.
const blockMs = 2000
let cluster: LocalCluster

beforeAll(async () => {
  const env = { NODE_OPTIONS: `--import ${fixture('block-main-thread')}`, BLOCK_MS: String(blockMs) }
  cluster = await startLocalCluster({ nodes: 3, env })
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
})
