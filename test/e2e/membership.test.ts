import { spawn } from 'node:child_process'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { builtCli } from '../../scripts/lib/node-process.ts'
import { waitFor } from '../wait.ts'
import { errorCode, getJson, putUntilDone, request } from './http-json.ts'
import type { Answer } from './http-json.ts'
import { startProcess } from './one-process.ts'
import type { OneProcess } from './one-process.ts'

// Three real processes that snapshot every few entries, and a fourth that comes and goes.
const snapshotEntries = 40
let cluster: LocalCluster
let fourth: OneProcess | undefined

beforeAll(async () => {
  cluster = await startLocalCluster({ nodes: 3, config: { consensus: { snapshotEntries } } })
})

afterAll(async () => {
  await fourth?.end()
  await cluster.stop()
})

describe('a fourth node', () => {
  it('waits for an operator, follows as a learner, becomes a voter by itself and serves', async () => {
    await write('before/4', 4)
    fourth = await startFourth()
    const waiting = await waitFor('the fourth to say what it waits for', async () => {
      const answer = await request(`${fourth?.url}/readyz`).catch(() => null)
      return JSON.stringify(answer?.body ?? null).includes('quorate raft add-learner n4') ? answer : null
    })
    expect(waiting.status).toBe(503)

    // Asked of a node that the newcomer does not know: it joins by n1 alone.
    const added = await post(node('n3'), 'learners', { id: 'n4', promote: true })
    expect(added.status, JSON.stringify(added.body)).toBe(200)
    await fourth.waitReady()
    for (const url of [...cluster.nodes.map((each) => each.url), fourth.url]) {
      await waitFor(`four voters at ${url}`, async () => {
        const raft = await getJson(`${url}/v1/raft`)
        return JSON.stringify([raft['voters'], raft['learners'], raft['votersOutgoing']]) === fourVoters
      })
    }
    expect((await request(`${fourth.url}/v1/kv/before/4`)).body['value']).toBe(4)
    const put = await putUntilDone(`${fourth.url}/v1/kv/from-4`, 'hello')
    expect(put.status).toBe(200)
    expect((await request(`${node('n2').url}/v1/kv/from-4`)).body['value']).toBe('hello')
    expect(await memberIds(node('n2').url)).toEqual(['n1', 'n2', 'n3', 'n4'])
    const again = await post(node('n1'), 'learners', { id: 'n4' })
    expect([again.status, errorCode(again)]).toEqual([409, 'change-refused'])
  })

  it('can lead, and hands over again by the command line, whichever node is asked', async () => {
    const handed = await cli(['raft', 'transfer', '--to', 'n4', '--url', node('n1').url])
    expect(handed).toMatchObject({ code: 0 })
    await waitFor('n4 to lead', async () => (await getJson(`${node('n2').url}/v1/raft`))['leader'] === 'n4')
    const elsewhere = await post(node('n2'), 'transfer', {})
    expect([elsewhere.status, errorCode(elsewhere)]).toEqual([421, 'not-leader'])
    expect(elsewhere.body['error']).toMatchObject({
      details: { leader: 'n4', address: new URL(fourth?.url ?? '').host },
    })
    const started = performance.now()
    const back = await request(`${fourth?.url}/v1/raft/transfer`, { method: 'POST', body: '{"to":"n2"}' })
    const tookMs = performance.now() - started
    expect(back.body).toEqual({ leader: 'n2' })
    // No election timeout (1 s) was waited out; the bound is loose for slow machines.
    expect(tookMs).toBeLessThan(600)
    expect((await putUntilDone(`${node('n1').url}/v1/kv/after-transfer`, 1)).status).toBe(200)
  })

  it('is taken out with all that it published, and disturbs nobody', async () => {
    const removed = await waitFor('the removal', async () => {
      const answer = await request(`${node('n1').url}/v1/raft/members/n4`, { method: 'DELETE' })
      return answer.status === 409 && errorCode(answer) === 'change-under-way' ? null : answer
    })
    expect(removed.status, JSON.stringify(removed.body)).toBe(200)
    for (const each of cluster.nodes) {
      await waitFor(`three voters at ${each.id}`, async () => {
        const raft = await getJson(`${each.url}/v1/raft`)
        return JSON.stringify([raft['voters'], raft['votersOutgoing']]) === '[["n1","n2","n3"],[]]'
      })
      await waitFor(`three members at ${each.id}`, async () => (await memberIds(each.url)).join() === 'n1,n2,n3')
    }
    const before = await getJson(`${node('n1').url}/v1/raft`)
    expect(await fourth?.waitExit()).toBe(1)
    expect(fourth?.said()).toContain('it was taken out of the cluster')
    for (let n = 0; n < 20; n += 1) await write(`quiet/${n}`, n)
    const after = await getJson(`${node('n1').url}/v1/raft`)
    expect([after['term'], after['leader']]).toEqual([before['term'], before['leader']])
    fourth = undefined
    const unknown = await request(`${node('n1').url}/v1/raft/members/n4`, { method: 'DELETE' })
    expect([unknown.status, errorCode(unknown)]).toEqual([409, 'change-refused'])
  })
})

