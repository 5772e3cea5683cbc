import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { freePorts } from '../../scripts/lib/free-ports.ts'
import { waitFor } from '../wait.ts'
import { errorCode, getJson, putUntilDone, request } from './http-json.ts'
import { startProcess } from './one-process.ts'
import type { OneProcess } from './one-process.ts'

// What a node refuses, as its operator meets it: real processes, their exit codes and their words.
const secret = 'a secret of the end-to-end tests, long enough'
let dir: string
const started: OneProcess[] = []

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-refusals-'))
})

afterEach(async () => {
  await Promise.all(started.splice(0).map((each) => each.end('SIGKILL')))
  await rm(dir, { recursive: true, force: true })
})

type Sections = Readonly<Record<string, Readonly<Record<string, unknown>>>>

async function start(sections: Sections, shell = ''): Promise<OneProcess> {
  const one = await startProcess(dir, sections, shell)
  started.push(one)
  return one
}

function single(id: string, dataDir = path.join(dir, id)): Sections {
  return { cluster: { secret }, node: { id, dataDir } }
}

/** Three nodes that form a cluster; answers how to start each. */
async function three(secrets: readonly string[] = [secret, secret, secret]): Promise<Sections[]> {
  const ports = await freePorts(3)
  const join = ports.map((port) => `127.0.0.1:${port}`)
  return join.map((peer, at) => ({
    cluster: { secret: secrets[at], join, bootstrapExpect: 3 },
    node: { id: `n${at + 1}`, dataDir: path.join(dir, `n${at + 1}`) },
    listen: { peer },
  }))
}

describe('a node is refused', () => {
  it('its data directory while another process holds it, which goes on', async () => {
    const first = await start(single('n1'))
    await first.waitReady()
    const second = await start(single('n1'))
    expect(await second.waitExit()).toBe(1)
    expect(second.said()).toContain('another process holds the data directory')
    expect((await request(`${first.url}/readyz`)).status).toBe(200)
  })

  // It ends without process.exit: what had been started by then was stopped again, or would keep it alive.
  it.each(['http', 'raft', 'peer'])('listen.%s while something else has that address', async (listener) => {
    const [port] = await freePorts(1)
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(port, '127.0.0.1', resolve))
    try {
      const node = await start({ ...single('n1'), listen: { [listener]: `127.0.0.1:${port}` } })
      expect(await node.waitExit()).toBe(1)
      expect(node.said()).toContain(`127.0.0.1:${port}`)
    } finally {
      await new Promise((resolve) => other.close(resolve))
    }
  })

  it('another id than the one its data directory belongs to', async () => {
    const first = await start(single('n1'))
    await first.waitReady()
    await first.end()
    const renamed = await start(single('n2', path.join(dir, 'n1')))
    expect(await renamed.waitExit()).not.toBe(0)
    expect(renamed.said()).toMatch(/n1.*n2|n2.*n1/)
  })

  it('its place when it comes back without its data, because it would vote twice', async () => {
    const configs = await three()
    const nodes = await Promise.all(configs.map((config) => start(config)))
    await Promise.all(nodes.map((node) => node.waitReady()))
    await nodes[2]?.end('SIGKILL')
    await rm(path.join(dir, 'n3'), { recursive: true })
    const wiped = await start(configs[2] ?? {})
    expect(await wiped.waitExit()).toBe(1)
    expect(wiped.said()).toContain('it would vote twice')
    expect((await putUntilDone(`${nodes[0]?.url}/v1/kv/still`, 'writable')).status).toBe(200)
  })

  it('while a process with its id lives, even with a copy of its data', async () => {
    const configs = await three()
    const nodes = await Promise.all(configs.map((config) => start(config)))
    await Promise.all(nodes.map((node) => node.waitReady()))
    await cp(path.join(dir, 'n3'), path.join(dir, 'copy'), { recursive: true })
    const [peerPort] = await freePorts(1)
    const twin = await start({
      ...configs[2],
      node: { id: 'n3', dataDir: path.join(dir, 'copy') },
      listen: { peer: `127.0.0.1:${peerPort}` },
    })
    expect(await twin.waitExit()).toBe(1)
    expect(twin.said()).toContain('duplicate-node')
    expect((await request(`${nodes[2]?.url}/readyz`)).status).toBe(200)
    expect((await putUntilDone(`${nodes[2]?.url}/v1/kv/still`, 'writable')).status).toBe(200)
  })

  it('by its peers when it has a wrong secret, and says so on both sides, without the secret', async () => {
    const wrong = 'another secret, which nobody else knows here'
    const configs = await three([secret, secret, wrong])
    const nodes = await Promise.all(configs.map((config) => start(config)))
    await waitFor('both sides to say so', () => nodes.every((node) => node.said().includes('wrong-secret')))
    expect((await request(`${nodes[0]?.url}/readyz`)).status).toBe(503)
    const said = nodes.map((node) => node.said()).join('')
    expect(said).not.toContain(wrong)
    expect(said).not.toContain(secret)
  })

  it('by a cluster of another name', async () => {
    const configs = await three()
    const other: Sections = { ...configs[2], cluster: { ...configs[2]?.['cluster'], name: 'elsewhere' } }
    const nodes = await Promise.all([start(configs[0] ?? {}), start(configs[1] ?? {}), start(other)])
    await waitFor('both sides to say so', () => nodes.every((node) => node.said().includes('wrong-cluster')))
  })
})

