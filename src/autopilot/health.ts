import type { NodeId } from '../vocabulary/ids.ts'
import type { Term } from '../raft/entry.ts'
import type { Configuration } from '../raft/configuration.ts'
import { blindMs, lagEntriesMax } from './limits.ts'
import type { Observation } from './observation.ts'

/** How a member is now, and for how long it has been seen so without a break. Most that are not sound are not dead either. */
export type Health = {
  /** Why it is not to be relied upon, the rest of a sentence that begins with its id; null: it is sound. */
  readonly trouble: string | null
  readonly soundMs: number
  /** Gossip does not see it live, and Raft's leader hears nothing from it. */
  readonly isDead: boolean
  readonly deadMs: number
}

/**
 * Remembers since when each member is sound, or dead. What another leader saw, or this one in an earlier term or before a
 * pause, counts for nothing: who has just come to lead, or was blind, knows little.
 */
export class HealthRecord {
  readonly #soundSinceMs = new Map<NodeId, number>()
  readonly #deadSinceMs = new Map<NodeId, number>()
  #term: Term = 0
  #lookedAtMs = -Infinity

  /** Of every member of the configuration, this node included. */
  look(observation: Observation): ReadonlyMap<NodeId, Health> {
    const { nowMs, raft } = observation
    if (raft.term !== this.#term || nowMs - this.#lookedAtMs > blindMs) this.forget()
    this.#term = raft.term
    this.#lookedAtMs = nowMs
    const members = membersOf(raft.configuration)
    for (const since of [this.#soundSinceMs, this.#deadSinceMs]) {
      for (const node of since.keys()) if (!members.includes(node)) since.delete(node)
    }
    return new Map(members.map((node) => [node, this.#health(node, observation)]))
  }

  forget(): void {
    this.#soundSinceMs.clear()
    this.#deadSinceMs.clear()
  }

  #health(node: NodeId, observation: Observation): Health {
    const { nowMs } = observation
    const trouble = troubleOf(node, observation)
    const isDead = isDeadToBoth(node, observation)
    return {
      trouble,
      isDead,
      soundMs: lasting(this.#soundSinceMs, { node, holds: trouble === null, nowMs }),
      deadMs: lasting(this.#deadSinceMs, { node, holds: isDead, nowMs }),
    }
  }
}

export function membersOf({ voters, votersOutgoing, learners }: Configuration): readonly NodeId[] {
  return [...new Set([...voters, ...votersOutgoing, ...learners])]
}

type Lasting = { readonly node: NodeId; readonly holds: boolean; readonly nowMs: number }

function lasting(sinceMs: Map<NodeId, number>, { node, holds, nowMs }: Lasting): number {
  if (!holds) {
    sinceMs.delete(node)
    return 0
  }
  const since = sinceMs.get(node) ?? nowMs
  sinceMs.set(node, since)
  return nowMs - since
}

function troubleOf(node: NodeId, { raft, gossip, draining }: Observation): string | null {
  if (draining.has(node)) return 'is draining'
  if (node === raft.id) return raft.isRecovering ? recovering : null
  const status = gossip.get(node)
  if (status === undefined) return 'is not known to gossip'
  if (status === 'left') return 'has left'
  if (status !== 'alive') return `is ${status} by gossip`
  const progress = raft.progress.find((member) => member.node === node)
  if (progress?.isActive !== true) return 'is not heard by the leader of Raft'
  if (progress.isRecovering) return recovering
  if (progress.isDiskFull) return 'has a full disk'
  if (progress.state === 'snapshot') return 'is being sent a snapshot'
  if (progress.state === 'probe') return 'has a log that the leader does not know yet'
  return progress.match + lagEntriesMax < raft.commitIndex ? 'is far behind what is committed' : null
}

const recovering = 'has lost what it promised, or joins, and is recovering'

function isDeadToBoth(node: NodeId, { raft, gossip }: Observation): boolean {
  if (node === raft.id) return false
  const status = gossip.get(node)
  if (status === 'alive' || status === 'suspect') return false
  return raft.progress.find((member) => member.node === node)?.isActive !== true
}