describe('a cluster with snapshots', () => {
  it('lets the log before them go, and is there again with everything after all nodes were killed', async () => {
    for (let n = 0; n < 3 * snapshotEntries; n += 1) await write(`snap/${n}`, n)
    for (const each of cluster.nodes) {
      const raft = await waitFor(`a snapshot at ${each.id}`, async () => {
        const view = await getJson(`${each.url}/v1/raft`)
        return Number(view['snapshotIndex']) > snapshotEntries ? view : null
      })
      expect(Number(raft['snapshotIndex'])).toBeLessThanOrEqual(Number(raft['appliedIndex']))
    }
    await Promise.all(cluster.nodes.map((each) => each.kill('SIGKILL')))
    await Promise.all(cluster.nodes.map((each) => each.restart()))
    for (const each of cluster.nodes) {
      expect(await metric(each, 'quorate_snapshots_total{direction="restored"}')).toBeGreaterThan(0)
      const listed = await waitFor(`the keys at ${each.id}`, async () => {
        const answer = await request(`${each.url}/v1/kv?prefix=snap/&limit=1000`)
        return answer.status === 200 ? answer.body : null
      })
      expect(listed['entries']).toHaveLength(3 * snapshotEntries)
      expect((await request(`${each.url}/v1/kv/from-4`)).body['value']).toBe('hello')
    }
  })

  it('brings a node back that was away for longer than the log reaches', async () => {
    const leader = await cluster.leader()
    const away = cluster.nodes.find((each) => each.id !== leader)
    if (away === undefined) throw new Error('there is no follower')
    await away.kill('SIGKILL')
    const value = 'x'.repeat(2000)
    for (let n = 0; n < 300; n += 20) {
      await Promise.all(Array.from({ length: 20 }, (_, at) => write(`away/${n + at}`, value, away)))
    }
    await away.restart()
    const listed = await getJson(`${away.url}/v1/kv?prefix=away/&limit=1000`)
    expect(listed['entries']).toHaveLength(300)
    const [mine, theirs] = await Promise.all(
      [away.url, node(leader).url].map((url) => getJson(`${url}/v1/kv?limit=1000`)),
    )
    expect(mine?.['entries']).toEqual(theirs?.['entries'])
  })
})

describe('while the leader is killed', () => {
  it('a write that is retried under its key is applied once, and answered alike by every node', async () => {
    const leader = node(await cluster.leader())
    const living = cluster.nodes.filter((each) => each !== leader)
    const from = Number((await getJson(`${living[0]?.url}/v1/kv?limit=1`))['revision']) + 1
    const revisions = new Map<string, number>()
    let begun = 0
    const retried = async (name: string): Promise<void> => {
      for (let turn = 0; ; turn += 1) {
        begun += 1
        const answer = await putOnce(living[turn % living.length], name).catch(() => null)
        if (answer?.status !== 200) continue
        revisions.set(name, Number(answer.body['revision']))
        return
      }
    }
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let n = 0; n < 15; n += 1) await retried(`once/${writer}-${n}`)
    })
    await waitFor('writes under way', () => begun > 20)
    await leader.kill('SIGKILL')
    await Promise.all(writers)
    await leader.restart()
    for (const [name, revision] of revisions) {
      for (const each of cluster.nodes) {
        const answer = await waitFor(`${name} at ${each.id}`, async () => {
          const found = await putOnce(each, name)
          return found.status === 503 ? null : found
        })
        expect([name, answer.status, answer.body['revision']]).toEqual([name, 200, revision])
      }
    }
    const told = await watched(node(living[0]?.id ?? ''), { pattern: 'once/*', from, count: revisions.size })
    expect(new Map(told.map(({ key, revision }) => [key, revision]))).toEqual(revisions)
    expect(told).toHaveLength(revisions.size)
    const reused = await request(`${living[0]?.url}/v1/kv/once/0-0`, {
      method: 'PUT',
      body: '"another value"',
      headers: { 'idempotency-key': 'once/0-0' },
    })
    expect([reused.status, errorCode(reused)]).toEqual([400, 'bad-request'])
  })

  it('a watch misses nothing and repeats nothing, on the killed node and on the others', async () => {
    const leader = node(await cluster.leader())
    const watches = cluster.nodes.map((each) => new WatchProcess(['kv', 'watch', 'watched/*', '--url', each.url]))
    try {
      await putUntilDone(`${leader.url}/v1/kv/watched/first`, 0)
      await waitFor('all to watch', async () => {
        await putUntilDone(`${leader.url}/v1/kv/watched/first`, 0)
        return watches.every((watch) => watch.lines().length > 0)
      })
      const living = cluster.nodes.filter((each) => each !== leader)
      const acknowledged = new Map<string, number>()
      for (let n = 0; n < 60; n += 1) {
        if (n === 20) await leader.kill('SIGKILL')
        const key = `watched/${n}`
        const answer = await putUntilDone(`${living[n % 2]?.url}/v1/kv/${key}`, n)
        if (answer.status === 200) acknowledged.set(key, Number(answer.body['revision']))
      }
      expect(acknowledged.size).toBeGreaterThan(50)
      await leader.restart()
      const last = await putUntilDone(`${leader.url}/v1/kv/watched/last`, 'end')
      for (const watch of watches) {
        await waitFor('the last change', () => watch.lines().some(({ key }) => key === 'watched/last'), 20_000)
        const told = watch.lines()
        const revisions = told.map(({ revision }) => revision)
        expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b))
        expect(revisions.at(-1)).toBe(last.body['revision'])
        const seen = new Map(told.map(({ key, revision }) => [key, revision]))
        expect([...acknowledged].filter(([key, revision]) => seen.get(key) !== revision)).toEqual([])
      }
    } finally {
      await Promise.all(watches.map((watch) => watch.end()))
    }
  })
})

