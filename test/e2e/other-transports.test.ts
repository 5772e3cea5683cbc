import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import { CreateMessageRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster } from '../../scripts/lib/local-cluster.ts'
import { builtCli } from '../../scripts/lib/node-process.ts'
import { waitFor } from '../wait.ts'
import { getJson } from './http-json.ts'
import { fixture, textOf } from './mcp-client.ts'

// Clients that do not speak Streamable HTTP, at n1 and n2; all servers run on n3.
let cluster: LocalCluster
const clients: Client[] = []

beforeAll(async () => {
  const on3 = (name: string) => ({
    command: process.execPath,
    args: [fixture(name)],
    placement: { where: { node: 'n3' } },
  })
  cluster = await startLocalCluster({ nodes: 3, servers: { slow: on3('slow'), asking: on3('asking') } })
  for (const node of cluster.nodes)
    await waitFor('the servers in every catalog', async () =>
      JSON.stringify(await getJson(`${node.url}/v1/tools`)).includes('asking__ask'),
    )
})

afterAll(() => cluster.stop())
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close()
})

async function connect(transport: Transport): Promise<Client> {
  const client = new Client({ name: 'other', version: '1' }, { capabilities: { sampling: {} } })
  client.setRequestHandler(CreateMessageRequestSchema, () => ({
    model: 'm',
    role: 'assistant',
    content: { type: 'text', text: 'sampled' },
  }))
  await client.connect(transport)
  clients.push(client)
  return client
}

const stdio = (...urls: string[]): StdioClientTransport =>
  new StdioClientTransport({
    command: process.execPath,
    args: [builtCli, 'stdio', '--url', urls.join(',')],
    stderr: 'ignore',
  })

/** The stream is at one node, the messages go to another. */
const sse = (stream: string, messages: string): SSEClientTransport =>
  new SSEClientTransport(new URL(`${stream}/sse`), {
    fetch: (url, init) => {
      const { pathname, search } = new URL(url)
      return fetch(`${init?.method === 'POST' ? messages : stream}${pathname}${search}`, init)
    },
  })

const sessions = async (): Promise<unknown[]> => {
  const body = (await getJson(`${cluster.node('n2').url}/v1/sessions`)) as { sessions: unknown[] }
  return body.sessions
}

describe.each([
  ['quorate stdio', () => stdio(cluster.node('n1').url, cluster.node('n2').url)],
  ['HTTP+SSE', () => sse(cluster.node('n1').url, cluster.node('n2').url)],
])('a client of %s', (_, transport) => {
  it('calls tools of the cluster, hears their progress and cancels them', async () => {
    const client = await connect(transport())
    const seen: number[] = []
    const result = await client.callTool({ name: 'slow__count', arguments: { steps: 20, delayMs: 5 } }, undefined, {
      onprogress: ({ progress }) => seen.push(progress),
    })
    expect(textOf(result)).toBe('counted to 20')
    expect(seen.slice(0, 19)).toEqual(Array.from({ length: 19 }, (__, at) => at + 1))
    const abort = new AbortController()
    const long = client.callTool({ name: 'slow__count', arguments: { steps: 10_000, delayMs: 10 } }, undefined, {
      signal: abort.signal,
      onprogress: () => abort.abort('enough'),
    })
    await expect(long).rejects.toThrow('enough')
  })

  it('is asked by servers', async () => {
    const client = await connect(transport())
    const { structuredContent } = await client.callTool({ name: 'asking__ask', arguments: {} })
    expect(structuredContent).toMatchObject({
      answers: { ping: {}, 'sampling/createMessage': { content: { text: 'sampled' } } },
    })
  })

  it('leaves no session behind', async () => {
    const client = await connect(transport())
    await waitFor('its session', async () => (await sessions()).length > 0)
    await client.close()
    await waitFor('the end of its session', async () => (await sessions()).length === 0)
  })
})

describe('quorate stdio', () => {
  it('brings a call to its end though the node that it speaks to is killed, each event once and in order', async () => {
    const [first, second] = [cluster.node('n1'), cluster.node('n2')]
    const client = await connect(stdio(first.url, second.url))
    const seen: number[] = []
    const killed: Promise<void>[] = []
    const result = await client.callTool({ name: 'slow__count', arguments: { steps: 100, delayMs: 20 } }, undefined, {
      onprogress({ progress }) {
        seen.push(progress)
        if (progress === 10) killed.push(first.kill('SIGKILL'))
      },
    })
    expect(textOf(result)).toBe('counted to 100')
    expect(seen.slice(0, 99)).toEqual(Array.from({ length: 99 }, (_, at) => at + 1))
    expect((await client.listTools()).tools.length).toBeGreaterThan(1)
    await Promise.all(killed)
    await first.restart()
  })
})

describe('HTTP+SSE', () => {
  const count = (client: Client, onprogress: (progress: number) => void): Promise<unknown> =>
    client.callTool({ name: 'slow__count', arguments: { steps: 100, delayMs: 20 } }, undefined, {
      onprogress: ({ progress }) => onprogress(progress),
    })

  it('brings a call to its end though the node that took its messages is killed, each event once and in order', async () => {
    const [first, second] = [cluster.node('n1'), cluster.node('n2')]
    const client = await connect(sse(first.url, second.url))
    const seen: number[] = []
    const killed: Promise<void>[] = []
    const result = await count(client, (progress) => {
      seen.push(progress)
      if (progress === 10) killed.push(second.kill('SIGKILL'))
    })
    expect(result).toMatchObject({ content: [{ text: 'counted to 100' }] })
    expect(seen.slice(0, 99)).toEqual(Array.from({ length: 99 }, (_, at) => at + 1))
    await Promise.all(killed)
    await second.restart()
  })

  it('leaves no session behind when its node is stopped', async () => {
    await connect(sse(cluster.node('n1').url, cluster.node('n2').url))
    await waitFor('its session', async () => (await sessions()).length > 0)
    await cluster.node('n1').restart()
    await waitFor('the end of its session', async () => (await sessions()).length === 0)
  })

  it('says within 3 s that the outcome of a call is unknown whose node is killed', async () => {
    const client = await connect(sse(cluster.node('n1').url, cluster.node('n2').url))
    let killedAt = 0
    const outcome = count(client, (progress) => {
      if (progress !== 10) return
      killedAt = performance.now()
      void cluster.node('n3').kill('SIGKILL')
    })
    await expect(outcome).rejects.toMatchObject({ code: -31_003, data: { retry: 'outcome-unknown' } })
    expect(performance.now() - killedAt).toBeLessThan(3000)
    await cluster.node('n3').restart()
  })
})
