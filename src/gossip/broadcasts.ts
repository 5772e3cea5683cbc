import type { NodeId } from '../vocabulary/ids.ts'
import { claimBytes } from './messages.ts'
import type { Claim } from './messages.ts'

/**
 * Claims that still have to be passed on, on the back of messages (SWIM paper 4.1): what was told least goes first, each so
 * many times at most. One claim for each member: a newer one takes the place of the older. So it is bounded by the members.
 */
export class Broadcasts {
  readonly #byNode = new Map<NodeId, Broadcast>()
  #order = 0

  get size(): number {
    return this.#byNode.size
  }

  has(node: NodeId): boolean {
    return this.#byNode.has(node)
  }

  queue(claim: Claim): void {
    this.#order += 1
    this.#byNode.set(claim.node, { claim, transmits: 0, order: this.#order })
  }

  drop(node: NodeId): void {
    this.#byNode.delete(node)
  }

  /** Claims for one message, without any about `except`; each is counted as told. */
  take({ bytesMax, transmitsMax, except }: { bytesMax: number; transmitsMax: number; except: NodeId }): Claim[] {
    const waiting = [...this.#byNode.values()].sort((a, b) => a.transmits - b.transmits || b.order - a.order)
    const taken: Claim[] = []
    let room = bytesMax
    for (const broadcast of waiting) {
      const { claim } = broadcast
      const bytes = claimBytes(claim)
      if (claim.node === except || bytes > room) continue
      room -= bytes
      taken.push(claim)
      broadcast.transmits += 1
      if (broadcast.transmits >= transmitsMax) this.#byNode.delete(claim.node)
    }
    return taken
  }
}

type Broadcast = { readonly claim: Claim; transmits: number; readonly order: number }

/** SWIM paper 4.1: enough, with high probability, to reach all of `nodes`. */
export function transmitsMax(retransmitMult: number, nodes: number): number {
  return retransmitMult * Math.ceil(Math.log10(nodes + 1))
}
