import { Autopilot } from '../../src/autopilot/autopilot.ts'
import type { Decision, Observation } from '../../src/autopilot/observation.ts'
import type { MemberStatus } from '../../src/gossip/messages.ts'
import { changeConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration } from '../../src/raft/configuration.ts'
import { isMember } from '../../src/raft/quorum.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import type { AutopilotPlan } from './autopilot-plan.ts'
import { performFault } from './faults.ts'
import type { Life, SimNode } from './sim-node.ts'
import type { Simulation } from './simulation.ts'
import { Stream } from './streams.ts'

/**
 * Autopilot's core on every node that leads, shown what the node would see: its Raft's status, and a gossip that hears who
 * can be heard, directly or by another, and is wrong now and then. What it decides is proposed; machines that ask to be taken
 * in are proposed as learners. Each decision is held against what is true.
 */
export class SimAutopilot {
  readonly #simulation: Simulation
  readonly #plan: AutopilotPlan
  readonly #random: Stream
  readonly #cores = new WeakMap<Life, Autopilot>()
  /** When who leads last had a sign of life from each node, by its own clock; before any, when it was first seen to lead. */
  readonly #signsMs = new WeakMap<Life, ReadonlyMap<NodeId, number>>()
  /** When `viewer` last could hear of `other`, and until when its gossip is wrong about it. */
  readonly #heardUs = new Map<string, number>()
  readonly #lieUntilUs = new Map<string, number>()
  readonly #waiting: Set<NodeId>
  #pending: { readonly life: Life; readonly sinceUs: number } | null = null
  #isPaused = false
  readonly counts = { promotions: 0, removals: 0, joins: 0 }

  constructor(simulation: Simulation, plan: AutopilotPlan) {
    this.#simulation = simulation
    this.#plan = plan
    this.#random = new Stream(simulation.plan.seed, 'autopilot at work')
    this.#waiting = new Set()
  }

  start(): void {
    const { world } = this.#simulation
    for (const { atMs, node } of this.#plan.joins) {
      const { id } = this.#simulation.node(node)
      world.at(atMs * 1000, `${id} asks to be taken in`, () => this.#waiting.add(id))
    }
    this.#look()
  }

  /** While all is being healed it decides nothing: what is to be seen then is what is there. Gossip is right from then on. */
  pause(): void {
    this.#isPaused = true
    this.#lieUntilUs.clear()
  }

  resume(): void {
    this.#isPaused = false
  }

  /** Whether there are as many voters as there should be, and nothing is under way. */
  isSettled(): boolean {
    const configuration = this.#simulation.invariants.configuration()
    if (configuration === null || configuration.votersOutgoing.length > 0) return false
    const { voters, learners } = configuration
    const most = Math.min(voters.length + learners.length, this.#plan.votersMax)
    return voters.length >= (most % 2 === 1 ? most : most - 1)
  }

  #look(): void {
    const { world, nodes } = this.#simulation
    for (const viewer of nodes) for (const other of nodes) this.#listen(viewer, other)
    if (!this.#isPaused) {
      const leader = this.#simulation.leader()
      if (leader !== undefined) this.#takeIn(leader)
      for (const node of nodes) this.#decide(node)
    }
    world.after(lookMs * 1000, 'autopilot looks', () => this.#look())
  }

  #listen(viewer: SimNode, other: SimNode): void {
    const { nodes, world } = this.#simulation
    const key = pairOf(viewer.id, other.id)
    const isHeard = this.#hears(viewer, other) || nodes.some((by) => this.#hears(viewer, by) && this.#hears(by, other))
    if (isHeard) this.#heardUs.set(key, world.nowUs)
    if (!this.#simulation.isHealed && this.#random.chance(this.#plan.liesPerMille)) {
      this.#lieUntilUs.set(key, world.nowUs + this.#random.around(2 * this.#plan.deadVoterMs) * 1000)
    }
  }

  #hears(viewer: SimNode, other: SimNode): boolean {
    if (viewer.life === null || other.life === null || viewer === other) return false
    return !other.life.process.isPaused && !this.#simulation.network.isCut(other.id, viewer.id)
  }

