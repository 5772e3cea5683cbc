import type { RaftEffects, RaftEvent } from '../../src/raft/effects.ts'
import { Raft } from '../../src/raft/raft.ts'
import type { Life } from './sim-node.ts'
import type { Simulation } from './simulation.ts'

// What every core is given and wants passes here, whichever driver asks: the observer of the run that is on.
let observed: Simulation | null = null
const owners = new WeakMap<Raft, Life>()
const stepOf = Object.getOwnPropertyDescriptor(Raft.prototype, 'step')?.value as (this: Raft, event: RaftEvent) => void
Raft.prototype.step = function watched(this: Raft, event: RaftEvent): void {
  const life = observed === null ? undefined : owners.get(this)
  if (event.kind === 'message') life?.answers.received(event.message, life.process.clock.monotonic())
  stepOf.call(this, event)
}
const takeOf = Object.getOwnPropertyDescriptor(Raft.prototype, 'take')?.value as (this: Raft) => RaftEffects
Raft.prototype.take = function watched(this: Raft): RaftEffects {
  const effects = takeOf.call(this)
  if (observed !== null) watch(observed, this, effects)
  return effects
}

export function observe(simulation: Simulation | null): void {
  observed = simulation
}

function watch(simulation: Simulation, raft: Raft, effects: RaftEffects): void {
  const status = raft.status()
  const life = simulation.nodes.find(({ id }) => id === status.id)?.life ?? null
  if (life === null) return
  const owner = owners.get(raft)
  if (owner === undefined) owners.set(raft, life)
  else if (owner !== life) return
  simulation.invariants.took(status.id, effects, status)
}
