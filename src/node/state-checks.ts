import type { Clock } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { Configuration } from '../raft/configuration.ts'
import type { RaftStatus } from '../raft/effects.ts'
import { isVoter, tallyVotes } from '../raft/quorum.ts'
import { checkInterval } from '../state/checks.ts'
import type { Command, CommandResult } from '../state/command.ts'
import type { StateCheck, StateReader } from '../state/reader.ts'
import type { Log } from '../log/log.ts'
import { Reconciler } from './reconciler.ts'

/**
 * Compares this node's state with the others'. At each check index (state/checks) a voter reports its digest, once, and
 * only of the newest; so checks cost one entry of each voter in `checkInterval`, and nothing while nothing happens. When
 * a majority of the voters reported one digest, that is what the state was at the index; a node that had another there is
 * diverged and says so. As long as reports differ and there is no majority, nobody knows who is right: then it is logged.
 */
export class StateChecks {
  readonly #options: StateChecksOptions
  readonly #reconciler: Reconciler
  #disputed = 0
  #isDiverged = false

  constructor(options: StateChecksOptions) {
    this.#options = options
    this.#reconciler = new Reconciler({ ...options, differences: () => this.#differences() })
  }

  /** After a change of the state's checks, or of Raft's status. The own report goes first: all are to see it. */
  trigger(): void {
    this.#reconciler.trigger()
    this.#judge()
  }

  stop(): void {
    this.#reconciler.stop()
  }

  /** Of the newest index at which reports have settled anything. */
  get outcome(): CheckOutcome {
    const { raft, state } = this.#options
    const configuration = raft()?.configuration
    if (configuration === undefined) return noOutcome
    for (const check of state.checks()) {
      const outcome = outcomeOf(check, configuration)
      if (outcome.digest !== null || outcome.diverged.length > 0) return outcome
    }
    return noOutcome
  }

  #differences(): Command[] {
    const { node, raft, state } = this.#options
    const status = raft()
    const [newest] = state.checks()
    if (status === null || newest === undefined || newest.own === null) return []
    if (!isVoter(status.configuration, node) || newest.reports.get(node) === newest.own) return []
    if (!state.members().some((member) => member.node === node)) return []
    // While this node applies what was committed long ago, a report would be one of the past.
    if (status.commitIndex >= newest.index + checkInterval) return []
    return [{ kind: 'state-digest', node, index: newest.index, digest: newest.own }]
  }

  #judge(): void {
    const { node, raft, state, log, diverged } = this.#options
    const configuration = raft()?.configuration
    if (configuration === undefined || this.#isDiverged) return
    for (const check of state.checks()) {
      const outcome = outcomeOf(check, configuration)
      const { index, own } = check
      if (outcome.digest === null) {
        if (outcome.diverged.length === 0 || index <= this.#disputed) continue
        this.#disputed = index
        log.error('state-disputed', { index, reports: Object.fromEntries(check.reports) })
      } else if (own !== null && own !== outcome.digest) {
        this.#isDiverged = true
        const { digest, agreed } = outcome
        log.error('state-diverged', { index, own, majority: digest, agreed })
        diverged(
          `the state of node ${node} at entry ${index} is another (${own}) than that of ${agreed.join(', ')} (${digest})`,
        )
        return
      }
    }
  }
}

export type StateChecksOptions = {
  readonly node: NodeId
  /** Null before the cluster has formed. */
  readonly raft: () => Pick<RaftStatus, 'configuration' | 'commitIndex'> | null
  readonly state: StateReader
  readonly propose: (command: Command, timeoutMs: number) => Promise<CommandResult>
  /** This node's state is another than the cluster's; `why` is a sentence. Said at most once. */
  readonly diverged: (why: string) => void
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** Both lists are of voters that have reported, sorted. */
export type CheckOutcome = {
  /** 0: nothing was compared yet. */
  readonly index: number
  /** What a majority reported; null: there is none. */
  readonly digest: string | null
  readonly agreed: readonly NodeId[]
  /** Reported something else than the majority; without one, all whose reports differ from each other. */
  readonly diverged: readonly NodeId[]
}

const noOutcome: CheckOutcome = { index: 0, digest: null, agreed: [], diverged: [] }

function outcomeOf({ index, reports }: StateCheck, configuration: Configuration): CheckOutcome {
  const voted = [...reports].filter(([node]) => isVoter(configuration, node)).sort(([a], [b]) => compareIds(a, b))
  const digests = [...new Set(voted.map(([, digest]) => digest))]
  const nodes = (isWanted: (digest: string) => boolean): NodeId[] =>
    voted.filter(([, digest]) => isWanted(digest)).map(([node]) => node)
  for (const digest of digests) {
    const votes = new Map(voted.map(([node, reported]) => [node, reported === digest]))
    if (tallyVotes(configuration, votes) !== 'won') continue
    return { index, digest, agreed: nodes((one) => one === digest), diverged: nodes((one) => one !== digest) }
  }
  return { index, digest: null, agreed: [], diverged: digests.length > 1 ? nodes(() => true) : [] }
}
