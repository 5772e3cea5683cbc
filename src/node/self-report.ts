import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Clock, Timer } from '../std/clock.ts'
import { isMember } from '../raft/quorum.ts'
import type { ConsensusStatus } from '../consensus/consensus.ts'
import type { GossipDriver } from '../peers/gossip-driver.ts'
import type { Member } from '../state/command.ts'
import { drainingKey } from './draining-members.ts'
import type { SaidDraining } from './draining-members.ts'

/**
 * What this node says of itself by gossip: who it is and what it does here (state, said once and when it changes), and how it
 * fares (gauges, every few seconds).
 */
export class SelfReport {
  readonly #options: SelfReportOptions
  readonly #loopDelay = monitorEventLoopDelay({ resolution: resolutionMs })
  #timer: Timer | null = null
  #cpu = process.cpuUsage()
  #measuredAtMs: number
  #synced = { count: 0, ms: 0 }

  constructor(options: SelfReportOptions) {
    this.#options = options
    this.#measuredAtMs = options.clock.monotonic()
  }

  start(): void {
    const { gossip, member } = this.#options
    const { addresses, labels, version, startedAt } = member
    gossip.setState('version', version)
    gossip.setState('startedAt', String(startedAt))
    this.draining('serving')
    for (const [name, address] of Object.entries(addresses)) gossip.setState(`address.${name}`, address)
    for (const [name, value] of Object.entries(labels)) gossip.setState(`label.${name}`, value)
    this.statusChanged()
    this.#loopDelay.enable()
    this.#measure()
  }

  /** After each new status of consensus. */
  statusChanged(): void {
    this.#options.gossip.setState('role', roleOf(this.#options.consensus()))
  }

  draining(how: SaidDraining): void {
    this.#options.gossip.setState(drainingKey, how === 'serving' ? 'false' : how)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#loopDelay.disable()
  }

  #measure(): void {
    const { clock, gossip } = this.#options
    gossip.setGauges(this.#gauges())
    this.#timer = clock.after(everyMs, () => this.#measure())
  }

  #gauges(): ReadonlyMap<string, number> {
    const { clock, consensus, activeCalls } = this.#options
    const { oldestWriteMs, persistMs, persistSyncs, diskFreeBytes } = consensus().counters
    const nowMs = clock.monotonic()
    const cpu = process.cpuUsage()
    const cpuMs = (cpu.user + cpu.system - this.#cpu.user - this.#cpu.system) / 1000
    const syncs = persistSyncs - this.#synced.count
    const gauges = new Map([
      ['cpu', rounded(cpuMs / Math.max(1, nowMs - this.#measuredAtMs))],
      ['rssBytes', process.memoryUsage.rss()],
      ['loopDelayMs', rounded(this.#loopDelay.count > 0 ? Math.max(0, this.#loopDelay.max / 1e6 - resolutionMs) : 0)],
      ['activeCalls', activeCalls()],
      ['oldestWriteMs', rounded(oldestWriteMs)],
      ['syncMs', rounded(syncs > 0 ? (persistMs - this.#synced.ms) / syncs : 0)],
      ...(diskFreeBytes === null ? [] : [['diskFreeBytes', diskFreeBytes] as const]),
    ])
    this.#loopDelay.reset()
    this.#cpu = cpu
    this.#measuredAtMs = nowMs
    this.#synced = { count: persistSyncs, ms: persistMs }
    return gauges
  }
}

export type SelfReportOptions = {
  readonly gossip: GossipDriver
  readonly member: Pick<Member, 'addresses' | 'labels' | 'version' | 'startedAt'>
  readonly consensus: () => ConsensusStatus
  /** Calls that came in here or are performed here, and have not ended. */
  readonly activeCalls: () => number
  readonly clock: Clock
}

const everyMs = 5000
/** The delay is measured by a timer of this length, which is in what it shows. */
const resolutionMs = 20

/** `gossip`: it has no part in the log. */
function roleOf({ raft }: ConsensusStatus): 'voter' | 'learner' | 'gossip' {
  if (raft === null || !isMember(raft.configuration, raft.id)) return 'gossip'
  return raft.configuration.learners.includes(raft.id) ? 'learner' : 'voter'
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000
}
