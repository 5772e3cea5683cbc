import { stateKeysMax, stateOwnerBytesMax } from './limits.ts'
import { stateDeltaBytes } from './messages.ts'
import type { GaugeDelta, StateDelta } from './messages.ts'

/**
 * The key-values of one process, as some node has them (scuttlebutt: van Renesse et al., "Efficient Reconciliation and Flow
 * Control for Anti-Entropy Protocols", 2008; the rule for forgotten tombstones is chitchat's `last_gc_version`, made the
 * owner's). Only the owner makes versions; a copy only ever takes later ones.
 */
export class OwnerValues {
  readonly generation: number
  readonly state = new Map<string, StateValue>()
  /** All changes up to here are known. Never falls. */
  stateVersion = 0
  /** Tombstones up to here are forgotten. Never falls; at most `stateVersion`. */
  forgottenUpTo = 0
  gauges: ReadonlyMap<string, number> = new Map()
  /** Never falls. */
  gaugesVersion = 0

  constructor(generation: number) {
    this.generation = generation
  }

  /**
   * What a copy that knows all up to `version` lacks. A copy from before a forgotten tombstone can not be told what was
   * deleted: it gets the whole, in the place of what it has.
   */
  stateAfter(version: number): StateDelta {
    const since = version < this.forgottenUpTo ? 0 : version
    const entries = [...this.state]
      .filter(([, value]) => value.version > since)
      .map(([key, { value, version }]) => ({ key, value, version }))
      .sort((a, b) => a.version - b.version)
    return { since, upTo: this.stateVersion, forgottenUpTo: this.forgottenUpTo, entries }
  }

  allGauges(): GaugeDelta {
    return { version: this.gaugesVersion, entries: [...this.gauges].map(([key, value]) => ({ key, value })) }
  }

  /**
   * Takes a delta that continues what is known here and ends later; nothing else, so no version ever falls, whoever sends what
   * and when. Nor what would become more than an owner may say, which no sound one sends. Returns what changed.
   */
  applyState(delta: StateDelta): Change<string>[] {
    const { since, upTo, forgottenUpTo } = delta
    if (upTo <= this.stateVersion || since > this.stateVersion) return []
    const before = new Map(this.state)
    const after = this.#stateWith(delta)
    if (after.size > stateKeysMax || stateBytesOf(after) > stateOwnerBytesMax) return []
    this.state.clear()
    for (const [key, value] of after) this.state.set(key, value)
    this.stateVersion = upTo
    this.forgottenUpTo = Math.max(this.forgottenUpTo, forgottenUpTo)
    return [...new Set([...before.keys(), ...after.keys()])].flatMap((key) => {
      const [was, is] = [before.get(key)?.value ?? null, after.get(key)?.value ?? null]
      return was === is ? [] : [{ key, value: is }]
    })
  }

  applyGauges({ version, entries }: GaugeDelta): Change<number>[] {
    if (version <= this.gaugesVersion) return []
    const gauges = new Map(entries.map(({ key, value }) => [key, value]))
    const gone = [...this.gauges.keys()].filter((key) => !gauges.has(key))
    const changed = [...gauges].filter(([key, value]) => this.gauges.get(key) !== value)
    this.gauges = gauges
    this.gaugesVersion = version
    return [...gone.map((key) => ({ key, value: null })), ...changed.map(([key, value]) => ({ key, value }))]
  }

  forget(upTo: number): void {
    this.forgottenUpTo = upTo
    dropTombstones(this.state, upTo)
  }

  stateBytes(): number {
    return stateBytesOf(this.state)
  }

  #stateWith({ since, forgottenUpTo, entries }: StateDelta): Map<string, StateValue> {
    const state = new Map(since === 0 ? [] : this.state)
    for (const { key, value, version } of entries) {
      if ((state.get(key)?.version ?? 0) < version) state.set(key, { value, version })
    }
    dropTombstones(state, Math.max(this.forgottenUpTo, forgottenUpTo))
    return state
  }
}

/** `value` null: a tombstone, deleted by its owner. */
export type StateValue = { readonly value: string | null; readonly version: number }

export type Change<Value> = { readonly key: string; readonly value: Value | null }

function dropTombstones(state: Map<string, StateValue>, upTo: number): void {
  for (const [key, { value, version }] of state) if (value === null && version <= upTo) state.delete(key)
}

function stateBytesOf(state: ReadonlyMap<string, StateValue>): number {
  const entries = [...state].map(([key, { value, version }]) => ({ key, value, version }))
  return stateDeltaBytes({ since: 0, upTo: 0, forgottenUpTo: 0, entries })
}
