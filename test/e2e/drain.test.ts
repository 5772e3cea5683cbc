import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { builtCli } from '../../scripts/lib/node-process.ts'
import { waitFor } from '../wait.ts'
import { startDrainLoad, callTool, openSession } from './drain-load.ts'
import { errorCode, getJson, request } from './http-json.ts'
import { fixture } from './mcp-client.ts'

// Three real processes; a stdio and an HTTP server with replicas on n1 and n2, so that n3 forwards every call.
const drainTimeoutMs = 2500
const probeIntervalMs = 300
let cluster: LocalCluster
let web: WebServer

beforeAll(async () => {
  web = await startWebServer()
  const placement = { where: { tier: 'back' } }
  cluster = await startLocalCluster({
    nodes: 3,
    servers: {
      slow: { command: process.execPath, args: [fixture('slow')], placement },
      web: { url: web.url, placement },
    },
    labels: { n1: { tier: 'back' }, n2: { tier: 'back' } },
    config: { gossip: { probeIntervalMs, probeTimeoutMs: probeIntervalMs / 2 } },
    env: { QUORATE_NODE_DRAIN_TIMEOUT_MS: String(drainTimeoutMs) },
  })
  await waitFor('replicas on both', async () => {
    const views = await Promise.all(cluster.nodes.map((each) => getJson(`${each.url}/v1/servers`)))
    return views.every((view) =>
      (view['servers'] as { replicas: { status: string }[] }[]).every(
        ({ replicas }) => replicas.filter(({ status }) => status === 'ready').length === 2,
      ),
    )
  })
})

afterAll(async () => {
  await cluster.stop()
  await web.end()
})

describe('a drain under load', () => {
  it('by an operator fails no call, moves leadership, and is taken back', async () => {
    const events = await listen(node('n3'))
    await cli(['raft', 'transfer', '--to', 'n1', '--url', node('n1').url])
    await waitFor('n1 to lead', async () => (await cluster.leader()) === 'n1')
    const load = await startDrainLoad(cluster.nodes)
    const drained = await cli(['node', 'drain', 'n1', '--url', node('n2').url])
    expect(drained).toMatchObject({ code: 0, stderr: expect.stringContaining('n1 is drained') })
    await load.more(6)
    expect(await load.stop()).toEqual([])
    expect(await cluster.leader()).not.toBe('n1')

    expect((await request(`${node('n1').url}/readyz`)).body).toMatchObject({ ready: false })
    const refused = await openSession(node('n1').mcpUrl)
    expect(refused).toMatchObject({ status: 503, code: 'draining' })
    expect(refused.headers.get('retry-after')).toBe('1')
    const put = await request(`${node('n1').url}/v1/kv/k`, { method: 'PUT', body: '1' })
    expect([put.status, errorCode(put)]).toEqual([503, 'draining'])
    for (const each of cluster.nodes) expect(await drainingOf(each, 'n1')).toBe('drained')
    expect(await metric(node('n1'), 'quorate_node_phase{phase="drained"}')).toBe(1)

    const back = await cli(['node', 'drain', 'n1', '--cancel', '--url', node('n1').url])
    expect(back).toMatchObject({ code: 0, stderr: expect.stringContaining('n1 serves again') })
    await waitFor('n1 to be ready', async () => (await request(`${node('n1').url}/readyz`)).status === 200)
    expect((await openSession(node('n1').mcpUrl)).status).toBe(200)
    await waitFor('the events', () => events.kinds('n1').at(-1) === 'serving')
    expect(events.kinds('n1')).toEqual(['draining', 'drained', 'serving'])
    events.stop()
  })

  it.each(['n2', 'the leader'])('by SIGTERM to %s fails no call', async (which) => {
    const stopped = node(which === 'n2' ? 'n2' : await cluster.leader())
    const load = await startDrainLoad(cluster.nodes)
    await stopped.kill('SIGTERM')
    expect(stopped.exitCode).toBe(0)
    expect(readFileSync(stopped.logFile, 'utf8')).toContain(`node ${stopped.id} drains`)
    await load.more(6)
    expect(await load.stop()).toEqual([])
    await stopped.restart()
    await waitFor('its replicas', async () => {
      const { servers } = await getJson(`${node('n3').url}/v1/servers`)
      const replicas = (servers as { replicas: { status: string }[] }[]).flatMap((server) => server.replicas)
      return replicas.filter(({ status }) => status === 'ready').length === 4
    })
  })
})

