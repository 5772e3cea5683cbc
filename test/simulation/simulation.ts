import type { ConsensusOptions } from '../../src/consensus/consensus.ts'
import { encodeConfiguration, makeConfiguration } from '../../src/raft/configuration.ts'
import type { LogBatch } from '../../src/storage/log-store.ts'
import { isMember } from '../../src/raft/quorum.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { SimAutopilot } from './autopilot.ts'
import { Client } from './clients.ts'
import { Conditions } from './conditions.ts'
import { performFault } from './faults.ts'
import { Invariants } from './invariants.ts'
import { checkHistory } from './linearizability.ts'
import type { Plan } from './plan.ts'
import { observe } from './observed.ts'
import { Operator } from './operator.ts'
import { SimDisk, reserveBytes } from './sim-disk.ts'
import { foundOn } from './sim-log-store.ts'
import { SimNetwork } from './sim-network.ts'
import { SimNode } from './sim-node.ts'
import { Stream } from './streams.ts'
import { World } from './world.ts'
import type { Violation } from './world.ts'

export type Outcome = {
  readonly violation: Violation | null
  readonly hash: string
  readonly events: number
  readonly virtualMs: number
  readonly trace: readonly string[]
  /** What the life was like: a claim that held because nothing happened says nothing. */
  readonly counts: {
    readonly terms: number
    readonly committed: number
    readonly acknowledged: number
    readonly reads: number
    readonly crashes: number
    /** That the atlas allowed, and that a start found. */
    readonly damages: number
    readonly quarantines: number
    readonly snapshots: number
    readonly changes: number
    /** Of autopilot's, where it decides. */
    readonly promotions: number
    readonly removals: number
    readonly joins: number
  }
}

