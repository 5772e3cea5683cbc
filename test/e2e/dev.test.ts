import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { freePorts } from '../../scripts/lib/free-ports.ts'
import { waitFor } from '../wait.ts'

// The launcher and its nodes as real processes; the nodes run no servers.
const main = path.resolve(import.meta.dirname, '../../dist/cli/main.js')

let folder = ''
let config = ''
let launched: Launched[] = []

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'quorate-dev-'))
  config = path.join(folder, 'base.yaml')
  writeFileSync(
    config,
    `cluster: { secret: a-secret-of-thirty-two-bytes-or-more }
listen: ${JSON.stringify(await roomyAddresses())}
`,
  )
})

afterEach(async () => {
  for (const it of launched) {
    it.child.kill('SIGKILL')
    for (const pid of it.pids()) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
  }
  await Promise.all(launched.map((it) => it.ended))
  launched = []
  rmSync(folder, { recursive: true, force: true })
})

/** The first node's; the others are 10 and 20 above, and all of them are free. */
async function roomyAddresses(): Promise<Record<string, string>> {
  const port = await waitFor('nine free ports', async () => {
    const [first = 0] = await freePorts(1)
    const all = [0, 10, 20].flatMap((step) => [first + step, first + step + 1, first + step + 2])
    return (await Promise.all(all.map(isFree))).every(Boolean) ? first : null
  })
  return { http: `127.0.0.1:${port}`, peer: `127.0.0.1:${port + 1}`, raft: `127.0.0.1:${port + 2}` }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

type Launched = {
  readonly child: ChildProcess
  readonly ended: Promise<number | null>
  stdout(): string
  stderr(): string
  /** The nodes' process ids, as told. */
  pids(): number[]
}

function launch(): Launched {
  const child = spawn(process.execPath, [main, 'dev', '--config', config], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const text = { stdout: '', stderr: '' }
  child.stdout.on('data', (part: Buffer) => (text.stdout += part.toString()))
  child.stderr.on('data', (part: Buffer) => (text.stderr += part.toString()))
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)))
  const pids = (): number[] => [...text.stdout.matchAll(/process (\d+)/g)].map((match) => Number(match[1]))
  const it: Launched = { child, ended, stdout: () => text.stdout, stderr: () => text.stderr, pids }
  launched.push(it)
  return it
}

async function ready(it: Launched): Promise<void> {
  await waitFor(
    'the call to try',
    () => {
      if (it.child.exitCode !== null) throw new Error(`dev ended: ${it.stderr()}`)
      return it.stdout().includes('\ntry: ')
    },
    60_000,
  )
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function cli(args: string[], url: string): Promise<{ code: number | null; stdout: string }> {
  const child = spawn(process.execPath, [main, ...args, '--url', url], { stdio: ['ignore', 'pipe', 'ignore'] })
  let stdout = ''
  child.stdout.on('data', (part: Buffer) => (stdout += part.toString()))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stdout }
}

function urls(it: Launched): string[] {
  return [...it.stdout().matchAll(/ready at (\S+)/g)].map((match) => match[1] ?? '')
}

describe('quorate dev', () => {
  it('says how to use what it started, stops it once at a signal that arrives twice, and finds the data again', async () => {
    const first = launch()
    await ready(first)
    expect(first.stdout()).toMatch(
      /^(node n\d is ready at http:\S+ {2}process \d+ {2}log data\/n\d\/node\.log\n){3}MCP URL for a client: http:\S+\/mcp\ntry: .* tool list.*\n$/,
    )
    expect(await cli(['kv', 'put', 'greeting', '"hello"'], urls(first)[1] ?? '')).toMatchObject({ code: 0 })
    first.child.kill('SIGINT')
    first.child.kill('SIGINT')
    expect(await first.ended).toBe(0)
    expect(first.pids().filter(isAlive)).toEqual([])
    expect(first.stderr().match(/all nodes have stopped/g)).toHaveLength(1)

    const second = launch()
    await ready(second)
    expect(await cli(['kv', 'get', 'greeting'], urls(second)[2] ?? '')).toEqual({ code: 0, stdout: '"hello"\n' })
    second.child.kill('SIGTERM')
    expect(await second.ended).toBe(0)
    expect(readFileSync(path.join(folder, 'data/n1/node.log.1'), 'utf8').match(/has stopped/g)).toHaveLength(1)
  })

  it('ends all nodes when it is killed itself', async () => {
    const dev = launch()
    await ready(dev)
    expect(dev.pids()).toHaveLength(3)
    dev.child.kill('SIGKILL')
    await waitFor('the end of the nodes', () => !dev.pids().some(isAlive), 30_000)
  })

  it('goes on when a node is killed, and says how to start it again', async () => {
    const dev = launch()
    await ready(dev)
    process.kill(dev.pids()[1] ?? 0, 'SIGKILL')
    await waitFor('the message', () => dev.stderr().includes('node n2 was ended by SIGKILL; start it again with: '))
    expect(dev.child.exitCode).toBeNull()
    await waitFor('a write through another node', async () => {
      return (await cli(['kv', 'put', 'k', '1'], urls(dev)[0] ?? '')).code === 0
    })
  })

  it('refuses an address that another cluster has', async () => {
    const dev = launch()
    await ready(dev)
    const again = launch()
    expect(await again.ended).toBe(1)
    expect(again.stderr()).toContain('something else listens at http://127.0.0.1:')
  })

  it('shows the last log lines of a node that can not start, stops the others and ends with 1', async () => {
    mkdirSync(path.join(folder, 'data'))
    writeFileSync(path.join(folder, 'data/dev-secret'), 'too-short', { mode: 0o600 })
    const broken = launch()
    expect(await broken.ended).toBe(1)
    expect(broken.stderr()).toMatch(/error: node n\d ended with exit code 2; the end of data\/n\d\/node\.log:/)
    expect(broken.stderr()).toContain('holds fewer than 32 bytes')
  })
})
