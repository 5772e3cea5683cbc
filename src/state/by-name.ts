import { assert } from '../std/assert.ts'

/** A map of items by their names. A step for every thousand: what takes long on one thread is to be done in slices. */
export function* byName<Item>(
  items: readonly Item[],
  nameOf: (item: Item) => string,
): Generator<void, Map<string, Item>, void> {
  const named = new Map<string, Item>()
  for (const item of items) {
    assert(!named.has(nameOf(item)), 'a name stands in an image once')
    named.set(nameOf(item), item)
    if (named.size % namedAtOnce === 0) yield
  }
  return named
}

const namedAtOnce = 1024
