import { isMember } from '../../src/raft/quorum.ts'
import type { SimNode } from './sim-node.ts'
import type { Simulation } from './simulation.ts'

/**
 * The hand that a node needs which lost all that it had: it is refused as it is, so it is removed, taken in again as a
 * learner, and started.
 */
export class Operator {
  readonly #simulation: Simulation
  readonly #tended = new Set<SimNode>()

  constructor(simulation: Simulation) {
    this.#simulation = simulation
  }

  /** From now on, until it is back. */
  tend(node: SimNode): void {
    if (this.#tended.has(node)) return
    this.#tended.add(node)
    this.#look(node)
  }

  #look(node: SimNode): void {
    const { world, conditions } = this.#simulation
    // Whether it is back is known by asking.
    if (conditions.atlas.isSound(node.id) || !node.disk.isWiped) {
      this.#tended.delete(node)
      return
    }
    this.#help(node)
    world.after(lookMs * 1000, `operator of ${node.id}`, () => this.#look(node))
  }

  #help(node: SimNode): void {
    const { conditions, invariants, world } = this.#simulation
    const leader = this.#simulation.leader()
    const configuration = invariants.configuration()
    if (leader === undefined || leader === node || configuration === null) return
    const isTold = (how: string): void => world.note('*', () => `operator of ${node.id}: ${how}`)
    if (!conditions.mayComeBlank(node)) conditions.change(leader, { kind: 'remove', node: node.id }, isTold)
    else if (!isMember(configuration, node.id))
      conditions.change(leader, { kind: 'add-learner', node: node.id, promote: true }, isTold)
    else this.#simulation.startOf(node.id)
  }
}

const lookMs = 150
