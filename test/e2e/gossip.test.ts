import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { waitFor } from '../wait.ts'
import { getJson } from './http-json.ts'

// Three real processes that probe each other every 400 ms: a dead one is called dead within eight of these, and some.
const probeIntervalMs = 400
const deadWithinMs = 12 * probeIntervalMs
let cluster: LocalCluster
let told: Told

beforeAll(async () => {
  cluster = await startLocalCluster({
    nodes: 3,
    labels: { n3: { zone: 'c' } },
    config: { gossip: { probeIntervalMs, probeTimeoutMs: probeIntervalMs / 2 } },
  })
})

afterAll(async () => {
  told?.stop()
  await cluster.stop()
})

type Member = Record<'id' | 'status' | 'raft', string> & {
  readonly generation: number
  readonly disagrees: string | null
  readonly labels: Record<string, string>
  readonly metrics: Record<string, number>
}

async function member(at: LocalNode, id: string): Promise<Member | undefined> {
  const { members } = await getJson(`${at.url}/v1/members`)
  return (members as Member[]).find((each) => each.id === id)
}

/** Settles when all of them see the node so; answers how long that took. */
async function seen(at: readonly LocalNode[], id: string, is: (member: Member) => boolean): Promise<number> {
  const startedAt = performance.now()
  await waitFor(`${id} as it should be`, async () => {
    const views = await Promise.all(at.map((each) => member(each, id)))
    return views.every((view) => view !== undefined && is(view))
  })
  return performance.now() - startedAt
}

/** What a node tells of the cluster, from when it is asked on. */
class Told {
  readonly #abort = new AbortController()
  text = ''

  static async by(node: LocalNode): Promise<Told> {
    const told = new Told()
    const response = await fetch(`${node.url}/v1/events`, { signal: told.#abort.signal })
    void told.#read(response)
    await waitFor('the stream', () => told.text.includes('event: open'))
    return told
  }

  kinds(id: string): string[] {
    return [...this.text.matchAll(/event: (\S+)\ndata: (.*)\n/g)]
      .filter(([, , data]) => (JSON.parse(data ?? '{}') as { node?: string }).node === id)
      .map(([, kind]) => kind ?? '')
  }

  stop(): void {
    this.#abort.abort()
  }

  async #read(response: Response): Promise<void> {
    try {
      for await (const chunk of response.body ?? []) this.text += Buffer.from(chunk as Uint8Array).toString()
    } catch {
      // Stopped.
    }
  }
}

describe('three nodes that gossip', () => {
  const [n1, n2, n3] = ['n1', 'n2', 'n3'].map((id) => () => cluster.node(id)) as [Of, Of, Of]
  type Of = () => LocalNode

  it('know of each other who each is and how it fares, and agree with Raft', async () => {
    for (const id of ['n1', 'n2', 'n3']) {
      await seen(cluster.nodes, id, ({ status, disagrees, metrics }) => {
        return status === 'alive' && disagrees === null && (metrics['rssBytes'] ?? 0) > 0
      })
      for (const each of cluster.nodes) expect((await member(each, id))?.raft).toMatch(/^(leader|voter)$/)
    }
    expect((await member(n1(), 'n3'))?.labels).toEqual({ zone: 'c' })
    const metrics = await (await fetch(`${n1().url}/metrics`)).text()
    expect(metrics).toContain('\nquorate_members{status="alive"} 2\n')
  })

  it('call one dead that was killed, alive again under a higher generation, and tell both', async () => {
    told = await Told.by(n1())
    const others = [n1(), n2()]
    const before = await member(n1(), 'n3')
    await n3().kill('SIGKILL')
    expect(await seen(others, 'n3', ({ status }) => status === 'dead')).toBeLessThan(deadWithinMs)
    expect((await member(n1(), 'n3'))?.disagrees).toBe('Raft counts it as a voter, and it is dead')
    await n3().restart()
    await seen(others, 'n3', ({ status, disagrees }) => status === 'alive' && disagrees === null)
    expect((await member(n1(), 'n3'))?.generation).toBeGreaterThan(before?.generation ?? 0)
    await waitFor('the events', () => told.kinds('n3').includes('joined'))
    expect(told.kinds('n3').join(' ')).toMatch(/suspect( alive suspect)* dead joined/)
  })

  it('see at once that one has left that was stopped, and who leads instead', async () => {
    const { leader } = await getJson(`${n1().url}/v1/status`)
    const stopped = cluster.node(String(leader) === 'n1' ? 'n2' : String(leader))
    const others = [n1(), n2(), n3()].filter(({ id }) => id !== stopped.id)
    await stopped.kill('SIGTERM')
    expect(await seen(others, stopped.id, ({ status }) => status === 'left')).toBeLessThan(2 * probeIntervalMs)
    expect(told.kinds(stopped.id)).toContain('left')
    if (leader === stopped.id) await waitFor('the new leader', () => told.text.includes('event: leader-changed'))
  })
})
