import { createHash, hash } from 'node:crypto'
import { crc32 as zlibCrc32 } from 'node:zlib'

/** Hashes for the pure folders, so that none of them imports `node:crypto`. All are functions of their input only. */

/** CRC-32 (IEEE), for damage, not for adversaries. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed)
}

export function sha256Hex(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/**
 * 64 bits over a sequence of values, for damage and differences, not for adversaries: equal sequences have equal hashes on
 * every machine. Used over and over: `begin`, the values in turn, `end`, then `low` and `high`.
 */
export class SequenceHash {
  /** Both signed 32-bit, so that the engine keeps them as small integers. */
  low = 0
  high = 0

  begin(seed: number): void {
    this.low = Math.imul(seed, 0x9e3779b1) ^ 0x2545f491
    this.high = Math.imul(seed, 0x85ebca77) ^ 0x6c078965
  }

  /** Texts, whole numbers (-0 counts as 0), nothing, and lists of them. */
  add(value: SequenceValue): void {
    if (typeof value === 'string') this.#addText(value)
    else if (typeof value === 'number') this.#addWhole(value)
    else if (value === null) this.#mix(tags.null)
    else {
      this.#mix(tags.list)
      this.#mix(value.length)
      for (const item of value) this.add(item)
    }
  }

  end(): void {
    const low = scatter(this.low ^ Math.imul(this.high, 0xc2b2ae35))
    this.high = scatter(this.high ^ Math.imul(low, 0x27d4eb2f))
    this.low = low
  }

  #addText(text: string): void {
    const { length } = text
    this.#mix(tags.text)
    this.#mix(length)
    if (length > shortTextMax) {
      const hex = hash('sha256', text)
      for (let at = 0; at < 16; at += 8) this.#mix(Number.parseInt(hex.slice(at, at + 8), 16))
      return
    }
    // As #mix does: one call for each unit would be most of the cost.
    let { low, high } = this
    for (let at = 0; at < length; at += 1) {
      const unit = text.charCodeAt(at)
      low = Math.imul(low ^ unit, 0x9e3779b1)
      low = (low << 13) | (low >>> 19)
      high = Math.imul(high ^ unit, 0x85ebca77)
      high = (high << 17) | (high >>> 15)
    }
    this.low = low
    this.high = high
  }

  #addWhole(value: number): void {
    this.#mix(tags.whole)
    this.#mix(value)
    this.#mix(Math.floor(value / 2 ** 32))
  }

  #mix(word: number): void {
    const low = Math.imul(this.low ^ word, 0x9e3779b1)
    this.low = (low << 13) | (low >>> 19)
    const high = Math.imul(this.high ^ word, 0x85ebca77)
    this.high = (high << 17) | (high >>> 15)
  }
}

export type SequenceValue = string | number | null | readonly SequenceValue[]

const tags = { text: 1, whole: 2, null: 3, list: 4 } as const
/** Longer texts, in UTF-16 units, are hashed natively, which is faster from here on. */
const shortTextMax = 512

/** Each bit of the result depends on each of the word. */
function scatter(word: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}
