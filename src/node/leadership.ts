import type { Clock } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
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
  readonly #waiting = new Set<Deferred<NodeId>>()
  #transfers = 0

  constructor(options: LeadershipOptions) {
    this.#options = options
  }

  /** Transfers that were asked for here, since the start of the process. */
  get transfers(): number {
    return this.#transfers
  }

  /** Who waits for a transfer is told `stopped`. */
  stop(): void {
    const stopped = new OperatingError('stopped', 'transfer: this node is stopping')
    for (const found of this.#waiting) found.reject(stopped)
  }

  /** Raft's status is another. */
  changed(): void {
    for (const listener of this.#listeners) listener()
  }

  /** While this node leads: the voters that could in its place and are not spared, the furthest first; else empty. */
  successors(isSpared: (node: NodeId) => boolean): NodeId[] {
    const raft = this.#options.raft()
    if (raft === null || raft.role !== 'leader') return []
    return raft.progress
      .filter(({ node, isActive, isRecovering, isDiskFull }) => {
        const isWell = isActive && !isRecovering && !isDiskFull
        return isWell && raft.configuration.voters.includes(node) && !isSpared(node)
      })
      .sort((a, b) => b.match - a.match)
      .map(({ node }) => node)
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
    this.#waiting.add(found)
    look()
    try {
      return await found.promise
    } finally {
      this.#listeners.delete(look)
      this.#waiting.delete(found)
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
