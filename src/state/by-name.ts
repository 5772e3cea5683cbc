import { assert } from '../std/assert.ts'

/** A map of items by their names. A step for every thousand: what takes long on one thread is to be done in slices. */
export function* byName<Item, Name extends string>(
  items: readonly Item[],
  nameOf: (item: Item) => Name,
): Generator<void, Map<Name, Item>, void> {
  const named = new Map<Name, Item>()
  for (const item of items) {
    assert(!named.has(nameOf(item)), 'a name stands in an image once')
    named.set(nameOf(item), item)
    if (named.size % namedAtOnce === 0) yield
  }
  return named
}

const namedAtOnce = 1024
