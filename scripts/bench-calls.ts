/**
 * What a tool call costs: direct to a small raw server, through a bare relay, through the node that the server is on,
 * and through another node (forwarded). The paths take turns within each round, so that a slow minute of the machine
 * hits all; told are medians over the rounds, and ratios to direct and to the relay.
 */
import { parseArgs } from 'node:util'
import { forkScript, forkServer, scriptCommand } from './lib/child-script.ts'
import { freePorts } from './lib/free-ports.ts'
import type { LoadMessage, LoadPlan, LoadResult } from './lib/load.ts'
import { startLocalCluster, type LocalCluster } from './lib/local-cluster.ts'
import { cpuMs, descendantsOf } from './lib/processes.ts'
import { callTool, createAgent, openSession } from './lib/raw-mcp.ts'
import { median, printTable } from './lib/table.ts'
import { waitFor } from '../test/wait.ts'

/** One way from the client to the server; `pids` are the processes that the call passes. */
type CallPath = { name: string; url: string; tool: string; pids: () => number[] }
type Measurement = LoadResult & { cpuMsPerCall: number }
type Summary = {
  path: string
  concurrency: number
  callsPerSecond: number
  p50Ms: number
  p99Ms: number
  cpuMsPerCall: number
  failed: number
}

const callsMax = 200_000
const warmupMs = 500
const catalogMs = 20_000
/** Beyond warm-up and measuring: start of the process and the last calls. */
const loadSlackMs = 45_000

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    concurrency: { type: 'string', default: '1,16,64' },
    bytes: { type: 'string', default: '100' },
    nodes: { type: 'string', default: '3' },
    stdio: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
const rounds = atLeastOne('rounds', values.rounds)
const seconds = atLeastOne('seconds', values.seconds)
const bytes = atLeastOne('bytes', values.bytes)
const nodes = atLeastOne('nodes', values.nodes)
const concurrencies = values.concurrency.split(',').map((text) => atLeastOne('concurrency', text))

async function main(): Promise<void> {
  const [serverPort = 0, relayPort = 0] = await freePorts(2)
  const server = await forkServer('raw-server', 'http', String(serverPort))
  const relay = await forkServer('bare-relay', String(relayPort), String(serverPort))
  try {
    const url = `http://127.0.0.1:${serverPort}/mcp`
    const behind = values.stdio ? scriptCommand('raw-server', 'stdio') : { url }
    const cluster = await startLocalCluster({
      nodes,
      servers: { bench: { ...behind, placement: { where: { node: 'n1' } } } },
      config: { log: { level: 'warn' } },
    })
    try {
      const direct = { name: 'direct', url, tool: 'echo', pids: () => pidsOf(server) }
      const bare = {
        name: 'bare relay',
        url: `http://127.0.0.1:${relayPort}/mcp`,
        tool: 'echo',
        pids: () => [...pidsOf(relay), ...pidsOf(server)],
      }
      await measureAll([direct, bare, ...(await clusterPaths(cluster, () => pidsOf(server)))])
    } finally {
      await cluster.stop()
    }
  } finally {
    server.disconnect()
    relay.disconnect()
  }
}

/** The CPU of all nodes counts on both paths, heartbeats included: it is what the cluster costs. */
async function clusterPaths(cluster: LocalCluster, serverPids: () => number[]): Promise<CallPath[]> {
  const nodePids = (): number[] => cluster.nodes.map((node) => node.pid)
  const pids = (): number[] => [
    ...nodePids(),
    ...(values.stdio ? nodePids().flatMap((pid) => descendantsOf(pid).map((child) => child.pid)) : serverPids()),
  ]
  const last = cluster.nodes.at(-1)
  const paths: CallPath[] = []
  for (const node of new Set([cluster.node('n1'), last ?? cluster.node('n1')])) {
    const name = node.id === 'n1' ? "the server's node" : 'another node'
    paths.push({ name, url: node.mcpUrl, tool: 'bench__echo', pids })
    await waitCallable(node.mcpUrl)
  }
  return paths
}

async function waitCallable(url: string): Promise<void> {
  const agent = createAgent(1)
  let last = ''
  const probe = async (): Promise<boolean> => {
    const session = await openSession(url, agent)
    const wrong = await callTool(session, { id: 1, name: 'bench__echo', arguments: { text: '' } })
    last = wrong ?? ''
    return wrong === null
  }
  try {
    await waitFor(() => `bench__echo at ${url}: ${last}`, probe, catalogMs)
  } finally {
    await agent.destroy()
  }
}

