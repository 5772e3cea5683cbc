import type { Configuration } from '../../src/raft/configuration.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'

/** Where a node keeps what it must not forget. Damage of one of the first two is told by the other. */
export const homes = ['records', 'votes', 'snapshots'] as const
export type Home = (typeof homes)[number]

/** What is wrong with one node's disk. */
export type Condition = {
  /** Homes that hold something else than what was written, found or not. */
  readonly damaged: ReadonlySet<Home>
  /** Its durable state says that it neither votes nor counts. */
  readonly isRecovering: boolean
  /** All was taken from it, and it has not come back yet. */
  readonly isWiped: boolean
}

export type AtlasParts = {
  /** The configuration that is committed last, and all that may still come to be: in logs, or asked for. */
  readonly ruling: () => readonly Configuration[]
  readonly condition: (node: NodeId) => Condition
}

/**
 * Which damage may be dealt: such that a failure is a bug and not bad luck. Of every set of voters that rules or may come to
 * rule (its learners may be promoted at any time), a majority stays sound: so what was acknowledged is there, and whoever
 * lost something finds a majority that repairs it. And the homes of log and vote are never damaged both: nothing could tell
 * what is missing then. Whether a node is well again is read off its disk, never assumed.
 */
export class FaultAtlas {
  readonly #parts: AtlasParts

  constructor(parts: AtlasParts) {
    this.#parts = parts
  }

  isSound(node: NodeId): boolean {
    const { damaged, isRecovering, isWiped } = this.#parts.condition(node)
    return damaged.size === 0 && !isRecovering && !isWiped
  }

  /** `home`: 'all' takes everything, as a wipe does. */
  mayDamage(node: NodeId, home: Home | 'all'): boolean {
    const ruling = this.#parts.ruling()
    // Before a cluster has formed there is nobody to repair from.
    if (ruling.length === 0) return false
    const { damaged, isWiped } = this.#parts.condition(node)
    if (isWiped || !isTogether(damaged, home)) return false
    return this.#isRepairable(ruling, new Set([node]))
  }

  /** Whether a change leads to configurations that keep a sound majority. */
  mayChange(to: Configuration): boolean {
    return this.#isRepairable([to], new Set())
  }

  /** Whether the sound among these nodes are a majority of everything that rules. */
  isEnough(among: (node: NodeId) => boolean): boolean {
    return this.#parts
      .ruling()
      .flatMap(({ voters, votersOutgoing }) => [voters, votersOutgoing])
      .every((set) => isMajority(set, (node) => among(node) && this.isSound(node)))
  }

  /** One that is known not to count is not promoted; one whose damage nobody knows of may be, and before the others. */
  #isDoubtful(learner: NodeId): boolean {
    return this.#parts.condition(learner).damaged.size > 0
  }

  #isRepairable(configurations: readonly Configuration[], without: ReadonlySet<NodeId>): boolean {
    const isLeft = (node: NodeId): boolean => !without.has(node) && this.isSound(node)
    return configurations
      .flatMap(({ voters, votersOutgoing, learners }) => [
        voters,
        votersOutgoing,
        [...voters, ...learners.filter((learner) => without.has(learner) || this.#isDoubtful(learner))],
      ])
      .every((set) => isMajority(set, isLeft))
  }
}

/** Of log and vote only one may be damaged, and one kind of damage is followed by others of that home alone. */
function isTogether(damaged: ReadonlySet<Home>, home: Home | 'all'): boolean {
  if (home === 'records') return !damaged.has('votes')
  if (home === 'votes') return !damaged.has('records')
  return true
}

function isMajority(set: readonly NodeId[], counts: (node: NodeId) => boolean): boolean {
  return set.length === 0 || 2 * set.filter(counts).length > set.length
}
