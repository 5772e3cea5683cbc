/**
 * What a node's process holds in memory right after a full collection of its garbage, asked over Node's inspector. The
 * node was started with `inspected` and wrote into its log where its inspector listens.
 */
import { readFileSync } from 'node:fs'
import { WebSocket } from 'ws'
import type { LocalNode } from './local-cluster.ts'

export type NodeMemory = { rss: number; heapUsed: number; external: number }

/** For `nodeArgs` of a local cluster. */
export const inspected: readonly string[] = ['--inspect=127.0.0.1:0']

const answerMs = 60_000

export async function memoryOf(node: LocalNode): Promise<NodeMemory> {
  const log = readFileSync(node.logFile, 'utf8')
  const url = [...log.matchAll(/Debugger listening on (ws:\S+)/g)].at(-1)?.[1]
  if (url === undefined) throw new Error(`${node.id} has no inspector`)
  const socket = new WebSocket(url)
  try {
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    await ask(socket, 1, 'HeapProfiler.collectGarbage', {})
    const expression = 'process.memoryUsage()'
    const answer = await ask(socket, 2, 'Runtime.evaluate', { expression, returnByValue: true })
    return (answer as { result: { value: NodeMemory } }).result.value
  } finally {
    socket.terminate()
  }
}

function ask(socket: WebSocket, id: number, method: string, params: object): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`${method} was not answered`)), answerMs)
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as { id?: number; result?: unknown }
      if (message.id !== id) return
      clearTimeout(limit)
      resolve(message.result)
    })
    socket.send(JSON.stringify({ id, method, params }))
  })
}