async function measureAll(paths: readonly CallPath[]): Promise<void> {
  const summaries: Summary[] = []
  for (const concurrency of concurrencies) {
    const measured = new Map<CallPath, Measurement[]>(paths.map((path) => [path, []]))
    for (let round = 0; round < rounds; round += 1) {
      // Each round begins with another path, so that none always comes first.
      for (let turn = 0; turn < paths.length; turn += 1) {
        const path = paths[(round + turn) % paths.length]
        if (path === undefined) continue
        console.error(`concurrency ${concurrency}, round ${round + 1} of ${rounds}: ${path.name}`)
        measured.get(path)?.push(await measure(path, concurrency))
      }
    }
    for (const [path, results] of measured) summaries.push(summarize(path.name, concurrency, results))
  }
  if (values.json)
    console.log(JSON.stringify({ rounds, seconds, bytes, nodes, stdio: values.stdio, summaries }, null, 2))
  else print(summaries)
}

function measure(path: CallPath, concurrency: number): Promise<Measurement> {
  const measureMs = seconds * 1000
  const plan: LoadPlan = { url: path.url, tool: path.tool, bytes, concurrency, warmupMs, measureMs, callsMax }
  const child = forkScript('load')
  return new Promise<Measurement>((resolve, reject) => {
    let before = 0
    const limit = setTimeout(
      () => {
        child.kill('SIGKILL')
        reject(new Error(`the load on ${path.name} did not end in time`))
      },
      warmupMs + measureMs + loadSlackMs,
    )
    child.once('exit', () => {
      clearTimeout(limit)
      reject(new Error(`the load on ${path.name} ended without a result`))
    })
    child.on('message', (message: LoadMessage) => {
      if (message.kind === 'measuring') before = cpuOf(path)
      else if (message.kind === 'failed') reject(new Error(`${path.name}: ${message.reason}`))
      else resolve({ ...message.result, cpuMsPerCall: (cpuOf(path) - before) / message.result.calls })
    })
    child.send(plan)
  })
}

function cpuOf(path: CallPath): number {
  return path.pids().reduce((sum, pid) => sum + (cpuMs(pid) ?? Number.NaN), 0)
}

function summarize(path: string, concurrency: number, results: readonly Measurement[]): Summary {
  const of = (value: (result: Measurement) => number): number => median(results.map(value))
  const failure = results.find((result) => result.failure !== '')?.failure
  if (failure !== undefined) console.error(`${path}: ${failure}`)
  return {
    path,
    concurrency,
    callsPerSecond: of((result) => result.calls / result.seconds),
    p50Ms: of((result) => result.p50Ms),
    p99Ms: of((result) => result.p99Ms),
    cpuMsPerCall: of((result) => result.cpuMsPerCall),
    failed: results.reduce((sum, result) => sum + result.failed, 0),
  }
}

function print(summaries: readonly Summary[]): void {
  const head = [
    'path',
    'at once',
    'calls/s',
    'x direct',
    'x relay',
    'p50 ms',
    'p99 ms',
    'CPU ms/call',
    'x direct',
    'x relay',
  ]
  const rows = summaries.map((summary) => {
    const same = (path: string): Summary | undefined =>
      summaries.find((other) => other.path === path && other.concurrency === summary.concurrency)
    const ratio = (value: (summary: Summary) => number, path: string): string => {
      const base = same(path)
      return base === undefined ? '-' : (value(summary) / value(base)).toFixed(2)
    }
    const speed = (of: Summary): number => of.callsPerSecond
    const cpu = (of: Summary): number => of.cpuMsPerCall
    return [
      summary.path,
      String(summary.concurrency),
      summary.callsPerSecond.toFixed(0),
      ratio(speed, 'direct'),
      ratio(speed, 'bare relay'),
      summary.p50Ms.toFixed(2),
      summary.p99Ms.toFixed(2),
      summary.cpuMsPerCall.toFixed(3),
      ratio(cpu, 'direct'),
      ratio(cpu, 'bare relay'),
    ]
  })
  printTable(head, rows)
  const behind = values.stdio ? 'a stdio server behind the nodes' : 'the same HTTP server everywhere'
  console.log(`medians of ${rounds} rounds of ${seconds} s, ${bytes} bytes a call, ${nodes} nodes, ${behind}`)
  const failed = summaries.reduce((sum, summary) => sum + summary.failed, 0)
  if (failed > 0) console.log(`${failed} calls failed`)
}

function pidsOf(child: { pid?: number | undefined }): number[] {
  return child.pid === undefined ? [] : [child.pid]
}

function atLeastOne(name: string, text: string): number {
  const value = Number(text)
  const isValid = Number.isInteger(value) && value >= 1 && value <= 100_000
  if (!isValid) {
    console.error(`--${name} takes whole numbers from 1, not "${text}"`)
    process.exit(2)
  }
  return value
}

await main()
