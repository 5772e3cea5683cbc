/**
 * What a tool call costs: direct to a small raw server, through a bare relay, through the node that the server is on and
 * through another node (forwarded); the same for two stdio servers, one raw (a line in, a line out: what no HTTP front comes
 * near) and one made with the official SDK (what users have). The paths take turns within each round, so that a slow minute
 * of the machine hits all; told are medians over the rounds, and ratios to direct and to the relay.
 *
 * `--idle` measures instead what idle sessions and open streams cost, in memory and in the speed of others' calls;
 * `--million` what memory is left behind by many calls through two nodes; `--dropped` what sessions with processes of their
 * own leave behind that nobody closes.
 */
import { parseArgs } from 'node:util'
import { measureDropped } from './lib/calls-dropped.ts'
import { measureIdle } from './lib/calls-idle.ts'
import { measureLeak } from './lib/calls-leak.ts'
import { measure, pathNamed, startBed, type CallPath, type Measurement } from './lib/calls-bed.ts'
import { median, printTable } from './lib/table.ts'

type Summary = {
  path: string
  sessions: number
  callsPerSecond: number
  p50Ms: number
  p99Ms: number
  /** Per call, of each that stands between client and server. */
  cpuUs: Record<string, number>
  failed: number
}

const callsMax = 1_000_000
const warmupMs = 500

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    sessions: { type: 'string', default: '1,16,64,256' },
    paths: { type: 'string', default: '' },
    bytes: { type: 'string', default: '100' },
    nodes: { type: 'string', default: '3' },
    idle: { type: 'boolean', default: false },
    'idle-sessions': { type: 'string', default: '10000' },
    'idle-streams': { type: 'string', default: '1000' },
    million: { type: 'boolean', default: false },
    calls: { type: 'string', default: '1000000' },
    dropped: { type: 'boolean', default: false },
    'dropped-sessions': { type: 'string', default: '1000' },
    json: { type: 'boolean', default: false },
  },
})
const rounds = atLeastOne('rounds', values.rounds)
const seconds = atLeastOne('seconds', values.seconds)
const bytes = atLeastOne('bytes', values.bytes)
const nodes = atLeastOne('nodes', values.nodes)
const sessionCounts = values.sessions.split(',').map((text) => atLeastOne('sessions', text))

async function main(): Promise<void> {
  const load = { bytes, seconds, json: values.json, nodes }
  if (values.idle) {
    const [sessions, streams] = [values['idle-sessions'], values['idle-streams']]
    return measureIdle({
      ...load,
      rounds,
      sessions: atLeastOne('idle-sessions', sessions),
      streams: atLeastOne('idle-streams', streams),
    })
  }
  if (values.dropped) {
    const sessions = atLeastOne('dropped-sessions', values['dropped-sessions'])
    return measureDropped({ nodes, sessions, json: values.json })
  }
  if (values.million) return measureLeak({ ...load, calls: atLeastOne('calls', values.calls) })
  const bed = await startBed({ nodes })
  try {
    const wanted = values.paths === '' ? bed.paths : values.paths.split(',').map((name) => pathNamed(bed, name.trim()))
    await measureAll(wanted)
  } finally {
    await bed.stop()
  }
}

async function measureAll(paths: readonly CallPath[]): Promise<void> {
  const summaries: Summary[] = []
  for (const sessions of sessionCounts) {
    const measured = new Map<CallPath, Measurement[]>(paths.map((path) => [path, []]))
    for (let round = 0; round < rounds; round += 1) {
      // Each round begins with another path, so that none always comes first.
      for (let turn = 0; turn < paths.length; turn += 1) {
        const path = paths[(round + turn) % paths.length]
        if (path === undefined) continue
        console.error(`${sessions} sessions, round ${round + 1} of ${rounds}: ${path.name}`)
        const options = { bytes, sessions, warmupMs, measureMs: seconds * 1000, callsMax }
        measured.get(path)?.push(await measure(path, options))
      }
    }
    for (const [path, results] of measured) summaries.push(summarize(path, sessions, results))
  }
  if (values.json) console.log(JSON.stringify({ rounds, seconds, bytes, nodes, summaries }, null, 2))
  else print(paths, summaries)
}

function summarize(path: CallPath, sessions: number, results: readonly Measurement[]): Summary {
  const of = (value: (result: Measurement) => number): number => median(results.map(value))
  const failure = results.find((result) => result.failure !== '')?.failure
  if (failure !== undefined) console.error(`${path.name}: ${failure}`)
  return {
    path: path.name,
    sessions,
    callsPerSecond: of((result) => result.calls / result.seconds),
    p50Ms: of((result) => result.p50Ms),
    p99Ms: of((result) => result.p99Ms),
    cpuUs: Object.fromEntries(path.between.map(({ name }) => [name, of((result) => result.cpuUs[name] ?? 0)])),
    failed: results.reduce((sum, result) => sum + result.failed, 0),
  }
}

function print(paths: readonly CallPath[], summaries: readonly Summary[]): void {
  const head = ['path', 'sessions', 'calls/s', 'x direct', 'x relay', 'p50 ms', 'p99 ms', 'CPU us/call', 'of which']
  const rows = summaries.map((summary) => {
    const path = paths.find(({ name }) => name === summary.path)
    const times = (base: string | undefined): string => {
      const other = summaries.find(({ path, sessions }) => path === base && sessions === summary.sessions)
      return other === undefined ? '-' : (summary.callsPerSecond / other.callsPerSecond).toFixed(2)
    }
    const cpu = Object.entries(summary.cpuUs)
    return [
      summary.path,
      String(summary.sessions),
      summary.callsPerSecond.toFixed(0),
      times(path?.direct),
      times(path?.relay),
      summary.p50Ms.toFixed(2),
      summary.p99Ms.toFixed(2),
      cpu.length === 0 ? '-' : cpu.reduce((sum, [, us]) => sum + us, 0).toFixed(0),
      cpu.map(([name, us]) => `${name} ${us.toFixed(0)}`).join(', '),
    ]
  })
  printTable(head, rows)
  console.log(
    `medians of ${rounds} rounds of ${seconds} s, ${bytes} bytes a call, one call of a session at a time, ${nodes} nodes; CPU of what stands between client and server, heartbeats included`,
  )
  const failed = summaries.reduce((sum, summary) => sum + summary.failed, 0)
  if (failed > 0) console.log(`${failed} calls failed`)
}

function atLeastOne(name: string, text: string): number {
  const value = Number(text)
  const isValid = Number.isInteger(value) && value >= 1 && value <= 100_000_000
  if (!isValid) {
    console.error(`--${name} takes whole numbers from 1, not "${text}"`)
    process.exit(2)
  }
  return value
}

await main()
