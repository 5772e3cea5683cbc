/**
 * The least that can stand between HTTP and a stdio server in Node: `stdio-relay.ts PORT COMMAND ARG...` writes each body as a
 * line and answers with the line that comes back. Reads nothing of either: requests of one server that answers in order need no
 * matching of ids. What the cluster's own cost on stdio servers is compared with.
 */
import { spawn } from 'node:child_process'
import { createServer, type ServerResponse } from 'node:http'
import { createInterface } from 'node:readline'

const [port, command = '', ...args] = process.argv.slice(2)
const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
const waiting: ServerResponse[] = []

createInterface({ input: child.stdout }).on('line', (line) => {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(line) }
  waiting.shift()?.writeHead(200, headers).end(line)
})
child.once('exit', () => process.exit(0))

const server = createServer((incoming, outgoing) => {
  const parts: Buffer[] = []
  incoming.on('data', (part: Buffer) => parts.push(part))
  incoming.on('end', () => {
    const line = Buffer.concat(parts).toString()
    child.stdin.write(`${line}\n`)
    if (line.includes('"id":')) waiting.push(outgoing)
    else outgoing.writeHead(202).end()
  })
})
server.keepAliveTimeout = 60_000
server.listen(Number(port), '127.0.0.1', () => process.send?.('listening'))
process.on('disconnect', () => {
  child.stdin.end()
  process.exit(0)
})
