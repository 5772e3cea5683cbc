import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { waitFor } from '../wait.ts'
import { fixture, textOf } from './mcp-client.ts'
import { startTcpBalancer } from './tcp-balancer.ts'
import type { TcpBalancer } from './tcp-balancer.ts'

// The fixture `ticking` on n3, which lives on; a client of the SDK behind a balancer before n1 and n2, of which the one
// that carries its call is killed in the middle of it, again and again, and started again while the call goes on.
const rounds = 50
const ticks = 40
let cluster: LocalCluster
let balancer: TcpBalancer

beforeAll(async () => {
  const ticking = { command: process.execPath, args: [fixture('ticking')], placement: { where: { node: 'n3' } } }
  cluster = await startLocalCluster({ nodes: 3, servers: { ticking } })
  balancer = await startTcpBalancer([portOf(cluster.node('n1')), portOf(cluster.node('n2'))])
}, 60_000)

afterAll(async () => {
  await balancer.close()
  await cluster.stop()
})

describe("a client whose node is killed in the middle of a call's stream", () => {
  it('misses nothing and sees nothing twice, time and again, in one session', { timeout: 600_000 }, async () => {
    const client = new Client({ name: 'steadfast', version: '1.0.0' })
    const transport = new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${balancer.port}/mcp`), {
      reconnectionOptions: {
        initialReconnectionDelay: 20,
        maxReconnectionDelay: 200,
        reconnectionDelayGrowFactor: 1.5,
        maxRetries: 50,
      },
    })
    const updates: number[] = []
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
      updates.push(Number(params._meta?.['tick']))
    })
    await waitFor('the tool on both nodes', async () => {
      const ready = [cluster.node('n1'), cluster.node('n2')].map((node) => hasTool(node))
      return (await Promise.all(ready)).every(Boolean)
    })
    await client.connect(transport)
    const session = transport.sessionId
    await client.subscribeResource({ uri: 'tick://clock' })
    for (let round = 1; round <= rounds; round += 1) {
      const seen: number[] = []
      const call = client.callTool(
        { name: 'ticking__tick', arguments: { count: ticks, everyMs: 15, round } },
        undefined,
        { onprogress: ({ progress }) => seen.push(progress), timeout: 60_000 },
      )
      await waitFor(`a quarter of round ${round}`, () => seen.length >= ticks / 4)
      const carrier = balancer.carrierOf(`"round":${round}}`)
      const node = [cluster.node('n1'), cluster.node('n2')].find((each) => portOf(each) === carrier)
      if (node === undefined) throw new Error(`nobody carries round ${round}`)
      await node.kill('SIGKILL')
      const restarted = node.restart()
      expect(textOf(await call)).toBe(`ticked ${ticks}`)
      expect(seen).toEqual(Array.from({ length: ticks }, (_, at) => at + 1))
      await restarted
    }
    expect(transport.sessionId).toBe(session)
    const all = Array.from({ length: rounds * ticks }, (_, at) => at + 1)
    await waitFor(`${all.length} updates, not ${updates.length}`, () => updates.length >= all.length)
    expect(updates).toEqual(all)
    await client.close()
  })
})

function portOf(node: LocalNode): number {
  return Number(new URL(node.url).port)
}

async function hasTool(node: LocalNode): Promise<boolean> {
  const answer = await fetch(`${node.url}/v1/tools`)
  return (await answer.text()).includes('ticking__tick')
}
