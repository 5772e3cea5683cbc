/** A stdio server as people write them: the official SDK's, with one tool, `echo`. What a process behind a node really does per call. */
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { z } from 'zod'

const server = new McpServer({ name: 'sdk-echo', version: '1.0.0' })
server.registerTool(
  'echo',
  { description: 'Answers with the text', inputSchema: { text: z.string() } },
  ({ text }) => ({
    content: [{ type: 'text', text }],
  }),
)
await server.connect(new StdioServerTransport())
