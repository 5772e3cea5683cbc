import { Backoff } from '../std/backoff.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import type { Command, CommandResult, Member, Replica } from '../state/command.ts'
import type { StateReader } from '../state/reader.ts'
import type { Log } from '../log/log.ts'

/**
 * Brings what the cluster knows of this node (its directory entry, its replicas) to what is true here. Level-triggered: it
 * compares wanted with agreed and proposes one difference at a time until there is none, whatever was lost on the way.
 */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #replicas = new Map<ServerName, Replica>()
  readonly #backoff: Backoff
  #retry: Timer | null = null
  #running = false
  #dirty = false
  #stopped = false

  constructor(options: PublisherOptions) {
    this.#options = options
    this.#backoff = new Backoff({ minMs: 50, maxMs: 2000 }, options.random)
  }

  /** What is to be known of one server of this node from now on. */
  setReplica(replica: Replica): void {
    this.#replicas.set(replica.server, { ...replica, reason: replica.reason.slice(0, reasonLengthMax) })
    this.trigger()
  }

  /** Looks for differences now: after a change here or in the state, or when a leader appears. */
  trigger(): void {
    if (this.#stopped) return
    this.#dirty = true
    this.#retry?.cancel()
    this.#retry = null
    if (!this.#running) void this.#reconcile()
  }

  async #reconcile(): Promise<void> {
    this.#running = true
    while (this.#dirty && !this.#stopped) {
      this.#dirty = false
      const command = this.#difference()
      if (command === null) continue
      // A trigger during the wait has set it as well, and must not be lost.
      if (await this.#publish(command)) this.#dirty = true
    }
    this.#running = false
  }

  /** False: not now; a retry is armed, or would change nothing. */
  async #publish(command: Command): Promise<boolean> {
    const { propose, log, clock } = this.#options
    try {
      const result = await propose(command, proposeTimeoutMs)
      this.#backoff.reset()
      if (result.kind !== 'refused') return true
      log.warn('publish-refused', { command: command.kind, reason: result.reason })
      return false
    } catch (error) {
      log.debug('publish-deferred', { command: command.kind, error })
      if (!this.#stopped) this.#retry = clock.after(this.#backoff.next(), () => this.trigger())
      return false
    }
  }

  /** Withdraws this node's replicas, for as long as `timeoutMs` at most, and proposes nothing afterwards. */
  async stop(timeoutMs: number): Promise<void> {
    this.#stopped = true
    this.#retry?.cancel()
    const { state, member, propose } = this.#options
    const withdrawals = state
      .replicas()
      .filter((replica) => replica.node === member.node && replica.generation === member.generation)
      .map((replica) =>
        propose(
          { kind: 'replica-delete', node: member.node, generation: member.generation, server: replica.server },
          timeoutMs,
        ),
      )
    // Best effort: without a leader the others skip this node's replicas because they can not reach it.
    await Promise.allSettled(withdrawals)
  }

  #difference(): Command | null {
    const { state, member } = this.#options
    const agreed = state.members().find((other) => other.node === member.node)
    if (agreed === undefined || !sameValue(agreed, member)) return { kind: 'member-set', member }
    const published = new Map(ownReplicas(state, member.node).map((replica) => [replica.server, replica]))
    for (const replica of this.#replicas.values()) {
      const known = published.get(replica.server)
      if (known === undefined || !sameValue(known, replica)) return { kind: 'replica-set', replica }
    }
    return null
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

const proposeTimeoutMs = 5000
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
