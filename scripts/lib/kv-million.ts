/**
 * Many writes over few keys, and what stays of them: memory of the nodes and bytes of their data directories, looked at
 * after every twentieth. Flat means: the second half needs no more than the first did.
 */
import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import type { KvLoadResult } from './kv-load.ts'
import type { KvSystem } from './kv-systems.ts'
import { residentBytes } from './processes.ts'
import { printTable } from './table.ts'

type Sample = { writes: number; perSecond: number; p99Ms: number; residentMiB: number[]; diskMiB: number[] }

const samples = 20
const MiB = 2 ** 20

export async function watchMillion(options: {
  system: KvSystem
  writes: number
  keys: number
  bytes: number
  clients: number
  write: (count: number) => Promise<KvLoadResult>
  json: boolean
}): Promise<void> {
  const { system, writes, keys, bytes, clients, write, json } = options
  const taken: Sample[] = []
  for (let done = 0; done < writes;) {
    const result = await write(Math.ceil(writes / samples))
    if (result.failed > 0) throw new Error(`${result.failed} writes failed: ${result.failure}`)
    done += result.calls
    taken.push({
      writes: done,
      perSecond: result.calls / result.seconds,
      p99Ms: result.p99Ms,
      residentMiB: system.pids.map((pid) => (residentBytes(pid) ?? Number.NaN) / MiB),
      diskMiB: system.dataDirs.map((dir) => folderBytes(dir) / MiB),
    })
    console.error(`${done} of ${writes} writes`)
  }
  const largest = (half: readonly Sample[], of: (sample: Sample) => readonly number[]): number =>
    Math.max(...half.flatMap((sample) => of(sample)))
  const [first, second] = [taken.slice(0, taken.length / 2), taken.slice(taken.length / 2)]
  const summary = {
    residentMiB: [first, second].map((half) => largest(half, (sample) => sample.residentMiB)),
    diskMiB: [first, second].map((half) => largest(half, (sample) => sample.diskMiB)),
  }
  if (json) return console.log(JSON.stringify({ writes, keys, bytes, clients, samples: taken, summary }, null, 2))
  const nodes = system.pids.map((_, at) => `${at + 1}`)
  const head = [
    'writes',
    '1/s',
    'p99 ms',
    ...nodes.map((node) => `RSS ${node}`),
    ...nodes.map((node) => `disk ${node}`),
  ]
  printTable(
    head,
    taken.map((sample) => [
      String(sample.writes),
      sample.perSecond.toFixed(0),
      sample.p99Ms.toFixed(2),
      ...sample.residentMiB.map((value) => value.toFixed(0)),
      ...sample.diskMiB.map((value) => value.toFixed(1)),
    ]),
  )
  const halves = ([before = 0, after = 0]: readonly number[]): string =>
    `${before.toFixed(0)}, then ${after.toFixed(0)} MiB`
  console.log(`${keys} keys of ${bytes} bytes, ${clients} clients; MiB of each node`)
  console.log(
    `largest in the first and second half: RSS ${halves(summary.residentMiB)}, disk ${halves(summary.diskMiB)}`,
  )
}

/** What is deleted while it is looked at counts nothing. */
function folderBytes(folder: string): number {
  return readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
    const full = path.join(folder, entry.name)
    if (entry.isDirectory()) return sum + folderBytes(full)
    return sum + (statSync(full, { throwIfNoEntry: false })?.size ?? 0)
  }, 0)
}
