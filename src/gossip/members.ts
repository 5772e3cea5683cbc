import type { NodeId } from '../vocabulary/ids.ts'
import { compareIds } from '../vocabulary/ids.ts'
import { gravesMax } from './limits.ts'
import { isLive } from './member.ts'
import type { Grave, Member } from './member.ts'

/** The other nodes that this one knows, always in the order of their ids, and the graves of those it has reaped. */
export class Members {
  readonly #byId = new Map<NodeId, Member>()
  readonly #graves = new Map<NodeId, Grave>()
  #all: readonly Member[] | null = null
  #live: readonly Member[] | null = null

  get(node: NodeId): Member | undefined {
    return this.#byId.get(node)
  }

  grave(node: NodeId): Grave | undefined {
    return this.#graves.get(node)
  }

  get size(): number {
    return this.#byId.size
  }

  all(): readonly Member[] {
    this.#all ??= [...this.#byId.values()].sort((a, b) => compareIds(a.node, b.node))
    return this.#all
  }

  /** Alive or suspect. */
  live(): readonly Member[] {
    this.#live ??= this.all().filter(isLive)
    return this.#live
  }

  put(member: Member): void {
    this.#graves.delete(member.node)
    this.#byId.set(member.node, member)
    this.#all = null
    this.#live = null
  }

  /** Forgets all but what keeps it from coming back. */
  bury({ node, generation, incarnation, status }: Member): void {
    this.#byId.delete(node)
    this.#all = null
    this.#live = null
    this.#graves.delete(node)
    this.#graves.set(node, { generation, incarnation, status })
    const [eldest] = this.#graves.keys()
    if (this.#graves.size > gravesMax && eldest !== undefined) this.#graves.delete(eldest)
  }
}
