/** What a random life of a cluster is like, drawn per seed, so that seeds differ in kind and not only in order. */
import type { Random } from '../../src/std/random.ts'
import type { LabLimits } from './lab.ts'

/** How often what happens. */
export type Weather = {
  readonly tick: number
  readonly deliver: number
  readonly lose: number
  readonly repeat: number
  readonly persist: number
  readonly fall: number
  readonly cut: number
  readonly read: number
  readonly snapshot: number
  readonly install: number
  readonly change: number
  readonly transfer: number
  readonly gone: number
  readonly damage: number
  readonly full: number
  /** With leases, all clocks go at one pace: that is what a lease rests on. */
  readonly hasLeases: boolean
  /** At the end nothing is wrong any more, but that all disks are full; and then that neither. */
  readonly isFullAtTheEnd: boolean
}

export function drawWeather(random: Random): Weather {
  const isSteady = random.below(3) === 0
  return {
    hasLeases: random.below(5) === 0,
    tick: 10 + random.below(30),
    deliver: 30 + random.below(60),
    lose: random.below(8),
    repeat: random.below(15),
    persist: 10 + random.below(40),
    fall: random.below(5),
    cut: random.below(3),
    read: random.below(6),
    snapshot: isSteady ? 0 : random.below(5),
    install: 5 + random.below(20),
    change: isSteady ? 0 : random.below(3),
    transfer: random.below(2),
    gone: random.below(2),
    damage: random.below(2) * (1 + random.below(4)),
    full: random.below(2),
    isFullAtTheEnd: random.below(4) === 0,
  }
}

export function drawLimits(random: Random, { hasLeases }: Weather): Partial<LabLimits> {
  return {
    appendBytesMax: 150 + random.below(400),
    inflightMax: 1 + random.below(6),
    uncommittedBytesMax: 1_000,
    trailingEntries: random.below(5),
    electionTicks: hasLeases ? 9 : 6,
    heartbeatTicks: 2,
    leaseReads: hasLeases,
  }
}
