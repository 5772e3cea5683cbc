import type { MetricsSample } from '../admin/metrics-sample.ts'
import type { AutopilotView } from '../admin/needs.ts'
import type { Verdict } from '../autopilot/observation.ts'
import type { RaftStatus } from '../raft/effects.ts'
import type { AutopilotDriver } from './autopilot.ts'

/** What operators see of autopilot. */
export function autopilotView(verdict: Verdict | null): AutopilotView | null {
  if (verdict === null) return null
  const { voterTarget, failureTolerance, decision, holds } = verdict
  return { voterTarget, failureTolerance, next: decision, holds: holds.map(({ why }) => why) }
}

export function autopilotSample({ verdict, counters }: AutopilotDriver): MetricsSample['autopilot'] {
  return {
    ...counters,
    isActiveNow: verdict !== null,
    voterTargetNow: verdict?.voterTarget ?? 0,
    failureToleranceNow: verdict?.failureTolerance ?? 0,
    holdsNow: verdict?.holds.length ?? 0,
  }
}

/** What an operator should mend in who votes. */
export function voterWarnings(raft: RaftStatus | null): readonly string[] {
  const { voters = [], votersOutgoing = [] } = raft?.configuration ?? {}
  if (voters.length === 0 || voters.length % 2 === 1 || votersOutgoing.length > 0) return []
  const odd = 'let a node join, or remove one'
  return [`${voters.length} voters: an even number of voters tolerates no more failures than one less; ${odd}`]
}
