import type { Member, Replica } from '../state/command.ts'
import type { StateReader } from '../state/reader.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'

/**
 * A node's read model for routing: which replicas a server has, and which nodes can be reached from here. Follows the
 * replicated state by its catalog version, so a question costs a lookup. Decides nothing.
 */
export type ViewOptions = {
  readonly self: NodeId
  readonly state: Pick<StateReader, 'catalogVersion' | 'members' | 'replicas'>
  /** Whether a call to that other node could be sent now. */
  reachable(node: NodeId): boolean
  /** Whether calls are to go elsewhere if they can. */
  draining(node: NodeId): boolean
}

export class View {
  readonly self: NodeId
  readonly #state: ViewOptions['state']
  readonly #reachable: (node: NodeId) => boolean
  readonly #draining: (node: NodeId) => boolean
  #version = -1
  #replicas: ReadonlyMap<ServerName, readonly Replica[]> = new Map()

  constructor(options: ViewOptions) {
    this.self = options.self
    this.#state = options.state
    this.#reachable = (node) => options.reachable(node)
    this.#draining = (node) => options.draining(node)
  }

  /** By node id; only those that their node published in its present generation. */
  replicasOf(server: ServerName): readonly Replica[] {
    if (this.#version !== this.#state.catalogVersion) {
      this.#replicas = presentReplicas(this.#state.members(), this.#state.replicas())
      this.#version = this.#state.catalogVersion
    }
    return this.#replicas.get(server) ?? []
  }

  canReach(node: NodeId): boolean {
    return node === this.self || this.#reachable(node)
  }

  isDraining(node: NodeId): boolean {
    return this.#draining(node)
  }
}

function presentReplicas(
  members: readonly Member[],
  replicas: readonly Replica[],
): Map<ServerName, readonly Replica[]> {
  const generations = new Map(members.map((member) => [member.node, member.generation]))
  const present = new Map<ServerName, Replica[]>()
  for (const replica of replicas) {
    if (generations.get(replica.node) !== replica.generation) continue
    const group = present.get(replica.server)
    if (group === undefined) present.set(replica.server, [replica])
    else group.push(replica)
  }
  return present
}
