/** Runs the TypeScript files beside this one as processes of their own. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'

const listenMs = 10_000
const loader = import.meta.resolve('tsx')

/** For `mcpServers`: command and arguments that run the script in any working directory. */
export function scriptCommand(name: string, ...args: string[]): { command: string; args: string[] } {
  return { command: process.execPath, args: ['--import', loader, scriptPath(name), ...args] }
}

/** Ends when this process does: its message channel closes. */
export function forkScript(name: string, ...args: string[]): ChildProcess {
  return fork(scriptPath(name), args, { execArgv: ['--import', loader] })
}

/** Forks a script that serves, and waits until it says that it listens. */
export async function forkServer(name: string, ...args: string[]): Promise<ChildProcess> {
  const child = forkScript(name, ...args)
  const failed = once(child, 'exit').then(([code]) => Promise.reject(new Error(`${name} ended with ${String(code)}`)))
  await Promise.race([once(child, 'message', { signal: AbortSignal.timeout(listenMs) }), failed])
  failed.catch(() => undefined)
  return child
}

function scriptPath(name: string): string {
  return path.join(import.meta.dirname, `${name}.ts`)
}
