import { changeConfiguration, isJoint } from '../raft/configuration.ts'
import type { Configuration } from '../raft/configuration.ts'
import { tallyVotes } from '../raft/quorum.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { HealthRecord } from './health.ts'
import type { Health } from './health.ts'
import { deadLearnerMs, votersLeftMin } from './limits.ts'
import type { AutopilotOptions, Decision, Hold, HoldKind, Observation, Verdict } from './observation.ts'

/**
 * The leader's rules about who votes. Told what the leader sees, it says what to do next and why it does nothing more; it
 * demotes nobody who lives. Of what it decides holds, whatever it was told:
 * - at most one change at a time, and none before the last one is settled;
 * - a majority of the voters that the change makes, and of those before it, has been sound for some time;
 * - it takes out nobody whom an operator has drained: who does that means to start the node again;
 * - promotion alone does not end with an even number of voters: where two are needed, both are ready before the first goes.
 */
export class Autopilot {
  readonly #options: AutopilotOptions
  readonly #health = new HealthRecord()

  constructor(options: AutopilotOptions) {
    this.#options = options
  }

  observe(observation: Observation): Verdict {
    return new Deliberation(this.#options, observation, this.#health.look(observation)).verdict()
  }

  /** This node does not lead: whatever it saw is void. */
  rest(): void {
    this.#health.forget()
  }
}

/** One observation, thought through. */
class Deliberation {
  readonly #options: AutopilotOptions
  readonly #observation: Observation
  readonly #healths: ReadonlyMap<NodeId, Health>
  readonly #configuration: Configuration
  readonly #holds: Hold[] = []
  /** What it promotes for. */
  readonly #target: number

