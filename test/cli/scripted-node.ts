import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { onTestFinished } from 'vitest'
import { listen } from '../upstream/raw-http-server.ts'

/** One HTTP request to a node whose answers a test writes itself. */
export type Asked = {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** The body as text. */
  readonly text: string
  /** The MCP method in it; `HTTP method` where there is none. */
  readonly name: string
  readonly id: unknown
  readonly response: ServerResponse
}

export type ScriptedNode = {
  readonly url: URL
  readonly asked: Asked[]
  close(): Promise<void>
}

/** `answer` false: the usual: a session, 202 for what is no request, 405 for a GET. */
export async function startNode(answer: (asked: Asked) => boolean = () => false): Promise<ScriptedNode> {
  const asked: Asked[] = []
  const { url, close } = await listen((request, response) => {
    void (async () => {
      let text = ''
      for await (const chunk of request) text += String(chunk)
      const message = text === '' ? {} : (JSON.parse(text) as { method?: string; id?: unknown })
      const { method = '', url: at = '', headers } = request
      const one = {
        method,
        path: at,
        headers,
        text,
        name: message.method ?? `HTTP ${method}`,
        id: message.id,
        response,
      }
      asked.push(one)
      if (!answer(one)) answerAsUsual(one)
    })()
  })
  onTestFinished(close)
  return { url: new URL(url), asked, close }
}

function answerAsUsual({ name, method, id, response }: Asked): void {
  if (name === 'initialize') {
    const capabilities = { tools: { listChanged: true } }
    const result = { protocolVersion: '2025-11-25', capabilities, serverInfo: { name: 'x', version: '1' } }
    answerJson(response.setHeader('mcp-session-id', 'session-1'), { id, result })
  } else if (method !== 'POST') response.writeHead(method === 'GET' ? 405 : 200).end()
  else if (id === undefined || name === 'HTTP POST') response.writeHead(202).end()
  else answerJson(response, { id, result: {} })
}

export function answerJson(response: ServerResponse, message: object, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', ...message }))
}

/** Begins an event stream, or goes on with it; without a message an event that only has its id. */
export function sendEvent(response: ServerResponse, id: string | null, message?: object): void {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream' })
  const data = message === undefined ? '' : JSON.stringify({ jsonrpc: '2.0', ...message })
  response.write(`${id === null ? '' : `id: ${id}\n`}data: ${data}\n\n`)
}
