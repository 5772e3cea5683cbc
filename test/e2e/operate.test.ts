import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { builtCli } from '../../scripts/lib/node-process.ts'
import { waitFor } from '../wait.ts'
import { errorCode, getJson, putUntilDone, request } from './http-json.ts'
import { startProcess } from './one-process.ts'
import { WriteLoad } from './write-load.ts'

// What README's "Operate" tells people to do, done to three real processes by the command line.
let dir: string
let cluster: LocalCluster

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-operate-'))
  cluster = await startLocalCluster({
    nodes: 3,
    dir: path.join(dir, 'cluster'),
    config: { consensus: { snapshotEntries: 60 } },
  })
})

afterAll(async () => {
  await cluster.stop()
  await rm(dir, { recursive: true, force: true })
})

/** Revisions of acknowledged writes by key, of all tests: every later one has to find them. */
const acknowledged = new Map<string, number>()

describe('a rolling restart', () => {
  it('loses no acknowledged write, and none waits longer than an election', async () => {
    const load = new WriteLoad(cluster.nodes, 'rolling')
    load.start()
    await waitFor('writes', () => load.acknowledged.size > 50)
    for (const each of cluster.nodes) {
      await load.without(each, () => each.restart())
      const before = load.acknowledged.size
      await waitFor('writes again', () => load.acknowledged.size > before + 50)
    }
    await load.stop()
    for (const [key, revision] of load.acknowledged) acknowledged.set(key, revision)
    expect(load.failures).toEqual([])
    // A leader that stops hands over first: no election timeout (1 s) is waited out. Measured: see README.
    expect(load.longestGapMs).toBeLessThan(gapMsMax)
    await expectKept()
  })
})

/** Between two acknowledgements, whoever of four writers got them; loose for slow machines. */
const gapMsMax = 1000

describe('a snapshot that was saved', () => {
  const file = (): string => path.join(dir, 'backup.snapshot')
  let oldCluster = ''
  let lostRevision = 0

  it('holds every write that was acknowledged before, and is verified where no node is', async () => {
    const load = new WriteLoad(cluster.nodes, 'saving')
    load.start()
    await waitFor('writes', () => load.acknowledged.size > 100)
    for (const [key, revision] of load.acknowledged) acknowledged.set(key, revision)
    await expectDone('snapshot', 'save', file(), '--url', node('n2').url)
    await load.stop()
    expect(load.failures).toEqual([])
    oldCluster = String((await getJson(`${node('n1').url}/v1/raft`))['clusterId'])
    const facts = JSON.parse((await expectDone('snapshot', 'inspect', file(), '--json')).stdout) as Record<
      string,
      unknown
    >
    expect(facts).toMatchObject({ cluster: oldCluster, voters: ['n1', 'n2', 'n3'] })
    expect(Number(facts['keys'])).toBeGreaterThanOrEqual(acknowledged.size)
    const again = await cli('snapshot', 'save', file(), '--url', node('n2').url)
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('is there already')])
    const after = await putUntilDone(`${node('n1').url}/v1/kv/after-the-snapshot`, 1)
    lostRevision = Number(after.body['revision'])
  })

  it('founds another cluster of three, with the keys, above all revisions of the old one', async () => {
    for (const each of cluster.nodes) {
      await each.kill('SIGKILL')
      await rm(each.dataDir, { recursive: true })
    }
    const voters = ['--voters', 'n1,n2,n3']
    const restore = (id: string, ...more: string[]): ReturnType<typeof cli> =>
      expectDone(
        'snapshot',
        'restore',
        file(),
        '--data-dir',
        node(id).dataDir,
        '--node-id',
        id,
        ...voters,
        '--json',
        ...more,
      )
    const { clusterId, index } = JSON.parse((await restore('n1')).stdout) as { clusterId: string; index: number }
    for (const id of ['n2', 'n3']) await restore(id, '--cluster-id', clusterId)
    await Promise.all(cluster.nodes.map((each) => each.restart()))

    expect(clusterId).not.toBe(oldCluster)
    for (const each of cluster.nodes)
      expect(await getJson(`${each.url}/v1/raft`)).toMatchObject({
        clusterId,
        voters: ['n1', 'n2', 'n3'],
        learners: [],
      })
    await expectKept()
    expect((await request(`${node('n1').url}/v1/kv/after-the-snapshot`)).status).toBe(404)
    const put = await putUntilDone(`${node('n3').url}/v1/kv/after-the-restore`, 1)
    expect(Number(put.body['revision'])).toBeGreaterThan(index)
    expect(index).toBeGreaterThan(lostRevision)
    acknowledged.set('after-the-restore', Number(put.body['revision']))
    for (const each of cluster.nodes) {
      await waitFor(`all to be alive at ${each.id}`, async () => {
        const { members } = await getJson(`${each.url}/v1/members`)
        const seen = (members as { id: string; status: string }[]).map(({ id, status }) => `${id} ${status}`)
        return seen.join() === 'n1 alive,n2 alive,n3 alive'
      })
    }
  })

  it('lets nobody go on with a revision of the old cluster, and repeats no write that it answered', async () => {
    for (const each of cluster.nodes) {
      const watch = await request(`${each.url}/v1/kv?watch=*&from=${lostRevision + 1}`)
      expect([watch.status, errorCode(watch)]).toEqual([410, 'compacted'])
    }
    const [[key, revision] = ['', 0]] = [...acknowledged]
    // The load writes each key under itself as the idempotency key.
    const repeated = await request(`${node('n2').url}/v1/kv/${key}`, {
      method: 'PUT',
      body: JSON.stringify(key),
      headers: { 'idempotency-key': key },
    })
    expect([repeated.status, repeated.body['revision']]).toEqual([200, revision])
  })
})

