/** Whether all members agree: on who leads, who counts and who lives, and on having applied the same. */
import { setTimeout as sleep } from 'node:timers/promises'
import { getJson } from '../lib/node-process.ts'
import type { NodeTarget } from './types.ts'

export type Membership = {
  /** Who should be a member, and run. */
  readonly members: readonly NodeTarget[]
  /** Of these, who takes nothing new by an operator's will, and so need not be ready. */
  readonly draining: ReadonlySet<string>
}

type View = {
  readonly node: NodeTarget
  readonly isReady: boolean
  readonly raft: Readonly<Record<string, unknown>> | null
  readonly members: readonly Seen[] | null
  readonly status: Readonly<Record<string, unknown>> | null
}

/** As in /v1/members. */
type Seen = { readonly id: string; readonly status: string; readonly disagrees: string | null }

const lookMs = 200

/** What is still amiss when the deadline passes, one sentence each; empty at the first moment when nothing is. */
export async function waitForAgreement(
  look: () => Promise<readonly string[]>,
  { deadlineMs, signal }: { deadlineMs: number; signal: AbortSignal | null },
): Promise<readonly string[]> {
  const deadline = performance.now() + deadlineMs
  for (;;) {
    const amiss = await look()
    if (amiss.length === 0 || performance.now() > deadline) return amiss
    await sleep(lookMs, undefined, signal === null ? {} : { signal })
  }
}

/** What is amiss now with who leads, counts and lives. */
export async function amissInMembership({ members, draining }: Membership): Promise<string[]> {
  const views = await Promise.all(members.map(viewOf))
  return [...views.flatMap((view) => amissAt(view, { members, draining })), ...amissBetween(views)]
}

/** What is amiss now with what was applied, when nothing is written any more. */
export async function amissInState(members: readonly NodeTarget[]): Promise<string[]> {
  const views = await Promise.all(members.map(viewOf))
  const indexOf = (status: View['status'], name: string): number => Number(status?.[name] ?? 0)
  const furthest = Math.max(
    ...views.flatMap(({ status }) => [indexOf(status, 'commitIndex'), indexOf(status, 'appliedIndex')]),
  )
  return views.flatMap(({ node, status }) => {
    if (status === null) return [`${node.id} does not answer`]
    const applied = indexOf(status, 'appliedIndex')
    return applied >= furthest ? [] : [`${node.id} has applied ${applied} of ${furthest}`]
  })
}

async function viewOf(node: NodeTarget): Promise<View> {
  const [ready, raft, members, status] = await Promise.all(
    ['/readyz', '/v1/raft', '/v1/members', '/v1/status'].map((path) => getJson(`${node.url}${path}`)),
  )
  const listed = members?.['members'] as View['members'] | undefined
  return { node, isReady: ready !== null, raft: raft ?? null, members: listed ?? null, status: status ?? null }
}

function amissAt({ node, isReady, raft, members: seen }: View, { members, draining }: Membership): string[] {
  const { id } = node
  if (raft === null || seen === null) return [`${id} does not answer`]
  const amiss: string[] = []
  if (!isReady && !draining.has(id)) amiss.push(`${id} is not ready`)
  const expected = members.map((each) => each.id).toSorted()
  const counted = [...idsOf(raft['voters']), ...idsOf(raft['learners'])].toSorted()
  if (counted.join(' ') !== expected.join(' '))
    amiss.push(`${id} counts ${counted.join(' ')}, not ${expected.join(' ')}`)
  if (idsOf(raft['votersOutgoing']).length > 0) amiss.push(`${id} is in the middle of a change`)
  for (const other of expected) {
    const { status, disagrees } = seen.find((each) => each.id === other) ?? { status: 'nowhere', disagrees: null }
    if (status !== 'alive') amiss.push(`${id} sees ${other} ${status}`)
    else if (disagrees !== null) amiss.push(`${id} of ${other}: ${disagrees}`)
  }
  return amiss
}

function amissBetween(views: readonly View[]): string[] {
  const leaders = views.map(({ node, raft }) => `${node.id}: ${String(raft?.['leader'])} in ${String(raft?.['term'])}`)
  const said = new Set(views.map(({ raft }) => `${String(raft?.['leader'])} ${String(raft?.['term'])}`))
  const isLed = views.every(({ raft }) => typeof raft?.['leader'] === 'string')
  return said.size === 1 && isLed ? [] : [`they differ on who leads: ${leaders.join(', ')}`]
}

function idsOf(ids: unknown): string[] {
  return Array.isArray(ids) ? ids.map(String) : []
}
