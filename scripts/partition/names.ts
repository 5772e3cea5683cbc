/** Who is meant by `leader`, `follower1` and `others` at the moment when a step runs. */
import { getJson } from '../lib/node-process.ts'
import { waitFor } from '../../test/wait.ts'
import type { Action, NodeName, Ways } from './scenario.ts'
import type { NodeTarget } from './types.ts'

const leaderMs = 10_000

export type Named = {
  /** All members, in order. */
  readonly members: readonly NodeTarget[]
  /** Of these, who runs and is not paused. */
  readonly running: readonly NodeTarget[]
}

/** The action with ids only. */
export async function resolveNames(action: Action, named: Named): Promise<Action> {
  const used = namesIn(action)
  const leader = used.some((name) => name === 'leader' || name.startsWith('follower')) ? await findLeader(named) : ''
  const one = (name: NodeName): string => {
    if (name === 'leader') return leader
    if (!name.startsWith('follower')) return name
    const followers = named.running.map(({ id }) => id).filter((id) => id !== leader)
    const found = followers[Number(name.slice('follower'.length)) - 1]
    if (found === undefined) throw new Error(`there is no ${name}: ${followers.length} others run`)
    return found
  }
  const chosen = new Set(used.filter((name) => name !== 'others').map(one))
  const rest = named.members.map(({ id }) => id).filter((id) => !chosen.has(id))
  const many = (names: readonly NodeName[]): string[] => [
    ...new Set(names.flatMap((name) => (name === 'others' ? rest : [one(name)]))),
  ]
  if ('ways' in action) return { ...action, ways: waysOf(action.ways, many) }
  if (action.verb === 'split') {
    const sides = action.sides.map(many)
    const missing = named.members.find(({ id }) => !sides.flat().includes(id))
    if (missing !== undefined) throw new Error(`split leaves out ${missing.id}`)
    return { ...action, sides }
  }
  return 'node' in action && action.node !== null ? { ...action, node: one(action.node) } : action
}

/** Whoever says that it leads, in the newest term. */
async function findLeader({ running }: Named): Promise<string> {
  return waitFor(
    'a leader for the step',
    async () => {
      const views = await Promise.all(running.map(({ url }) => getJson(`${url}/v1/raft`)))
      const leading = views.filter((view) => view?.['role'] === 'leader')
      const newest = leading.toSorted((a, b) => Number(b?.['term']) - Number(a?.['term']))[0]
      return newest === undefined ? null : String(newest?.['id'])
    },
    leaderMs,
  )
}

function namesIn(action: Action): readonly NodeName[] {
  if ('ways' in action) return [...action.ways.from, ...action.ways.to]
  if (action.verb === 'split') return action.sides.flat()
  return 'node' in action && action.node !== null ? [action.node] : []
}

function waysOf({ from, to, isBothWays }: Ways, many: (names: readonly NodeName[]) => string[]): Ways {
  return { from: many(from), to: many(to), isBothWays }
}
