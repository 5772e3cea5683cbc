import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { waitFor } from '../wait.ts'
import { getJson, request } from './http-json.ts'
import { connectClient, fixture, textOf } from './mcp-client.ts'
import { startProcess } from './one-process.ts'
import type { OneProcess } from './one-process.ts'
import { WriteLoad } from './write-load.ts'

// Three real processes that formed a cluster by a secret, and others that join it by tokens alone.
let cluster: LocalCluster
let dir: string
const started: OneProcess[] = []
let fourth: OneProcess

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-join-'))
  cluster = await startLocalCluster({ nodes: 3, servers: { echo }, config: { consensus: { maxVoters: 3 } } })
})

afterEach(async () => {
  await Promise.all(started.splice(0).map((each) => each.end('SIGKILL')))
})

afterAll(async () => {
  await fourth?.end('SIGKILL')
  await cluster.stop()
  await rm(dir, { recursive: true, force: true })
})

const echo = { command: process.execPath, args: [fixture('echo')] }

describe('a fourth node', () => {
  it('joins by a token alone while writes and calls run, of which none fails, and serves from its first ready moment', async () => {
    const writes = new WriteLoad(cluster.nodes, 'join')
    const calls = new CallLoad()
    await calls.start(cluster.nodes.map((node) => node.mcpUrl))
    writes.start()
    await waitFor('some load', () => writes.acknowledged.size > 20 && calls.answered > 20)
    fourth = await startJoiner('n4', { mcpServers: { fourth: { command: echo.command, args: echo.args } } })
    await fourth.waitReady()
    const ready = performance.now()
    const here = await connectClient(`${fourth.url}/mcp`)
    expect(textOf(await here.callTool({ name: 'echo__echo', arguments: { text: 'there' } }))).toBe('there')
    await waitFor('its own server', async () => (await toolNames(here)).includes('fourth__echo'))
    expect(textOf(await here.callTool({ name: 'fourth__echo', arguments: { text: 'here' } }))).toBe('here')
    for (const node of cluster.nodes) {
      await waitFor(`its server at ${node.id}`, async () => {
        const client = await connectClient(node.mcpUrl)
        const result = await client.callTool({ name: 'fourth__echo', arguments: { text: 'x' } }).catch(() => null)
        await client.close()
        return result !== null && textOf(result) === 'x'
      })
      const member = await waitFor(`its address at ${node.id}`, () => memberAt(node.url, 'n4'))
      expect(member.addresses.http).toBe(new URL(fourth.url).host)
    }
    const before = { writes: writes.acknowledged.size, calls: calls.answered, ready }
    await waitFor('the load to go on', () => writes.acknowledged.size > before.writes && calls.answered > before.calls)
    await Promise.all([writes.stop(), calls.stop(), here.close()])
    expect(writes.failures).toEqual([])
    expect(calls.failures).toEqual([])
    const put = await request(`${fourth.url}/v1/kv/by-4`, { method: 'PUT', body: '4' })
    expect(put.status, JSON.stringify(put.body)).toBe(200)
    const file = path.join(dir, 'n4', 'cluster.json')
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(fourth.said()).not.toContain((await readFile(path.join(cluster.dir, 'secret'), 'utf8')).trim())
  })

  it('starts again from its data directory alone', async () => {
    await fourth.end()
    fourth = await startProcess(dir, { node: { dataDir: path.join(dir, 'n4') } })
    await fourth.waitReady()
    expect((await getJson(`${fourth.url}/v1/kv/by-4`))['value']).toBe(4)
    expect(await getJson(`${fourth.url}/v1/status`)).toMatchObject({ node: 'n4' })
    await fourth.end()
    const renamed = await startOne({ cluster: { name: 'elsewhere' }, node: { dataDir: path.join(dir, 'n4') } })
    expect(await renamed.waitExit()).toBe(1)
    expect(renamed.said()).toContain('belongs to cluster "local", the configuration says "elsewhere"')
    fourth = await startProcess(dir, { node: { dataDir: path.join(dir, 'n4') } })
    await fourth.waitReady()
  })
})

