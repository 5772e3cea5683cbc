import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'

/** A demo server as a real child process of the built dist/, with the SDK's client connected to it. */
export async function connectDemo(name: 'files' | 'sql', args: readonly string[] = []): Promise<DemoServer> {
  const script = new URL(`../../dist/demo/${name}.js`, import.meta.url).pathname
  const transport = new StdioClientTransport({ command: process.execPath, args: [script, ...args] })
  const client = new Client({ name: 'demo-test', version: '1.0.0' })
  await client.connect(transport)
  return { client, transport }
}

export type DemoServer = { client: Client; transport: StdioClientTransport }

export type Answer = { text: string; isError: boolean; structured: Record<string, unknown> }

export async function callTool(client: Client, name: string, args: Record<string, unknown> = {}): Promise<Answer> {
  return answerOf(await client.callTool({ name, arguments: args }))
}

export function answerOf(result: Awaited<ReturnType<Client['callTool']>>): Answer {
  const content = result.content as { type: string; text?: string }[]
  return {
    text: content.map((block) => block.text ?? '').join('\n'),
    isError: result.isError === true,
    structured: (result.structuredContent ?? {}) as Record<string, unknown>,
  }
}

type Progress = { progress: number; total?: number; message?: string }

/**
 * Every progress notification as it comes off the wire. The SDK's own `onprogress` loses one that comes in the same
 * chunk as its result, and all that come after a cancellation.
 */
export function recordProgress({ transport }: DemoServer): Progress[] {
  const seen: Progress[] = []
  const deliver = transport.onmessage
  const onmessage: typeof deliver = (message) => {
    if ('method' in message && message.method === 'notifications/progress')
      seen.push(message.params as unknown as Progress)
    deliver?.(message)
  }
  Object.assign(transport, { onmessage })
  return seen
}
