import type { ChangeLimits } from './needs.ts'

/**
 * What operators want of a node. Rejects with `not-found`, or with `change-refused` and what to do instead, when nothing was
 * changed; else as MembershipNeeds. Resolved, it is agreed; the node does it then.
 */
export type NodeNeeds = {
  /** Takes nothing new, lets what is in flight end, and goes on being a member. */
  drain(id: string, limits: ChangeLimits): Promise<void>
  /** Takes a drain back, and a leave as long as the node is not about to be taken out of the configuration. */
  undrain(id: string, limits: ChangeLimits): Promise<void>
  /** Drains, leaves the configuration and ends its process. */
  leave(id: string, limits: ChangeLimits): Promise<void>
  /** Takes it out of the configuration and of gossip; `force`: though gossip calls it alive. */
  remove(id: string, limits: ChangeLimits & { readonly force: boolean }): Promise<void>
}

/** What /metrics tells of it: how far this node's drain is, and what is in flight. */
export type LifeSample = { readonly phase: LifePhase; readonly inFlightNow: number }

export const lifePhases = ['serving', 'draining', 'closing', 'drained', 'leaving'] as const
export type LifePhase = (typeof lifePhases)[number]
