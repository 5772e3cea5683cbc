/**
 * What a write and a read cost: three node processes on a real disk, clients in a process of their own, beside a ceiling
 * that does the same work without Raft and, with `--against etcd`, three etcd processes (asked as we are, by HTTP and JSON,
 * and over gRPC). The systems take turns within each round, so that a slow minute of the machine hits all; told are medians over the
 * rounds and ratios. `--baseline MAIN_JS` lets another build take turns too; `--million` watches memory and disk instead.
 */
import { mkdtemp, rm, statfs } from 'node:fs/promises'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { forkScript } from './lib/child-script.ts'
import { watchMillion } from './lib/kv-million.ts'
import type { KvLoadMessage, KvLoadPlan, KvLoadResult } from './lib/kv-load.ts'
import { startCeiling, startEtcdSystems, startQuorate, type KvSystem } from './lib/kv-systems.ts'
import type { Operation } from './lib/kv-wire.ts'
import { cpuMs, residentBytes } from './lib/processes.ts'
import { median, printTable } from './lib/table.ts'

type Measurement = KvLoadResult & { cpuMsPerCall: number; residentMiB: number }
type Summary = {
  system: string
  operation: Operation
  clients: number
  perSecond: number
  p50Ms: number
  p99Ms: number
  cpuMsPerCall: number
  loadCpuMsPerCall: number
  residentMiB: number
  failed: number
}

const tmpfsType = 0x01021994
const warmupMs = 500
const systemWarmupMs = 4000
const callsMax = 1_000_000
/** Beyond warm-up and measuring: start of the process and the last calls. */
const loadSlackMs = 45_000
const operations: readonly Operation[] = ['put', 'read', 'stale-read']

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    clients: { type: 'string', default: '1,16,64,256' },
    operations: { type: 'string', default: operations.join() },
    bytes: { type: 'string', default: '256' },
    keys: { type: 'string', default: '1000' },
    against: { type: 'string' },
    baseline: { type: 'string' },
    spread: { type: 'boolean', default: false },
    million: { type: 'boolean', default: false },
    writes: { type: 'string', default: '1000000' },
    dir: { type: 'string', default: tmpdir() },
    profile: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const rounds = atLeastOne('rounds', values.rounds)
const seconds = atLeastOne('seconds', values.seconds)
const bytes = atLeastOne('bytes', values.bytes)
const keys = atLeastOne('keys', values.keys)
const clientCounts = values.clients.split(',').map((text) => atLeastOne('clients', text))
const asked = values.operations.split(',').map(operationOf)
if (values.against !== undefined && values.against !== 'etcd') refuse(`--against takes etcd, not "${values.against}"`)

async function main(): Promise<void> {
  const dir = await mkdtemp(path.join(values.dir, 'quorate-bench-'))
  const started: KvSystem[] = []
  try {
    if ((await statfs(dir)).type === tmpfsType) refuse(`${dir} is on tmpfs; --dir takes a folder on a real disk`)
    for (const start of systemsToStart(dir)) started.push(...(await start()))
    if (values.million) {
      const [quorate] = started
      if (quorate !== undefined) await million(quorate)
    } else await measureAll(started)
  } finally {
    for (const system of started) await system.stop()
    await rm(dir, { recursive: true, force: true })
  }
}

function systemsToStart(dir: string): (() => Promise<KvSystem[]>)[] {
  const profile = values.profile === undefined ? undefined : path.resolve(values.profile)
  const nodeArgs = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
  const { baseline, against, million } = values
  const quorate = async (): Promise<KvSystem[]> => [
    await startQuorate({ name: 'quorate', dir: path.join(dir, 'quorate'), nodeArgs }),
  ]
  if (million) return [quorate]
  const before = async (cli: string): Promise<KvSystem[]> => [
    await startQuorate({ name: 'baseline', dir: path.join(dir, 'baseline'), cli }),
  ]
  return [
    quorate,
    ...(baseline === undefined ? [] : [() => before(path.resolve(baseline))]),
    async () => [await startCeiling(path.join(dir, 'ceiling'))],
    ...(against === undefined ? [] : [() => startEtcdSystems(path.join(dir, 'etcd'))]),
  ]
}

async function million(quorate: KvSystem): Promise<void> {
  const writes = atLeastOne('writes', values.writes, 100_000_000)
  const clients = clientCounts.at(-1) ?? 64
  const write = (count: number): Promise<Measurement> =>
    measure(quorate, { operation: 'put', clients, warmupMs: 0, measureMs: 3_600_000, callsMax: count })
  await watchMillion({ system: quorate, writes, write, json: values.json, keys, bytes, clients })
}

async function measureAll(systems: readonly KvSystem[]): Promise<void> {
  const loadBefore = loadavg()[0] ?? 0
  const summaries: Summary[] = []
  // Every key is there before the first is read, and compilers have seen what they will run.
  for (const operation of new Set<Operation>(['put', ...asked])) {
    for (const system of systems) {
      if (!isAble(system, operation)) continue
      console.error(`${operation}: ${system.name} warms up`)
      await measure(system, { operation, clients: 64, measureMs: systemWarmupMs })
    }
  }
  for (const operation of asked) {
    for (const clients of clientCounts) {
      const able = systems.filter((system) => isAble(system, operation))
      const measured = new Map<KvSystem, Measurement[]>(able.map((system) => [system, []]))
      for (let round = 0; round < rounds; round += 1) {
        // Each round begins with another system, so that none always comes first.
        for (let turn = 0; turn < able.length; turn += 1) {
          const system = able[(round + turn) % able.length]
          if (system === undefined) continue
          console.error(`${operation}, ${clients} clients, round ${round + 1} of ${rounds}: ${system.name}`)
          measured.get(system)?.push(await measure(system, { operation, clients }))
        }
      }
      for (const [system, results] of measured) summaries.push(summarize(system.name, operation, clients, results))
    }
  }
  const loads = { cores: availableParallelism(), loadBefore, loadAfter: loadavg()[0] ?? 0 }
  if (values.json)
    console.log(JSON.stringify({ rounds, seconds, bytes, keys, spread: values.spread, ...loads, summaries }, null, 2))
  else print(summaries, loads)
}

