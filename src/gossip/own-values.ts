import type { KeyRefusal } from './effects.ts'
import {
  gaugeKeysMax,
  gaugeOwnerBytesMax,
  keyBytesMax,
  stateKeysMax,
  stateOwnerBytesMax,
  stateValueBytesMax,
} from './limits.ts'
import { gaugeEntryBytes, stateEntryBytes, textBytes } from './messages.ts'
import { OwnerValues } from './owner-values.ts'

/** This node's own key-values: the only ones that it writes. What goes beyond the limits is refused and changes nothing. */
export class OwnValues {
  readonly values: OwnerValues
  /** Tombstones, the oldest first, and when their keys were deleted. */
  #tombstones: { readonly key: string; readonly version: number; readonly tick: number }[] = []

  constructor(generation: number) {
    this.values = new OwnerValues(generation)
  }

  /** Tombstones apart. */
  get keysOfState(): number {
    return this.values.state.size - this.#tombstones.length
  }

  set(key: string, value: string): KeyRefusal | null {
    const refuse = (why: KeyRefusal['why']): KeyRefusal => ({ class: 'state', key, why })
    if (textBytes(key) > keyBytesMax) return refuse('key-too-long')
    if (textBytes(value) > stateValueBytesMax) return refuse('value-too-long')
    if (this.values.state.get(key)?.value === value) return null
    if (!this.#makeRoom(key, value)) return refuse('too-much')
    this.#write(key, value)
    return null
  }

  delete(key: string, tick: number): void {
    const known = this.values.state.get(key)
    if (known === undefined || known.value === null) return
    this.#write(key, null)
    this.#tombstones.push({ key, version: this.values.stateVersion, tick })
  }

  setGauges(gauges: ReadonlyMap<string, number>): KeyRefusal | null {
    const refuse = (key: string, why: KeyRefusal['why']): KeyRefusal => ({ class: 'gauge', key, why })
    let bytes = 0
    for (const [key, value] of gauges) {
      if (textBytes(key) > keyBytesMax) return refuse(key, 'key-too-long')
      if (!Number.isFinite(value)) return refuse(key, 'not-a-number')
      bytes += gaugeEntryBytes({ key })
      if (bytes > gaugeOwnerBytesMax) return refuse(key, 'too-much')
    }
    if (gauges.size > gaugeKeysMax) return refuse('', 'too-much')
    const { gauges: known } = this.values
    if (known.size === gauges.size && [...gauges].every(([key, value]) => known.get(key) === value)) return null
    this.values.gauges = new Map(gauges)
    this.values.gaugesVersion += 1
    return null
  }

  /** Forgets the tombstones of keys deleted before the tick. */
  forgetBefore(tick: number): void {
    while ((this.#tombstones[0]?.tick ?? Infinity) < tick) this.#forgetOldest()
  }

  #write(key: string, value: string | null): void {
    const { values } = this
    values.stateVersion += 1
    values.state.set(key, { value, version: values.stateVersion })
    this.#tombstones = this.#tombstones.filter((tombstone) => tombstone.key !== key)
  }

  /** Tombstones give way to values, the oldest first. */
  #makeRoom(key: string, value: string): boolean {
    while (!this.#fits(key, value)) {
      if (this.#tombstones.length === 0) return false
      this.#forgetOldest()
    }
    return true
  }

  #fits(key: string, value: string): boolean {
    const { values } = this
    const known = values.state.get(key)
    const freed = known === undefined ? 0 : stateEntryBytes({ key, value: known.value })
    const bytes = values.stateBytes() - freed + stateEntryBytes({ key, value })
    const keys = values.state.size + (known === undefined ? 1 : 0)
    return bytes <= stateOwnerBytesMax && keys <= stateKeysMax
  }

  /** All tombstones up to this one's version are forgotten, everywhere: see OwnerValues. */
  #forgetOldest(): void {
    const oldest = this.#tombstones.shift()
    if (oldest !== undefined) this.values.forget(oldest.version)
  }
}