  constructor(options: AutopilotOptions, observation: Observation, healths: ReadonlyMap<NodeId, Health>) {
    this.#options = options
    this.#observation = observation
    this.#healths = healths
    this.#configuration = observation.raft.configuration
    const { voters, learners } = this.#configuration
    const able = [...voters, ...learners].filter((node) => !this.#isGone(node) && !this.#leaves(node))
    this.#target = oddUpTo(Math.min(able.length, options.votersMax))
  }

  verdict(): Verdict {
    const decision = this.#isFree() ? this.#decide() : null
    const { voters } = this.#configuration
    const sound = voters.filter((voter) => this.#of(voter).trouble === null).length
    const failureTolerance = Math.max(0, sound - majorityOf(voters.length))
    // It demotes nobody, so it never wants fewer than there are.
    const voterTarget = Math.max(this.#target, oddUpTo(voters.length))
    return { voterTarget, failureTolerance, decision, holds: this.#holds }
  }

  /** Whether there is anything to decide for this node now. */
  #isFree(): boolean {
    const { raft } = this.#observation
    if (isJoint(this.#configuration) || !raft.isConfigurationCommitted) {
      this.#hold('changing', null, 'a change of who counts is under way')
      return false
    }
    const { trouble } = this.#of(raft.id)
    if (trouble === null) return true
    this.#hold('not-fit', raft.id, `${raft.id} ${trouble}: whoever leads next decides`)
    return false
  }

  /**
   * A dead voter is replaced in two steps: from an odd number to an even one by the promotion, and back by the removal. So with
   * the dead among them an even number shrinks first, and an odd one grows first.
   */
  #decide(): Decision | null {
    const isEven = this.#configuration.voters.length % 2 === 0
    const change = isEven
      ? (this.#removalOfVoter() ?? this.#promotion())
      : (this.#promotion() ?? this.#removalOfVoter())
    return change ?? this.#removalOfLearner()
  }

  #removalOfVoter(): Decision | null {
    const { voters } = this.#configuration
    const span = seconds(this.#options.deadVoterMs)
    for (const node of voters) {
      if (!this.#of(node).isDead) continue
      if (this.#isAwaited(node)) {
        const way = `if it does not come: quorate node remove ${node}`
        this.#hold('awaited', node, `${node} is down, and it is drained, so it is expected back; ${way}`)
      } else if (!this.#isLongDead(node)) {
        this.#hold('not-long-dead', node, `${node} is dead: it is replaced or removed when it has been so for ${span}`)
      } else if (voters.length <= votersLeftMin) {
        const left = `${node} is dead, and without it too few voters would be left (${voters.length - 1})`
        this.#hold('too-few-left', node, `${left}: it is replaced once a learner is ready, or removed by an operator`)
      } else {
        const decision = this.#safe({ kind: 'remove', node, why: `the voter has been dead for ${span}` })
        if (decision !== null) return decision
      }
    }
    return null
  }

  #promotion(): Decision | null {
    const { voters, learners } = this.#configuration
    const staying = voters.filter((node) => !this.#isLongDead(node) && !this.#leaves(node))
    if (staying.length >= this.#target) {
      if (learners.length > 0) this.#hold('enough-voters', null, 'learners stay learners: there are enough voters')
      return null
    }
    const [node, second] = learners.filter((learner) => this.#isReady(learner))
    if (node === undefined) return null
    if (staying.length % 2 === 1 && second === undefined) {
      const even = `${staying.length + 1} voters tolerate no more failures than ${staying.length}`
      this.#hold('alone', node, `${node} stays a learner until another one is ready too: ${even}`)
      return null
    }
    const gone = voters.find((voter) => !staying.includes(voter))
    const why = gone === undefined ? `${this.#target} voters are wanted` : `it takes the place of ${gone}`
    return this.#safe({ kind: 'promote', node, why })
  }

  #isReady(learner: NodeId): boolean {
    const { isDead, trouble } = this.#of(learner)
    const { stabilizationMs } = this.#options
    if (isDead || this.#leaves(learner)) return false
    if (this.#isSteady(learner)) return true
    if (trouble !== null) this.#hold('not-sound', learner, `${learner} stays a learner for now: it ${trouble}`)
    else {
      const span = seconds(stabilizationMs)
      this.#hold('not-steady', learner, `${learner} stays a learner until it has been sound for ${span}`)
    }
    return false
  }

  #removalOfLearner(): Decision | null {
    const isForgotten = (node: NodeId): boolean => this.#isGone(node) && this.#of(node).deadMs >= deadLearnerMs
    const node = this.#configuration.learners.find(isForgotten)
    if (node === undefined) return null
    return this.#safe({ kind: 'remove', node, why: `the learner has been dead for ${seconds(deadLearnerMs)}` })
  }

  /** Null, held: a majority of who would vote then, or of who votes now, can not be relied upon. */
  #safe(decision: Decision): Decision | null {
    const changed = changeConfiguration(this.#configuration, decision)
    const votes = new Map<NodeId, boolean>()
    for (const [node] of this.#healths) if (this.#isSteady(node)) votes.set(node, true)
    if (changed !== undefined && tallyVotes(changed, votes) === 'won') return decision
    const { kind, node } = decision
    const undone = `${node} is not ${kind === 'promote' ? 'promoted' : 'removed'}`
    this.#hold('no-sure-majority', node, `${undone} while no majority of the voters has been sound for long enough`)
    return null
  }

  #isSteady(node: NodeId): boolean {
    const { trouble, soundMs } = this.#of(node)
    return trouble === null && soundMs >= this.#options.stabilizationMs
  }

  #isLongDead(node: NodeId): boolean {
    return this.#isGone(node) && this.#of(node).deadMs >= this.#options.deadVoterMs
  }

  #isGone(node: NodeId): boolean {
    return this.#of(node).isDead && !this.#isAwaited(node)
  }

  #isAwaited(node: NodeId): boolean {
    return this.#observation.draining.get(node) === 'drain'
  }

  #leaves(node: NodeId): boolean {
    return this.#observation.draining.get(node) === 'leave'
  }

  #of(node: NodeId): Health {
    return this.#healths.get(node) ?? unseen
  }

  #hold(kind: HoldKind, node: NodeId | null, why: string): void {
    this.#holds.push({ kind, node, why })
  }
}

const unseen: Health = { trouble: 'is no member', isDead: false, soundMs: 0, deadMs: 0 }

function majorityOf(voters: number): number {
  return Math.floor(voters / 2) + 1
}

function seconds(ms: number): string {
  return `${ms / 1000} s`
}

function oddUpTo(count: number): number {
  return Math.max(1, count % 2 === 1 ? count : count - 1)
}