describe('a data directory that was being made', () => {
  it('is started from by nobody', async () => {
    const dataDir = path.join(dir, 'half')
    await mkdir(path.join(dataDir, 'founding', 'new'), { recursive: true })
    const secretFile = path.join(cluster.dir, 'secret')
    const half = await startProcess(dir, { cluster: { secretFile }, node: { id: 'n9', dataDir } })
    try {
      expect(await half.waitExit()).toBe(1)
      expect(half.said()).toContain('was interrupted')
    } finally {
      await half.end()
    }
  })
})

describe('a lost quorum', () => {
  const force = ['--force-new-cluster', '--yes']
  let oldCluster = ''

  it('is not taken for lost while the node runs, or while somebody leads', async () => {
    const config = configOf(node('n1'))
    const running = await cli('raft', 'recover', '--config', config, ...force)
    expect([running.code, running.stderr]).toEqual([1, expect.stringContaining('runs: stop it')])
    await node('n1').kill('SIGTERM')
    await cluster.leader()
    const led = await cli('raft', 'recover', '--config', config, ...force)
    expect([led.code, led.stderr]).toEqual([1, expect.stringMatching(/n\d answers at http.* and says that n\d leads/)])
    await node('n1').restart()
    await expectKept()
  })

  it('is recovered from one survivor, which keeps all that was acknowledged with it', async () => {
    const put = await putUntilDone(`${node('n2').url}/v1/kv/last-words`, 1)
    acknowledged.set('last-words', Number(put.body['revision']))
    await waitFor('n1 to have it', async () => {
      const found = await request(`${node('n1').url}/v1/kv/last-words?consistency=stale`)
      return found.status === 200
    })
    oldCluster = String((await getJson(`${node('n1').url}/v1/raft`))['clusterId'])
    for (const id of ['n2', 'n3']) await node(id).kill('SIGKILL')
    await node('n1').kill('SIGKILL')
    const config = configOf(node('n1'))
    const shown = JSON.parse((await expectDone('raft', 'recover', '--config', config, '--json')).stdout) as Record<
      string,
      unknown
    >
    expect(shown).toMatchObject({ nodeId: 'n1', cluster: oldCluster, voters: ['n1', 'n2', 'n3'], doubts: [] })
    const recovered = await expectDone('raft', 'recover', '--config', config, ...force, '--json')
    const { clusterId } = JSON.parse(recovered.stdout) as Record<string, unknown>
    expect(clusterId).not.toBe(oldCluster)
    await node('n1').restart()
    expect(await getJson(`${node('n1').url}/v1/raft`)).toMatchObject({ clusterId, voters: ['n1'], leader: 'n1' })
    await expectKept([node('n1')])
  })

  it('is over for an old member only with an empty data directory: it is told so, and disturbs nobody', async () => {
    const config = JSON.parse(await readFile(configOf(node('n2')), 'utf8')) as Record<string, Record<string, unknown>>
    const old = await startProcess(dir, config)
    try {
      await waitFor('both to say so', async () => {
        const said = [old.said(), await readFile(node('n1').logFile, 'utf8')]
        return said.every((text) => text.includes('wrong-cluster') && text.includes('an empty data directory'))
      })
      expect((await request(`${old.url}/readyz`)).status).toBe(503)
    } finally {
      await old.end()
    }
    expect((await putUntilDone(`${node('n1').url}/v1/kv/last-words`, 2)).status).toBe(200)
    acknowledged.delete('last-words')
  })

  it('ends with three nodes again, two of which came with nothing', async () => {
    for (const id of ['n2', 'n3']) await rm(node(id).dataDir, { recursive: true })
    const ready = Promise.all(['n2', 'n3'].map((id) => node(id).restart()))
    for (const id of ['n2', 'n3']) {
      await waitFor(`${id} to be let in`, async () => {
        const { code, stderr } = await cli('raft', 'add-learner', id, '--promote', '--url', node('n1').url)
        return code === 0 || !stderr.includes('change') ? { code, stderr } : null
      })
    }
    await ready
    await waitFor('three voters', async () => {
      const raft = await getJson(`${node('n3').url}/v1/raft`)
      return JSON.stringify([raft['voters'], raft['votersOutgoing']]) === '[["n1","n2","n3"],[]]'
    })
    await expectKept()
    await node('n1').kill('SIGKILL')
    expect((await putUntilDone(`${node('n2').url}/v1/kv/without-n1`, 1)).status).toBe(200)
    await node('n1').restart()
  })
})

