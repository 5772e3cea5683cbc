import type { AutopilotPlan } from './autopilot-plan.ts'
import { spell, target } from './draws.ts'
import type { Target } from './draws.ts'
import type { NetworkWeather } from './sim-network.ts'
import type { Boundary } from './sim-process.ts'
import { drawStorageFaults } from './storage-plan.ts'
import type { StorageFault } from './storage-plan.ts'
import { Stream } from './streams.ts'

/** One thing that goes wrong at one time. */
export type Fault = { readonly atMs: number } & (
  | StorageFault
  | {
      readonly kind: 'crash'
      readonly node: Target
      readonly how: 'kill' | 'power'
      /** It falls at the `count`-th boundary of that kind; null: at once. */
      readonly boundary: { readonly at: Boundary; readonly count: number } | null
      readonly downMs: number
    }
  | { readonly kind: 'pause'; readonly node: Target; readonly forMs: number }
  | { readonly kind: 'main-pause'; readonly node: Target; readonly forMs: number }
  | { readonly kind: 'isolate'; readonly node: Target; readonly how: 'both' | 'in' | 'out'; readonly forMs: number }
  | { readonly kind: 'halves'; readonly side: readonly number[]; readonly oneWay: boolean; readonly forMs: number }
  /** Everyone hears only the next ones of the circle: no two neighbours of a node hear each other. */
  | { readonly kind: 'ring'; readonly forMs: number }
  /** Two sides that meet in one node only. */
  | { readonly kind: 'bridge'; readonly node: Target; readonly side: readonly number[]; readonly forMs: number }
  | { readonly kind: 'break-link'; readonly from: Target; readonly to: number }
  | {
      readonly kind: 'slow-link'
      readonly from: Target
      readonly to: number
      readonly factor: number
      readonly forMs: number
    }
  | { readonly kind: 'stall'; readonly node: Target; readonly forMs: number }
  /** The next write, or fsync, ends with an error: what it was to write is there all the same, or gone. */
  | {
      readonly kind: 'write-error'
      readonly node: Target
      readonly data: 'kept' | 'gone'
      readonly downMs: number
    }
  | { readonly kind: 'wall-jump'; readonly node: Target; readonly byMs: number }
  | { readonly kind: 'transfer'; readonly to: number | null }
  | {
      readonly kind: 'change'
      readonly change: 'add-learner' | 'add-promotable' | 'promote' | 'remove'
      readonly node: Target
    }
)

/** All that a run depends on: the same plan gives the same run, event for event. */
export type Plan = {
  readonly seed: number
  /** Founders. */
  readonly voters: number
  /** Machines that are admitted to join and may be added. */
  readonly spares: number
  /** The cluster forms by itself; else its disks hold what forming leaves. */
  readonly forms: boolean
  readonly clients: number
  readonly keys: number
  readonly thinkUs: number
  readonly safetyMs: number
  readonly heartbeatMs: number
  readonly electionTimeoutMs: number
  readonly snapshotEntries: number
  readonly leaseReads: boolean
  /** Of the clocks, in parts per million, at most. */
  readonly driftPpm: number
  readonly turnUs: number
  readonly mailUs: number
  readonly lateUs: number
  readonly fsyncUs: number
  readonly network: NetworkWeather
  /** Who is there when all is healed: a majority; the rest stays dead or is heard by nobody. */
  readonly healing: { readonly spare: 'none' | 'dead' | 'mute' | 'deaf' }
  readonly faults: readonly Fault[]
  /** Nodes join, and autopilot decides who votes (autopilot-plan.ts). */
  readonly autopilot?: AutopilotPlan
}

