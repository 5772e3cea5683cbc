import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { builtCli } from '../../scripts/lib/node-process.ts'
import { waitFor } from '../wait.ts'
import { getJson, request } from './http-json.ts'
import { connectClient, fixture, textOf } from './mcp-client.ts'
import { buildPatched } from './other-build.ts'
import type { SourcePatch } from './other-build.ts'

// Builds of different wire versions in one cluster of real processes, under writes and calls. Version 3 is made here: its
// Raft messages have one more field, and it greets peers by a frame of a new type, which version 2 would count as rejected.
const speaks = (range: string): SourcePatch => ({
  file: 'wire/handshake-codec.ts',
  search: 'export const wireVersions: WireVersions = { min: 2, max: 2 }',
  replace: `export const wireVersions: WireVersions = ${range}`,
})
const greeting = 250
const version3: readonly SourcePatch[] = [
  {
    file: 'wire/raft-codec.ts',
    search: 'pack([message.term, ...fieldsOf(message)])',
    replace: "pack([message.term, ...fieldsOf(message), 'of version 3'])",
  },
  {
    file: 'consensus/peer-links.ts',
    search: '    this.#options.opened(peer, lane)\n',
    replace: `    if (wire >= 3 && lane === 'ctl') this.#transport.send(peer.node, lane, ${greeting}, new Uint8Array([0x90]))
    this.#options.opened(peer, lane)\n`,
  },
  {
    file: 'consensus/peer-links.ts',
    search: '    if (isFormingFrame(type)) {\n',
    replace: `    if (type === ${greeting}) return this.#options.log('info', 'greeted', { peer, wire: 3 })
    if (isFormingFrame(type)) {\n`,
  },
]

// Its clients never look whether a node drains, so each drain takes as long as it may.
const config = { node: { drainTimeoutMs: 3000 } }

let dir: string
let cluster: LocalCluster
let newCli: string
let load: Load

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-upgrade-'))
  newCli = await buildPatched(path.join(dir, 'new'), [speaks('{ min: 2, max: 3 }'), ...version3])
  const echo = { command: process.execPath, args: [fixture('echo')] }
  cluster = await startLocalCluster({ nodes: 3, dir: path.join(dir, 'cluster'), servers: { echo }, config })
  load = new Load(cluster.nodes)
  await load.start()
})

afterAll(async () => {
  await load.stop()
  await cluster.stop()
  await rm(dir, { recursive: true, force: true })
})

it('three nodes are upgraded one by one to a build of another wire version, and one goes back, while all goes on', async () => {
  for (const node of cluster.nodes) await load.without(node, () => node.restart(newCli))
  for (const node of cluster.nodes) expect(await said(node, 'greeted', 'wire'), node.id).toContain(3)
  const [first] = cluster.nodes
  if (first !== undefined) await load.without(first, () => first.restart(builtCli))
  expect(await said(first, 'peer-connected', 'wire')).toEqual(expect.arrayContaining([2]))
  // Nobody was ever sent what it can not read, and what was longer than it knew was read.
  for (const node of cluster.nodes) {
    expect(await said(node, 'frame-rejected', 'why'), node.id).toEqual([])
    expect(await said(node, 'call-frame-malformed', 'why'), node.id).toEqual([])
  }
  expect(await load.flaws()).toEqual([])
})

it('a build that shares no wire version with the others ends with the way out, which they log too, and they go on', async () => {
  const farCli = await buildPatched(path.join(dir, 'far'), [speaks('{ min: 4, max: 4 }')])
  const last = cluster.node('n3')
  await load.without(last, async () => {
    await expect(last.restart(farCli)).rejects.toThrowError('n3 ended (1) before it was ready')
    const wayOut = 'the older one has to go through a release that speaks both'
    expect(await readFile(last.logFile, 'utf8')).toContain(`this node speaks wire version 4 and the other wire version`)
    for (const node of cluster.nodes) {
      const lines = await said(node, 'peer-refused', 'code')
      expect(lines, node.id).toContain('incompatible-version')
      expect(await readFile(node.logFile, 'utf8'), node.id).toContain(wayOut)
    }
    for (const node of cluster.nodes.slice(0, 2)) expect((await request(`${node.url}/readyz`)).status).toBe(200)
    await last.restart(newCli)
  })
  expect(await load.flaws()).toEqual([])
})

/** One field of each log line of that event, of all lives of the node. */
async function said(node: LocalNode | undefined, event: string, field: string): Promise<unknown[]> {
  const lines = (await readFile(node?.logFile ?? '', 'utf8')).split('\n').filter((line) => line.startsWith('{'))
  const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  return parsed.filter((line) => line['event'] === event).map((line) => line[field])
}

