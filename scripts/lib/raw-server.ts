/**
 * The smallest MCP server: one tool, `echo`, answered without the SDK. `raw-server.ts http PORT` serves Streamable HTTP
 * with plain JSON answers, `raw-server.ts stdio` serves stdin and stdout. What a measurement compares with.
 * `raw-server.ts stdio stubborn` outlives its stdin, so that its node must end it.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createInterface } from 'node:readline'

type Message = { id?: string | number; method?: string; params?: { arguments?: { text?: string } } }

/** Even a stubborn server ends, should nobody end it. */
const stubbornMs = 10 * 60_000
const bodyBytesMax = 4 * 1024 * 1024
const initialized = {
  protocolVersion: '2025-11-25',
  capabilities: { tools: {} },
  serverInfo: { name: 'raw-echo', version: '1.0.0' },
}
const echoTool = {
  name: 'echo',
  description: 'Answers with the text',
  inputSchema: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] },
}

/** The answer as JSON; null for a notification. */
function answer(line: string): string | null {
  const { id, method, params } = JSON.parse(line) as Message
  if (id === undefined) return null
  const reply = (part: object): string => JSON.stringify({ jsonrpc: '2.0', id, ...part })
  switch (method ?? '') {
    case 'initialize':
      return reply({ result: initialized })
    case 'ping':
      return reply({ result: {} })
    case 'tools/list':
      return reply({ result: { tools: [echoTool] } })
    case 'tools/call':
      return reply({ result: { content: [{ type: 'text', text: params?.arguments?.text ?? '' }] } })
    default:
      return reply({ error: { code: -32601, message: 'Method not found' } })
  }
}

function serveHttp(port: number): void {
  const server = createServer((request, response) => void serve(request, response))
  server.keepAliveTimeout = 60_000
  server.listen(port, '127.0.0.1', () => process.send?.('listening'))
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'POST') {
    request.resume()
    response.writeHead(405, { allow: 'POST' }).end()
    return
  }
  try {
    const text = answer(await bodyOf(request))
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text ?? '') }
    if (text === null) response.writeHead(202).end()
    else response.writeHead(200, headers).end(text)
  } catch {
    response.writeHead(400).end()
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > bodyBytesMax) throw new Error('the body is too large')
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

function serveStdio(stubborn: boolean): void {
  const lines = createInterface({ input: process.stdin })
  lines.on('line', (line) => {
    const text = answer(line)
    if (text !== null) process.stdout.write(`${text}\n`)
  })
  if (stubborn) setTimeout(() => process.exit(0), stubbornMs)
}

if (process.argv[2] === 'stdio') serveStdio(process.argv[3] === 'stubborn')
else serveHttp(Number(process.argv[3]))
process.on('disconnect', () => process.exit(0))
