/**
 * A Map for what comes and goes thousands of times a second. V8 gives a Map a new table each time that the one it has is
 * full of what was deleted, and the outgrown table keeps what stood in it and leads to the next: once one of them is old,
 * all that ever stood in the later ones is kept until a full collection, and has been copied twice before. Here the
 * tables hold cells, and a cell is emptied when its entry goes.
 */
export class ChurningMap<Key, Value> {
  readonly #cells = new Map<Key, Cell<Value>>()

  get size(): number {
    return this.#cells.size
  }

  has(key: Key): boolean {
    return this.#cells.has(key)
  }

  get(key: Key): Value | undefined {
    return this.#cells.get(key)?.value
  }

  set(key: Key, value: Value): void {
    const cell = this.#cells.get(key)
    if (cell === undefined) this.#cells.set(key, { value })
    else cell.value = value
  }

  delete(key: Key): boolean {
    const cell = this.#cells.get(key)
    if (cell === undefined) return false
    cell.value = undefined
    return this.#cells.delete(key)
  }

  clear(): void {
    for (const key of this.#cells.keys()) this.delete(key)
  }

  /** In the order of their coming. Entries may come and go meanwhile, as with a Map. */
  *entries(): Generator<[Key, Value]> {
    for (const [key, { value }] of this.#cells) if (value !== undefined) yield [key, value]
  }

  *values(): Generator<Value> {
    for (const [, value] of this.entries()) yield value
  }
}

type Cell<Value> = { value: Value | undefined }
