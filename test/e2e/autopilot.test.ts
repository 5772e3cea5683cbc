import { spawn } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { builtCli } from '../../scripts/lib/node-process.ts'
import { waitFor } from '../wait.ts'
import { getJson, request } from './http-json.ts'
import { WriteLoad } from './write-load.ts'

// Three real processes that form a cluster, and three that join it: who votes is the leader's to decide, nobody is asked. A
// voter may be dead for three seconds, from when gossip says so.
const deadVoterMs = 3000
const probeIntervalMs = 400
const secondsLong = 30_000
let cluster: LocalCluster

beforeAll(async () => {
  const autopilot = { deadVoterMs, stabilizationMs: 500 }
  const gossip = { probeIntervalMs, probeTimeoutMs: probeIntervalMs / 2 }
  cluster = await startLocalCluster({ nodes: 3, joiners: 3, config: { autopilot, gossip } })
})

afterAll(async () => {
  await cluster.stop()
})

describe('of three nodes', () => {
  it('a dead one is not removed, and is there again when it comes back', async () => {
    const dead = await anyFollower()
    await dead.kill('SIGKILL')
    const left = `${dead.id} is dead, and without it too few voters would be left (2)`
    await waitFor('the reason', async () => (await autopilot()).holds.some((why) => why.startsWith(left)), secondsLong)
    expect(await autopilot()).toMatchObject({ voterTarget: 3, failureTolerance: 0, next: null })
    await dead.restart()
    await waitFor('it to count', async () => (await autopilot()).failureTolerance === 1, secondsLong)
    expect(await members()).toEqual({ voters: 'n1 n2 n3', learners: '' })
  })
})

describe('a fourth node', () => {
  it('stays a learner while there are three voters that live, and one can read why', async () => {
    await joiner(0).join(await newToken())
    const enough = 'learners stay learners: there are enough voters'
    await waitFor('the reason', async () => (await autopilot()).holds.includes(enough), secondsLong)
    expect(await members()).toEqual({ voters: 'n1 n2 n3', learners: 'n4' })
    const leader = await leaderNode()
    const shown = await status(leader)
    expect(shown).toContain('autopilot\tvoter target 3; 1 more may fail\n')
    expect(shown).toContain(`autopilot\t${enough}\n`)
    expect(await status(joiner(0))).toContain(`autopilot\t${leader.id} leads and decides: ask it with --url\n`)
  })

  it('takes the place of a voter that was killed, once that is dead for long enough, while writes go on', async () => {
    const dead = await anyFollower()
    const leader = await leaderNode()
    const living = cluster.nodes.filter((node) => node !== dead)
    const events = await Events.at(leader)
    const writes = new WriteLoad(living, 'replace')
    writes.start()
    await dead.kill('SIGKILL')
    const voters = [...living.map(({ id }) => id), 'n4'].join(' ')
    await waitFor('the replacement', async () => (await members()).voters === voters, secondsLong)
    await waitFor('the event', () => events.of('removed').length > 0)
    await writes.stop()
    events.stop()
    expect(writes.failures).toEqual([])
    expect(writes.acknowledged.size).toBeGreaterThan(50)
    // No election: who leads has led all the time. The bound is loose for slow machines.
    expect(writes.longestGapMs).toBeLessThan(2000)
    const [promoted, removed, died] = [events.of('promoted')[0], events.of('removed')[0], events.of('dead')[0]]
    expect(promoted).toMatchObject({ node: 'n4', reason: `autopilot: it takes the place of ${dead.id}` })
    expect(removed).toMatchObject({ node: dead.id, reason: 'autopilot: the voter has been dead for 3 s' })
    expect(promoted?.time).toBeLessThanOrEqual(removed?.time ?? 0)
    expect((promoted?.time ?? 0) - (died?.time ?? 0)).toBeGreaterThanOrEqual(deadVoterMs)
    const metrics = await (await fetch(`${leader.url}/metrics`)).text()
    expect(metrics).toContain('\nquorate_autopilot_changes_total{change="remove"} 1\n')
    const gone = await waitFor('the directory without it', async () => {
      const { members: listed } = await getJson(`${leader.url}/v1/members`)
      const one = (listed as { id: string; raft: string }[]).find(({ id }) => id === dead.id)
      return one === undefined || one.raft === 'none'
    })
    expect(gone).toBe(true)
  })
})

