import type { NodeId } from '../../src/vocabulary/ids.ts'
import { Stream } from '../simulation/streams.ts'
import { Churn } from './churn.ts'
import { Sim } from './sim.ts'
import type { SimOptions } from './sim.ts'

/**
 * One seed played: a cluster that comes together, a time of faults whose kinds the seed draws (swarm testing), then a sound network
 * in which all live nodes have to agree within a bound: who lives, who does not, and what each says of itself.
 */
export type PlayOptions = {
  readonly seed: number
  readonly nodes: number
  readonly faultsMs: number
  readonly timing?: SimOptions['timing']
  /** Nodes join and leave meanwhile. */
  readonly churns?: boolean
}

export type Played = { readonly agreedMs: number; readonly sim: Sim; readonly churn: Churn | null }

/** Throws what was broken; the answer is how long agreement took after the faults. */
export function play({ seed, nodes, faultsMs, timing, churns = false }: PlayOptions): Played {
  const swarm = new Swarm(new Stream(seed, 'swarm'))
  const short = { ...(swarm.has(500) && { tombstoneTicks: 50 }), ...(swarm.has(300) && { reapTicks: 400 }) }
  const sim = new Sim({ seed, nodes, linkHints: swarm.has(500), timing: { ...short, ...timing } })
  const churn = churns ? new Churn(sim, seed) : null
  try {
    if (swarm.has(700)) sim.run(5000)
    sim.lossPerMille = swarm.amount(600, 300)
    sim.duplicatePerMille = swarm.amount(500, 300)
    sim.delayMs = 2 + swarm.amount(600, 300)
    faults(sim, { swarm, untilMs: sim.nowMs + faultsMs, random: new Stream(seed, 'faults'), churn })
    sim.heal()
    if (churn !== null) sim.tellContacts()
    sim.lossPerMille = 0
    sim.duplicatePerMille = 0
    sim.delayMs = 2
    const boundMs = agreementBoundMs(sim)
    const agreedMs = sim.runUntil(() => sim.divergence() === null, boundMs)
    if (agreedMs === null) throw new Error(`no agreement within ${boundMs} ms: ${sim.divergence() ?? ''}`)
    churn?.settle()
    // What was suspected last is settled. Then nobody is accused in a sound network, and nobody who is gone comes back.
    sim.run(boundMs)
    const before = sim.events.length
    sim.run(20_000)
    const strange = sim.events.slice(before).filter(({ kind }) => kind !== 'forgotten')
    const divergence = sim.divergence()
    if (divergence !== null) throw new Error(`agreement is lost: ${divergence}`)
    if (strange.length > 0) throw new Error(`in a sound network ${JSON.stringify(strange[0])}`)
    const unwanted = sim.up.find(({ id }) => sim.removed.has(id))
    if (unwanted !== undefined) throw new Error(`${unwanted.id} was removed, and runs`)
    return { agreedMs, sim, churn }
  } catch (error) {
    throw new Error(`seed ${seed} of ${nodes} nodes at ${sim.nowMs} ms: ${String(error)}`, { cause: error })
  }
}

/** The longest suspicion, an exchange with someone dead and one with someone live; a node that was starved probes seldom at first. */
export function agreementBoundMs({ timing, tickMs, nodes }: Sim): number {
  const size = nodes.size
  const suspicionTicks =
    timing.suspicionMult * timing.suspicionMaxMult * Math.max(1, Math.log10(size)) * timing.probeTicks
  const exchanges = timing.exchangeTicks * (1 + Math.max(0, Math.ceil(Math.log2(size) - 5)))
  return (suspicionTicks + exchanges + timing.reconnectTicks * 2 + timing.probeTicks * 16) * tickMs
}

type Faults = {
  readonly swarm: Swarm
  readonly untilMs: number
  readonly random: Stream
  readonly churn: Churn | null
}

type Fault = (sim: Sim, random: Stream) => void

function faults(sim: Sim, { swarm, untilMs, random, churn }: Faults): void {
  const drawn = Object.entries(kinds).filter(() => swarm.has(500))
  while (sim.nowMs < untilMs) {
    sim.run(random.between(200, 6000))
    if (drawn.length > 0) random.pick(drawn)[1](sim, random)
    if (random.chance(600)) write(sim, random)
    churn?.turn()
  }
  for (const id of sim.nodes.keys()) if (!sim.node(id).isUp && random.chance(600)) sim.start(id)
}

const kinds: Readonly<Record<string, Fault>> = {
  crash: (sim, random) => some(sim, random, (id) => sim.crash(id)),
  restart: (sim, random) => some(sim, random, (id) => sim.restart(id)),
  'restart at once': (sim, random) => {
    for (const { id } of sim.up) if (random.chance(900)) sim.restart(id)
  },
  'start again': (sim, random) => {
    const down = [...sim.nodes.values()].filter(({ isUp }) => !isUp)
    if (down.length > 0) sim.start(random.pick(down).id)
  },
  leave: (sim, random) => some(sim, random, (id) => sim.leave(id)),
  pause: (sim, random) => some(sim, random, (id) => sim.pause(id, random.between(500, 20_000))),
  'cut one way': (sim, random) => {
    const ids = [...sim.nodes.keys()]
    const from = random.pick(ids)
    const to = random.pick(ids)
    if (from !== to) sim.cut(from, to)
  },
  'isolate for receiving': (sim, random) => {
    const deaf = random.pick([...sim.nodes.keys()])
    for (const id of sim.nodes.keys()) if (id !== deaf) sim.cut(id, deaf)
  },
  partition: (sim, random) => {
    const ids = random.shuffle([...sim.nodes.keys()])
    const at = random.between(1, ids.length - 1)
    sim.partition([ids.slice(0, at), ids.slice(at)])
    sim.run(random.between(1000, 60_000))
  },
  heal: (sim) => sim.heal(),
}

/** Never the last one that is to stay. */
function some(sim: Sim, random: Stream, fault: (id: NodeId) => void): void {
  const staying = sim.up.filter(({ gossip }) => gossip.status().phase === 'running')
  if (staying.length > 1) fault(random.pick(staying).id)
}

/** Keys come, change and go: deletions, and deletions that are forgotten, are where versions go wrong. */
function write(sim: Sim, random: Stream): void {
  const { id } = random.pick(sim.up)
  for (let count = random.between(1, 6); count > 0; count -= 1) {
    const key = `key-${random.below(8)}`
    sim.setState(id, key, random.chance(400) ? null : `${random.below(1000)}`)
  }
  if (random.chance(300)) sim.setState(id, `large-${random.below(40)}`, 'x'.repeat(random.between(1, 1000)))
  if (random.chance(500)) sim.setGauges(id, new Map([['load', random.below(100)]]))
}

/** Which faults there are in this seed, and how hard. */
class Swarm {
  readonly #stream: Stream

  constructor(stream: Stream) {
    this.#stream = stream
  }

  has(perMille: number): boolean {
    return this.#stream.chance(perMille)
  }

  amount(perMille: number, max: number): number {
    return this.#stream.chance(perMille) ? this.#stream.between(1, max) : 0
  }
}
