import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js'
import { CallToolRequestSchema, ListToolsRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { waitFor } from '../wait.ts'
import { connectClient, fixture, textOf } from './mcp-client.ts'
import { startProcess, type OneProcess } from './one-process.ts'

// A real node in front of a program and of a server of the HTTP+SSE transport: what of them its URLs show.
let dir: string
let node: OneProcess
let old: HttpServer
const clients: Client[] = []

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-catalog-'))
  old = await serveOld()
  const url = `http://127.0.0.1:${(old.address() as AddressInfo).port}/sse`
  node = await startProcess(dir, {
    cluster: { secret: 'a secret of the end-to-end tests, long enough' },
    node: { id: 'n1', dataDir: path.join(dir, 'data') },
    mcpServers: {
      program: {
        command: process.execPath,
        args: [fixture('echo')],
        groups: ['g'],
        allow: { tools: ['e*'] },
        deny: { tools: ['*nv*'] },
      },
      kept: { url, groups: ['g'] },
      hidden: { url, type: 'sse', whenUnavailable: 'hide', groups: ['h'], allow: { tools: ['say'] } },
    },
  })
  await node.waitReady()
  await waitFor('all servers', async () => (await namesOn('/mcp')).length === 4)
})

afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()))
  await node.end()
  await closeOld()
  await rm(dir, { recursive: true, force: true })
})

async function serveOld(): Promise<HttpServer> {
  const sessions = new Map<string, SSEServerTransport>()
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://x')
    if (request.method === 'GET' && pathname === '/sse') {
      const transport = new SSEServerTransport('/messages', response)
      sessions.set(transport.sessionId, transport)
      void makeServer().connect(transport)
      return
    }
    const transport = sessions.get(searchParams.get('sessionId') ?? '')
    if (transport === undefined) response.writeHead(404).end()
    else void transport.handlePostMessage(request, response)
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return server
}

function makeServer(): Server {
  const server = new Server({ name: 'old', version: '1' }, { capabilities: { tools: {} } })
  const tools = ['say', 'echo'].map((name) => ({ name, inputSchema: { type: 'object' as const } }))
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools }))
  server.setRequestHandler(CallToolRequestSchema, ({ params }) => ({
    content: [{ type: 'text', text: `old ${params.name}` }],
  }))
  return server
}

async function closeOld(): Promise<void> {
  old.closeAllConnections()
  if (old.listening) await new Promise((resolve) => void old.close(resolve))
}

async function client(at: string): Promise<Client> {
  const connected = await connectClient(`${node.url}${at}`)
  clients.push(connected)
  return connected
}

async function namesOn(at: string): Promise<string[]> {
  const { tools } = await (await client(at)).listTools()
  return tools.map((tool) => tool.name)
}

describe('the URLs of a node', () => {
  it('show what is allowed, and names with their server where that is needed', async () => {
    expect(await namesOn('/mcp')).toEqual(['hidden__say', 'kept__echo', 'kept__say', 'program__echo'])
    expect(await namesOn('/mcp/group/g')).toEqual(['kept__echo', 'program__echo', 'say'])
    expect(await namesOn('/mcp/group/h')).toEqual(['say'])
    expect(await namesOn('/mcp/kept')).toEqual(['say', 'echo'])
  })

  it('carry calls to a server of the older transport', async () => {
    const [all, group] = [await client('/mcp'), await client('/mcp/group/g')]
    expect(textOf(await all.callTool({ name: 'hidden__say' }))).toBe('old say')
    expect(textOf(await group.callTool({ name: 'kept__echo' }))).toBe('old echo')
    await expect(all.callTool({ name: 'hidden__echo' })).rejects.toThrow('Unknown tool: hidden__echo')
    await expect((await client('/mcp/hidden')).callTool({ name: 'echo' })).rejects.toThrow('Unknown tool: echo')
  })

  it('still show a server that is gone, or not, as it is configured', async () => {
    await closeOld()
    await waitFor('the tool to go', async () => !(await namesOn('/mcp')).includes('hidden__say'))
    expect(await namesOn('/mcp')).toEqual(['kept__echo', 'kept__say', 'program__echo'])
    await expect((await client('/mcp')).callTool({ name: 'kept__say' })).rejects.toThrow(/server kept has no replica/)
  })
})
