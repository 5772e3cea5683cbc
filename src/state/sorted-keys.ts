/**
 * Keys in the bytewise order of their UTF-8, kept cheap for long runs of writes between two reads: a change is noted at
 * once and merged by the next read.
 */
export class SortedKeys {
  #sorted: string[] = []
  readonly #added = new Set<string>()
  readonly #removed = new Set<string>();

  /** These keys, sorted a slice at a time: whoever asks may rest between. */
  static *sorting(keys: readonly string[]): Generator<void, SortedKeys, void> {
    let runs: string[][] = []
    for (let at = 0; at < keys.length; at += runLength) {
      runs.push(keys.slice(at, at + runLength).sort(compareBytewise))
      yield
    }
    while (runs.length > 1) {
      const merged: string[][] = []
      for (let at = 0; at < runs.length; at += 2) merged.push(yield* merging(runs[at] ?? [], runs[at + 1] ?? []))
      runs = merged
    }
    const sorted = new SortedKeys()
    sorted.#sorted = runs[0] ?? []
    return sorted
  }

  /** The key must not be there. */
  add(key: string): void {
    if (!this.#removed.delete(key)) this.#added.add(key)
  }

  /** The key must be there. */
  remove(key: string): void {
    if (!this.#added.delete(key)) this.#removed.add(key)
  }

  /** All keys in order; valid until the next change. */
  all(): readonly string[] {
    if (this.#added.size > 0 || this.#removed.size > 0) this.#merge()
    return this.#sorted
  }

  #merge(): void {
    const added = [...this.#added].sort(compareBytewise)
    const merged: string[] = []
    let next = 0
    for (const key of this.#sorted) {
      for (let early = added[next]; early !== undefined && compareBytewise(early, key) < 0; early = added[next]) {
        merged.push(early)
        next += 1
      }
      if (!this.#removed.has(key)) merged.push(key)
    }
    for (; next < added.length; next += 1) merged.push(added[next] as string)
    this.#sorted = merged
    this.#added.clear()
    this.#removed.clear()
  }
}

const runLength = 1024

function* merging(left: readonly string[], right: readonly string[]): Generator<void, string[], void> {
  const merged: string[] = []
  let [fromLeft, fromRight] = [0, 0]
  for (;;) {
    const [a, b] = [left[fromLeft], right[fromRight]]
    if (a === undefined && b === undefined) return merged
    if (b === undefined || (a !== undefined && compareBytewise(a, b) <= 0)) {
      merged.push(a as string)
      fromLeft += 1
    } else {
      merged.push(b)
      fromRight += 1
    }
    if (merged.length % runLength === 0) yield
  }
}

/** The place of the first key that is not less than `bound`. */
export function lowerBound(keys: readonly string[], bound: string): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareBytewise(keys[middle] as string, bound) < 0) low = middle + 1
    else high = middle
  }
  return low
}

/** Order of the UTF-8 bytes, which is the order of code points; UTF-16 units differ from it where surrogates meet. */
export function compareBytewise(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let at = 0; at < length; at += 1) {
    const left = a.charCodeAt(at)
    const right = b.charCodeAt(at)
    if (left !== right) return rank(left) - rank(right)
  }
  return a.length - b.length
}

/** Surrogates stand for code points above all that one unit can hold. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit
}
