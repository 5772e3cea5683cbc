import { Backoff } from '../std/backoff.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Command, CommandResult, Member, Replica } from '../state/command.ts'
import type { StateReader } from '../state/reader.ts'
import type { Log } from '../log/log.ts'

/**
 * Brings what the cluster knows of this node (its directory entry, its replicas) to what is true here. Level-triggered: it
 * compares wanted with agreed and proposes the differences one by one, again and again until they are agreed, whatever was
 * lost on the way. A difference that is refused does not hold up the others; it is proposed again at the next trigger.
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
    // Through UTF-8, as the log keeps it: half a character would come back as another text, and differ for ever.
    const reason = Buffer.from(replica.reason.slice(0, reasonLengthMax)).toString()
    this.#replicas.set(replica.server, { ...replica, reason })
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

  /** Ends when nothing has changed since it looked: what it publishes is a change of the state too, and triggers again. */
  async #reconcile(): Promise<void> {
    this.#running = true
    while (this.#dirty && !this.#stopped) {
      this.#dirty = false
      for (const command of this.#differences()) {
        if (this.#stopped || !(await this.#publish(command))) break
      }
    }
    this.#running = false
  }

  /** False: nothing can be published now; a retry is armed. */
  async #publish(command: Command): Promise<boolean> {
    const { propose, log, clock } = this.#options
    try {
      const result = await propose(command, proposeTimeoutMs)
      this.#backoff.reset()
      if (result.kind === 'refused') log.warn('publish-refused', { command: command.kind, reason: result.reason })
      return true
    } catch (error) {
      if (error instanceof OperatingError && error.code === 'too-large') {
        log.warn('publish-refused', { command: command.kind, error })
        return true
      }
      log.debug('publish-deferred', { command: command.kind, error })
      this.#retry?.cancel()
      if (!this.#stopped) this.#retry = clock.after(this.#backoff.next(), () => this.trigger())
      return false
    }
  }

  /**
   * Withdraws this node's replicas, for as long as `timeoutMs` at most, and proposes nothing afterwards. All that were ever
   * set: one may be on its way into the state, and its withdrawal follows it there.
   */
  async stop(timeoutMs: number): Promise<void> {
    this.#stopped = true
    this.#retry?.cancel()
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
