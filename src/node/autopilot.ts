import { Backoff } from '../std/backoff.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { Autopilot } from '../autopilot/autopilot.ts'
import type { AutopilotOptions, Decision, Observation, Verdict } from '../autopilot/observation.ts'
import type { Config } from '../config/schema.ts'
import type { MemberStatus } from '../gossip/messages.ts'
import type { GossipDriver } from '../peers/gossip-driver.ts'
import type { ConfigurationChange } from '../raft/configuration.ts'
import type { RaftStatus } from '../raft/effects.ts'
import type { StateReader } from '../state/reader.ts'
import type { Log } from '../log/log.ts'
import type { Agreement } from './agreement.ts'

/**
 * Drives autopilot while this node leads: shows it the cluster each second and when something is new, and proposes what it
 * decides, one change at a time. A change that was refused, or of which nobody knows what became, is not proposed again
 * before some time is over and the cluster was looked at anew.
 */
export class AutopilotDriver {
  readonly #options: AutopilotDriverOptions
  readonly #core: Autopilot
  readonly #backoff: Backoff
  readonly #counters: AutopilotCounters = { promotions: 0, removals: 0, refusals: 0 }
  #verdict: Verdict | null = null
  /** The sentences that were logged and still hold. */
  #told: ReadonlySet<string> = new Set()
  #beat: Timer | null = null
  #pause: Timer | null = null
  #isChanging = false
  #isStopped = false

  constructor(options: AutopilotDriverOptions) {
    this.#options = options
    this.#core = new Autopilot(options)
    this.#backoff = new Backoff({ minMs: 200, maxMs: 10_000 }, options.random)
  }

  /** What autopilot thinks now; null: this node does not lead. */
  get verdict(): Verdict | null {
    return this.#verdict
  }

  get counters(): Readonly<AutopilotCounters> {
    return this.#counters
  }

  start(): void {
    this.look()
    this.#arm()
  }

  /** After a new status of Raft, news of gossip, or a change of what the nodes agree on. */
  look(): void {
    if (this.#isStopped) return
    const raft = this.#options.raft()
    if (raft === null || raft.role !== 'leader') return this.#rest()
    this.#verdict = this.#core.observe(this.#observe(raft))
    this.#tell(this.#verdict)
    const { decision } = this.#verdict
    if (decision === null || this.#isChanging || this.#pause !== null) return
    // Raft's status comes from another thread: the configuration has to be as new as what is applied here.
    if (raft.commitIndex >= this.#options.state.appliedIndex) void this.#carryOut(decision)
  }

  stop(): void {
    this.#isStopped = true
    this.#beat?.cancel()
    this.#pause?.cancel()
  }

  #arm(): void {
    this.#beat = this.#options.clock.after(beatMs, () => {
      this.look()
      if (!this.#isStopped) this.#arm()
    })
  }

  #rest(): void {
    if (this.#verdict === null) return
    this.#core.rest()
    this.#verdict = null
    this.#told = new Set()
  }

  #observe(raft: RaftStatus): Observation {
    const { clock, gossip, state } = this.#options
    const known = new Map<NodeId, MemberStatus>()
    const draining = new Map<NodeId, 'drain' | 'leave'>()
    for (const { node, status } of gossip.members()) known.set(node, status)
    // Its own word, be it about a signal that it got, as long as it is there; what the nodes agree on comes on top.
    for (const node of [raft.id, ...known.keys()]) {
      const status = known.get(node)
      if (status === 'dead' || status === 'left') continue
      const said = gossip.said(node).state.get('draining') ?? 'false'
      if (said !== 'false') draining.set(node, 'drain')
    }
    for (const [node, drain] of state.drains()) draining.set(node, drain)
    return { nowMs: clock.monotonic(), raft, gossip: known, draining }
  }

  /** Each decision, and each reason for none, once for as long as it lasts. */
  #tell({ decision, holds, voterTarget }: Verdict): void {
    const told = new Set<string>()
    const tell = (decided: string, { node, why }: { readonly node: NodeId | null; readonly why: string }): void => {
      const key = `${decided} ${node} ${why}`
      told.add(key)
      if (!this.#told.has(key)) this.#options.log.info('autopilot-decides', { decided, member: node, why, voterTarget })
    }
    if (decision !== null) tell(decision.kind, decision)
    for (const hold of holds) tell('nothing', hold)
    this.#told = told
  }

  async #carryOut(decision: Decision): Promise<void> {
    const { change, events, gossip, log } = this.#options
    const { kind, node, why } = decision
    this.#isChanging = true
    events.explain(node, `autopilot: ${why}`)
    try {
      await change({ kind, node }, changeMs)
      this.#backoff.reset()
      this.#counters[kind === 'promote' ? 'promotions' : 'removals'] += 1
      log.info('autopilot-changed', { change: kind, member: node, why })
      // It is dead, so it does not say so itself.
      if (kind === 'remove') gossip.remove(node)
    } catch (error) {
      events.explain(node, null)
      this.#counters.refusals += 1
      const code = error instanceof OperatingError ? error.code : null
      log.info('autopilot-deferred', { change: kind, member: node, code, error })
      this.#defer()
    }
    this.#isChanging = false
    this.look()
  }

  #defer(): void {
    if (this.#isStopped) return
    this.#pause = this.#options.clock.after(this.#backoff.next(), () => {
      this.#pause = null
      this.look()
    })
  }
}

/** Since the start of the process: changes that were made, and those that were refused or of which nothing is known. */
export type AutopilotCounters = { promotions: number; removals: number; refusals: number }

export type AutopilotDriverOptions = AutopilotOptions & {
  /** Null before the cluster has formed. */
  readonly raft: () => RaftStatus | null
  readonly gossip: Pick<GossipDriver, 'members' | 'said' | 'remove'>
  readonly state: Pick<StateReader, 'drains' | 'appliedIndex'>
  /** As the cluster does it. */
  readonly change: (change: ConfigurationChange, timeoutMs: number) => Promise<void>
  /** Learns why a change of a node is about to be made; null: it was not made. */
  readonly events: { explain(node: NodeId, why: string | null): void }
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** Autopilot over what the nodes agree on and gossip, which looks whenever one of them has news. */
export function startAutopilot({ config, agreement, gossip, ...ports }: StartAutopilotOptions): AutopilotDriver {
  const { cluster } = agreement
  const autopilot = new AutopilotDriver({
    ...config.autopilot,
    votersMax: config.consensus.maxVoters,
    raft: () => agreement.status().raft,
    gossip,
    state: cluster.state,
    change: (...change) => cluster.change(...change),
    ...ports,
  })
  const look = (): void => autopilot.look()
  agreement.onStatus(look)
  agreement.onNews(look)
  gossip.onMember(look)
  autopilot.start()
  return autopilot
}

export type StartAutopilotOptions = Pick<AutopilotDriverOptions, 'events' | 'clock' | 'random' | 'log'> & {
  readonly config: Config
  readonly agreement: Agreement
  readonly gossip: GossipDriver
}

const beatMs = 1000
const changeMs = 5000
