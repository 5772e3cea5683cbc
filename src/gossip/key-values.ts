import type { NodeId } from '../vocabulary/ids.ts'
import type { KeyChange } from './effects.ts'
import { gaugeBytesMax, stateBytesMax } from './limits.ts'
import { gaugeDeltaBytes, stateDeltaBytes } from './messages.ts'
import type { Delta, DigestEntry, GaugeDelta, StateDelta } from './messages.ts'
import { OwnerValues } from './owner-values.ts'
import type { Change } from './owner-values.ts'

/** Copies of the key-values of the other members, each of one generation. Who is a member is decided elsewhere (membership.ts). */
export class KeyValues {
  readonly #byOwner = new Map<NodeId, OwnerValues>()

  get(owner: NodeId): OwnerValues | undefined {
    return this.#byOwner.get(owner)
  }

  /** Of an owner that is a member in this generation. */
  apply({ owner, generation, state, gauges }: Delta): { changed: KeyChange[]; isStateNew: boolean } {
    const values = this.of(owner, generation)
    const before = values.stateVersion
    const states = state === null ? [] : values.applyState(state)
    const numbers = gauges === null ? [] : values.applyGauges(gauges)
    const changed = [
      ...states.map((change) => keyChange('state', change, { owner, generation })),
      ...numbers.map((change) => keyChange('gauge', change, { owner, generation })),
    ]
    return { changed, isStateNew: values.stateVersion > before }
  }

  /** The member is gone, or another generation of it has come. Returns that each value is. */
  drop(owner: NodeId): KeyChange[] {
    const values = this.#byOwner.get(owner)
    if (values === undefined) return []
    this.#byOwner.delete(owner)
    const { generation } = values
    const states = [...values.state].filter(([, { value }]) => value !== null)
    return [
      ...states.map(([key]) => keyChange('state', { key, value: null }, { owner, generation })),
      ...[...values.gauges.keys()].map((key) => keyChange('gauge', { key, value: null }, { owner, generation })),
    ]
  }

  /** Of this generation; empty when nothing is known. */
  of(owner: NodeId, generation: number): OwnerValues {
    const known = this.#byOwner.get(owner)
    if (known?.generation === generation) return known
    const values = new OwnerValues(generation)
    this.#byOwner.set(owner, values)
    return values
  }
}

/** What one node lacks of what another has. */
export class Missing {
  readonly #states: {
    readonly owner: NodeId
    readonly generation: number
    readonly state: StateDelta
    readonly lag: number
  }[] = []
  readonly #gauges: { readonly owner: NodeId; readonly generation: number; readonly gauges: GaugeDelta }[] = []

  /** Notes what `values` has and who sent `known` does not. True when it is the other way round, in state or gauges. */
  compare(known: DigestEntry, values: OwnerValues): boolean {
    const { owner, generation } = known
    if (known.state < values.stateVersion) {
      const lag = values.stateVersion - known.state
      this.#states.push({ owner, generation, state: values.stateAfter(known.state), lag })
    }
    if (known.gauges < values.gaugesVersion) this.#gauges.push({ owner, generation, gauges: values.allGauges() })
    return known.state > values.stateVersion || known.gauges > values.gaugesVersion
  }

  /**
   * Deltas for one message. State: whoever lags most first (the paper's "scuttle-depth"), but for the very first, which is
   * drawn, so that nobody waits for ever behind owners that write all the time; gauges: in an order that is drawn. Each class
   * has bytes of its own.
   */
  deltas(draw: (bound: number) => number): Delta[] {
    const states = this.#states.toSorted((a, b) => b.lag - a.lag)
    if (states.length > 0) states.unshift(...states.splice(draw(states.length), 1))
    const gauges = [...this.#gauges]
    for (let at = gauges.length - 1; at > 0; at -= 1) gauges.push(...gauges.splice(draw(at + 1), 1))
    const deltas = new Map<NodeId, Delta>()
    let room = stateBytesMax
    for (const { owner, generation, state } of states) {
      room -= stateDeltaBytes(state) + deltaOverhead
      if (room < 0) break
      deltas.set(owner, { owner, generation, state, gauges: null })
    }
    room = gaugeBytesMax
    for (const { owner, generation, gauges: numbers } of gauges) {
      room -= gaugeDeltaBytes(numbers) + deltaOverhead
      if (room < 0) break
      deltas.set(owner, { owner, generation, state: deltas.get(owner)?.state ?? null, gauges: numbers })
    }
    return [...deltas.values()]
  }
}

/** Of an owner with the longest id. */
const deltaOverhead = 80

function keyChange<Value extends string | number>(
  kind: KeyChange['class'],
  { key, value }: Change<Value>,
  { owner, generation }: { owner: NodeId; generation: number },
): KeyChange {
  return { owner, generation, class: kind, key, value }
}
