import { gaugeDeltaBytes, stateDeltaBytes } from './messages.ts'
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
   * and when. Returns what changed.
   */
  applyState(delta: StateDelta): Change<string>[] {
    const { since, upTo, forgottenUpTo, entries } = delta
    if (upTo <= this.stateVersion || since > this.stateVersion) return []
    const changes: Change<string>[] = []
    if (since === 0) {
      const whole = new Set(entries.map(({ key }) => key))
      for (const [key, { value }] of this.state) {
        if (whole.has(key)) continue
        this.state.delete(key)
        if (value !== null) changes.push({ key, value: null })
      }
    }
    for (const { key, value, version } of entries) {
      const known = this.state.get(key)
      if (known !== undefined && known.version >= version) continue
      this.state.set(key, { value, version })
      if ((known?.value ?? null) !== value) changes.push({ key, value })
    }
    this.stateVersion = upTo
    this.forget(Math.max(this.forgottenUpTo, forgottenUpTo))
    return changes
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
    for (const [key, { value, version }] of this.state) if (value === null && version <= upTo) this.state.delete(key)
  }

  stateBytes(): number {
    return stateDeltaBytes(this.stateAfter(0))
  }

  gaugesBytes(): number {
    return gaugeDeltaBytes(this.allGauges())
  }
}

/** `value` null: a tombstone, deleted by its owner. */
export type StateValue = { readonly value: string | null; readonly version: number }

export type Change<Value> = { readonly key: string; readonly value: Value | null }