/** What a seed stands for: first which kinds of fault there are and how hard they are, then each of them. */
export function drawPlan(seed: number): Plan {
  const swarm = new Stream(seed, 'swarm')
  const voters = swarm.pick([3, 3, 3, 3, 5, 5, 1, 2, 4])
  const safetyMs = swarm.between(3_000, 12_000)
  const electionTimeoutMs = swarm.pick([150, 250, 500])
  const isFlaky = swarm.chance(700)
  const rate = (max: number): number => (isFlaky && swarm.chance(600) ? swarm.below(max + 1) : 0)
  const network: NetworkWeather = {
    delayUs: swarm.pick([100, 500, 2_000, 8_000, 25_000]),
    lost: rate(60),
    repeated: rate(100),
    stale: rate(30),
    staleMs: swarm.pick([100, 1_000, 5_000]),
    broken: rate(8),
    falselyGone: rate(100),
    livenessMs: electionTimeoutMs,
  }
  const spares = swarm.chance(500) ? swarm.between(1, 3) : 0
  const plan = {
    seed,
    voters,
    spares,
    forms: swarm.chance(100),
    clients: swarm.between(1, 5),
    keys: swarm.between(1, 4),
    thinkUs: swarm.pick([3_000, 20_000, 60_000]),
    safetyMs,
    heartbeatMs: electionTimeoutMs / swarm.pick([5, 10]),
    electionTimeoutMs,
    snapshotEntries: swarm.pick([8, 20, 60, 100_000]),
    leaseReads: swarm.chance(250),
    driftPpm: swarm.pick([0, 200, 20_000]),
    turnUs: swarm.pick([0, 50, 400]),
    mailUs: swarm.pick([50, 500, 5_000]),
    lateUs: swarm.pick([0, 1_000, 10_000]),
    fsyncUs: swarm.pick([300, 2_000, 10_000]),
    network,
    healing: { spare: swarm.pick(['none', 'dead', 'dead', 'mute', 'deaf'] as const) },
  }
  return { ...plan, faults: drawFaults(seed, plan) }
}

const boundaries: readonly Boundary[] = [
  'any',
  'any',
  'write',
  'written',
  'send',
  'send',
  'apply',
  'snapshot',
  'snapshotted',
]

type Omitted<F> = F extends unknown ? Omit<F, 'atMs'> : never
type Draw = (stream: Stream, nodes: number, plan: { electionTimeoutMs: number }) => Omitted<Fault>
type Kind = Exclude<Fault['kind'], StorageFault['kind']>

/** Kinds of fault, each with a stream of its own. */
const kinds: Record<Kind, Draw> = {
  crash: (stream, nodes, plan) => ({
    kind: 'crash',
    node: target(stream, nodes),
    how: stream.chance(500) ? 'power' : 'kill',
    boundary: stream.chance(800)
      ? { at: stream.pick(boundaries), count: stream.between(1, stream.chance(700) ? 3 : 20) }
      : null,
    downMs: stream.chance(500) ? stream.between(1, 50) : spell(stream, plan),
  }),
  pause: (stream, nodes, plan) => ({
    kind: 'pause',
    node: target(stream, nodes),
    forMs: stream.chance(500)
      ? stream.between(5, plan.electionTimeoutMs)
      : stream.between(1, 4) * plan.electionTimeoutMs,
  }),
  'main-pause': (stream, nodes) => ({
    kind: 'main-pause',
    node: target(stream, nodes),
    forMs: stream.between(20, 2_000),
  }),
  isolate: (stream, nodes, plan) => ({
    kind: 'isolate',
    node: target(stream, nodes),
    how: stream.pick(['both', 'both', 'in', 'out'] as const),
    forMs: spell(stream, plan),
  }),
  halves: (stream, nodes, plan) => ({
    kind: 'halves',
    side: side(stream, nodes),
    oneWay: stream.chance(300),
    forMs: spell(stream, plan),
  }),
  ring: (stream, _nodes, plan) => ({ kind: 'ring', forMs: spell(stream, plan) }),
  bridge: (stream, nodes, plan) => ({
    kind: 'bridge',
    node: target(stream, nodes),
    side: side(stream, nodes),
    forMs: spell(stream, plan),
  }),
  'break-link': (stream, nodes) => ({ kind: 'break-link', from: target(stream, nodes), to: stream.below(nodes) }),
  'slow-link': (stream, nodes, plan) => ({
    kind: 'slow-link',
    from: target(stream, nodes),
    to: stream.below(nodes),
    factor: stream.between(5, 100),
    forMs: spell(stream, plan),
  }),
  stall: (stream, nodes, plan) => ({
    kind: 'stall',
    node: target(stream, nodes),
    forMs: stream.between(20, stream.pick([3, 3, 12]) * plan.electionTimeoutMs),
  }),
  'write-error': (stream, nodes) => ({
    kind: 'write-error',
    node: target(stream, nodes),
    data: stream.pick(['kept', 'gone'] as const),
    downMs: stream.around(500),
  }),
  'wall-jump': (stream, nodes) => ({
    kind: 'wall-jump',
    node: target(stream, nodes),
    byMs: stream.between(-60_000, 60_000),
  }),
  transfer: (stream, nodes) => ({ kind: 'transfer', to: stream.chance(300) ? null : stream.below(nodes) }),
  change: (stream, nodes) => ({
    kind: 'change',
    change: stream.pick(['add-learner', 'add-promotable', 'add-promotable', 'promote', 'remove', 'remove'] as const),
    node: target(stream, nodes),
  }),
}

