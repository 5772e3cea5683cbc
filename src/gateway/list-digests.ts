import type { CatalogScope } from '../routing/catalog.ts'
import type { Listing } from '../routing/listing.ts'
import { sha256Hex } from '../std/hash.ts'
import type { ListDigests } from './event-ids.ts'

/** Which lists a client would see change, wherever and whenever it was told of them last. */
export type ChangingList = keyof ListDigests
export const changingLists: readonly ChangingList[] = ['tools', 'resources', 'prompts']

export function digestLists(lists: CatalogScope): ListDigests {
  return {
    tools: digest(lists.tools),
    resources: `${digest(lists.resources)}${digest(lists.resourceTemplates)}`,
    prompts: digest(lists.prompts),
  }
}

// A listing never changes, so its digest lives as long as it does.
const known = new WeakMap<Listing, string>()
const digits = 8

function digest(listing: Listing): string {
  let text = known.get(listing)
  if (text === undefined) {
    text = sha256Hex(listing.entries.map((entry) => entry.text).join('\n')).slice(0, digits)
    known.set(listing, text)
  }
  return text
}
