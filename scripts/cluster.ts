/**
 * Starts, stops and shows N local nodes in the background: `cluster.ts start [--nodes N] [--dir D]`, `stop`, `status`.
 * The folder remembers pid and start time of each node, so that no other process is ever signalled. A second start of
 * the same folder starts what does not run, on the same ports and with the same data.
 */
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { planCluster, type NodePlan, type ServerPlan } from './lib/cluster-plan.ts'
import { builtCli, findLeader, getJson, repositoryRoot, spawnNode, waitReady } from './lib/node-process.ts'
import { findProcess, isRunning, signalProcess, type ProcessName } from './lib/processes.ts'
import { printTable } from './lib/table.ts'
import { waitFor } from '../test/wait.ts'

type Remembered = { plan: NodePlan; process: ProcessName | null }

const stopMs = 15_000
const nodesMax = 7

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    nodes: { type: 'string', default: '3' },
    dir: { type: 'string', default: path.join(repositoryRoot, 'data/cluster') },
  },
})
const dir = path.resolve(values.dir)
const file = path.join(dir, 'nodes.json')
const count = Number(values.nodes)

/** The demo servers, on the first and the last node. */
function demoServers(): Record<string, ServerPlan> {
  const demo = (name: string): string => path.join(repositoryRoot, 'dist/demo', `${name}.js`)
  const on = (node: number): { where: Record<string, string> } => ({ where: { node: `n${node}` } })
  return {
    files: { command: process.execPath, args: [demo('files'), path.join(dir, 'sandbox')], placement: on(1) },
    sql: { command: process.execPath, args: [demo('sql')], placement: on(count) },
  }
}

async function start(): Promise<void> {
  const nodes = existsSync(file) ? await recall() : await plan()
  const ended = new Map<string, string>()
  for (const node of nodes) {
    if (node.process !== null && isRunning(node.process)) continue
    const child = spawnNode(node.plan, { cli: builtCli, env: {}, nodeArgs: [], detached: true })
    child.once('error', (error) => ended.set(node.plan.id, error.message))
    child.once('exit', (code, signal) => ended.set(node.plan.id, String(code ?? signal)))
    child.unref()
    node.process = child.pid === undefined ? null : findProcess(child.pid)
    await remember(nodes)
  }
  await Promise.all(nodes.map(({ plan }) => waitReady(plan, () => ended.get(plan.id) ?? null)))
  await status()
}

async function plan(): Promise<Remembered[]> {
  await mkdir(dir, { recursive: true })
  const plans = await planCluster({ dir, nodes: count, servers: demoServers() })
  const nodes = plans.map((plan) => ({ plan, process: null }))
  await remember(nodes)
  return nodes
}

async function stop(): Promise<void> {
  const nodes = await recall()
  const running = nodes.flatMap((node) => (node.process !== null && isRunning(node.process) ? [node.process] : []))
  for (const name of running) signalProcess(name, 'SIGTERM')
  try {
    await waitFor('the nodes to end', () => !running.some(isRunning), stopMs)
  } catch {
    for (const name of running) if (signalProcess(name, 'SIGKILL')) console.error(`killed ${name.pid}, it did not stop`)
  }
  await remember(nodes.map(({ plan }) => ({ plan, process: null })))
  console.log(`stopped ${running.length} of ${nodes.length} nodes; their data stays in ${dir}`)
}

async function status(): Promise<void> {
  const nodes = await recall()
  const leader = await findLeader(nodes.map(({ plan }) => plan))
  const rows = await Promise.all(
    nodes.map(async ({ plan, process: name }) => {
      const runs = name !== null && isRunning(name)
      const raft = await getJson(`${plan.url}/v1/raft`)
      const role = typeof raft?.['role'] === 'string' ? raft['role'] : '-'
      return [
        plan.id,
        runs ? String(name.pid) : '-',
        runs ? 'running' : 'stopped',
        role,
        `${plan.url}/mcp`,
        plan.logFile,
      ]
    }),
  )
  printTable(['node', 'pid', 'process', 'role', 'MCP', 'log'], rows)
  console.log(leader === null ? 'no leader' : `leader ${leader.id}, term ${leader.term}`)
}

async function recall(): Promise<Remembered[]> {
  if (!existsSync(file)) throw new Error(`there is no cluster in ${dir}; start one with: start --dir ${dir}`)
  return JSON.parse(await readFile(file, 'utf8')) as Remembered[]
}

async function remember(nodes: readonly Remembered[]): Promise<void> {
  await writeFile(`${file}.tmp`, JSON.stringify(nodes, null, 2))
  await rename(`${file}.tmp`, file)
}

const verbs: Readonly<Record<string, () => Promise<void>>> = { start, stop, status }
const verb = verbs[positionals[0] ?? '']
if (verb === undefined || !Number.isInteger(count) || count < 1 || count > nodesMax) {
  console.error(`usage: cluster start [--nodes 1..${nodesMax}] [--dir DIR] | stop [--dir DIR] | status [--dir DIR]`)
  process.exitCode = 2
} else {
  await verb().catch((cause: unknown) => {
    console.error(cause instanceof Error ? cause.message : cause)
    process.exitCode = 1
  })
}
