import type { NodeId } from '../vocabulary/ids.ts'

/**
 * The time that a suspect has to refute (Lifeguard, arXiv 1707.00788, section 4.2, "LHA-Suspicion"): long while one member
 * alone accuses, for the fault may be the accuser's; shorter, by the logarithm, with each other member that says the same.
 */
export type Suspicion = {
  readonly startTick: number
  /** The distinct members that accuse, the first included; at most `confirmationsMax` + 1. */
  readonly accusers: ReadonlySet<NodeId>
  /** So many others shorten the time-out to `minTicks`; 0: it is that at once, as nobody else could confirm. */
  readonly confirmationsMax: number
  readonly minTicks: number
  readonly maxTicks: number
}

export type SuspicionOptions = {
  /** `minTicks` is so many probe intervals, times log10 of the members. Two less of them are the confirmations that are waited for. */
  readonly suspicionMult: number
  /** `maxTicks` is so many times `minTicks`. */
  readonly suspicionMaxMult: number
  readonly probeTicks: number
}

export function startSuspicion(
  accuser: NodeId,
  { nowTick, nodes, options }: { nowTick: number; nodes: number; options: SuspicionOptions },
): Suspicion {
  const { suspicionMult, suspicionMaxMult, probeTicks } = options
  const minTicks = Math.ceil(suspicionMult * Math.max(1, Math.log10(nodes)) * probeTicks)
  const wanted = Math.max(0, suspicionMult - 2)
  const confirmationsMax = nodes - 2 < wanted ? 0 : wanted
  return {
    startTick: nowTick,
    accusers: new Set([accuser]),
    confirmationsMax,
    minTicks,
    maxTicks: minTicks * suspicionMaxMult,
  }
}

/** The suspicion with one more accuser; null when it says nothing new. */
export function confirmSuspicion(suspicion: Suspicion, accuser: NodeId): Suspicion | null {
  const { accusers, confirmationsMax } = suspicion
  if (accusers.has(accuser) || accusers.size > confirmationsMax) return null
  return { ...suspicion, accusers: new Set([...accusers, accuser]) }
}

/** From this tick on the suspect is dead. */
export function suspicionEndTick({ startTick, accusers, confirmationsMax, minTicks, maxTicks }: Suspicion): number {
  if (confirmationsMax === 0) return startTick + minTicks
  const share = Math.log(accusers.size) / Math.log(confirmationsMax + 1)
  return startTick + Math.max(minTicks, Math.ceil(maxTicks - share * (maxTicks - minTicks)))
}
