/** One node of a local cluster as an operating-system process: started from the build, asked over HTTP. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { NodePlan } from './cluster-plan.ts'
import { waitFor } from '../../test/wait.ts'

export const repositoryRoot = path.resolve(import.meta.dirname, '../..')
export const builtCli = path.join(repositoryRoot, 'dist/cli/main.js')

const logLines = 15
const requestMs = 5000
const readyMs = 30_000

export type SpawnOptions = {
  /** The built main.js to run; another build's for tests across versions. */
  cli: string
  env: Readonly<Record<string, string>>
  /** Of Node itself, as for a profile. */
  nodeArgs: readonly string[]
  /** Lives on when this process ends. */
  detached: boolean
}

export function spawnNode(plan: NodePlan, options: SpawnOptions): ChildProcess {
  const log = openSync(plan.logFile, 'a')
  try {
    // Attached, the node also stops when this process is killed and its end of the pipe closes.
    const attached = options.detached ? [] : ['--stop-with-stdin']
    return spawn(
      process.execPath,
      [...options.nodeArgs, options.cli, 'start', '--config', plan.configFile, ...attached],
      {
        cwd: path.dirname(plan.configFile),
        env: { ...process.env, ...options.env },
        stdio: [options.detached ? 'ignore' : 'pipe', log, log],
        detached: options.detached,
      },
    )
  } finally {
    closeSync(log)
  }
}

/** Waits for /readyz. Gives up at once when `ended` tells that the process has. */
export async function waitReady(plan: NodePlan, ended: () => string | null): Promise<void> {
  await waitFor(
    () => `${plan.id} to be ready at ${plan.url}\n${logTail(plan)}`,
    async () => {
      const end = ended()
      if (end !== null) throw new Error(`${plan.id} ended (${end}) before it was ready\n${logTail(plan)}`)
      return getJson(`${plan.url}/readyz`)
    },
    readyMs,
  )
}

/** What a node answers to GET; null when it does not answer 200. */
export async function getJson(url: string): Promise<Record<string, unknown> | null> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(requestMs) })
    if (response.status === 200) return (await response.json()) as Record<string, unknown>
    await response.body?.cancel()
    return null
  } catch {
    return null
  }
}

/**
 * The leader that a majority of all nodes agree on now; null while there is none. A node that is not there has no voice.
 */
export async function findLeader(plans: readonly NodePlan[]): Promise<{ id: string; term: number } | null> {
  const views = (await Promise.all(plans.map((plan) => getJson(`${plan.url}/v1/raft`)))).filter((view) => view !== null)
  const leader = views.find(
    (view) =>
      view['role'] === 'leader' &&
      views.filter((other) => other['leader'] === view['id'] && other['term'] === view['term']).length * 2 >
        plans.length,
  )
  return leader === undefined ? null : { id: String(leader['id']), term: Number(leader['term']) }
}

/** The last lines of the node's log, for error messages. */
export function logTail(plan: NodePlan): string {
  try {
    const lines = readFileSync(plan.logFile, 'utf8').trimEnd().split('\n').slice(-logLines)
    return `last lines of ${plan.logFile}:\n${lines.map((line) => `  ${line.slice(0, 500)}`).join('\n')}`
  } catch {
    return `${plan.logFile} is not there`
  }
}