/** Every acknowledged write, at its revision, as every node lists it. */
async function expectKept(nodes: readonly LocalNode[] = cluster.nodes): Promise<void> {
  for (const each of nodes) {
    const found = await revisionsAt(each)
    const missing = [...acknowledged].filter(([key, revision]) => found.get(key) !== revision)
    expect(missing, each.id).toEqual([])
  }
}

async function revisionsAt({ url }: LocalNode): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  for (let after: string | null = null; ;) {
    const query: string = after === null ? '' : `&after=${encodeURIComponent(after)}`
    const page = await getJson(`${url}/v1/kv?limit=1000${query}`)
    const { entries, next } = page as { entries: { key: string; revision: number }[]; next?: string }
    for (const { key, revision } of entries) found.set(key, revision)
    if (next === undefined) return found
    after = next
  }
}

function node(id: string): LocalNode {
  return cluster.node(id)
}

function configOf(of: LocalNode): string {
  return path.join(cluster.dir, of.id, 'cluster.yaml')
}

type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

async function cli(...args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [builtCli, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended: Record<'stdout' | 'stderr', string> = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].on('data', (chunk: Buffer) => (ended[name] += chunk.toString()))
  const code = await new Promise<number | null>((resolve) => {
    child.once('close', resolve)
  })
  return { code, ...ended }
}

async function expectDone(...args: readonly string[]): Promise<Ended> {
  const ended = await cli(...args)
  expect(ended.code, ended.stderr).toBe(0)
  return ended
}
