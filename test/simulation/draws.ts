import type { Stream } from './streams.ts'

/** A node by its number, or whoever leads at that time. */
export type Target = number | 'leader'

export function target(stream: Stream, nodes: number): Target {
  return stream.chance(500) ? 'leader' : stream.below(nodes)
}

/** How long something lasts: mostly long enough for an election, sometimes for several. */
export function spell(stream: Stream, plan: { electionTimeoutMs: number }): number {
  return 10 + stream.around(stream.pick([1, 3, 8]) * plan.electionTimeoutMs)
}
