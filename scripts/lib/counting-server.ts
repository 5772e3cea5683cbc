/**
 * An MCP server over stdin and stdout whose only tool, `count`, has a side effect that can be counted: each execution
 * appends one line `{"id", "attempt", "pid"}` to a file, on disk before the call is answered. Several processes share the
 * file. `counting-server.ts FILE` serves. `counting-server.ts FILE twice` executes every call twice, and with `skip` every
 * tenth is answered without being executed, so that checks that look for it can be seen to find it.
 */
import { fsyncSync, openSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'

type Arguments = { id?: string; attempt?: number }
type Message = { id?: string | number; method?: string; params?: { arguments?: Arguments } }

const initialized = {
  protocolVersion: '2025-11-25',
  capabilities: { tools: {} },
  serverInfo: { name: 'counting', version: '1.0.0' },
}
const countTool = {
  name: 'count',
  description: 'Executes the call of this id, which must not happen twice',
  inputSchema: {
    type: 'object',
    properties: { id: { type: 'string' }, attempt: { type: 'integer' } },
    required: ['id', 'attempt'],
  },
}

const [file = '', mode] = process.argv.slice(2)
const skipEach = 10
// Appended lines of this size are whole, whoever else appends.
const effects = openSync(file, 'a')
let calls = 0

function execute({ id = '', attempt = 0 }: Arguments): string {
  const line = `${JSON.stringify({ id, attempt, pid: process.pid })}\n`
  calls += 1
  if (mode === 'skip' && calls % skipEach === 0) return id
  for (let time = 0; time < (mode === 'twice' ? 2 : 1); time += 1) writeSync(effects, line)
  fsyncSync(effects)
  return id
}

/** Null for a notification. */
function answer({ id, method = '', params }: Message): object | null {
  if (id === undefined) return null
  switch (method) {
    case 'initialize':
      return { result: initialized }
    case 'ping':
      return { result: {} }
    case 'tools/list':
      return { result: { tools: [countTool] } }
    case 'tools/call':
      return { result: { content: [{ type: 'text', text: execute(params?.arguments ?? {}) }] } }
    default:
      return { error: { code: -32601, message: 'Method not found' } }
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const message = JSON.parse(line) as Message
  const part = answer(message)
  if (part !== null) process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id: message.id, ...part })}\n`)
})
