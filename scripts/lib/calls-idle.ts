/**
 * What idle sessions cost: their memory on every node of the cluster, and whether the calls of others become slower when
 * they, and open streams, are there. All are opened on n1.
 */
import { startBed, measure, pathNamed, type CallsBed } from './calls-bed.ts'
import { forkScript } from './child-script.ts'
import type { IdleMessage, IdlePlan } from './idle-sessions.ts'
import { inspected, memoryOf, type NodeMemory } from './node-memory.ts'
import { median, printTable } from './table.ts'

export type IdleOptions = {
  bytes: number
  seconds: number
  rounds: number
  nodes: number
  sessions: number
  streams: number
  json: boolean
}

type Speed = { callsPerSecond: number; p50Ms: number; p99Ms: number }

const callers = 64
const callsMax = 1_000_000
const warmupMs = 500
const openingMs = 300_000

export async function measureIdle(options: IdleOptions): Promise<void> {
  const { sessions, streams, json } = options
  const bed = await startBed({ nodes: options.nodes, nodeArgs: inspected })
  try {
    const speedBefore = await speedOf(bed, options)
    const empty = await memories(bed)
    const stopIdle = await holdIdle({ url: bed.cluster.node('n1').mcpUrl, sessions, streams: 0 })
    const idle = await memories(bed)
    const stopStreams = await holdIdle({ url: bed.cluster.node('n1').mcpUrl, sessions: streams, streams })
    const streaming = await memories(bed)
    const speedAfter = await speedOf(bed, options)
    stopIdle()
    stopStreams()
    const perNode = bed.cluster.nodes.map(({ id }) => {
      const memory = (when: Map<string, NodeMemory>): NodeMemory => when.get(id) ?? { rss: 0, heapUsed: 0, external: 0 }
      const each = (of: keyof NodeMemory, from: Map<string, NodeMemory>, to: Map<string, NodeMemory>, count: number) =>
        (memory(to)[of] - memory(from)[of]) / count
      return {
        node: id,
        heapBytesPerSession: each('heapUsed', empty, idle, sessions),
        residentBytesPerSession: each('rss', empty, idle, sessions),
        heapBytesPerStream: each('heapUsed', idle, streaming, streams),
        residentBytesPerStream: each('rss', idle, streaming, streams),
      }
    })
    if (json) console.log(JSON.stringify({ ...options, perNode, speedBefore, speedAfter }, null, 2))
    else print(options, { perNode, speedBefore, speedAfter })
  } finally {
    await bed.stop()
  }
}

type Idleness = {
  perNode: readonly {
    node: string
    heapBytesPerSession: number
    residentBytesPerSession: number
    heapBytesPerStream: number
    residentBytesPerStream: number
  }[]
  speedBefore: Speed
  speedAfter: Speed
}

function print({ sessions, streams }: IdleOptions, { perNode, speedBefore, speedAfter }: Idleness): void {
  const kB = (bytes: number): string => (bytes / 1000).toFixed(2)
  printTable(
    ['node', 'heap kB/session', 'RSS kB/session', 'heap kB/stream', 'RSS kB/stream'],
    perNode.map((of) => [
      of.node,
      kB(of.heapBytesPerSession),
      kB(of.residentBytesPerSession),
      kB(of.heapBytesPerStream),
      kB(of.residentBytesPerStream),
    ]),
  )
  printTable(
    [`${callers} sessions calling n1`, 'calls/s', 'p50 ms', 'p99 ms'],
    [
      ['alone', speedBefore] as const,
      [`beside ${sessions} idle sessions and ${streams} open streams`, speedAfter] as const,
    ].map(([when, speed]) => [when, speed.callsPerSecond.toFixed(0), speed.p50Ms.toFixed(2), speed.p99Ms.toFixed(2)]),
  )
  console.log(`all opened on n1; memory after a full collection of garbage; a stream's includes its own session`)
}

async function speedOf(bed: CallsBed, { bytes, seconds, rounds }: IdleOptions): Promise<Speed> {
  const path = pathNamed(bed, 'one node')
  const results = []
  for (let round = 0; round < rounds; round += 1)
    results.push(await measure(path, { bytes, sessions: callers, warmupMs, measureMs: seconds * 1000, callsMax }))
  return {
    callsPerSecond: median(results.map(({ calls, seconds }) => calls / seconds)),
    p50Ms: median(results.map(({ p50Ms }) => p50Ms)),
    p99Ms: median(results.map(({ p99Ms }) => p99Ms)),
  }
}

async function memories(bed: CallsBed): Promise<Map<string, NodeMemory>> {
  const found = new Map<string, NodeMemory>()
  for (const node of bed.cluster.nodes) found.set(node.id, await memoryOf(node))
  return found
}

/** Settles when all are held; answers how to let them go. */
async function holdIdle(plan: IdlePlan): Promise<() => void> {
  const child = forkScript('idle-sessions')
  await new Promise<void>((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`${plan.sessions} sessions were not open in time`)), openingMs)
    child.once('message', (message: IdleMessage) => {
      clearTimeout(limit)
      if (message.kind === 'held') resolve()
      else reject(new Error(message.reason))
    })
    child.once('exit', () => reject(new Error('the holder of idle sessions ended')))
    child.send(plan)
  })
  return () => child.disconnect()
}
