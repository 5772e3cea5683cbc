import { Random } from '../../src/std/random.ts'

/**
 * Random numbers of a simulation: one stream for each purpose, all from the seed, so that taking one fault away does not
 * shift what the others draw.
 */
export class Stream {
  readonly #random: Random

  constructor(seed: number, purpose: string) {
    this.#random = new Random(mixText(seed >>> 0, purpose))
  }

  /** An integer in [from, to]. */
  between(from: number, to: number): number {
    return from + this.#random.below(to - from + 1)
  }

  below(bound: number): number {
    return this.#random.below(bound)
  }

  /** True in `perMille` of a thousand. */
  chance(perMille: number): boolean {
    return perMille > 0 && this.#random.below(1000) < perMille
  }

  pick<T>(list: readonly T[]): T {
    return itemAt(list, this.#random.below(list.length))
  }

  /** As long as `mean` on the whole, mostly shorter, now and then several times as long. */
  around(mean: number): number {
    const unit = (this.#random.uint32() + 1) / 4_294_967_297
    return Math.round(Math.min(8, -Math.log(unit)) * mean)
  }

  shuffle<T>(list: readonly T[]): T[] {
    const shuffled = [...list]
    for (let at = shuffled.length - 1; at > 0; at -= 1) {
      const other = this.#random.below(at + 1)
      const item = itemAt(shuffled, at)
      shuffled[at] = itemAt(shuffled, other)
      shuffled[other] = item
    }
    return shuffled
  }

  uint32(): number {
    return this.#random.uint32()
  }
}

/** For a place that is known to be in the list. */
export function itemAt<T>(list: readonly T[], at: number): T {
  const item = list[at]
  if (item === undefined) throw new Error(`there is no item ${at} of ${list.length}`)
  return item
}

/** FNV-1a over numbers and text, for hashes that need to differ, not to resist. */
export function mix(hash: number, value: number): number {
  let h = Math.imul((hash ^ (value >>> 0)) >>> 0, 0x01000193)
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b)
  return (h ^ (h >>> 13)) >>> 0
}

export function mixText(hash: number, text: string): number {
  let h = hash >>> 0
  for (let at = 0; at < text.length; at += 1) h = Math.imul(h ^ text.charCodeAt(at), 0x01000193)
  return mix(h, text.length)
}

export function mixBytes(hash: number, bytes: Uint8Array): number {
  let h = hash >>> 0
  for (let at = 0; at < bytes.length; at += 1) h = Math.imul(h ^ (bytes[at] ?? 0), 0x01000193)
  return mix(h, bytes.length)
}