describe('a join', () => {
  it('is completed when the leader is killed in the middle of it', async () => {
    const leader = cluster.node(await cluster.leader())
    const others = cluster.nodes.filter((node) => node !== leader)
    const tokens = await Promise.all([makeToken(leader), makeToken(leader)])
    const [atLeader, atOthers] = await Promise.all([peersOf([leader]), peersOf(others)])
    // One asks the leader, which answers no more, the other a node that needs it.
    await leader.kill('SIGSTOP')
    const asks = [[...atLeader, ...atOthers], atOthers]
    const joiners = await Promise.all(
      tokens.map(({ token }, at) => startJoiner(`n${5 + at}`, {}, { token, join: asks[at] ?? [] })),
    )
    for (const joiner of joiners) await waitFor('the joins to begin', () => joiner.said().includes('"joining"'))
    await leader.kill('SIGKILL')
    for (const [at, joiner] of joiners.entries()) {
      await joiner.waitReady()
      for (const node of others) await waitFor(`n${5 + at} at ${node.id}`, () => memberAt(node.url, `n${5 + at}`))
    }
    expect(joiners[0]?.said()).toContain('join-waits')
    await leader.restart()
  })

  it('is refused with an expired, a used-up or a revoked token, on both sides with what to do', async () => {
    const [node] = cluster.nodes
    if (node === undefined) throw new Error('no node')
    const used = await makeToken(node)
    const first = await startJoiner('n10', {}, { token: used.token })
    await first.waitReady()
    await first.end()
    const revoked = await makeToken(node)
    await request(`${node.url}/v1/tokens/${revoked.id}`, { method: 'DELETE' })
    const expired = await makeToken(node, { expiresInMs: 1000 })
    const expiresAt = performance.now() + 1500
    await waitFor('the token to expire', () => performance.now() > expiresAt)
    for (const [id, { token }, why] of [
      ['n7', used, 'has let in as many nodes as it may'],
      ['n8', revoked, 'was revoked'],
      ['n9', expired, 'has expired'],
    ] as const) {
      const joiner = await startJoiner(id, {}, { token })
      expect(await joiner.waitExit(), joiner.said()).toBe(6)
      expect(joiner.said()).toContain(`${why}: make one with: quorate token create`)
      expect(joiner.said()).not.toContain(token)
      await waitFor('the other side to say so', async () => (await refusals()).some((line) => line.includes(`"${id}"`)))
      expect((await refusals()).find((line) => line.includes(`"${id}"`))).toContain(why)
    }
  })

  it('is refused with the token of another cluster, with an id that is taken, and with another name for the cluster', async () => {
    const other = await startOne({
      cluster: { secret: 'another secret, of another cluster' },
      node: { id: 'o1', dataDir: path.join(dir, 'o1') },
    })
    await other.waitReady()
    const foreign = await startJoiner('n11', {}, { token: (await makeToken(other)).token })
    expect(await foreign.waitExit(), foreign.said()).toBe(1)
    expect(foreign.said()).toContain('join by an address of the token')
    const twin = await startJoiner('n1', { node: { id: 'n1', dataDir: path.join(dir, 'twin') } })
    expect(await twin.waitExit(), twin.said()).toBe(1)
    expect(twin.said()).toContain('has the id n1 already: give the new one another node.id')
    const named = await startJoiner('n12', { cluster: { name: 'elsewhere' } })
    expect(await named.waitExit(), named.said()).toBe(1)
    expect(named.said()).toContain('the cluster is called "local"')
  })

  it('ends at once when it is stopped while it waits for somebody to answer', async () => {
    const joiner = await startJoiner('n13', {}, { join: ['127.0.0.1:1'] })
    await waitFor('it to say what it waits for', () => joiner.said().includes('join-waits'))
    const unready = await request(`${joiner.url}/readyz`)
    expect([unready.status, JSON.stringify(unready.body)]).toEqual([503, expect.stringContaining('127.0.0.1:1')])
    await joiner.end()
    expect(joiner.exitCode()).toBe(0)
  })
})

type Sections = Readonly<Record<string, Readonly<Record<string, unknown>>>>
type Given = { readonly token?: string; readonly join?: readonly string[] }

async function startOne(sections: Sections): Promise<OneProcess> {
  const one = await startProcess(dir, sections)
  started.push(one)
  return one
}

async function startJoiner(id: string, sections: Sections, given: Given = {}): Promise<OneProcess> {
  const tokenFile = path.join(dir, `${id}-token`)
  const [asked] = cluster.nodes
  if (asked === undefined) throw new Error('no node')
  await writeFile(tokenFile, `${given.token ?? (await makeToken(asked)).token}\n`, { mode: 0o600 })
  const join = given.join ?? (await peersOf([asked]))
  const config: Sections = {
    ...sections,
    cluster: { join, tokenFile, ...sections['cluster'] },
    node: { id, dataDir: path.join(dir, id), ...sections['node'] },
  }
  if (id !== 'n4') return startOne(config)
  return startProcess(dir, config)
}

async function makeToken(at: { url: string }, body: object = {}): Promise<{ id: string; token: string }> {
  const made = await request(`${at.url}/v1/tokens`, { method: 'POST', body: JSON.stringify(body) })
  expect(made.status, JSON.stringify(made.body)).toBe(200)
  return made.body as { id: string; token: string }
}

type MemberView = { readonly id: string; readonly addresses: { readonly http: string; readonly peer: string } }

async function memberAt(url: string, id: string): Promise<MemberView | undefined> {
  const { members } = await getJson(`${url}/v1/members`)
  return (members as MemberView[]).find((member) => member.id === id && member.addresses.peer !== '')
}

async function peersOf(nodes: readonly LocalNode[]): Promise<string[]> {
  const views = await Promise.all(nodes.map((node) => memberAt(node.url, node.id)))
  return views.flatMap((view) => (view === undefined ? [] : [view.addresses.peer]))
}

/** What the nodes of the cluster have logged of joins that they refused. */
async function refusals(): Promise<string[]> {
  const texts = await Promise.all(cluster.nodes.map((node) => readFile(node.logFile, 'utf8')))
  return texts.flatMap((text) => text.split('\n').filter((line) => line.includes('join-refused')))
}

async function toolNames(client: Client): Promise<string[]> {
  return (await client.listTools()).tools.map((tool) => tool.name)
}

/** One client at each node that calls without a pause. */
class CallLoad {
  answered = 0
  readonly failures: string[] = []
  #isRunning = true
  #callers: Promise<void>[] = []

  async start(urls: readonly string[]): Promise<void> {
    const clients = await Promise.all(urls.map(connectClient))
    this.#callers = clients.map((client, at) => this.#call(client, at))
  }

  async #call(client: Client, at: number): Promise<void> {
    let n = 0
    while (this.#isRunning) {
      n += 1
      const text = `${at}-${n}`
      try {
        const got = textOf(await client.callTool({ name: 'echo__echo', arguments: { text } }))
        if (got !== text) this.failures.push(`${text}: ${got}`)
        this.answered += 1
      } catch (error) {
        this.failures.push(`${text}: ${String(error)}`)
      }
    }
    await client.close()
  }

  async stop(): Promise<void> {
    this.#isRunning = false
    await Promise.all(this.#callers)
  }
}
