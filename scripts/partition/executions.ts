/**
 * The counting server of the workload: what nodes have as `mcpServers`, and what it has executed, read from the file
 * that all its processes append to.
 */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { scriptCommand } from '../lib/child-script.ts'
import type { Execution, ReadExecutions, ServersFor, Weakening } from './types.ts'

/** The tool under its public name. */
export const countingTool = 'counting__count'

const modes: Readonly<Partial<Record<Weakening, string>>> = { 'execute-twice': 'twice', 'skip-calls': 'skip' }

/** Every node runs a replica, so a call may go anywhere, and a node that is cut off serves itself. */
export const serversFor: ServersFor = ({ dir, weaken }) => {
  const mode = weaken === null ? undefined : modes[weaken]
  const command = scriptCommand('counting-server', fileIn(dir), ...(mode === undefined ? [] : [mode]))
  return { counting: command }
}

export const readExecutions: ReadExecutions = async (dir) => {
  // No server has ever started.
  if (!existsSync(fileIn(dir))) return []
  const text = await readFile(fileIn(dir), 'utf8')
  const lines = text.split('\n').filter((line) => line !== '')
  return lines.map((line): Execution => {
    const { id, attempt } = JSON.parse(line) as { id: string; attempt: number }
    return { key: id, attempt }
  })
}

function fileIn(dir: string): string {
  return path.join(dir, 'executions.jsonl')
}
