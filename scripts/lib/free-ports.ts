/** Loopback ports that nobody listens on. */
import { createServer, type Server } from 'node:net'

/**
 * Below the ranges from which systems take ports for outgoing connections (Linux 32768, others 49152): a port from
 * there may be gone when a killed node wants it back.
 */
const lowest = 20_000
const highest = 32_000
const triesMax = 500

export async function freePorts(count: number): Promise<number[]> {
  const held: { port: number; server: Server }[] = []
  try {
    for (let tries = 0; held.length < count; tries += 1) {
      if (tries === triesMax) throw new Error(`found no ${count} free ports from ${lowest} to ${highest}`)
      const port = lowest + Math.floor(Math.random() * (highest - lowest))
      const server = await listen(port)
      if (server !== null) held.push({ port, server })
    }
    return held.map(({ port }) => port)
  } finally {
    await Promise.all(held.map(({ server }) => new Promise((resolve) => server.close(resolve))))
  }
}

function listen(port: number): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(null))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => resolve(server))
  })
}