/** Plays a plan from its start to the final verdict. */
export async function simulate(
  plan: Plan,
  options: { readonly traced?: boolean; readonly untilMs?: number } = {},
): Promise<Outcome> {
  const { stackTraceLimit } = Error
  // Peers are refused by the thousand: nobody reads where, unless somebody looks into this one run.
  if (options.traced !== true) Error.stackTraceLimit = 0
  try {
    return await new Simulation(plan, options.traced === true).play(options.untilMs ?? Infinity)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** A cluster that is whole again has to be one, and to serve, within so many election timeouts. */
const healingTimeouts = 30
const rounds = { writes: 3, reads: 3 }

export class Simulation {
  readonly plan: Plan
  readonly world: World
  readonly network: SimNetwork
  readonly invariants: Invariants
  readonly nodes: readonly SimNode[]
  readonly clients: readonly Client[]
  readonly conditions: Conditions
  readonly operator = new Operator(this)
  readonly autopilot: SimAutopilot | null
  crashes = 0
  damages = 0
  /** No fault begins any more, and what falls gets up at once. */
  isHealed = false
  /** Nodes that are not to run while the cluster shows that it can do without them. */
  readonly left = new Set<NodeId>()

  constructor(plan: Plan, traced: boolean) {
    this.plan = plan
    this.world = new World({ traced })
    this.network = new SimNetwork(this.world, { seed: plan.seed, weather: plan.network })
    const ids = Array.from({ length: plan.voters + plan.spares }, (_, at) => `n${at + 1}` as NodeId)
    const disks = new Map(ids.map((id) => [id, this.#makeDisk(id)]))
    this.invariants = new Invariants(this.world, disks)
    this.nodes = ids.map((id) => this.#makeNode(id, ids, disks.get(id) as SimDisk))
    this.clients = Array.from({ length: plan.clients }, (_, at) => this.#makeClient(`c${at + 1}`))
    this.conditions = new Conditions(() => this.nodes, this.invariants)
    this.autopilot = plan.autopilot === undefined ? null : new SimAutopilot(this, plan.autopilot)
  }

  async play(untilMs: number): Promise<Outcome> {
    const { plan, world } = this
    if (!plan.forms) await this.#writeFoundation()
    observe(this)
    for (const node of this.nodes) node.start()
    for (const client of this.clients) client.start()
    this.autopilot?.start()
    for (const fault of plan.faults) world.at(fault.atMs * 1000, `fault ${fault.kind}`, () => performFault(this, fault))
    await world.run(Math.min(plan.safetyMs, untilMs) * 1000)
    if (untilMs > plan.safetyMs) await this.#heal()
    if (untilMs > plan.safetyMs && this.autopilot !== null) await this.#settleVoters(this.autopilot)
    const history = this.clients.flatMap((client) => client.history())
    if (world.violation === null) {
      const verdict = checkHistory(history)
      if (verdict !== null) world.violate('the history of each key is linearizable', verdict)
    }
    observe(null)
    return {
      violation: world.violation,
      hash: world.hash,
      events: world.events,
      virtualMs: Math.round(world.nowUs / 1000),
      trace: world.trace ?? [],
      counts: {
        terms: this.invariants.terms,
        committed: this.invariants.commitIndex,
        acknowledged: history.filter(({ kind, answeredUs }) => kind === 'write' && answeredUs !== Infinity).length,
        reads: history.filter(({ kind }) => kind === 'read').length,
        crashes: this.crashes,
        damages: this.damages,
        quarantines: this.nodes.reduce((sum, { disk }) => sum + disk.quarantines, 0),
        snapshots: this.nodes.filter(({ disk }) => disk.image.snapshot !== null).length,
        changes: this.invariants.committed.filter(({ configuration }) => configuration !== null).length - 1,
        ...(this.autopilot?.counts ?? { promotions: 0, removals: 0, joins: 0 }),
      },
    }
  }

  node(at: number): SimNode {
    const node = this.nodes[at % this.nodes.length]
    if (node === undefined) throw new Error('no such node')
    return node
  }

  /** Whoever leads the newest term, if anybody ever did. */
  leader(): SimNode | undefined {
    const id = this.invariants.newestLeader()
    return this.nodes.find((node) => node.id === id)
  }

  restartLater(node: SimNode, downMs: number): void {
    this.world.after(downMs * 1000, `${node.id} is started`, () => {
      if (!this.isHealed) node.start()
    })
  }

  /** The second half: a majority is well again, whatever the others do; it has to find itself and to serve. */
  async #heal(): Promise<void> {
    const { world, network } = this
    if (world.violation !== null) return
    world.note('*', () => 'heals a majority')
    this.autopilot?.pause()
    this.isHealed = true
    network.isCalm = true
    network.healAll()
    this.#chooseCore()
    for (const node of this.nodes) {
      node.disk.stalledUntilUs = 0
      node.disk.failNext = null
      node.disk.freeBytes = null
      node.life?.process.disarm()
      node.disk.disarm()
      // What is wrong with a disk is found by looking at it.
      if (node.disk.damaged.size > 0) node.crash('kill')
      if (this.left.has(node.id)) this.#leave(node)
      else node.start()
      this.operator.tend(node)
    }
    for (const client of this.clients) client.isHealed = true
    await this.#runHealed(() => this.#serves())
    if (world.violation !== null) return
    if (!this.#serves()) {
      world.violate('a healed majority serves again', this.#describe(this.#core()))
      return
    }
    await this.#converge(() => this.#core())
    if (this.left.size === 0 || world.violation !== null) return
    // And then everyone.
    world.note('*', () => 'heals all')
    network.healAll()
    this.left.clear()
    for (const node of this.nodes) node.start()
    await this.#converge(() => this.nodes)
  }

  /** Where all are well, autopilot has as many voters as it wants in the end. */
  async #settleVoters(autopilot: SimAutopilot): Promise<void> {
    const { world } = this
    if (world.violation !== null) return
    autopilot.resume()
    await this.#runHealed(() => autopilot.isSettled())
    if (world.violation === null && !autopilot.isSettled())
      world.violate('autopilot brings the voters to their number', this.#describe(this.nodes))
    await this.#converge(() => this.nodes)
  }

  /** As many as can be done without are left out: a majority stays of every configuration that may come to rule. */
  #chooseCore(): void {
    const { plan } = this
    this.left.clear()
    if (plan.healing.spare === 'none') return
    for (const { id } of new Stream(plan.seed, 'healing').shuffle(this.nodes)) {
      this.left.add(id)
      if (!this.#isEnough()) this.left.delete(id)
    }
  }

  /** A change that was asked for before the healing may be made after it: then who is needed now is healed, too. */
  #keepEnough(): void {
    for (const id of this.left) {
      if (this.#isEnough()) return
      this.left.delete(id)
      for (const other of this.nodes) {
        this.network.heal(id, other.id)
        this.network.heal(other.id, id)
      }
      this.startOf(id)
    }
  }

  #isEnough(): boolean {
    return this.conditions.atlas.isEnough((id) => !this.left.has(id))
  }

  /** Who has to serve: the members that are not left out. */
  #core(): readonly SimNode[] {
    const committed = this.invariants.configuration()
    return this.nodes.filter(({ id }) => !this.left.has(id) && (committed === null || isMember(committed, id)))
  }

  #leave(node: SimNode): void {
    const { spare } = this.plan.healing
    if (spare === 'dead') {
      if (node.isRunning) node.crash('power')
      return
    }
    node.start()
    for (const other of this.nodes) {
      if (this.left.has(other.id)) continue
      if (spare === 'mute') this.network.cut(node.id, other.id)
      else this.network.cut(other.id, node.id)
    }
  }

  #serves(): boolean {
    const done = { writes: 0, reads: 0 }
    for (const { doneSinceHealing } of this.clients) {
      done.writes += doneSinceHealing.writes
      done.reads += doneSinceHealing.reads
    }
    return done.writes >= rounds.writes && done.reads >= rounds.reads
  }

  /** When nobody asks for anything any more, all have one leader, one log and one state. */
  async #converge(core: () => readonly SimNode[]): Promise<void> {
    const { world } = this
    for (const client of this.clients) client.stop()
    await this.#runHealed(() => this.#isEqual(core()))
    if (world.violation === null && !this.#isEqual(core()))
      world.violate('healed nodes become equal', this.#describe(core()))
  }

  async #runHealed(isDone: () => boolean): Promise<void> {
    const { world, plan } = this
    const deadlineUs = world.nowUs + healingTimeouts * plan.electionTimeoutMs * 1000
    let nextLookUs = world.nowUs + 20_000
    await world.run(deadlineUs, () => {
      if (world.nowUs < nextLookUs) return false
      nextLookUs = world.nowUs + 20_000
      this.#keepEnough()
      return isDone()
    })
  }

  #isEqual(core: readonly SimNode[]): boolean {
    const { commitIndex } = this.invariants
    const configuration = this.invariants.configuration()
    if (configuration === null || configuration.votersOutgoing.length > 0) return false
    const members = core.filter(({ id }) => [...configuration.voters, ...configuration.learners].includes(id))
    const leaders = members.flatMap(({ id }) => this.invariants.view(id) ?? []).filter(({ role }) => role === 'leader')
    const [leader] = leaders
    if (leader === undefined || leaders.length !== 1) return false
    // Who lost something is back, whether it was taken in again or recovered.
    if (core.some(({ disk }) => disk.isWiped)) return false
    return members.every(({ id, life, disk }) => {
      const view = this.invariants.view(id)
      if (view === undefined || life === null || view.term !== leader.term) return false
      if (view.isRecovering || disk.image.hardState.isRecovering) return false
      const last = view.firstIndex + view.entries.length - 1
      // Of the log stay half of a snapshot's entries behind it, and at most as many again before the next one is due.
      const isBounded = view.entries.length <= 2 * this.plan.snapshotEntries + 20
      return isBounded && life.machine.index === commitIndex && last === commitIndex
    })
  }

  #describe(core: readonly SimNode[]): string {
    const states = core.map(({ id, life, disk }) => {
      const view = this.invariants.view(id)
      const last = view === undefined ? 0 : view.firstIndex + view.entries.length - 1
      const { isWiped, image } = disk
      const how = isWiped ? ' wiped' : image.hardState.isRecovering ? ' recovering' : ''
      return `${id} ${life === null ? 'down' : 'up'}${how} ${view?.role} term ${view?.term} log ${view?.firstIndex}..${last} commit ${view?.commit} applied ${life?.machine.index}`
    })
    return `committed ${this.invariants.commitIndex}; ${states.join('; ')}`
  }

  #makeDisk(id: NodeId): SimDisk {
    return new SimDisk({
      node: id,
      stream: new Stream(this.plan.seed, `disk ${id}`),
      meanUs: this.plan.fsyncUs,
      isHarmless: (lost) => this.conditions.isHarmless(id, lost),
    })
  }

  #makeNode(id: NodeId, ids: readonly NodeId[], disk: SimDisk): SimNode {
    const { plan, world, network, invariants } = this
    const stream = new Stream(plan.seed, `node ${id}`)
    const loop = new Stream(plan.seed, `loop ${id}`)
    const rate = 1 + (stream.between(-plan.driftPpm, plan.driftPpm) || 0) / 1_000_000
    const options: ConsensusOptions = {
      nodeId: id,
      dataDir: '',
      clusterName: 'simulated',
      secret: '',
      listen: { host: id, port: 7000 },
      advertiseRaft: `${id}:7000`,
      bootstrapExpect: ids.indexOf(id) < plan.voters ? plan.voters : null,
      heartbeatMs: plan.heartbeatMs,
      electionTimeoutMs: plan.electionTimeoutMs,
      logBytesMax: 4 * 1024 * 1024,
      snapshotEntries: plan.snapshotEntries,
      votersMax: 5,
      reserveBytes,
      leaseReads: plan.leaseReads,
      version: '0',
    }
    return new SimNode({
      id,
      world,
      disk,
      network,
      invariants,
      stream,
      options,
      peers: ids,
      rate,
      haste: new Stream(plan.seed, 'haste').pick([1, 500, 5_000]),
      wallMs: () => 1_700_000_000_000 + (world.nowUs * rate) / 1000,
      lateUs: () => (plan.lateUs === 0 || !loop.chance(30) ? 0 : loop.around(plan.lateUs)),
      turnUs: () => (plan.turnUs === 0 ? 0 : loop.around(plan.turnUs)),
      mailUs: () => 10 + loop.around(plan.mailUs),
      failed: (node) => this.restartLater(node, 300),
      died: () => {
        this.crashes += 1
        // What was broken before the healing may end a node only now.
        if (this.isHealed && !this.left.has(id)) world.after(50_000, `${id} is started`, () => this.startOf(id))
      },
    })
  }

  startOf(id: NodeId): void {
    if (!this.left.has(id)) this.nodes.find((node) => node.id === id)?.start()
  }

  #makeClient(name: string): Client {
    const { plan, world, invariants } = this
    return new Client(name, {
      world,
      stream: new Stream(plan.seed, `client ${name}`),
      nodes: () => this.#served(),
      keys: plan.keys,
      thinkUs: plan.thinkUs,
      timeoutUs: 4 * plan.electionTimeoutMs * 1000,
      seenIndex: () => invariants.seenIndex,
      saw: (index) => invariants.seen(index),
    })
  }

  /** Whom clients try: everyone while things break, then those who are meant to serve. */
  #served(): readonly SimNode[] {
    return this.left.size === 0 ? this.nodes : this.nodes.filter(({ id }) => !this.left.has(id))
  }

  /** As if the cluster had formed before. */
  async #writeFoundation(): Promise<void> {
    const clusterId = '00000000-0000-4000-8000-000000000000' as ClusterId
    const founders = this.nodes.slice(0, this.plan.voters).map(({ id }) => id)
    const data = encodeConfiguration(makeConfiguration(clusterId, founders))
    const batch: LogBatch = {
      hardState: { term: 1, vote: null, commit: 1, isRecovering: false },
      install: null,
      compact: null,
      truncateFrom: null,
      entries: [{ index: 1, term: 1, kind: 'configuration', id: '' as ProposalId, time: 0, data }],
      sync: true,
    }
    for (const { id, disk } of this.nodes)
      if (founders.includes(id)) await foundOn(disk, { clusterId, voters: founders }, batch)
  }
}
