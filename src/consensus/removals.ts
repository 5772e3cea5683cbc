import type { Configuration } from '../raft/configuration.ts'
import type { RaftStatus } from '../raft/effects.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { isMember } from './admission.ts'
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

export type RemovalsOptions = {
  readonly disconnect: (peer: NodeId) => void
  readonly log: ConsensusEvents['log']
}
