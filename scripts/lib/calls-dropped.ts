/**
 * What sessions leave behind that are opened and dropped without goodbye, each with a process of its own of a stdio server:
 * processes and memory of the server's node, after each wave of them has ended by idleness. A leak is what still grows from
 * the first wave to the last.
 */
import path from 'node:path'
import { startLocalCluster, type LocalCluster, type LocalNode } from './local-cluster.ts'
import { inspected, memoryOf } from './node-memory.ts'
import { repositoryRoot } from './node-process.ts'
import { callTool, createAgent, openSession } from './raw-mcp.ts'
import { printTable } from './table.ts'
import { waitFor } from '../../test/wait.ts'

export type DroppedOptions = { nodes: number; sessions: number; json: boolean }

type Sample = { sessions: number; processes: number; mostProcesses: number; heapUsed: number; rss: number }

const waves = 4
const atOnce = 8
const isolatedMax = 64
const sessionIdleMs = 5000
const endMs = 60_000

export async function measureDropped({ nodes, sessions, json }: DroppedOptions): Promise<void> {
  const echo = { command: process.execPath, args: [path.join(repositoryRoot, 'test/fixtures/echo.mjs')] }
  const cluster = await startLocalCluster({
    nodes,
    nodeArgs: inspected,
    servers: { echo: { ...echo, isolation: 'session', isolatedMax, placement: { where: { node: 'n1' } } } },
    config: { log: { level: 'warn' }, mcp: { sessionIdleMs, sessionsMax: sessions } },
  })
  try {
    const node = cluster.node('n1')
    await waitFor('the server', async () => (await (await fetch(`${node.url}/v1/tools`)).text()).includes('echo__echo'))
    const samples = [await sample(node, { sessions: 0, mostProcesses: node.children().length })]
    const processes = samples[0]?.processes ?? 0
    for (let wave = 1; wave <= waves; wave += 1) {
      const mostProcesses = await openAndDrop(node, Math.ceil(sessions / waves))
      await waitFor('the sessions to end', () => isQuiet(cluster, processes), endMs)
      samples.push(await sample(node, { sessions: Math.ceil(sessions / waves) * wave, mostProcesses }))
      console.error(`${samples.at(-1)?.sessions} of ${sessions} sessions`)
    }
    if (json) console.log(JSON.stringify({ nodes, sessions, samples }, null, 2))
    else print(samples)
  } finally {
    await cluster.stop()
  }
}

/** Answers how many processes the node had at most. */
async function openAndDrop(node: LocalNode, count: number): Promise<number> {
  const agent = createAgent(atOnce)
  let started = 0
  let most = 0
  const open = async (): Promise<void> => {
    while (started < count) {
      started += 1
      const session = await openSession(node.mcpUrl, agent)
      const failure = await callTool(session, { id: 1, name: 'echo__echo', arguments: { text: 'hello' } })
      if (failure !== null) throw new Error(`a call of a session: ${failure}`)
      most = Math.max(most, node.children().length)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, open))
  await agent.destroy()
  return most
}

/** No session is left, and no process beside those that were there before the first. */
async function isQuiet(cluster: LocalCluster, processes: number): Promise<boolean> {
  const node = cluster.node('n1')
  const listed = (await (await fetch(`${node.url}/v1/sessions`)).json()) as { sessions: readonly unknown[] }
  return listed.sessions.length === 0 && node.children().length === processes
}

async function sample(node: LocalNode, of: Pick<Sample, 'sessions' | 'mostProcesses'>): Promise<Sample> {
  const { heapUsed, rss } = await memoryOf(node)
  return { ...of, processes: node.children().length, heapUsed, rss }
}

function print(samples: readonly Sample[]): void {
  printTable(
    ['sessions dropped', 'processes', 'at most meanwhile', 'n1 heap MB', 'n1 RSS MB'],
    samples.map(({ sessions, processes, mostProcesses, heapUsed, rss }) => [
      String(sessions),
      String(processes),
      String(mostProcesses),
      (heapUsed / 1e6).toFixed(1),
      (rss / 1e6).toFixed(1),
    ]),
  )
  console.log('after all sessions of a wave have ended; memory after a full collection of garbage')
}
