import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Clock, Timer } from '../std/clock.ts'
import { isMember } from '../raft/quorum.ts'
import type { ConsensusStatus } from '../consensus/consensus.ts'
import type { ServedCalls } from '../calls/measured-upstreams.ts'
import type { Config } from '../config/schema.ts'
import type { GossipDriver } from '../peers/gossip-driver.ts'
import type { Member } from '../state/command.ts'
import type { ServerName } from '../vocabulary/ids.ts'
import { capacityState } from './capacity.ts'
import type { Cluster } from './cluster.ts'
import { drainingKey } from './draining-members.ts'
import type { SaidDraining } from './draining-members.ts'
import { rounded, serverGauges } from './server-gauges.ts'

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

  constructor(options: SelfReportOptions) {
    this.#options = options
    this.#measuredAtMs = options.clock.monotonic()
  }

  start(): void {
    const { gossip, member, capacity } = this.#options
    const { addresses, labels, version, startedAt } = member
    gossip.setState('version', version)
    gossip.setState('startedAt', String(startedAt))
    this.draining('serving')
    for (const [name, address] of Object.entries(addresses)) gossip.setState(`address.${name}`, address)
    for (const [key, value] of capacityState(capacity)) gossip.setState(key, value)
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
    const { clock, consensus, cluster, calls, takeServers } = this.#options
    const { raft, counters } = consensus()
    const { oldestWriteMs, syncP99Ms, diskFreeBytes } = counters
    const { active, forwarded } = calls()
    const { proposals, reads } = cluster.queues
    const nowMs = clock.monotonic()
    const cpu = process.cpuUsage()
    const cpuMs = (cpu.user + cpu.system - this.#cpu.user - this.#cpu.system) / 1000
    const gauges = new Map([
      ['cpu', rounded(cpuMs / Math.max(1, nowMs - this.#measuredAtMs))],
      ['rssBytes', process.memoryUsage.rss()],
      ['loopDelayMs', rounded(this.#loopDelay.count > 0 ? Math.max(0, this.#loopDelay.max / 1e6 - resolutionMs) : 0)],
      ['activeCalls', active],
      ['oldestWriteMs', rounded(oldestWriteMs)],
      ['syncP99Ms', rounded(syncP99Ms)],
      ['queue.proposals', proposals],
      ['queue.reads', reads],
      ['queue.forwardedCalls', forwarded],
      // Committed, and not applied here yet; the state may be newer than what consensus has told of itself.
      ['queue.committedEntries', Math.max(0, (raft?.commitIndex ?? 0) - cluster.state.appliedIndex)],
      ...(diskFreeBytes === null ? [] : [['diskFreeBytes', diskFreeBytes] as const]),
    ])
    this.#loopDelay.reset()
    this.#cpu = cpu
    this.#measuredAtMs = nowMs
    return new Map([...gauges, ...serverGauges(takeServers(), gauges)])
  }
}

export type SelfReportOptions = {
  readonly gossip: GossipDriver
  readonly member: Pick<Member, 'addresses' | 'labels' | 'version' | 'startedAt'>
  readonly capacity: Config['node']['capacity']
  readonly consensus: () => ConsensusStatus
  readonly cluster: Pick<Cluster, 'queues'> & { readonly state: Pick<Cluster['state'], 'appliedIndex'> }
  /** Those that came in here or are performed here, and have not ended; of these, those that wait for another node. */
  readonly calls: () => { readonly active: number; readonly forwarded: number }
  /** How servers fared here since this was called last. */
  readonly takeServers: () => ReadonlyMap<ServerName, ServedCalls>
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
