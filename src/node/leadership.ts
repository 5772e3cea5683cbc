import type { Clock } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { RaftStatus } from '../raft/effects.ts'
import type { StateReader } from '../state/reader.ts'

/**
 * Hands leadership over, where this node leads. A transfer either ends with another leader, or leaves everything as it
 * was: nothing of it is logged.
 */
export class Leadership {
  readonly #options: LeadershipOptions
  readonly #listeners = new Set<() => void>()
  #transfers = 0

  constructor(options: LeadershipOptions) {
    this.#options = options
  }

  /** Transfers that were asked for here, since the start of the process. */
  get transfers(): number {
    return this.#transfers
  }

  /** Raft's status is another. */
  changed(): void {
    for (const listener of this.#listeners) listener()
  }

  /**
   * Resolves to the new leader; `to` null: the voter that is furthest. Errors: `not-leader` (details: who leads, and its
   * HTTP address), `no-leader`, `change-refused` when `to` can not lead, `timeout` when this node leads on.
   */
  async transfer(to: NodeId | null, timeoutMs: number): Promise<NodeId> {
    const { node, handOver } = this.#options
    const { configuration, leader } = this.#led()
    if (leader !== node) throw this.#notLeader(leader)
    if (to === node) return node
    const voters = configuration.voters.filter((voter) => voter !== node)
    if (to === null ? voters.length === 0 : !voters.includes(to))
      throw new OperatingError(
        'change-refused',
        to === null ? 'transfer: there is no other voter' : `transfer: node ${to} is no voter`,
      )
    this.#transfers += 1
    handOver(to)
    return this.#newLeader(Math.min(timeoutMs, transferElectionTimeouts * this.#options.electionTimeoutMs))
  }

  #led(): RaftStatus & { readonly leader: NodeId } {
    const status = this.#options.raft()
    if (status === null || status.leader === null)
      throw new OperatingError('no-leader', 'transfer: no leader is known; an election may be under way', {
        retry: 'after',
        retryAfterMs: 1000,
      })
    return { ...status, leader: status.leader }
  }

  #notLeader(leader: NodeId): OperatingError {
    const address = this.#options.state.members().find((member) => member.node === leader)?.addresses.http ?? null
    return new OperatingError('not-leader', `transfer: node ${leader} leads, at ${address ?? 'an unknown address'}`, {
      retry: 'elsewhere',
      details: { leader, address },
    })
  }

  async #newLeader(timeoutMs: number): Promise<NodeId> {
    const { node, raft, clock } = this.#options
    const found = deferred<NodeId>()
    const look = (): void => {
      const leader = raft()?.leader ?? null
      if (leader !== null && leader !== node) found.resolve(leader)
    }
    const timer = clock.after(timeoutMs, () =>
      found.reject(
        new OperatingError('timeout', `transfer: nobody took over within ${timeoutMs} ms`, { retry: 'after' }),
      ),
    )
    this.#listeners.add(look)
    look()
    try {
      return await found.promise
    } finally {
      this.#listeners.delete(look)
      timer.cancel()
    }
  }
}

/** Consensus gives a transfer up after one; the election that it began may take a little longer. */
const transferElectionTimeouts = 2

export type LeadershipOptions = {
  readonly electionTimeoutMs: number
  readonly node: NodeId
  /** Null before the cluster has formed. */
  readonly raft: () => RaftStatus | null
  readonly state: StateReader
  /** Asks consensus to hand over. */
  readonly handOver: (to: NodeId | null) => void
  readonly clock: Clock
}
