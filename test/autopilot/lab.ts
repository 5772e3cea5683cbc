import { Autopilot } from '../../src/autopilot/autopilot.ts'
import type { AutopilotOptions, Observation, Verdict } from '../../src/autopilot/observation.ts'
import type { MemberStatus } from '../../src/gossip/messages.ts'
import { changeConfiguration, leaveJoint, makeConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration } from '../../src/raft/configuration.ts'
import type { MemberProgress, RaftStatus } from '../../src/raft/effects.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'

/** How a node is, as its leader sees it; nothing said: alive and well. The leader, node 1, can only be `drain` or `recovering`. */
export const conditions = {
  /** Dead to both. */
  dead: { gossip: 'dead', isActive: false },
  left: { gossip: 'left', isActive: false },
  unknown: { gossip: undefined, isActive: false },
  /** Dead to gossip, and heard by Raft; and the other way round. */
  gone: { gossip: 'dead' },
  silent: { isActive: false },
  suspect: { gossip: 'suspect' },
  snapshot: { state: 'snapshot' },
  probe: { state: 'probe' },
  behind: { match: commitIndex() - 1001 },
  recovering: { isRecovering: true },
  full: { isDiskFull: true },
  drain: {},
  /** Drained by an operator, then stopped. */
  down: { gossip: 'left', isActive: false },
  leave: {},
} as const satisfies Record<string, Partial<MemberProgress> & { gossip?: MemberStatus | undefined }>

export type Condition = keyof typeof conditions
export type Cluster = {
  readonly voters: readonly string[]
  readonly learners: readonly string[]
  readonly conditions: ReadonlyMap<string, Condition>
  readonly isUnsettled?: boolean
  readonly term?: number
}

export const options: AutopilotOptions = { votersMax: 5, deadVoterMs: 60_000, stabilizationMs: 2000 }

export function commitIndex(): number {
  return 5000
}

export function observationOf(cluster: Cluster, nowMs: number): Observation {
  const { voters, learners, isUnsettled = false, term = 1 } = cluster
  const id = '1' as NodeId
  const others = [...voters, ...learners].filter((node) => node !== id) as NodeId[]
  const configuration = { ...makeConfiguration('c' as ClusterId, voters as NodeId[]), learners: learners as NodeId[] }
  const gossip = new Map<NodeId, MemberStatus>()
  const progress = others.map((node): MemberProgress => {
    const well = { node, match: commitIndex() - 1000, state: 'replicate', isActive: true } as const
    const condition = cluster.conditions.get(node)
    const { gossip: status, ...shown } = { gossip: 'alive' as const, ...(condition ? conditions[condition] : {}) }
    if (status !== undefined) gossip.set(node, status)
    return { ...well, isRecovering: false, isDiskFull: false, ...shown }
  })
  const raft: RaftStatus = {
    id,
    role: 'leader',
    term,
    leader: id,
    commitIndex: commitIndex(),
    lastIndex: commitIndex(),
    snapshotIndex: 0,
    firstIndex: 1,
    configuration,
    isConfigurationCommitted: !isUnsettled,
    logBytes: 0,
    isRecovering: cluster.conditions.get('1') === 'recovering',
    progress,
  }
  const draining = [...cluster.conditions].flatMap(([node, condition]): [NodeId, 'drain' | 'leave'][] => {
    if (condition === 'leave') return [[node as NodeId, 'leave']]
    return condition === 'drain' || condition === 'down' ? [[node as NodeId, 'drain']] : []
  })
  return { nowMs, raft, gossip, draining: new Map(draining) }
}

/** `1 2 3:dead | 4 5:suspect`: voters, then learners. After it `changing` or `term N` may stand. */
export function clusterOf(text: string): Cluster {
  const [members = '', ...more] = text.split(';').map((part) => part.trim())
  const [voters = [], learners = []] = members.split('|').map((part) => part.split(' ').filter((word) => word !== ''))
  const found = new Map<string, Condition>()
  const idOf = (word: string): string => {
    const [id = '', condition] = word.split(':')
    if (condition !== undefined) found.set(id, condition as Condition)
    return id
  }
  const cluster = { voters: voters.map(idOf), learners: learners.map(idOf), conditions: found }
  const term = more.find((word) => word.startsWith('term '))
  return {
    ...cluster,
    isUnsettled: more.includes('changing'),
    ...(term === undefined ? {} : { term: Number(term.slice(5)) }),
  }
}

/** Looks each second, or every five, through phases such as `2 s: 1 2 3 | 4`; the last verdict. */
export function played(phases: readonly string[], given: Partial<AutopilotOptions> = {}): Verdict {
  const autopilot = new Autopilot({ ...options, ...given })
  let nowMs = 0
  let verdict: Verdict | undefined
  for (const phase of phases) {
    const [span = '', text = ''] = phase.split(/ s:/)
    if (text.trim() === 'blind') {
      nowMs += Number(span) * 1000
      continue
    }
    const everyS = Number(span) > 1000 ? 5 : 1
    for (let second = Number(span) % everyS; second <= Number(span); second += everyS) {
      verdict = autopilot.observe(observationOf(clusterOf(text), nowMs + second * 1000))
    }
    nowMs += Number(span) * 1000
  }
  if (verdict === undefined) throw new Error('there is no phase')
  return verdict
}

/** What it does, and of whom it says what otherwise. */
export function textOf({ decision, holds }: Verdict): string {
  if (decision !== null) return `${decision.kind} ${decision.node}`
  return holds.map(({ kind, node }) => (node === null ? kind : `${kind} ${node}`)).join(', ') || 'nothing'
}

export function changed(cluster: Cluster, { kind, node }: { kind: 'promote' | 'remove'; node: NodeId }): Cluster {
  const { configuration } = observationOf(cluster, 0).raft
  const next = changeConfiguration(configuration, { kind, node })
  if (next === undefined) throw new Error(`${kind} ${node} makes no sense`)
  const { voters, learners }: Configuration = leaveJoint(next)
  return { ...cluster, voters, learners }
}
