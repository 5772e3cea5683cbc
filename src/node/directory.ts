import type { Clock } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { PeerHello } from '../vocabulary/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { RaftStatus } from '../raft/effects.ts'
import { isMember } from '../raft/quorum.ts'
import type { Command, CommandResult } from '../state/command.ts'
import type { StateReader } from '../state/reader.ts'
import type { Log } from '../log/log.ts'
import { Reconciler } from './reconciler.ts'

/**
 * Keeps the directory of members to the nodes of the configuration. The leader's node takes out who has left. Whoever is
 * linked to a learner that is not in it introduces the learner, so that all others, the leader among them, learn where it
 * listens: it can not speak for itself before the log has reached it. Where nobody is linked to it, an operator's word
 * stands in.
 */
export class Directory {
  readonly #options: DirectoryOptions
  readonly #reconciler: Reconciler
  /** Raft addresses of learners by an operator's word, while they are not in the directory. */
  readonly #told = new Map<NodeId, string>()

  constructor(options: DirectoryOptions) {
    this.#options = options
    this.#reconciler = new Reconciler({ ...options, differences: () => this.#differences() })
  }

  /** After a change of the state, of Raft's status, or of the links. */
  trigger(): void {
    this.#reconciler.trigger()
  }

  /** Where the raft listener is of a node that is or becomes a learner, until somebody knows more of it. */
  introduce(learner: NodeId, raftAddress: string): void {
    const [oldest] = this.#told.keys()
    if (oldest !== undefined && this.#told.size >= toldMax) this.#told.delete(oldest)
    this.#told.set(learner, raftAddress)
    this.trigger()
  }

  stop(): void {
    this.#reconciler.stop()
  }

  #differences(): Command[] {
    const { raft, state, linked } = this.#options
    const status = raft()
    if (status === null) return []
    const { learners } = status.configuration
    const members = state.members()
    const isUnknown = (node: NodeId): boolean =>
      learners.includes(node) && !members.some((member) => member.node === node)
    const newcomers = linked().filter(({ node }) => isUnknown(node))
    for (const { node } of [...members, ...newcomers]) this.#told.delete(node)
    const told = [...this.#told].filter(([node]) => isUnknown(node))
    return [
      ...this.#departed(status),
      ...newcomers.map(introduction),
      ...told.map(([node, raft]) => introduction({ ...toldOf, node, addresses: { http: '', peer: '', raft } })),
    ]
  }

  /** Only with a configuration that is as new as the state: an entry of a node that was just added must not go. */
  #departed({ role, configuration, isConfigurationCommitted, commitIndex }: RaftStatus): Command[] {
    const { state } = this.#options
    if (role !== 'leader' || !isConfigurationCommitted || commitIndex < state.appliedIndex) return []
    return state
      .members()
      .filter((member) => !isMember(configuration, member.node))
      .map(({ node, generation }) => ({ kind: 'member-delete', node, generation }))
  }
}

export type DirectoryOptions = {
  /** Null before the cluster has formed. */
  readonly raft: () => RaftStatus | null
  readonly state: StateReader
  /** What the nodes said of themselves to which there is a link now. */
  readonly linked: () => readonly PeerHello[]
  readonly propose: (command: Command, timeoutMs: number) => Promise<CommandResult>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** Learners that operators have told of and nobody else yet. */
const toldMax = 64
/** Any start of the node itself is newer. */
const toldOf = { generation: 0, version: '' }

type Introduced = Pick<PeerHello, 'node' | 'generation' | 'addresses' | 'version'>

/** It says the rest itself once it can. */
function introduction({ node, generation, addresses, version }: Introduced): Command {
  return { kind: 'member-set', member: { node, generation, addresses, labels: {}, version, startedAt: 0 } }
}
