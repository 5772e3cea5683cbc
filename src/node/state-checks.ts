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
  /** The newest index of which it was logged that others' states differ. */
  #told = 0
  #isDiverged = false
  /** What is still to be said of the divergence. */
  #condemnation: (() => void) | null = null

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
    this.#condemnation?.()
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
    const { raft, state } = this.#options
    const configuration = raft()?.configuration
    if (configuration === undefined || this.#isDiverged) return
    const checks = state.checks()
    for (const check of checks) {
      const outcome = outcomeOf(check, configuration)
      const { index, own } = check
      if (own !== null && outcome.digest !== null && own !== outcome.digest) return this.#diverge(check, outcome)
      if (outcome.diverged.length === 0 || index <= this.#told) continue
      // Who has not reported yet may make the majority; at the next index at the latest it is time to say something.
      if (outcome.digest === null && outcome.isOpen && check === checks[0]) continue
      this.#tell(check, outcome)
    }
  }

  #diverge({ own, reports }: StateCheck, { index, digest, agreed }: CheckOutcome): void {
    const { node, log, clock, diverged, condemn } = this.#options
    this.#isDiverged = true
    log.error('state-diverged', { index, own, majority: digest, agreed })
    const why = `the state of node ${node} at entry ${index} is another (${own}) than that of ${agreed.join(', ')} (${digest})`
    diverged(why)
    // A report that was handed in just now is to leave this node before it ends: the others are to know.
    const timer = clock.after(reports.has(node) ? 0 : reportLeavesMs, () => this.#condemnation?.())
    this.#condemnation = () => {
      this.#condemnation = null
      timer.cancel()
      condemn(why)
    }
  }

  #tell({ index, reports }: StateCheck, { digest, diverged }: CheckOutcome): void {
    const { log } = this.#options
    this.#told = index
    if (digest === null) log.error('state-disputed', { index, reports: Object.fromEntries(reports) })
    else log.error('state-diverged-elsewhere', { index, nodes: diverged })
  }
}

export type StateChecksOptions = {
  readonly node: NodeId
  /** Null before the cluster has formed. */
  readonly raft: () => Pick<RaftStatus, 'configuration' | 'commitIndex'> | null
  readonly state: StateReader
  readonly propose: (command: Command, timeoutMs: number) => Promise<CommandResult>
  /** This node's state is another than the cluster's, and not to be served from; `why` is a sentence. Said at most once. */
  readonly diverged: (why: string) => void
  /** Follows soon: log and snapshots of this node are not to be trusted at its next start. */
  readonly condemn: (why: string) => void
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
  /** There is no majority, but there may be one when all voters have reported. */
  readonly isOpen: boolean
}

const reportLeavesMs = 200

const noOutcome: CheckOutcome = { index: 0, digest: null, agreed: [], diverged: [], isOpen: true }

function outcomeOf({ index, reports }: StateCheck, configuration: Configuration): CheckOutcome {
  const voted = [...reports].filter(([node]) => isVoter(configuration, node)).sort(([a], [b]) => compareIds(a, b))
  const digests = [...new Set(voted.map(([, digest]) => digest))]
  const nodes = (isWanted: (digest: string) => boolean): NodeId[] =>
    voted.filter(([, digest]) => isWanted(digest)).map(([node]) => node)
  let isOpen = digests.length === 0
  for (const digest of digests) {
    const tally = tallyVotes(configuration, new Map(voted.map(([node, reported]) => [node, reported === digest])))
    isOpen ||= tally === 'open'
    if (tally !== 'won') continue
    const [agreed, diverged] = [nodes((one) => one === digest), nodes((one) => one !== digest)]
    return { index, digest, agreed, diverged, isOpen: false }
  }
  return { index, digest: null, agreed: [], diverged: digests.length > 1 ? nodes(() => true) : [], isOpen }
}