describe('a node that can not write', () => {
  it('does not start where it can not make its data directory, and names it', async () => {
    const file = path.join(dir, 'a-file')
    await writeFile(file, '')
    const node = await start(single('n1', path.join(file, 'data')))
    expect(await node.waitExit()).toBe(1)
    expect(node.said()).toContain(path.join(file, 'data'))
  })

  it('does not start on a disk that is mounted read-only, and says what is needed', async () => {
    const disk = path.join(dir, 'disk')
    await mkdir(disk)
    // A mount namespace of its own: the mount is seen by this process alone and ends with it.
    const mount = `exec unshare --map-root-user --mount bash -c 'mount -t tmpfs -o ro tmpfs "$0" && "$@"' ${disk}`
    const node = await start(single('n1', path.join(disk, 'data')), mount)
    expect(await node.waitExit()).toBe(1)
    expect(node.said()).toContain(path.join(disk, 'data'))
    expect(node.said()).toContain('must be a folder that this user can write')
  })

  it('stops at the first write that the disk refuses, and loses nothing that it had acknowledged', async () => {
    // A limit on the size of each file stands for a full disk: real writes fail in mid-log.
    const node = await start(single('n1'), 'ulimit -f 512;')
    await node.waitReady()
    const acknowledged: string[] = []
    const value = 'x'.repeat(50_000)
    for (let n = 0; n < 100; n += 1) {
      const answer = await request(`${node.url}/v1/kv/big/${n}`, { method: 'PUT', body: JSON.stringify(value) }).catch(
        () => null,
      )
      if (answer === null || answer.status !== 200) break
      acknowledged.push(`big/${n}`)
    }
    expect(acknowledged.length).toBeGreaterThan(2)
    expect(acknowledged.length).toBeLessThan(100)
    expect(await node.waitExit()).toBe(1)
    expect(node.said()).toContain('make room or replace the disk, then start the node again')
    const again = await start(single('n1'))
    await again.waitReady()
    for (const key of acknowledged) expect((await getJson(`${again.url}/v1/kv/${key}`))['value']).toBe(value)
  })
})

describe('a write', () => {
  it('is refused clearly when it is too large, no JSON, or compares with another revision', async () => {
    const node = await start(single('n1'))
    await node.waitReady()
    const put = (body: string, headers: Record<string, string> = {}): ReturnType<typeof request> =>
      request(`${node.url}/v1/kv/k`, { method: 'PUT', body, headers })
    const tooLarge = await put(JSON.stringify('x'.repeat(1_048_577)))
    expect([tooLarge.status, errorCode(tooLarge)]).toEqual([413, 'too-large'])
    const noJson = await put('{"a":')
    expect([noJson.status, errorCode(noJson)]).toEqual([400, 'bad-request'])
    const first = await put('1')
    const mismatch = await put('2', { 'if-match': '"0"' })
    expect([mismatch.status, errorCode(mismatch)]).toEqual([412, 'revision-mismatch'])
    expect(mismatch.body['error']).toMatchObject({ details: { revision: first.body['revision'] } })
  })
})
