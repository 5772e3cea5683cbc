/**
 * The least that something between client and server can do in Node: `bare-relay.ts PORT TARGET-PORT` forwards every
 * request and answer as bytes over kept connections. What the cluster's own cost is compared with.
 */
import { Agent, createServer, request } from 'node:http'

const port = Number(process.argv[2])
const target = Number(process.argv[3])
const agent = new Agent({ keepAlive: true, maxSockets: 256 })

const server = createServer((incoming, outgoing) => {
  const { host: _, connection: __, ...headers } = incoming.headers
  const options = { host: '127.0.0.1', port: target, agent, method: incoming.method, path: incoming.url, headers }
  const forwarded = request(options, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.pipe(outgoing)
  })
  forwarded.once('error', () => (outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end()))
  outgoing.once('close', () => forwarded.destroy())
  incoming.pipe(forwarded)
})
server.keepAliveTimeout = 60_000
server.listen(port, '127.0.0.1', () => process.send?.('listening'))
process.on('disconnect', () => process.exit(0))
