import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

/**
 * A TCP balancer as a user would put before nodes: each new connection goes to the next backend that takes it, in turn.
 * Knows nothing of HTTP, but for telling which backend has carried a text last.
 */
export type TcpBalancer = {
  readonly port: number
  /** The backend over whose connection a client has sent the text last. */
  carrierOf(text: string): number | undefined
  close(): Promise<void>
}

export async function startTcpBalancer(backends: readonly number[]): Promise<TcpBalancer> {
  const sockets = new Set<Socket>()
  const seen: { readonly text: string; readonly port: number }[] = []
  let turn = 0
  const keep = (socket: Socket): void => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    // A reset is told by `close` too.
    socket.on('error', () => undefined)
  }
  const join = (client: Socket, triesLeft: number): void => {
    const port = backends[turn % backends.length] ?? 0
    turn += 1
    const backend = connect(port, '127.0.0.1')
    keep(backend)
    let isUp = false
    backend.once('connect', () => {
      isUp = true
      client.on('data', (chunk: Buffer) => seen.push({ text: chunk.toString('latin1'), port }))
      client.pipe(backend)
      backend.pipe(client)
    })
    backend.once('close', () => {
      if (!isUp && triesLeft > 0) join(client, triesLeft - 1)
      else client.destroy()
    })
    client.once('close', () => backend.destroy())
  }
  const server = createServer((client) => {
    keep(client)
    join(client, backends.length - 1)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    carrierOf: (text) => seen.findLast((each) => each.text.includes(text))?.port,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
