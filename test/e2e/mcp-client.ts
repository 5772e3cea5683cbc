import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'

/** The SDK's own client, connected to a URL: what a user's agent would be. */
export async function connectClient(url: string): Promise<Client> {
  const client = new Client({ name: 'end-to-end', version: '1.0.0' })
  await client.connect(new StreamableHTTPClientTransport(new URL(url)))
  return client
}

/** The text of a tool's answer. */
export function textOf(result: unknown): string {
  const { content } = result as { content: { type: string; text?: string }[] }
  return content.map((block) => block.text ?? '').join('')
}

/** The path of a fixture server. */
export function fixture(name: string): string {
  return new URL(`../fixtures/${name}.mjs`, import.meta.url).pathname
}