/** The ceiling has but one way to read. */
function isAble(system: KvSystem, operation: Operation): boolean {
  return system.name !== 'ceiling' || operation !== 'stale-read'
}

async function measure(
  system: KvSystem,
  what: Pick<KvLoadPlan, 'operation' | 'clients'> & Partial<KvLoadPlan>,
): Promise<Measurement> {
  const all = await system.targets()
  const plan: KvLoadPlan = {
    protocol: system.protocol,
    targets: values.spread ? all : all.slice(0, 1),
    keys,
    bytes,
    warmupMs,
    measureMs: seconds * 1000,
    callsMax,
    ...what,
  }
  const child = forkScript('kv-load')
  return new Promise<Measurement>((resolve, reject) => {
    let before = 0
    const limit = setTimeout(
      () => {
        child.kill('SIGKILL')
        reject(new Error(`the load on ${system.name} did not end in time`))
      },
      plan.warmupMs + plan.measureMs + loadSlackMs,
    )
    child.once('exit', () => {
      clearTimeout(limit)
      reject(new Error(`the load on ${system.name} ended without a result`))
    })
    child.on('message', (message: KvLoadMessage) => {
      if (message.kind === 'measuring') before = cpuOf(system)
      else if (message.kind === 'failed') reject(new Error(`${system.name}: ${message.reason}`))
      else {
        const cpuMsPerCall = (cpuOf(system) - before) / message.result.calls
        resolve({ ...message.result, cpuMsPerCall, residentMiB: residentOf(system) })
      }
    })
    child.send(plan)
  })
}

function cpuOf(system: KvSystem): number {
  return system.pids.reduce((sum, pid) => sum + (cpuMs(pid) ?? Number.NaN), 0)
}

function residentOf(system: KvSystem): number {
  return system.pids.reduce((sum, pid) => sum + (residentBytes(pid) ?? Number.NaN), 0) / 2 ** 20
}

function summarize(system: string, operation: Operation, clients: number, results: readonly Measurement[]): Summary {
  const of = (value: (result: Measurement) => number): number => median(results.map(value))
  const failure = results.find((result) => result.failure !== '')?.failure
  if (failure !== undefined) console.error(`${system}: ${failure}`)
  return {
    system,
    operation,
    clients,
    perSecond: of((result) => result.calls / result.seconds),
    p50Ms: of((result) => result.p50Ms),
    p99Ms: of((result) => result.p99Ms),
    cpuMsPerCall: of((result) => result.cpuMsPerCall),
    loadCpuMsPerCall: of((result) => result.loadCpuMsPerCall),
    residentMiB: of((result) => result.residentMiB),
    failed: results.reduce((sum, result) => sum + result.failed, 0),
  }
}

function print(summaries: readonly Summary[], loads: { cores: number; loadBefore: number; loadAfter: number }): void {
  const others = [...new Set(summaries.map(({ system }) => system))].filter((system) => system !== 'quorate')
  const speed = ['asked', 'clients', 'system', '1/s'].concat(others.map((other) => `x ${other}`))
  const time = ['p50 ms', 'p99 ms'].concat(others.map((other) => `p99 x ${other}`))
  const head = [...speed, ...time, 'CPU ms/call', "client's", 'RSS MiB']
  const rows = summaries.map((summary) => {
    const ratio = (value: (summary: Summary) => number, system: string): string => {
      const { operation, clients } = summary
      const base = summaries.find(
        (other) => other.system === system && other.operation === operation && other.clients === clients,
      )
      return base === undefined ? '-' : (value(summary) / value(base)).toFixed(2)
    }
    return [
      summary.operation,
      String(summary.clients),
      summary.system,
      summary.perSecond.toFixed(0),
      ...others.map((other) => ratio(({ perSecond }) => perSecond, other)),
      summary.p50Ms.toFixed(2),
      summary.p99Ms.toFixed(2),
      ...others.map((other) => ratio(({ p99Ms }) => p99Ms, other)),
      summary.cpuMsPerCall.toFixed(3),
      summary.loadCpuMsPerCall.toFixed(3),
      summary.residentMiB.toFixed(0),
    ]
  })
  printTable(head, rows)
  const where = values.spread ? 'clients spread over all nodes' : 'clients at the leader'
  console.log(
    `medians of ${rounds} rounds of ${seconds} s, ${bytes} bytes over ${keys} keys, ${where}, CPU and RSS of all three processes,`,
  )
  const { cores, loadBefore, loadAfter } = loads
  console.log(`${cores} cores, load average ${loadBefore.toFixed(1)} before and ${loadAfter.toFixed(1)} after`)
  const failed = summaries.reduce((sum, summary) => sum + summary.failed, 0)
  if (failed > 0) console.log(`${failed} calls failed`)
}

function operationOf(text: string): Operation {
  return operations.find((operation) => operation === text) ?? refuse(`--operations takes ${operations.join()}`)
}

function atLeastOne(name: string, text: string, most = 1_000_000): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= most) return value
  return refuse(`--${name} takes whole numbers from 1 to ${most}, not "${text}"`)
}

function refuse(why: string): never {
  console.error(why)
  process.exit(2)
}

await main()