  #silentUs(viewer: NodeId, other: NodeId): number {
    return this.#simulation.world.nowUs - (this.#heardUs.get(pairOf(viewer, other)) ?? -Infinity)
  }

  #gossip(viewer: SimNode): ReadonlyMap<NodeId, MemberStatus> {
    const { nodes, world } = this.#simulation
    const known = new Map<NodeId, MemberStatus>()
    for (const { id } of nodes) {
      const key = pairOf(viewer.id, id)
      if (id === viewer.id || !this.#heardUs.has(key)) continue
      const isLie = (this.#lieUntilUs.get(key) ?? 0) > world.nowUs
      const silentMs = this.#silentUs(viewer.id, id) / 1000
      const isDead = isLie || silentMs >= this.#plan.silenceMs
      known.set(id, isDead ? 'dead' : silentMs >= this.#plan.silenceMs / 2 ? 'suspect' : 'alive')
    }
    return known
  }

  /** Whoever asked to be taken in is proposed until it is a member, whichever node leads meanwhile. */
  #takeIn(leader: SimNode): void {
    const { invariants } = this.#simulation
    const configuration = invariants.configuration()
    for (const id of this.#waiting) {
      if (configuration === null || this.#isBusy()) return
      if (isMember(configuration, id)) {
        this.#waiting.delete(id)
        this.counts.joins += 1
      } else {
        this.#propose(leader, { kind: 'add-learner', node: id, promote: false })
      }
    }
  }

  #decide(node: SimNode): void {
    const { life } = node
    const raft = life?.status_?.raft ?? null
    if (life === null || raft === null || life.process.isPaused) return
    const core = this.#cores.get(life) ?? new Autopilot(this.#plan)
    this.#cores.set(life, core)
    if (raft.role !== 'leader') {
      this.#signsMs.delete(life)
      return core.rest()
    }
    const nowMs = life.process.clock.monotonic()
    const gossip = this.#gossip(node)
    this.#noteSigns(life, { nowMs, gossip })
    const { decision } = core.observe({ nowMs, raft, gossip, draining: new Map() })
    if (decision === null || this.#isBusy()) return
    const silentMs = nowMs - (this.#signsMs.get(life)?.get(decision.node) ?? nowMs)
    this.#check({ leader: node.id, decision, silentMs }, raft.configuration)
    this.counts[decision.kind === 'promote' ? 'promotions' : 'removals'] += 1
    this.#propose(node, { kind: decision.kind, node: decision.node })
  }

  /** Nobody knows for a while what became of a change whose leader fell. */
  #isBusy(): boolean {
    const pending = this.#pending
    if (pending === null) return false
    const isOver = this.#simulation.world.nowUs - pending.sinceUs > pendingMsMax * 1000
    if (isOver || this.#simulation.nodes.every(({ life }) => life !== pending.life)) this.#pending = null
    return this.#pending !== null
  }

  #propose(node: SimNode, change: Parameters<Simulation['conditions']['change']>[1]): void {
    const { world, conditions } = this.#simulation
    const { life } = node
    if (life === null) return
    const pending = { life, sinceUs: world.nowUs }
    this.#pending = pending
    world.note(node.id, () => `autopilot proposes ${JSON.stringify(change)}`)
    conditions.change(node, change, (how) => {
      world.note(node.id, () => `${JSON.stringify(change)}: ${how}`)
      if (this.#pending === pending) this.#pending = null
    })
    if (!this.#simulation.isHealed && this.#random.chance(this.#plan.fallsPerMille)) this.#fell()
  }

  #fell(): void {
    const at = this.#random.pick(['any', 'write', 'written', 'send', 'apply'] as const)
    const boundary = { at, count: this.#random.between(1, 4) }
    const how = this.#random.chance(500) ? 'kill' : 'power'
    const downMs = this.#random.between(1, 1500)
    performFault(this.#simulation, { atMs: 0, kind: 'crash', node: 'leader', how, boundary, downMs })
  }

  /**
   * What a leader can know of who lives: what gossip tells it, right or wrong, and who answers its Raft. Who runs and could be
   * reached may give neither sign, as a voter that comes with an empty disk and is refused while gossip is wrong about it; who
   * gives one of them is not dead.
   */
  #noteSigns(life: Life, { nowMs, gossip }: Pick<Observation, 'nowMs' | 'gossip'>): void {
    const before = this.#signsMs.get(life)
    const answering = life.answers.atStatus
    const signs = this.#simulation.nodes.map(({ id }): [NodeId, number] => {
      const status = gossip.get(id)
      const isSign = status === 'alive' || status === 'suspect' || answering.has(id)
      return [id, isSign ? nowMs : (before?.get(id) ?? nowMs)]
    })
    this.#signsMs.set(life, new Map(signs))
  }

  /**
   * It may be wrong about who lives, but not against a sign of life: it removes who was dead to gossip and to Raft at every
   * look for `deadVoterMs`, so no look of that time had a sign. And a majority of those that would vote is not silent.
   */
  #check({ leader, decision, silentMs }: Decided, configuration: Configuration): void {
    const { world } = this.#simulation
    const { voters } = configuration
    const changed = changeConfiguration(configuration, decision)
    const isSilent = (node: NodeId, ms: number): boolean => node !== leader && this.#silentUs(leader, node) >= ms * 1000
    const fail = (why: string): void =>
      world.violate('autopilot keeps to its rules', `${leader} would ${decision.kind} ${decision.node}: ${why}`)
    if (changed === undefined) return fail('that is no change')
    if (decision.kind === 'remove' && voters.includes(decision.node)) {
      if (silentMs < this.#plan.deadVoterMs) return fail(`it gave a sign of life ${Math.round(silentMs)} ms ago`)
      if (changed.voters.length < 3) return fail(`only ${changed.voters.join(' ')} would be left`)
    }
    const answering = changed.voters.filter((voter) => !isSilent(voter, this.#plan.silenceMs + 2 * lookMs))
    if (2 * answering.length <= changed.voters.length) return fail(`of the voters only ${answering.join(' ')} answer`)
  }
}

type Decided = {
  readonly leader: NodeId
  readonly decision: Decision
  /** For so long the leader has had no sign of the node that it decides about. */
  readonly silentMs: number
}

const lookMs = 50
const pendingMsMax = 2000

function pairOf(viewer: NodeId, other: NodeId): string {
  return `${viewer} ${other}`
}
