import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import type { Command, CommandResult, Member, Replica, Revision } from './command.ts'
import type { RecordChange } from './content-sum.ts'
import { sameReplica } from './same-record.ts'

/** What nodes offer of servers, one of each on each, as members of the newest generation published it. */
export class Replicas {
  #replicas = new Map<string, Replica>()
  #sorted: readonly Replica[] | null = null
  readonly #changing: (key: string, change: RecordChange<Replica>) => void

  /** `changing` is told of each record that is about to come, go or be another, except in `restore`. */
  constructor(changing: (key: string, change: RecordChange<Replica>) => void) {
    this.#changing = changing
  }

  find(key: string): Replica | undefined {
    return this.#replicas.get(key)
  }

  /** In the order in which they came to be. */
  all(): Replica[] {
    return [...this.#replicas.values()]
  }

  /** By server, then node id. */
  sorted(): readonly Replica[] {
    this.#sorted ??= this.all().sort((a, b) => compareIds(a.server, b.server) || compareIds(a.node, b.node))
    return this.#sorted
  }

  /** `member`: what the directory has of its node. */
  set(replica: Replica, { index, member }: { index: Revision; member: Member | undefined }): CommandResult {
    if (member === undefined) return refused(`node ${replica.node} is not in the directory`)
    if (member.generation !== replica.generation) {
      return refused(
        `generation ${replica.generation} of node ${replica.node} is not its newest, which is ${member.generation}`,
      )
    }
    const key = replicaKey(replica)
    const known = this.#replicas.get(key)
    if (known === undefined && this.#replicas.size >= replicasMax) {
      return refused(`the cluster holds ${replicasMax} replicas already`)
    }
    if (known === undefined || !sameReplica(known, replica)) {
      this.#changing(key, { before: known, after: replica })
      this.#replicas.set(key, replica)
      this.#sorted = null
    }
    return { kind: 'done', revision: index }
  }

  /** A late withdrawal by an older generation finds nothing: what stands there is not what it meant. */
  delete(command: Command & { kind: 'replica-delete' }, index: Revision): CommandResult {
    const known = this.#replicas.get(replicaKey(command))
    if (known?.generation !== command.generation) return { kind: 'not-found' }
    this.#remove(known)
    return { kind: 'done', revision: index }
  }

  /** Those of a node; null: of all generations, else of all but this one. */
  withdraw(node: NodeId, generation: number | null): void {
    for (const replica of this.all()) {
      if (replica.node === node && replica.generation !== generation) this.#remove(replica)
    }
  }

  /** Begins anew with these. */
  restore(replicas: readonly Replica[]): void {
    this.#replicas = new Map(replicas.map((replica) => [replicaKey(replica), replica]))
    this.#sorted = null
  }

  #remove(replica: Replica): void {
    const key = replicaKey(replica)
    this.#changing(key, { before: replica, after: undefined })
    this.#replicas.delete(key)
    this.#sorted = null
  }
}

/** Replicas of all servers on all nodes. */
const replicasMax = 16_384

/** Neither a node's id nor a server's name holds a slash. */
function replicaKey({ node, server }: { readonly node: NodeId; readonly server: ServerName }): string {
  return `${node}/${server}`
}

function refused(reason: string): CommandResult {
  return { kind: 'refused', reason }
}
