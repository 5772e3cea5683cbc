import type { KeyChange } from '../gossip/effects.ts'
import type { Drain } from '../state/command.ts'
import type { NodeId } from '../vocabulary/ids.ts'

/**
 * Which other nodes drain: by what operators want of them, which is agreed, and by their own word by gossip, which also tells
 * of those that are about to stop and how far each is.
 */
export class DrainingMembers {
  readonly #wanted: () => ReadonlyMap<NodeId, Drain>
  readonly #said = new Map<NodeId, SaidDraining>()

  constructor(wanted: () => ReadonlyMap<NodeId, Drain>) {
    this.#wanted = wanted
  }

  has(node: NodeId): boolean {
    return this.#said.has(node) || this.#wanted().has(node)
  }

  /** Takes note of what a node says; answers what is new in that, null: nothing. */
  told({ owner, class: of, key, value }: KeyChange): SaidDraining | null {
    if (of !== 'state' || key !== drainingKey) return null
    const before = this.#said.get(owner) ?? 'serving'
    const now = value === 'draining' || value === 'drained' ? value : 'serving'
    if (now === 'serving') this.#said.delete(owner)
    else this.#said.set(owner, now)
    // Who is gone says nothing.
    return now === before || value === null ? null : now
  }
}

export type SaidDraining = 'serving' | 'draining' | 'drained'

/** Of gossip's state. Its value is `false`, `draining` or `drained`. */
export const drainingKey = 'draining'
