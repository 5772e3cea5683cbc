/** What gossip does among real processes: how soon a killed one is dead to all, what a quiet cluster sends, how ten form and join. */
import { waitFor } from '../../test/wait.ts'
import { startLocalCluster } from './local-cluster.ts'
import type { LocalCluster, LocalNode } from './local-cluster.ts'
import { getJson } from './node-process.ts'

type Member = { readonly id: string; readonly status: string; readonly raft: string; readonly disagrees: string | null }

const agreedMs = 60_000

/** Each round kills one, the leader every other time, and starts it again when the others have called it dead. */
export async function killedToDead(nodes: number, rounds: number): Promise<readonly number[]> {
  const cluster = await startLocalCluster({ nodes })
  try {
    const took: number[] = []
    for (let round = 0; round < rounds; round += 1) {
      await agreed(cluster.nodes, nodes)
      const leader = await cluster.leader()
      const victim = cluster.nodes.find(({ id }) => (id === leader) === (round % 2 === 1))
      if (victim === undefined) throw new Error('there is nobody to kill')
      const others = cluster.nodes.filter((node) => node !== victim)
      const startedAt = performance.now()
      const died = victim.kill('SIGKILL')
      await waitFor(`${victim.id} to be dead at all`, () => everyone(others, victim.id, 'dead'), agreedMs)
      took.push(Math.round(performance.now() - startedAt))
      await died
      await victim.restart()
    }
    return took
  } finally {
    await cluster.stop()
  }
}

/** Bytes of messages that a node sends in a second, when nothing happens but that gauges change. */
export async function quietBytes(nodes: number, seconds: number): Promise<readonly number[]> {
  const cluster = await startLocalCluster({ nodes })
  try {
    await agreed(cluster.nodes, nodes)
    const before = await Promise.all(cluster.nodes.map(bytesOut))
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
    const after = await Promise.all(cluster.nodes.map(bytesOut))
    return after.map((bytes, at) => Math.round((bytes - (before[at] ?? 0)) / seconds))
  } finally {
    await cluster.stop()
  }
}

export type FormedAndJoined = {
  /** From the start of the processes until all founders are ready. */
  readonly formedMs: number
  /** From the start of the joiners, all at once, until the last one is ready; and until all nodes see all as they are. */
  readonly readyMs: number
  readonly knownMs: number
}

/** So many founders, then so many more at once by one token. */
export async function formAndJoin(founders: number, joiners: number): Promise<FormedAndJoined> {
  const begun = performance.now()
  const cluster = await startLocalCluster({ nodes: founders, joiners })
  const formedMs = Math.round(performance.now() - begun)
  try {
    const token = await tokenFor(cluster, joiners)
    const startedAt = performance.now()
    await Promise.all(cluster.joiners.map((node) => node.join(token)))
    const readyMs = Math.round(performance.now() - startedAt)
    await agreed([...cluster.nodes, ...cluster.joiners], founders + joiners)
    return { formedMs, readyMs, knownMs: Math.round(performance.now() - startedAt) }
  } finally {
    await cluster.stop()
  }
}

async function tokenFor(cluster: LocalCluster, uses: number): Promise<string> {
  const [first] = cluster.nodes
  const response = await fetch(`${first?.url}/v1/tokens`, { method: 'POST', body: JSON.stringify({ uses }) })
  const { token } = (await response.json()) as { token?: string }
  if (token === undefined) throw new Error(`no token: ${response.status}`)
  return token
}

/** Every node sees all as alive, counted by Raft, and no disagreement. */
function agreed(nodes: readonly LocalNode[], count: number): Promise<boolean> {
  return waitFor(
    `${count} nodes that agree`,
    async () => {
      const views = await Promise.all(nodes.map(members))
      return views.every(
        (view) =>
          view.length === count &&
          view.every(({ status, raft, disagrees }) => status === 'alive' && raft !== 'none' && disagrees === null),
      )
    },
    agreedMs,
  )
}

async function everyone(at: readonly LocalNode[], id: string, status: string): Promise<boolean> {
  const views = await Promise.all(at.map(members))
  return views.every((view) => view.find((member) => member.id === id)?.status === status)
}

async function members(node: LocalNode): Promise<readonly Member[]> {
  return ((await getJson(`${node.url}/v1/members`))?.['members'] ?? []) as Member[]
}

async function bytesOut(node: LocalNode): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith('quorate_gossip_bytes_total{direction="out"}'))
  return Number(line?.split(' ').at(-1) ?? Number.NaN)
}
