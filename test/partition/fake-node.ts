import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { NodeTarget } from '../../scripts/partition/types.ts'

export type Asked = {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: Readonly<Record<string, unknown>> | string | null
}

/** `cut`: the connection is closed without an answer. */
export type FakeAnswer = { readonly status: number; readonly body: unknown; readonly type?: string } | 'cut'

/** A node that answers key-value requests and tool calls as it is told, and opens sessions by itself. */
export class FakeNode {
  readonly asked: Asked[] = []
  answer: (asked: Asked) => FakeAnswer = () => ({ status: 200, body: {} })
  readonly #server = createServer((request, response) => {
    void read(request).then((body) => {
      const { method = '', url: path = '', headers } = request
      const rpc = typeof body === 'object' ? body?.['method'] : undefined
      if (rpc === 'initialize') return response.writeHead(200, { 'mcp-session-id': 's' }).end('{}')
      if (rpc === 'notifications/initialized') return response.writeHead(202).end()
      const asked = { method, path, headers, body }
      this.asked.push(asked)
      const answer = this.answer(asked)
      if (answer === 'cut') return response.destroy()
      const text = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body)
      return response.writeHead(answer.status, { 'content-type': answer.type ?? 'application/json' }).end(text)
    })
  })

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  target(id = 'n1'): NodeTarget {
    const { port } = this.#server.address() as AddressInfo
    const url = `http://127.0.0.1:${port}`
    return { id, url, mcpUrl: `${url}/mcp` }
  }

  async close(): Promise<void> {
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }
}

async function read(request: IncomingMessage): Promise<Asked['body']> {
  const parts: Buffer[] = []
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part)
  const text = Buffer.concat(parts).toString()
  return text === '' ? null : (JSON.parse(text) as Asked['body'])
}
