import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { freePorts } from '../../scripts/lib/free-ports.ts'
import { builtCli } from '../../scripts/lib/node-process.ts'
import { waitFor } from '../wait.ts'

/** One `quorate start` as a process whose words and exit the test reads. Ended by `end`, whatever happened. */
export type OneProcess = {
  readonly url: string
  readonly pid: number
  /** Everything that it has said on stdout and stderr. */
  said(): string
  exitCode(): number | null
  waitExit(): Promise<number | null>
  waitReady(): Promise<void>
  end(signal?: NodeJS.Signals): Promise<void>
}

/** `config` is merged over three free loopback ports, section by section. `shell` runs before, in the same process. */
export async function startProcess(
  dir: string,
  config: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  shell = '',
): Promise<OneProcess> {
  const [http, peer, raft] = await freePorts(3)
  const listen = { http: `127.0.0.1:${http}`, peer: `127.0.0.1:${peer}`, raft: `127.0.0.1:${raft}` }
  const file = path.join(dir, `config-${http}.yaml`)
  const merged = { ...config, listen: { ...listen, ...config['listen'] } }
  await writeFile(file, JSON.stringify(merged))
  const command = `${shell} exec "${process.execPath}" "${builtCli}" start --config "${file}"`
  const child = spawn('bash', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (code) => resolve(code))
  })
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null
  const url = `http://${merged.listen.http}`
  const one: OneProcess = {
    url,
    pid: child.pid ?? 0,
    said: () => text,
    exitCode: () => child.exitCode,
    waitExit: () => withDeadline(ended, () => `the process to end; it said:\n${text}`),
    waitReady: async () => {
      await waitFor(
        `${url} to be ready`,
        async () => {
          if (!isRunning()) throw new Error(`it has ended: ${text}`)
          return (await fetch(`${url}/readyz`).catch(() => null))?.status === 200
        },
        20_000,
      )
    },
    end: async (signal = 'SIGTERM') => {
      if (isRunning()) child.kill(signal)
      await withDeadline(ended, () => `the process to end after ${signal}; it said:\n${text}`)
    },
  }
  return one
}

function withDeadline<T>(promise: Promise<T>, what: () => string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited 20 s for ${what()}`)), 20_000)
    void promise.then((value) => {
      clearTimeout(timer)
      resolve(value)
    })
  })
}