function side(stream: Stream, nodes: number): readonly number[] {
  return Array.from({ length: nodes }, (_, node) => node).filter(() => stream.chance(500))
}

function drawFaults(
  seed: number,
  plan: { voters: number; spares: number; safetyMs: number; electionTimeoutMs: number; forms: boolean },
): readonly Fault[] {
  const nodes = plan.voters + plan.spares
  const faults: Fault[] = []
  const isRough = new Stream(seed, 'roughness').chance(500)
  faults.push(...drawStorageFaults(seed, plan))
  const inOrder = (): readonly Fault[] => faults.sort((a, b) => a.atMs - b.atMs)
  if (new Stream(seed, 'churn').chance(250)) {
    faults.push(...drawChurn(seed, plan))
    return inOrder()
  }
  for (const [kind, draw] of Object.entries(kinds) as [Kind, Draw][]) {
    const stream = new Stream(seed, `faults ${kind}`)
    // Each kind is there in about every third plan; crashes, which find most, more often.
    const isThere =
      kind === 'change' ? plan.spares > 0 && stream.chance(700) : stream.chance(kind === 'crash' ? 650 : 330)
    if (!isThere) continue
    const perSecond = kind === 'change' ? 3_000 : stream.pick(isRough ? [500, 1_500, 4_000] : [100, 300, 1_000])
    for (let ms = 500; ms < plan.safetyMs; ms += 100) {
      if (stream.chance(perSecond / 10)) faults.push({ atMs: ms + stream.below(100), ...draw(stream, nodes, plan) })
    }
  }
  return inOrder()
}

/** Nothing but trouble for whoever leads, every few election timeouts: many terms, and logs that end differently. */
function drawChurn(
  seed: number,
  plan: { voters: number; spares: number; safetyMs: number; electionTimeoutMs: number },
): readonly Fault[] {
  const stream = new Stream(seed, 'churn faults')
  const faults: Fault[] = []
  let ms = 300
  while (ms < plan.safetyMs) {
    const kind = stream.pick([
      'isolate',
      'isolate',
      'crash',
      'crash',
      'pause',
      'transfer',
      'stall',
      'break-link',
      ...(plan.spares > 0 ? (['change', 'change', 'change'] as const) : []),
    ] as const)
    const fault: Fault = { atMs: ms, ...kinds[kind](stream, plan.voters + plan.spares, plan) }
    faults.push('node' in fault && stream.chance(700) ? { ...fault, node: 'leader' } : fault)
    ms += 10 + stream.around(stream.pick([1, 2, 4]) * plan.electionTimeoutMs)
  }
  return faults
}
