import type { Fault, Plan } from './plan.ts'
import { simulate } from './simulation.ts'
import type { Outcome } from './simulation.ts'

export type Shrunk = { readonly plan: Plan; readonly outcome: Outcome; readonly runs: number }

/**
 * Makes a plan that breaks a claim as small as it goes while it still breaks the same one: nothing after the break, fewer
 * faults (delta debugging), then a calmer world and fewer clients and nodes.
 */
export async function shrink(plan: Plan, report: (line: string) => void = () => undefined): Promise<Shrunk | null> {
  const first = await simulate(plan)
  if (first.violation === null) return null
  const { claim } = first.violation
  let best: Shrunk = { plan, outcome: first, runs: 1 }

  const attempt = async (changed: Plan): Promise<boolean> => {
    const outcome = await simulate(changed)
    best = { ...best, runs: best.runs + 1 }
    if (outcome.violation?.claim !== claim) return false
    best = { ...best, plan: changed, outcome }
    return true
  }

  const cut = async (): Promise<void> => {
    const atMs = Math.ceil((best.outcome.violation?.atUs ?? 0) / 1000)
    if (atMs >= best.plan.safetyMs) return
    await attempt({ ...best.plan, safetyMs: atMs + 1, faults: best.plan.faults.filter((fault) => fault.atMs <= atMs) })
  }

  await cut()
  report(`cut: ${best.plan.faults.length} faults, ${best.plan.safetyMs} ms`)
  for (let round = 0; round < 3; round += 1) {
    const before = best.plan
    await withoutFaults(best.plan.faults, (faults) => attempt({ ...best.plan, faults }))
    await cut()
    for (const simpler of calmer(best.plan)) await attempt({ ...best.plan, ...simpler })
    await cut()
    report(`round ${round + 1}: ${best.plan.faults.length} faults, ${best.plan.safetyMs} ms, ${best.runs} runs`)
    if (best.plan === before) break
  }
  return best
}

/** Zeller's ddmin: drops ever smaller parts of the list for as long as it still fails without them. */
async function withoutFaults(
  faults: readonly Fault[],
  stillFails: (faults: readonly Fault[]) => Promise<boolean>,
): Promise<void> {
  let kept = faults
  let parts = 2
  while (kept.length > 0) {
    const size = Math.ceil(kept.length / parts)
    let dropped = false
    for (let from = 0; from < kept.length; from += size) {
      const rest = [...kept.slice(0, from), ...kept.slice(from + size)]
      if (!(await stillFails(rest))) continue
      kept = rest
      parts = Math.max(parts - 1, 2)
      dropped = true
      break
    }
    if (dropped) continue
    if (size === 1) return
    parts = Math.min(kept.length, parts * 2)
  }
}

function calmer(plan: Plan): readonly Partial<Plan>[] {
  const { network } = plan
  return [
    { network: { ...network, lost: 0, repeated: 0, stale: 0, broken: 0 } },
    { network: { ...network, stale: 0 } },
    { network: { ...network, repeated: 0 } },
    { network: { ...network, lost: 0 } },
    { network: { ...network, broken: 0 } },
    { network: { ...network, delayUs: 500 } },
    { clients: 1 },
    { clients: Math.max(1, plan.clients - 1) },
    { keys: 1 },
    { spares: 0 },
    { spares: Math.max(0, plan.spares - 1) },
    { voters: 3 },
    { voters: 2 },
    { driftPpm: 0 },
    { lateUs: 0 },
    { turnUs: 0 },
    { mailUs: 50 },
    { fsyncUs: 300 },
    { snapshotEntries: 100_000 },
    { leaseReads: false },
    { healing: { spare: 'none' } },
    { safetyMs: Math.ceil(plan.safetyMs / 2) },
  ]
}