describe('a call that never ends', () => {
  it('is answered as of unknown outcome at the limit of the drain, where it came in and where it was forwarded', async () => {
    const [near, far] = await Promise.all([openSession(node('n1').mcpUrl), openSession(node('n3').mcpUrl)])
    // The load is on n1 alone: n2's replica drains too, and who came first is chosen in turn.
    const began = performance.now()
    await cli(['node', 'drain', 'n2', '--url', node('n3').url])
    const direct = callTool(node('n1').mcpUrl, near.session, 'web__hang')
    const forwarded = callTool(node('n3').mcpUrl, far.session, 'web__hang')
    await waitFor('both calls', async () => (await metric(node('n1'), 'quorate_in_flight')) >= 2)
    const drainedAt = performance.now()
    expect(await cli(['node', 'drain', 'n1', '--url', node('n3').url])).toMatchObject({ code: 0 })
    const took = performance.now() - drainedAt
    expect(took).toBeGreaterThan(drainTimeoutMs * 0.9)
    expect(took).toBeLessThan(drainTimeoutMs + 2500)
    for (const answer of await Promise.all([direct, forwarded])) {
      expect(answer.error).toMatchObject({ code: -31_003, data: { retry: 'outcome-unknown' } })
    }
    expect(performance.now() - began).toBeLessThan(20_000)
    for (const id of ['n1', 'n2']) await cli(['node', 'drain', id, '--cancel', '--url', node('n3').url])
    await waitFor('both to be ready', async () => {
      const answers = await Promise.all(['n1', 'n2'].map((id) => request(`${node(id).url}/readyz`)))
      return answers.every(({ status }) => status === 200)
    })
  })

  it('does not keep a node from stopping at a second signal', async () => {
    const { session } = await openSession(node('n2').mcpUrl)
    const answer = callTool(node('n2').mcpUrl, session, 'web__hang').catch((error: unknown) => ({ error }))
    await waitFor('the call', async () => {
      const [a, b] = await Promise.all(['n1', 'n2'].map((id) => metric(node(id), 'quorate_in_flight')))
      return (a ?? 0) + (b ?? 0) > 0
    })
    const first = performance.now()
    void node('n2').kill('SIGINT')
    await waitFor('the drain', () => readFileSync(node('n2').logFile, 'utf8').split('node n2 drains').length > 2)
    // Within half a second it would be the first one, passed on.
    await waitFor('half a second', () => performance.now() - first > 600)
    await node('n2').kill('SIGTERM')
    expect(performance.now() - first).toBeLessThan(drainTimeoutMs)
    await answer
    await node('n2').restart()
  })
})

describe('a member that goes', () => {
  it('dead, is taken out by an operator, and stops when it comes back', async () => {
    const alive = await cli(['node', 'remove', 'n3', '--url', node('n1').url])
    expect(alive).toMatchObject({ code: 1, stderr: expect.stringContaining('quorate node leave n3') })
    await node('n3').kill('SIGKILL')
    await waitFor('n3 to be dead', async () => (await memberOf(node('n1'), 'n3'))?.['status'] === 'dead')
    const drain = await cli(['node', 'drain', 'n3', '--url', node('n1').url])
    expect(drain).toMatchObject({ code: 1, stderr: expect.stringContaining('quorate node remove n3') })
    const removed = await cli(['node', 'remove', 'n3', '--url', node('n1').url])
    expect(removed).toMatchObject({ code: 0, stderr: expect.stringContaining('the voters are n1, n2 now') })
    for (const id of ['n1', 'n2']) {
      await waitFor(`${id} to list two`, async () => (await memberOf(node(id), 'n3')) === undefined)
    }
    expect((await cli(['node', 'remove', 'n3', '--url', node('n1').url])).code).toBe(3)
    await node('n3')
      .restart()
      .catch(() => undefined)
    await node('n3').ended()
    expect(node('n3').exitCode).toBe(1)
    const said = readFileSync(node('n3').logFile, 'utf8')
    expect(said).toContain('it was taken out of the cluster')
    expect(said).toContain('quorate raft add-learner n3')
  })

  it('by its own wish, drains, leaves the configuration and ends with 0', async () => {
    const leader = await cluster.leader()
    const other = leader === 'n1' ? 'n2' : 'n1'
    const left = await cli(['node', 'leave', '--url', node(leader).url])
    expect(left).toMatchObject({ code: 0, stderr: expect.stringContaining(`${other} is the only voter now`) })
    await node(leader).ended()
    expect(node(leader).exitCode).toBe(0)
    const last = await cli(['node', 'leave', other, '--url', node(other).url])
    expect(last).toMatchObject({ code: 1, stderr: expect.stringContaining('it is the only voter') })
    expect((await request(`${node(other).url}/v1/kv/alone`, { method: 'PUT', body: '1' })).status).toBe(200)
  })
})

function node(id: string): LocalNode {
  return cluster.node(id)
}

async function memberOf(at: LocalNode, id: string): Promise<Record<string, unknown> | undefined> {
  const { members } = await getJson(`${at.url}/v1/members`)
  return (members as Record<string, unknown>[]).find((each) => each['id'] === id)
}

async function drainingOf(at: LocalNode, id: string): Promise<unknown> {
  return (await memberOf(at, id))?.['draining']
}

async function metric(of: LocalNode, name: string): Promise<number> {
  const text = await (await fetch(`${of.url}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1) ?? Number.NaN)
}

/** What a node tells of drains from now on. */
async function listen(at: LocalNode): Promise<{ kinds: (id: string) => string[]; stop: () => void }> {
  const abort = new AbortController()
  const response = await fetch(`${at.url}/v1/events`, { signal: abort.signal })
  let text = ''
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder()
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk, { stream: true })
  }
  void read().catch(() => undefined)
  await waitFor('the stream', () => text.includes('event: open'))
  return {
    kinds: (id) =>
      [...text.matchAll(/event: (draining|drained|serving)\ndata: (.*)\n/g)]
        .filter(([, , data]) => (JSON.parse(data ?? '{}') as { node?: string }).node === id)
        .map(([, kind]) => kind ?? ''),
    stop: () => abort.abort(),
  }
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

type WebServer = { readonly url: string; end(): Promise<void> }

/** The fixture `http`, which both nodes use. */
async function startWebServer(): Promise<WebServer> {
  const child = spawn(process.execPath, [fixture('http')], { stdio: ['pipe', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const port = await waitFor('the web server', () => /listening (\d+)/.exec(said)?.[1])
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    end: async () => {
      child.stdin.end()
      await waitFor('the web server to end', () => child.exitCode !== null)
    },
  }
}
