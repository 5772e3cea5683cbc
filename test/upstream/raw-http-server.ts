import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Streamable HTTP servers written out by a test, for what the SDK's server would not do. */
export type Message = {
  readonly id?: number | string
  readonly method?: string
  readonly params?: { readonly name?: string; readonly requestId?: number }
}

/** `{}` for a request without body. */
export async function readMessage(request: IncomingMessage): Promise<Message> {
  let body = ''
  for await (const chunk of request) body += String(chunk)
  return (body === '' ? {} : JSON.parse(body)) as Message
}

export function answerInitialize(response: ServerResponse, id: Message['id'], capabilities: object = {}): void {
  answerResult(response, id, { protocolVersion: '2025-06-18', capabilities, serverInfo: { name: 'x', version: '1' } })
}

export function answerResult(response: ServerResponse, id: Message['id'], result: object): void {
  response.setHeader('content-type', 'application/json').end(JSON.stringify({ jsonrpc: '2.0', id, result }))
}

/** Begins an event stream, or goes on with it. */
export function sendEvent(response: ServerResponse, message?: object): void {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
  if (message !== undefined) response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`)
}

export async function listen(answer: RequestListener): Promise<{ url: string; close: () => Promise<void> }> {
  const server: Server = createServer(answer)
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