/** Writers and callers on every node. What may fail is only what has to do with the node that is away. */
class Load {
  readonly #nodes: readonly LocalNode[]
  readonly #acknowledged = new Map<string, number>()
  readonly #failures: string[] = []
  #calls = 0
  #away: string | null = null
  #running = true
  #loops: Promise<void>[] = []

  constructor(nodes: readonly LocalNode[]) {
    this.#nodes = nodes
  }

  async start(): Promise<void> {
    const clients = await Promise.all(this.#nodes.map((node) => openCaller(node)))
    this.#loops = this.#nodes.flatMap((node, at) => [this.#write(node), this.#call(node, clients[at] ?? null)])
    await this.#goesOn()
  }

  /** The node is stopped and started by `act`: the others must not notice, and the load must go on in between. */
  async without(node: LocalNode, act: () => Promise<void>): Promise<void> {
    this.#away = node.id
    await act()
    await waitFor(`all members at ${node.id}`, async () => (await fetch(`${node.url}/readyz`)).status === 200)
    this.#away = null
    await this.#goesOn()
  }

  /** What went wrong so far: what failed for no reason, and acknowledged writes that a node does not have. */
  async flaws(): Promise<string[]> {
    const acknowledged = [...this.#acknowledged]
    const flaws = [...this.#failures]
    for (const node of this.#nodes) {
      const found = await valuesAt(node)
      for (const [key, value] of acknowledged) if (found.get(key) !== value) flaws.push(`${node.id} lost ${key}`)
    }
    return flaws
  }

  async stop(): Promise<void> {
    this.#running = false
    await Promise.all(this.#loops)
  }

  async #goesOn(): Promise<void> {
    const [writes, calls] = [this.#acknowledged.size, this.#calls]
    await waitFor(
      () => `the load to go on; failures: ${this.#failures.join('; ')}`,
      () => this.#acknowledged.size > writes + 20 && this.#calls > calls + 20,
    )
  }

  async #write(node: LocalNode): Promise<void> {
    let n = 0
    while (this.#running) {
      n += 1
      const key = `load/${node.id}/${n}`
      try {
        const { status } = await request(`${node.url}/v1/kv/${key}`, { method: 'PUT', body: String(n) })
        if (status === 200) this.#acknowledged.set(key, n)
        // An election may be under way: the leader that was stopped handed over, which takes a moment.
        else if (status !== 503 && this.#away === null) this.#failures.push(`write through ${node.id}: ${status}`)
      } catch (error) {
        if (this.#away !== node.id) this.#failures.push(`write through ${node.id}: ${String(error)}`)
      }
      await pause()
    }
  }

  async #call(node: LocalNode, opened: Client | null): Promise<void> {
    let client = opened
    let n = 0
    while (this.#running) {
      n += 1
      const away = this.#away
      try {
        client ??= await openCaller(node)
        const text = `${node.id} ${n}`
        const answer = textOf(await client.callTool({ name: 'echo__echo', arguments: { text } }))
        if (answer !== text) throw new Error(`${text} was answered by ${answer}`)
        this.#calls += 1
      } catch (error) {
        await client?.close().catch(() => undefined)
        client = null
        const isExcused = [away, this.#away].some((id) => id !== null && (id === node.id || wasThere(id, error)))
        if (!isExcused)
          this.#failures.push(`call through ${node.id} while ${this.#away ?? 'nobody'} was away: ${String(error)}`)
      }
      await pause()
    }
    await client?.close()
  }
}

/** Whether the call that failed was in flight on the node: its link broke, or the server that it ran there was stopped. */
function wasThere(id: string, error: unknown): boolean {
  return String(error).includes(`node ${id}`) || String(error).includes('server echo was stopped during tools/call')
}

/** What the node has, by the cluster's word. */
async function valuesAt(node: LocalNode): Promise<Map<string, unknown>> {
  const found = new Map<string, unknown>()
  for (let after = ''; ;) {
    const page = await getJson(`${node.url}/v1/kv?prefix=load/&limit=1000&after=${encodeURIComponent(after)}`)
    const entries = page['entries'] as { key: string; value: unknown }[]
    for (const { key, value } of entries) found.set(key, value)
    after = entries.at(-1)?.key ?? ''
    if (entries.length < 1000) return found
  }
}

async function openCaller(node: LocalNode): Promise<Client> {
  const client = await connectClient(node.mcpUrl)
  await waitFor(`the tool at ${node.id}`, async () =>
    (await client.listTools()).tools.some((tool) => tool.name === 'echo__echo'),
  )
  return client
}

/** A turn for everybody else, as two cores carry three nodes and their load. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5))
}
