import path from 'node:path'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster } from '../../scripts/lib/local-cluster.ts'
import { repositoryRoot } from '../../scripts/lib/node-process.ts'
import { waitFor } from '../wait.ts'
import { connectClient } from './mcp-client.ts'

// The protocol's own example server, whose every feature the SDK's client uses: directly, and on n2 through n1.
const program = path.join(repositoryRoot, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js')
const command = { command: process.execPath, args: [program, 'stdio'] }
const watched = 'demo://resource/dynamic/text/1'
let cluster: LocalCluster

beforeAll(async () => {
  cluster = await startLocalCluster({
    nodes: 2,
    servers: { everything: { ...command, placement: { where: { node: 'n2' } } } },
  })
  await waitFor('its tools on n1', async () => {
    const client = await connectClient(cluster.node('n1').mcpUrl)
    const { tools } = await client.listTools()
    await client.close()
    return tools.some(({ name }) => name === 'everything__echo')
  })
})

afterAll(async () => {
  await cluster.stop()
})

type Visit = { readonly client: Client; readonly told: string[] }

/** A client that answers whatever it is asked and writes down what it is told. */
async function visit(transport: Transport): Promise<Visit> {
  const told: string[] = []
  const client = new Client(
    { name: 'visitor', version: '1.0.0' },
    { capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } } },
  )
  client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => {
    told.push(`sampling ${JSON.stringify(params.messages)}`)
    return { role: 'assistant', model: 'none', content: { type: 'text', text: 'an answer' } }
  })
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
    told.push(`elicitation ${params.message}`)
    return { action: 'accept', content: { name: 'somebody' } }
  })
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///somewhere', name: 'root' }] }))
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void told.push(`log ${params.level}`))
  client.setNotificationHandler(
    ResourceUpdatedNotificationSchema,
    ({ params }) => void told.push(`updated ${params.uri}`),
  )
  await client.connect(transport)
  return { client, told }
}

function directly(): Promise<Visit> {
  return visit(new StdioClientTransport({ ...command, stderr: 'ignore' }))
}

function through(): Promise<Visit> {
  return visit(new StreamableHTTPClientTransport(new URL(`${cluster.node('n1').mcpUrl}/everything`)))
}

/** What each action gives. */
const actions: Readonly<Record<string, (visit: Visit) => Promise<unknown>>> = {
  'a call': ({ client }) => client.callTool({ name: 'echo', arguments: { message: 'é' } }),
  'a call with bad arguments': ({ client }) => client.callTool({ name: 'get-sum', arguments: { a: 'x' } }),
  'an image': ({ client }) => client.callTool({ name: 'get-tiny-image', arguments: {} }),
  annotations: ({ client }) =>
    client.callTool({ name: 'get-annotated-message', arguments: { messageType: 'error', includeImage: true } }),
  links: ({ client }) => client.callTool({ name: 'get-resource-links', arguments: { count: 3 } }),
  'structured content': ({ client }) =>
    client.callTool({ name: 'get-structured-content', arguments: { location: 'Chicago' } }),
  progress: async ({ client }) => {
    const seen: unknown[] = []
    const call = { name: 'trigger-long-running-operation', arguments: { duration: 0.3, steps: 3 } }
    const result = await client.callTool(call, undefined, { onprogress: (progress) => seen.push(progress) })
    // The SDK's client drops the last one when it arrives together with the answer.
    return { seen: seen.slice(0, 2), result }
  },
  sampling: async ({ client, told }) => {
    const result = await client.callTool({
      name: 'trigger-sampling-request',
      arguments: { prompt: 'hm', maxTokens: 5 },
    })
    return { result, asked: told.filter((word) => word.startsWith('sampling')) }
  },
  elicitation: async ({ client, told }) => {
    const result = await client.callTool({ name: 'trigger-elicitation-request', arguments: {} })
    return { result, asked: told.filter((word) => word.startsWith('elicitation')) }
  },
  roots: ({ client }) => client.callTool({ name: 'get-roots-list', arguments: {} }),
  prompts: ({ client }) => client.getPrompt({ name: 'args-prompt', arguments: { city: 'Bern', state: 'BE' } }),
  completion: ({ client }) =>
    client.complete({
      ref: { type: 'ref/prompt', name: 'completable-prompt' },
      argument: { name: 'department', value: 'E' },
    }),
  // It offers some to clients that can be asked, and one of them only when it has asked for their roots.
  'the tools that this client is offered': ({ client }) =>
    waitFor('all of them', async () => {
      const { tools } = await client.listTools()
      const names = tools.map(({ name }) => name)
      return names.includes('trigger-sampling-request') && names.includes('get-roots-list') && tools
    }),
  'lists of resources and prompts': async ({ client }) => [
    await client.listResources(),
    await client.listResourceTemplates(),
    await client.listPrompts(),
  ],
  'a task that has a question': async ({ client, told }) => {
    await client.listTools()
    const call = { name: 'simulate-research-query', arguments: { topic: 'gateways', ambiguous: true } }
    const words: unknown[] = []
    for await (const word of client.experimental.tasks.callToolStream(call, CallToolResultSchema, {
      task: { ttl: 60_000 },
    }))
      words.push(word.type === 'result' ? word.result.content : word.type)
    return { first: words[0], last: words.at(-1), asked: told.filter((word) => word.startsWith('elicitation')) }
  },
  'updates of what is subscribed to': async ({ client, told }) => {
    await client.subscribeResource({ uri: watched })
    const started = await client.callTool({ name: 'toggle-subscriber-updates', arguments: {} })
    await waitFor('an update', () => told.includes(`updated ${watched}`), 20_000)
    await client.callTool({ name: 'toggle-subscriber-updates', arguments: {} })
    await client.unsubscribeResource({ uri: watched })
    return wordsOf(started)
  },
}

/** Without session ids, which the server puts into some of its words. */
function wordsOf(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value).replaceAll(/session(?:Id)? [^"\\ ]+/gi, 'session'))
}

/** Time stands in some answers. */
function timeless(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null).replaceAll(/\d{1,2}:\d{2}:\d{2}( [AP]M)?/g, 'TIME'))
}

describe('server-everything through two nodes', () => {
  it.each(Object.entries(actions))('gives the SDK client what it gives directly: %s', async (_name, act) => {
    const [one, two] = [await directly(), await through()]
    try {
      expect(timeless(await act(two))).toEqual(timeless(await act(one)))
    } finally {
      await Promise.all([one.client.close(), two.client.close()])
    }
  })
})
