import type { RaftEffects } from '../../src/raft/effects.ts'
import { Raft } from '../../src/raft/raft.ts'
import type { Simulation } from './simulation.ts'

// What every core wants passes here, whichever driver asks: the observer of the run that is on.
let observed: Simulation | null = null
const owners = new WeakMap<Raft, object>()
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
