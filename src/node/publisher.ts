import type { Clock } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import type { Command, CommandResult, Member, Replica } from '../state/command.ts'
import type { StateReader } from '../state/reader.ts'
import type { Log } from '../log/log.ts'
import { Reconciler } from './reconciler.ts'

/** Brings what the cluster knows of this node (its directory entry, its replicas) to what is true here. */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #replicas = new Map<ServerName, Replica>()
  readonly #reconciler: Reconciler

  constructor(options: PublisherOptions) {
    this.#options = options
    this.#reconciler = new Reconciler({ ...options, differences: () => this.#differences() })
  }

  /** What is to be known of one server of this node from now on. */
  setReplica(replica: Replica): void {
    // Through UTF-8, as the log keeps it: half a character would come back as another text, and differ for ever.
    const reason = Buffer.from(replica.reason.slice(0, reasonLengthMax)).toString()
    this.#replicas.set(replica.server, { ...replica, reason })
    this.trigger()
  }

  /** After a change of the state, or when a leader appears. */
  trigger(): void {
    this.#reconciler.trigger()
  }

  /**
   * Withdraws this node's replicas, for as long as `timeoutMs` at most (0: not at all), and proposes nothing afterwards. All
   * that were ever set: one may be on its way into the state, and its withdrawal follows it there.
   */
  async stop(timeoutMs: number): Promise<void> {
    this.#reconciler.stop()
    if (timeoutMs === 0) return
    const { member, propose } = this.#options
    const { node, generation } = member
    const withdrawals = [...this.#replicas.keys()].map((server) =>
      propose({ kind: 'replica-delete', node, generation, server }, timeoutMs),
    )
    // Best effort: without a leader the others skip this node's replicas because they can not reach it.
    await Promise.allSettled(withdrawals)
  }

  #differences(): Command[] {
    const { state, member } = this.#options
    const agreed = state.members().find((other) => other.node === member.node)
    const published = new Map(ownReplicas(state, member.node).map((replica) => [replica.server, replica]))
    const replicas = [...this.#replicas.values()].filter(
      (replica) => !sameValue(published.get(replica.server), replica),
    )
    return [
      // First, because replicas of a generation are refused before its member is there.
      ...(sameValue(agreed, member) ? [] : [{ kind: 'member-set', member } as const]),
      ...replicas.map((replica) => ({ kind: 'replica-set', replica }) as const),
    ]
  }
}

export type PublisherOptions = {
  readonly member: Member
  readonly state: StateReader
  readonly propose: (command: Command, timeoutMs: number) => Promise<CommandResult>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** Of what servers say when they fail, so much is replicated. */
const reasonLengthMax = 500

function ownReplicas(state: StateReader, node: NodeId): readonly Replica[] {
  return state.replicas().filter((replica) => replica.node === node)
}

/** Equality of plain data, whatever the order of members. */
function sameValue(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  const left = Object.entries(a)
  if (left.length !== Object.keys(b).length) return false
  return left.every(([key, value]) => sameValue(value, (b as Record<string, unknown>)[key]))
}
