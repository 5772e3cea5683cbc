import { tallyVotes } from '../raft/quorum.ts'
import type { RaftStatus } from '../raft/effects.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * Ends a node that can be of no use because so many voters speak no wire version that it speaks that there is no majority
 * with it: it was upgraded, or left behind, by more than a release reaches. The few that it would stand against go on, and
 * so does a node that has known a leader in its life: the others may come back as they were.
 */
export class VersionMismatch {
  readonly #failed: (error: OperatingError) => void
  /** Who has proven the secret and speaks no common version, with what is to be said of that. */
  readonly #met = new Map<NodeId, OperatingError>()
  #raft: RaftStatus | null = null
  #hasKnownLeader = false

  constructor(failed: (error: OperatingError) => void) {
    this.#failed = failed
  }

  met(peer: NodeId, error: OperatingError): void {
    this.#met.set(peer, error)
    this.#judge()
  }

  /** The peer speaks a common version now. */
  linked(peer: NodeId): void {
    this.#met.delete(peer)
  }

  status(raft: RaftStatus | null): void {
    this.#raft = raft
    if (raft !== null && raft.leader !== null) this.#hasKnownLeader = true
    this.#judge()
  }

  #judge(): void {
    const [error] = this.#met.values()
    if (this.#hasKnownLeader || this.#raft === null || error === undefined) return
    const rejections = new Map([...this.#met.keys()].map((peer) => [peer, false]))
    if (tallyVotes(this.#raft.configuration, rejections) === 'lost') this.#failed(error)
  }
}
