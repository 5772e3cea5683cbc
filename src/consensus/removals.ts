import type { Configuration } from '../raft/configuration.ts'
import type { RaftStatus } from '../raft/effects.ts'
import { isMember, tallyVotes } from '../raft/quorum.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ConsensusEvents } from './consensus.ts'

/** Who was removed hears it: its lanes end once that is committed, and when it dials again it is told why. */
export class Removals {
  readonly #options: RemovalsOptions
  /** Of the last committed configuration, and of this process. */
  #members: Configuration | null = null

  constructor(options: RemovalsOptions) {
    this.#options = options
  }

  raftChanged({ id, configuration, isConfigurationCommitted, leader }: RaftStatus): void {
    const before = this.#members
    if (!isConfigurationCommitted || configuration === before || configuration.voters.length === 0) return
    this.#members = configuration
    this.#options.log('info', 'raft-configuration', { ...configuration })
    if (before === null || !isMember(configuration, id)) return
    for (const peer of [...before.voters, ...before.votersOutgoing, ...before.learners]) {
      if (peer !== id && peer !== leader && !isMember(configuration, peer)) this.#options.disconnect(peer)
    }
  }
}

/**
 * Whether this node was removed: since it heard a leader last, so many voters of the last configuration that it knows to be
 * committed have denied it that no majority of them can know it. Some may deny it because they lag behind its coming; but
 * those that have the entry by which it came are a majority, so among so many there is one that has gone beyond it.
 */
export class Denials {
  readonly #removed: () => void
  readonly #by = new Set<NodeId>()
  #status: RaftStatus | null = null
  /** The last that this process knew to be committed. */
  #members: Configuration | null = null

  constructor(removed: () => void) {
    this.#removed = removed
  }

  denied(peer: NodeId): void {
    const members = this.#members
    if (this.#status === null || members === null) return
    const { id, configuration, leader, isRecovering } = this.#status
    if (isRecovering || leader !== null) return
    // Who joins knows of no configuration that it is in, or not that one is committed: it waits to be let in.
    if (members.voters.length === 0 || (isMember(configuration, id) && !isMember(members, id))) return
    this.#by.add(peer)
    const denials = new Map([...this.#by].map((voter) => [voter, false]))
    if (tallyVotes(members, denials) === 'lost') this.#removed()
  }

  admitted(peer: NodeId): void {
    this.#by.delete(peer)
  }

  raftChanged(status: RaftStatus): void {
    this.#status = status
    if (status.isConfigurationCommitted) this.#members = status.configuration
    if (status.leader !== null) this.#by.clear()
  }
}

/** Says how to come back. */
export function removedError(node: NodeId): OperatingError {
  return new OperatingError(
    'removed',
    `run node ${node}: it was taken out of the cluster; to take it in again, run "quorate token create" on a member and start it with that token and an empty node.dataDir; or, with the data that it has, run "quorate raft add-learner ${node}" on a member and start it again`,
  )
}

export type RemovalsOptions = {
  readonly disconnect: (peer: NodeId) => void
  readonly log: ConsensusEvents['log']
}
