import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { freePorts } from '../../scripts/lib/free-ports.ts'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster } from '../../scripts/lib/local-cluster.ts'
import { builtCli } from '../../scripts/lib/node-process.ts'
import { waitFor } from '../wait.ts'
import { getJson } from './http-json.ts'
import { buildPatched } from './other-build.ts'
import { startProcess } from './one-process.ts'
import type { OneProcess } from './one-process.ts'

// What an operator does at the command line with join tokens, and what a node is told that a token alone does not let in:
// one of another release, one whose clock is wrong, one that comes back without its disk.
let dir: string
let cluster: LocalCluster
let url: string
let strangeCli: string
let one: OneProcess | undefined

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-refused-'))
  const patched = buildPatched(path.join(dir, 'strange'), [
    {
      file: 'wire/handshake-codec.ts',
      search: '{ min: 2, max: 2 }',
      replace: "{ min: Number(process.env['WIRE'] ?? 2), max: Number(process.env['WIRE'] ?? 2) }",
    },
    { file: 'std/clock.ts', search: 'Date.now()', replace: "Date.now() + Number(process.env['AHEAD_MS'] ?? 0)" },
  ])
  cluster = await startLocalCluster({
    nodes: 3,
    dir: path.join(dir, 'cluster'),
    config: { consensus: { maxVoters: 3 } },
  })
  strangeCli = await patched
  url = cluster.nodes[0]?.url ?? ''
})

afterEach(async () => {
  await one?.end('SIGKILL')
  one = undefined
})

afterAll(async () => {
  await cluster.stop()
  await rm(dir, { recursive: true, force: true })
})

it('a token goes from one command into a file for another, and is listed and revoked by its id', async () => {
  const { file, join } = await createToken('--uses', '2', '--note', 'rack 7')
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  one = await startProcess(dir, {
    cluster: { join, tokenFile: file },
    node: { id: 'n4', dataDir: path.join(dir, 'n4') },
  })
  await one.waitReady()
  const [, id = ''] = (await readFile(file, 'utf8')).trim().split('.').slice(1)
  const row = async (): Promise<string> =>
    (await quorate('token', 'list')).stdout.split('\n').find((line) => line.startsWith(id)) ?? ''
  expect(await row()).toMatch(new RegExp(`^${id}\tusable\t1/2\t\\S+\t\\S+\tn4\track 7$`))
  expect((await quorate('token', 'revoke', id)).code).toBe(0)
  expect(await row()).toMatch(/\trevoked\t1\/2\t/)
  expect((await quorate('token', 'revoke', '0'.repeat(16))).code).toBe(3)
})

it('a node that has lost its disk is refused under its old id until that is taken out, and then comes in', async () => {
  const { file, join } = await createToken('--uses', '2')
  const start = async (): Promise<OneProcess> => {
    one = await startProcess(dir, {
      cluster: { join, tokenFile: file },
      node: { id: 'n5', dataDir: path.join(dir, 'n5') },
    })
    return one
  }
  const first = await start()
  await first.waitReady()
  await seen('n5', 'alive')
  await first.end('SIGKILL')
  await rm(path.join(dir, 'n5'), { recursive: true })
  await seen('n5', 'dead')
  const wiped = await start()
  expect(await wiped.waitExit(), wiped.said()).toBe(1)
  expect(wiped.said()).toContain('the cluster has a node n5 already, which does not answer')
  expect(wiped.said()).toContain('quorate node remove n5')
  const removed = await quorate('node', 'remove', 'n5')
  expect(removed.code, removed.stderr).toBe(0)
  const again = await start()
  await again.waitReady()
  await seen('n5', 'alive')
})

it.each([
  [
    'of another wire version',
    { WIRE: '7' },
    'the cluster speaks version 2 of the wire, the node that would join version 7',
  ],
  ['whose clock is two minutes ahead', { AHEAD_MS: '120000' }, "the clock of node n9 is 120 s ahead of the cluster's"],
  ['whose clock is an hour behind', { AHEAD_MS: '-3600000' }, "the clock of node n9 is 3600 s behind the cluster's"],
])('a node %s is refused, on both sides with what to do, and uses nothing of the token', async (_, env, why) => {
  const { file, join } = await createToken()
  const [http, peer, raft] = await freePorts(3)
  const listen = ['--listen-http', `127.0.0.1:${http}`, '--listen-peer', `127.0.0.1:${peer}`]
  const more = [...listen, '--listen-raft', `127.0.0.1:${raft}`, '--node-id', 'n9', '--data-dir', path.join(dir, 'n9')]
  const args = [strangeCli, 'start', '--join', join.join(','), '--token-file', file, ...more]
  const { code, stderr } = await run(args, { ...process.env, ...env })
  expect(code, stderr).toBe(1)
  expect(stderr).toContain(why)
  const told = await waitFor('the other side to say so', async () =>
    (await logged()).find((line) => line.includes(why)),
  )
  expect(told).toContain('"join-refused"')
  const [, , id] = (await readFile(file, 'utf8')).split('.')
  expect((await getJson(`${url}/v1/tokens`))['tokens']).toContainEqual(expect.objectContaining({ id, uses: 0 }))
})

type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string }

function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [...args], { cwd: dir, env, timeout: 30_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, stdout, stderr })
    })
  })
}

function quorate(...args: readonly string[]): Promise<Ran> {
  return run([builtCli, ...args], { ...process.env, QUORATE_URL: url })
}

let tokens = 0

/** A token file, and the addresses that the command says to use it with. */
async function createToken(...options: readonly string[]): Promise<{ file: string; join: string[] }> {
  const file = path.join(dir, `${(tokens += 1)}.token`)
  const { code, stdout, stderr } = await quorate('token', 'create', '--out', file, ...options)
  expect([code, stdout], stderr).toEqual([0, ''])
  const join = /start --join (\S+) --token-file (\S+)/.exec(stderr)
  expect(join?.[2]).toBe(file)
  return { file, join: (join?.[1] ?? '').split(',') }
}

/** Every node of the cluster says so by gossip. */
async function seen(id: string, status: string): Promise<void> {
  for (const node of cluster.nodes) {
    const isSo = async (): Promise<boolean> => {
      const { members } = await getJson(`${node.url}/v1/members`)
      return (members as { id: string; status: string }[]).some(
        (member) => member.id === id && member.status === status,
      )
    }
    await waitFor(`${id} to be ${status} for ${node.id}`, isSo, 30_000)
  }
}

async function logged(): Promise<string[]> {
  const texts = await Promise.all(cluster.nodes.map((node) => readFile(node.logFile, 'utf8')))
  return texts.flatMap((text) => text.split('\n'))
}