const fourVoters = '[["n1","n2","n3","n4"],[],[]]'

function node(id: string): LocalNode {
  return cluster.node(id)
}

async function write(key: string, value: unknown, but?: LocalNode): Promise<void> {
  const via = cluster.nodes.find((each) => each !== but)
  const answer = await putUntilDone(`${via?.url}/v1/kv/${key}`, value)
  expect(answer.status, JSON.stringify(answer.body)).toBe(200)
}

function putOnce(via: LocalNode | undefined, key: string): Promise<Answer> {
  return request(`${via?.url}/v1/kv/${key}`, {
    method: 'PUT',
    body: JSON.stringify(key),
    headers: { 'idempotency-key': key, 'x-request-timeout-ms': '1000' },
  })
}

function post(via: LocalNode, what: string, body: object): Promise<Answer> {
  return request(`${via.url}/v1/raft/${what}`, { method: 'POST', body: JSON.stringify(body) })
}

async function memberIds(url: string): Promise<string[]> {
  const { members } = await getJson(`${url}/v1/members`)
  return (members as { id: string; raft: string }[]).filter(({ raft }) => raft !== 'none').map(({ id }) => id)
}

async function metric(of: LocalNode, name: string): Promise<number> {
  const text = await (await fetch(`${of.url}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1) ?? Number.NaN)
}

/** Joins by the peer address of n1 alone. */
async function startFourth(): Promise<OneProcess> {
  const { members } = await getJson(`${node('n1').url}/v1/members`)
  const [first] = members as { addresses: { peer: string } }[]
  return startProcess(cluster.dir, {
    cluster: { name: 'local', join: [first?.addresses.peer], secretFile: path.join(cluster.dir, 'secret') },
    node: { id: 'n4', dataDir: path.join(cluster.dir, 'n4', 'data') },
    consensus: { snapshotEntries },
  })
}

type Told = { readonly key: string; readonly revision: number }

/** The changes of a watch over HTTP, as many as are asked for, and those that come at once behind them. */
async function watched(via: LocalNode, what: { pattern: string; from: number; count: number }): Promise<Told[]> {
  const { pattern, from, count } = what
  const query = new URLSearchParams({ watch: pattern, from: String(from) })
  const abort = new AbortController()
  const response = await fetch(`${via.url}/v1/kv?${query.toString()}`, { signal: abort.signal })
  expect(response.status).toBe(200)
  let text = ''
  const decoder = new TextDecoder()
  const told = (): Told[] =>
    [...text.matchAll(/event: put\ndata: (.*)\n\n/g)].map((match) => JSON.parse(match[1] ?? '') as Told)
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    if (told().length >= count) break
  }
  abort.abort()
  return told()
}

async function cli(args: readonly string[]): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [builtCli, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const code = await new Promise<number | null>((resolve) => {
    child.once('close', resolve)
  })
  return { code, stderr }
}

/** `quorate kv watch` as a process: what it has printed so far. */
class WatchProcess {
  readonly #child
  readonly #closed: Promise<void>
  #text = ''

  constructor(args: readonly string[]) {
    const child = spawn(process.execPath, [builtCli, ...args], { stdio: ['ignore', 'pipe', 'ignore'] })
    child.stdout.on('data', (chunk: Buffer) => (this.#text += chunk.toString()))
    this.#child = child
    this.#closed = new Promise((resolve) => {
      child.once('close', () => resolve())
    })
  }

  lines(): readonly Told[] {
    const whole = this.#text.split('\n').slice(0, -1)
    return whole.map((line) => {
      const [revision, , key = ''] = line.split('\t')
      return { revision: Number(revision), key }
    })
  }

  async end(): Promise<void> {
    this.#child.kill('SIGINT')
    await this.#closed
  }
}
