/** Loopback ports that nobody listens on, and that nobody else who asks here is given. */
import { createServer, type Server } from 'node:net'

/**
 * Below the ranges from which systems take ports for outgoing connections (Linux 32768, others 49152): a port from
 * there may be gone when a killed node wants it back.
 */
const lowest = 20_000
const highest = 32_000
const triesMax = 500

/**
 * A port that was given out is listened on at another loopback address until this process ends, so that another process does
 * not find it free before it is used, or while a node is down. A system without that address goes by what is in use.
 */
const claimHost = '127.0.0.2'
const given = new Set<number>()

export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  for (let tries = 0; ports.length < count; tries += 1) {
    if (tries === triesMax) throw new Error(`found no ${count} free ports from ${lowest} to ${highest}`)
    const port = lowest + Math.floor(Math.random() * (highest - lowest))
    if (given.has(port)) continue
    given.add(port)
    if (await claim(port)) ports.push(port)
  }
  return ports
}

async function claim(port: number): Promise<boolean> {
  const held = await listen(port, claimHost)
  if (held === 'EADDRINUSE') return false
  const found = await listen(port, '127.0.0.1')
  const isFree = typeof found !== 'string'
  if (isFree) await new Promise((resolve) => found.close(resolve))
  if (typeof held === 'string') return isFree
  if (isFree) held.unref()
  else held.close()
  return isFree
}

function listen(port: number, host: string): Promise<Server | string> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ port, host, exclusive: true }, () => resolve(server))
  })
}
