import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freePorts } from '../../scripts/lib/free-ports.ts'
import { waitFor } from '../wait.ts'
import { getJson, putUntilDone, request } from './http-json.ts'
import { fixture } from './mcp-client.ts'
import { startProcess } from './one-process.ts'
import type { OneProcess } from './one-process.ts'

// Three real processes, each with a server of its own, that come back under other addresses with the data they had. The
// `cluster.join` of all of them names the first addresses for ever.
type Id = 'n1' | 'n2' | 'n3'
type Addresses = Readonly<Record<'http' | 'peer' | 'raft', string>>
const ids: readonly Id[] = ['n1', 'n2', 'n3']
const processes = new Map<Id, OneProcess>()
const addresses = new Map<Id, Addresses>()
let dir: string
let join: readonly string[]

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-moved-'))
  for (const id of ids) addresses.set(id, await newAddresses())
  join = ids.map((id) => addressesOf(id).peer)
  await Promise.all(ids.map(start))
  await reachedByAll()
})

afterAll(async () => {
  await Promise.all([...processes.values()].map((each) => each.end('SIGKILL')))
  await rm(dir, { recursive: true, force: true })
})

describe('a node that comes back under other addresses', () => {
  it('is reached by all again, when it followed', async () => {
    const leader = await leaderNow()
    expect(await move([ids.find((id) => id !== leader) ?? 'n1'])).toEqual(ids)
  })

  it('is reached by all again, when it led and was killed', async () => {
    expect(await move([await leaderNow()], 'SIGKILL')).toEqual(ids)
  })

  it('is reached by all again, whoever else has moved before', async () => {
    for (const id of ids) expect(await move([id])).toEqual(ids)
    for (const id of ids) expect(join).not.toContain(addressesOf(id).peer)
  })

  it('finds the others by what it knows of them, when all that is configured is out of date', async () => {
    await Promise.all(ids.map((id) => processOf(id).end('SIGKILL')))
    await Promise.all(ids.map(start))
    expect(await reachedByAll()).toEqual(ids)
  })

  it('is found again together with a second one that came back at the same time', async () => {
    expect(await move(['n1', 'n2'], 'SIGKILL')).toEqual(ids)
  })

  it('is told where the others are that moved while it was down', async () => {
    await processOf('n3').end()
    for (const id of ['n1', 'n2'] as const) {
      await processOf(id).end()
      addresses.set(id, await newAddresses())
      await start(id)
    }
    await start('n3')
    expect(await reachedByAll()).toEqual(ids)
  })

  it('is not taken for another one whose addresses it has taken', async () => {
    await Promise.all((['n1', 'n2'] as const).map((id) => processOf(id).end()))
    const [first, second] = [addressesOf('n1'), addressesOf('n2')]
    addresses.set('n1', second).set('n2', first)
    await Promise.all((['n1', 'n2'] as const).map(start))
    expect(await reachedByAll()).toEqual(ids)
  })
})

/** They stop, come back elsewhere, and are reached by all. */
async function move(moved: readonly Id[], signal: NodeJS.Signals = 'SIGTERM'): Promise<readonly Id[]> {
  await Promise.all(moved.map((id) => processOf(id).end(signal)))
  for (const id of moved) addresses.set(id, await newAddresses())
  await Promise.all(moved.map(start))
  return reachedByAll()
}

async function newAddresses(): Promise<Addresses> {
  const [http, peer, raft] = await freePorts(3)
  return { http: `127.0.0.1:${http}`, peer: `127.0.0.1:${peer}`, raft: `127.0.0.1:${raft}` }
}

async function start(id: Id): Promise<void> {
  const server = { command: process.execPath, args: [fixture('echo')] }
  const started = await startProcess(dir, {
    cluster: { secret: 'a secret of the end-to-end tests, long enough', join, bootstrapExpect: 3 },
    node: { id, dataDir: path.join(dir, id) },
    listen: addressesOf(id),
    gossip: { probeIntervalMs: 400, probeTimeoutMs: 200 },
    mcpServers: { [`on-${id}`]: server },
  })
  processes.set(id, started)
  // One of two that are down can not be ready alone.
  await waitFor(
    `${id} to listen`,
    async () => (await fetch(`${started.url}/healthz`).catch(() => null))?.status === 200,
  )
}

/** Those whom each node has where they are now, by gossip and by Raft, whose server it calls, and that themselves write. */
async function reachedByAll(): Promise<readonly Id[]> {
  const reached: Id[] = []
  for (const at of ids) {
    const node = processOf(at)
    const { url } = node
    await node.waitReady()
    for (const of of ids) {
      const text = `${at} calls ${of}`
      let seen: Member | undefined
      const where = (): string =>
        `${of} at ${JSON.stringify(addressesOf(of))}, seen by ${at} as ${JSON.stringify(seen)}`
      await waitFor(where, async () => isFound((seen = await member(url, of)), of), reachedMs)
      await waitFor(
        () => text,
        async () => {
          const body = JSON.stringify({ arguments: { text } })
          const answer = await request(`${url}/v1/tools/on-${of}__echo/call`, { method: 'POST', body })
          return answer.status === 200 && JSON.stringify(answer.body).includes(text)
        },
        reachedMs,
      )
    }
    if ((await putUntilDone(`${url}/v1/kv/moved/${at}`, at)).status === 200) reached.push(at)
  }
  return reached
}

type Member = Readonly<Record<'id' | 'status' | 'raft', string>> & {
  readonly addresses: Addresses
  /** Said of who is silent in Raft, too, by whoever leads. */
  readonly disagrees: string | null
}

async function member(url: string, id: Id): Promise<Member | undefined> {
  const { members } = await getJson(`${url}/v1/members`)
  return (members as Member[]).find((each) => each.id === id)
}

function isFound(seen: Member | undefined, id: Id): boolean {
  if (seen === undefined || seen.status !== 'alive' || seen.disagrees !== null) return false
  const { http, peer, raft } = addressesOf(id)
  return seen.addresses.http === http && seen.addresses.peer === peer && seen.addresses.raft === raft
}

async function leaderNow(): Promise<Id> {
  return waitFor('a leader that all know', async () => {
    const known = await Promise.all(ids.map(async (id) => (await getJson(`${processOf(id).url}/v1/raft`))['leader']))
    return new Set(known).size === 1 ? ids.find((id) => id === known[0]) : null
  })
}

const reachedMs = 15_000

function processOf(id: Id): OneProcess {
  const found = processes.get(id)
  if (found === undefined) throw new Error(`${id} does not run`)
  return found
}

function addressesOf(id: Id): Addresses {
  const found = addresses.get(id)
  if (found === undefined) throw new Error(`${id} has no addresses`)
  return found
}
