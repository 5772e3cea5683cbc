import { drawPlan } from './plan.ts'
import type { Fault, Plan } from './plan.ts'
import { Stream } from './streams.ts'

/** What a plan holds when nodes join meanwhile and autopilot, not the plan, decides who votes. */
export type AutopilotPlan = {
  readonly votersMax: number
  readonly deadVoterMs: number
  readonly stabilizationMs: number
  /** Gossip calls a node dead that it has not heard of for so long. */
  readonly silenceMs: number
  /** How often gossip is wrong for a while, of a thousand looks at a node. */
  readonly liesPerMille: number
  /** How often whoever leads falls while a change that it was asked for is under way, of a thousand. */
  readonly fallsPerMille: number
  /** Machines, by number, that ask to be taken in from then on. */
  readonly joins: readonly { readonly atMs: number; readonly node: number }[]
}

/**
 * The weather and the faults of the seed's plan, but longer, with nodes that join, with voters that stay away for long, and
 * with autopilot in the place of the changes. Its own draws come from streams of their own.
 */
export function drawJoiningPlan(seed: number): Plan {
  const stream = new Stream(seed, 'autopilot')
  const base = drawPlan(seed)
  const spares = stream.between(1, 4)
  const safetyMs = stream.between(8_000, 14_000)
  const nodes = base.voters + spares
  const deadVoterMs = stream.pick([400, 800, 1_500])
  const absences = Array.from({ length: stream.between(1, 4) }, (): Fault => ({
    atMs: stream.between(1_000, safetyMs - 3_000),
    kind: 'crash',
    node: stream.chance(300) ? 'leader' : stream.below(nodes),
    how: stream.chance(500) ? 'kill' : 'power',
    boundary: null,
    downMs: stream.between(deadVoterMs + 1_000, deadVoterMs + 6_000),
  }))
  const faults = [...base.faults.filter(({ kind }) => kind !== 'change'), ...absences]
  return {
    ...base,
    spares,
    safetyMs,
    faults: faults.sort((a, b) => a.atMs - b.atMs),
    autopilot: {
      votersMax: stream.pick([3, 5, 5, 7]),
      deadVoterMs,
      stabilizationMs: stream.pick([200, 600, 1_000]),
      silenceMs: stream.pick([200, 600]),
      liesPerMille: stream.pick([0, 0, 1, 5]),
      fallsPerMille: stream.pick([0, 300, 700]),
      joins: Array.from({ length: spares }, (_, at) => ({
        atMs: stream.between(200, safetyMs - 2_000),
        node: base.voters + at,
      })),
    },
  }
}
