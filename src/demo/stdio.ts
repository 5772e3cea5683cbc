/**
 * Runs a demo server over stdin and stdout. The process ends when its client closes stdin, when stdout breaks, or when
 * the client sends a message beyond the transport's limit; calls that are still running are aborted by the close.
 */
import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'

export async function serveStdio(server: McpServer): Promise<void> {
  const transport = new StdioServerTransport()
  // Without these the process would live on with nobody to talk to.
  process.stdin.once('end', () => void server.close())
  process.stdout.once('error', () => process.exit(1))
  Object.assign(server.server, {
    onclose: () => process.exit(0),
    onerror: (error: Error) => console.error(error.message),
  })
  await server.connect(transport)
}
