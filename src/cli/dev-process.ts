/**
 * One node of `quorate dev` as an operating system process in a process group of its own, so that Ctrl-C in the terminal
 * reaches only the launcher, which stops each node once. The node's stdin is a pipe from the launcher: when the launcher
 * dies, the pipe ends and the node stops.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, renameSync } from 'node:fs'
import path from 'node:path'
import type { DevNode } from '../config/dev.ts'
import { realClock } from '../std/clock.ts'

export type DevProcess = {
  readonly node: DevNode
  readonly pid: number
  readonly logFile: string
  /** How it ended, as the end of a sentence; null while it runs. */
  readonly ending: string | null
  /** Never rejects. */
  readonly ended: Promise<void>
  /** Asks it to stop, and ends its whole group when it does not. */
  stop(): Promise<void>
  lastLogLines(): string
}

const stopWithinMs = 15_000
const lastLines = 15

/** Keys that differ by node: what the launcher's own environment says of them must not reach all nodes alike. */
const ownKeys = /^QUORATE_(?:CLUSTER_(?!NAME)|NODE_ID|NODE_DATA_DIR|LISTEN_|ADVERTISE_)/

export function startDevNode(node: DevNode, env: Readonly<Record<string, string | undefined>>): DevProcess {
  const logFile = path.join(node.dataDir, 'node.log')
  if (existsSync(logFile)) renameSync(logFile, `${logFile}.1`)
  const log = openSync(logFile, 'a', 0o600)
  const main = path.resolve(import.meta.dirname, 'main.js')
  const child = spawn(process.execPath, [main, 'start', '--config', node.configFile, '--stop-with-stdin'], {
    stdio: ['pipe', log, log],
    detached: true,
    env: Object.fromEntries(Object.entries(env).filter(([name]) => !ownKeys.test(name))),
  })
  closeSync(log)
  let ending: string | null = null
  const ended = new Promise<void>((resolve) => {
    const end = (text: string): void => {
      ending ??= text
      resolve()
    }
    child.once('exit', (code, signal) =>
      end(signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`),
    )
    child.once('error', (error) => end(`could not be started (${error.message})`))
  })
  // The pipe breaks when the node dies first.
  child.stdin?.on('error', () => undefined)
  return {
    node,
    pid: child.pid ?? 0,
    logFile,
    get ending() {
      return ending
    },
    ended,
    stop: () => stopChild(child, ended, () => ending !== null),
    lastLogLines: () => lastOf(logFile),
  }
}

async function stopChild(child: ChildProcess, ended: Promise<void>, hasEnded: () => boolean): Promise<void> {
  if (hasEnded()) return
  child.stdin?.end()
  child.kill('SIGTERM')
  const timer = realClock.after(stopWithinMs, () => {
    if (child.pid !== undefined && !hasEnded()) process.kill(-child.pid, 'SIGKILL')
  })
  await ended
  timer.cancel()
}

function lastOf(file: string): string {
  return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lastLines).join('\n')
}
