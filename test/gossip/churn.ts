import type { NodeId } from '../../src/vocabulary/ids.ts'
import { Stream } from '../simulation/streams.ts'
import { nodeId } from './sim.ts'
import type { Sim } from './sim.ts'

/**
 * Nodes that join and leave while the faults of a plan happen. It draws from a stream of its own, so that a plan without it
 * goes as it went.
 */
export class Churn {
  readonly #sim: Sim
  readonly #random: Stream
  readonly #joinedMax: number
  readonly #turns: number
  #next: number
  joined = 0
  left = 0
  removed = 0

  constructor(sim: Sim, seed: number) {
    this.#sim = sim
    this.#random = new Stream(seed, 'churn')
    this.#next = sim.nodes.size
    this.#turns = Math.ceil(sim.nodes.size / 25)
    this.#joinedMax = Math.max(4, Math.ceil(sim.nodes.size / 4))
  }

  /** What happens now, if anything; more in a larger cluster. */
  turn(): void {
    // The directory follows behind, once whoever joined has met someone.
    if (this.#random.chance(500)) this.#sim.tellContacts()
    for (let count = 0; count < this.#turns; count += 1) this.#once()
  }

  #once(): void {
    const random = this.#random
    if (random.chance(400) && this.joined < this.#joinedMax) this.#join()
    if (random.chance(150)) this.#some((id) => this.#leave(id))
    if (random.chance(150)) this.#some((id) => this.#remove(id))
  }

  /** Whoever was told that a node is removed may have gone with it: an operator who still sees it says so again. */
  settle(): void {
    const { up, removed } = this.#sim
    const at = up.find(({ id }) => !removed.has(id))
    for (const { id } of up) if (at !== undefined && removed.has(id)) this.#sim.remove(id, at.id)
  }

  /** Now and then whom it joins by is gone at once, or it starts again before anybody has heard of it. */
  #join(): void {
    const sim = this.#sim
    const random = this.#random
    this.joined += 1
    const id = nodeId(this.#next)
    this.#next += 1
    const via = random.pick(this.#staying())
    sim.join(id, via)
    if (random.chance(250)) sim.run(random.between(1, 2000))
    if (random.chance(200) && this.#staying().length > 2) sim.crash(via)
    else if (random.chance(200)) sim.restart(id)
  }

  #leave(id: NodeId): void {
    this.left += 1
    this.#sim.leave(id)
  }

  /** Mostly of one that is down already; but who was cut off runs on, and has to learn of it. */
  #remove(id: NodeId): void {
    const sim = this.#sim
    this.removed += 1
    if (this.#random.chance(600)) {
      sim.crash(id)
      sim.run(this.#random.between(1, 30_000))
    }
    const [at] = this.#random.shuffle(this.#staying().filter((other) => other !== id))
    if (at !== undefined) sim.remove(id, at)
  }

  /** Never of the last ones. */
  #some(happens: (id: NodeId) => void): void {
    const staying = this.#staying()
    if (staying.length > 2) happens(this.#random.pick(staying))
  }

  #staying(): readonly NodeId[] {
    return this.#sim.up
      .filter(({ id, gossip }) => gossip.status().phase === 'running' && !this.#sim.removed.has(id))
      .map(({ id }) => id)
  }
}