describe('two more nodes', () => {
  it('become voters together: four vote for a moment only', async () => {
    const three = (await members()).voters
    await joiner(1).join(await newToken())
    const enough = 'learners stay learners: there are enough voters'
    await waitFor('the reason', async () => (await autopilot()).holds.includes(enough), secondsLong)
    expect(await members()).toEqual({ voters: three, learners: 'n5' })
    const events = await Events.at(await leaderNode())
    await joiner(2).join(await newToken())
    await waitFor('five voters', async () => (await members()).voters === `${three} n5 n6`, secondsLong)
    await waitFor('the events', () => events.of('promoted').length === 2)
    events.stop()
    const [first, second] = events.of('promoted')
    expect((second?.time ?? 0) - (first?.time ?? 0)).toBeLessThan(2000)
    expect(await autopilot()).toMatchObject({ voterTarget: 5, failureTolerance: 2, next: null, holds: [] })
    expect((await getJson(`${(await leaderNode()).url}/v1/status`))['warnings']).toEqual([])
  })
})

function joiner(at: number): LocalNode {
  const node = cluster.joiners[at]
  if (node === undefined) throw new Error(`there is no joiner ${at}`)
  return node
}

function running(): readonly LocalNode[] {
  return [...cluster.nodes, ...cluster.joiners].filter(({ isRunning }) => isRunning)
}

async function leaderNode(): Promise<LocalNode> {
  return waitFor('the leader', async () => {
    for (const node of running()) {
      const answer = await request(`${node.url}/v1/raft`).catch(() => null)
      if (answer?.body['role'] === 'leader') return node
    }
    return null
  })
}

async function anyFollower(): Promise<LocalNode> {
  const leader = await leaderNode()
  const follower = cluster.nodes.find((node) => node.isRunning && node !== leader)
  if (follower === undefined) throw new Error('there is no follower')
  return follower
}

type Autopilot = {
  readonly voterTarget: number
  readonly failureTolerance: number
  readonly next: object | null
  readonly holds: readonly string[]
}

/** What the leader says of it. */
async function autopilot(): Promise<Autopilot> {
  return waitFor('what autopilot says', async () => {
    const shown = await getJson(`${(await leaderNode()).url}/v1/status`)
    return shown['autopilot'] as Autopilot | null
  })
}

/** Who counts, once that is committed. */
async function members(): Promise<{ voters: string; learners: string }> {
  return waitFor('a configuration that is settled', async () => {
    const raft = await getJson(`${(await leaderNode()).url}/v1/raft`)
    if (raft['configurationCommitted'] !== true || (raft['votersOutgoing'] as string[]).length > 0) return null
    return { voters: (raft['voters'] as string[]).join(' '), learners: (raft['learners'] as string[]).join(' ') }
  })
}

async function newToken(): Promise<string> {
  const answer = await request(`${(await leaderNode()).url}/v1/tokens`, { method: 'POST', body: '{"uses":1}' })
  expect(answer.status, JSON.stringify(Object.keys(answer.body))).toBeLessThan(300)
  return String(answer.body['token'])
}

/** `quorate status` as a program sees it. */
async function status(of: LocalNode): Promise<string> {
  const child = spawn(process.execPath, [builtCli, 'status', '--url', of.url], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
  await new Promise((resolve) => {
    child.once('close', resolve)
  })
  return text
}

type Told = { readonly time: number; readonly node?: string; readonly reason?: string | null }

/** What a node tells of the cluster, from when it is asked on. */
class Events {
  readonly #abort = new AbortController()
  #text = ''

  static async at(node: LocalNode): Promise<Events> {
    const events = new Events()
    const response = await fetch(`${node.url}/v1/events`, { signal: events.#abort.signal })
    void events.#read(response)
    await waitFor('the stream', () => events.#text.includes('event: open'))
    return events
  }

  of(kind: string): readonly Told[] {
    return [...this.#text.matchAll(/event: (\S+)\ndata: (.*)\n/g)]
      .filter(([, told]) => told === kind)
      .map(([, , data]) => JSON.parse(data ?? '{}') as Told)
  }

  stop(): void {
    this.#abort.abort()
  }

  async #read(response: Response): Promise<void> {
    try {
      for await (const chunk of response.body ?? []) this.#text += Buffer.from(chunk).toString()
    } catch {
      // Stopped.
    }
  }
}
