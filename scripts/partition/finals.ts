/** What every member says in the end, and what processes are left when all of them have ended. */
import { readFileSync, readdirSync } from 'node:fs'
import { getJson } from '../lib/node-process.ts'
import { findProcess, signalProcess } from '../lib/processes.ts'
import { waitFor } from '../../test/wait.ts'
import { readState } from './final-state.ts'
import { keyPrefix, type FinalNode, type NodeTarget, type Run } from './types.ts'

const sameIndexMs = 5000

/** Asked again, for a while, until all members have stood at the same place of the log while they were read. */
export async function readFinals(nodes: readonly NodeTarget[]): Promise<FinalNode[]> {
  const deadline = performance.now() + sameIndexMs
  return waitFor(
    'the final state of all nodes',
    async () => {
      const before = await Promise.all(nodes.map(({ url }) => readState(url)))
      const finals = await Promise.all(nodes.map(readFinal))
      const indexes = new Set([...before, ...finals.map(({ state }) => state)].map((state) => state?.index))
      return indexes.size === 1 || performance.now() > deadline ? finals : null
    },
    2 * sameIndexMs,
  )
}

async function readFinal({ id, url }: NodeTarget): Promise<FinalNode> {
  const [status, raft, listed, entries] = await Promise.all([
    getJson(`${url}/v1/status`),
    getJson(`${url}/v1/raft`),
    getJson(`${url}/v1/members`),
    readEntries(url),
  ])
  const members = (listed?.['members'] ?? null) as FinalNode['members']
  return { id, status, raft, members, entries, state: await readState(url) }
}

type Listed = { readonly key: string; readonly value: unknown; readonly revision: number }

async function readEntries(url: string): Promise<FinalNode['entries']> {
  const entries: Record<string, { value: unknown; revision: number }> = {}
  let after: string | null = null
  for (;;) {
    const query = new URLSearchParams({ prefix: keyPrefix, consistency: 'stale', ...(after === null ? {} : { after }) })
    const page = await getJson(`${url}/v1/kv?${query.toString()}`)
    if (page === null) return null
    for (const { key, value, revision } of page['entries'] as readonly Listed[]) entries[key] = { value, revision }
    if (typeof page['next'] !== 'string') return entries
    after = page['next']
  }
}

/** Processes whose command line names the folder of the run; ends them. Where there is no /proc nothing is found. */
export function endLeftovers(dir: string): Run['leftovers'] {
  return pids().flatMap((pid) => {
    const words = commandOf(pid)
    const name = pid === process.pid || !words.some((word) => word.startsWith(`${dir}/`)) ? null : findProcess(pid)
    if (name === null || !signalProcess(name, 'SIGKILL')) return []
    return [{ pid, of: words.join(' ').slice(0, 200) }]
  })
}

function pids(): number[] {
  try {
    return readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []))
  } catch {
    return []
  }
}

function commandOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}
