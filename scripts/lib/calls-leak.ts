/**
 * What many calls through two nodes leave behind: the memory of both nodes after each tenth of the calls, each right
 * after a full collection of garbage. A leak is what still grows between the second tenth and the last.
 */
import { measure, pathNamed, startBed } from './calls-bed.ts'
import { inspected, memoryOf } from './node-memory.ts'
import { printTable } from './table.ts'

export type LeakOptions = { bytes: number; nodes: number; calls: number; json: boolean }

const parts = 10
const callers = 64
/** A tenth ends by its count of calls; this only ends what hangs. */
const partMs = 20 * 60_000

export async function measureLeak({ bytes, nodes, calls, json }: LeakOptions): Promise<void> {
  const bed = await startBed({ nodes, nodeArgs: inspected })
  try {
    const path = pathNamed(bed, 'two nodes')
    const measured = new Set(path.between.map(({ name }) => name))
    const samples: { calls: number; failed: number; nodes: Record<string, { rss: number; heapUsed: number }> }[] = []
    let done = 0
    let failed = 0
    for (let part = 0; part < parts; part += 1) {
      const callsMax = Math.ceil(calls / parts)
      const result = await measure(path, { bytes, sessions: callers, warmupMs: 0, measureMs: partMs, callsMax })
      done += result.calls
      failed += result.failed
      const found: Record<string, { rss: number; heapUsed: number }> = {}
      for (const node of bed.cluster.nodes.filter(({ id }) => measured.has(id))) found[node.id] = await memoryOf(node)
      samples.push({ calls: done, failed, nodes: found })
      console.error(`${done} of ${calls} calls`)
    }
    const growth = (id: string, of: 'rss' | 'heapUsed'): number => {
      const [first, last] = [samples[1], samples.at(-1)]
      if (first === undefined || last === undefined) return Number.NaN
      return ((last.nodes[id]?.[of] ?? 0) - (first.nodes[id]?.[of] ?? 0)) / (last.calls - first.calls)
    }
    const bytesPerCall = Object.fromEntries(
      [...measured].map((id) => [id, { heap: growth(id, 'heapUsed'), resident: growth(id, 'rss') }]),
    )
    if (json) console.log(JSON.stringify({ calls: done, failed, samples, bytesPerCall }, null, 2))
    else {
      const ids = [...measured]
      const mB = (value: number | undefined): string => ((value ?? Number.NaN) / 1e6).toFixed(1)
      printTable(
        ['calls', ...ids.flatMap((id) => [`${id} heap MB`, `${id} RSS MB`])],
        samples.map((sample) => [
          String(sample.calls),
          ...ids.flatMap((id) => [mB(sample.nodes[id]?.heapUsed), mB(sample.nodes[id]?.rss)]),
        ]),
      )
      for (const [id, { heap, resident }] of Object.entries(bytesPerCall))
        console.log(`${id}: heap ${heap.toFixed(2)} bytes a call, RSS ${resident.toFixed(2)}, from the second tenth on`)
      if (failed > 0) console.log(`${failed} calls failed`)
    }
  } finally {
    await bed.stop()
  }
}
