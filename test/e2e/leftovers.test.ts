import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { descendantsOf, isRunning } from '../../scripts/lib/processes.ts'
import { waitFor } from '../wait.ts'
import { getJson } from './http-json.ts'
import { connectClient, fixture } from './mcp-client.ts'
import { startProcess } from './one-process.ts'
import type { OneProcess } from './one-process.ts'

const secret = 'a secret of the end-to-end tests, long enough'
const server = (name: string): Record<string, unknown> => ({ command: process.execPath, args: [fixture(name)] })
let dir: string
let node: OneProcess | null = null

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-leftovers-'))
})

afterEach(async () => {
  await node?.end('SIGKILL')
  node = null
  await rm(dir, { recursive: true, force: true })
})

async function startWithServers(): Promise<OneProcess> {
  node = await startProcess(dir, {
    cluster: { secret },
    node: { id: 'n1', dataDir: path.join(dir, 'data') },
    mcpServers: { echo: server('echo'), leaking: server('leaking') },
  })
  const { url } = node
  await node.waitReady()
  await waitFor('both servers to be ready', async () => {
    const { servers } = (await getJson(`${url}/v1/servers`)) as { servers: { status: string }[] }
    return servers.length === 2 && servers.every((each) => each.status === 'ready')
  })
  return node
}

describe('a node that stops', () => {
  // The program never calls process.exit when it is stopped: it ends because no socket, timer or thread keeps it.
  it('ends by itself and leaves no process behind, not even a child that ignores SIGTERM', async () => {
    const one = await startWithServers()
    const client = await connectClient(`${one.url}/mcp`)
    const children = descendantsOf(one.pid)
    expect(children.length).toBeGreaterThanOrEqual(2)
    await one.end('SIGTERM')
    expect(one.exitCode()).toBe(0)
    expect(children.filter(isRunning)).toEqual([])
    expect(await readdir(path.join(dir, 'data/children'))).toEqual([])
    await client.close().catch(() => undefined)
  })

  it('leaves what a SIGKILL left to its next start, which ends it', async () => {
    const one = await startWithServers()
    const children = descendantsOf(one.pid)
    await one.end('SIGKILL')
    const again = await startWithServers()
    await waitFor('the old processes to be gone', () => children.every((child) => !isRunning(child)))
    await again.end('SIGTERM')
  })
})
