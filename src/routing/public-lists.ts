import type { Naming } from '../vocabulary/naming.ts'
import { editJson } from '../std/json-text.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import { Listing } from './listing.ts'
import type { ListingEntry, ListKind } from './listing.ts'
import type { OfferContents } from './offer-contents.ts'
import { fittedName, publicName } from './public-name.ts'

/**
 * The lists of a URL that several servers share. Tools and prompts are named by its policy, resources keep their URIs; what
 * would still have the name of another is left out and told as a collision.
 */
export type PublicLists = Readonly<Record<ListKind, Listing>>

/** The replica whose offer counts for its server. */
export type Speaker = {
  readonly server: ServerName
  readonly node: NodeId
  readonly priority: number
  readonly contents: OfferContents
}

export type Collision = {
  /** The URL's path. */
  readonly path: string
  readonly list: ListKind
  readonly name: string
  readonly shown: ServerName
  readonly hidden: ServerName
  /** The hidden server's own name for it. */
  readonly own: string
}

export function publicLists(
  speakers: readonly Speaker[],
  at: { readonly path: string; readonly naming: Naming },
): { readonly lists: PublicLists; readonly collisions: readonly Collision[] } {
  const collisions: Collision[] = []
  // The first to have a name keeps it.
  const ordered = [...speakers].sort(comparePriority)
  const merged = (list: ListKind, nameOf: (server: ServerName, own: string) => string): Listing => {
    const shown = new Map<string, ListingEntry>()
    for (const { server, priority, contents } of ordered)
      for (const entry of [...contents.lists[list]].sort((a, b) => compareIds(a.own, b.own))) {
        const { own, nameRange } = entry
        const name = nameOf(server, own)
        const holder = shown.get(name)
        if (holder !== undefined) {
          collisions.push({ path: at.path, list, name, shown: holder.server, hidden: server, own })
          continue
        }
        const text = name === own ? entry.text : editJson(entry.text, [{ ...nameRange, text: JSON.stringify(name) }])
        shown.set(name, { server, name, own, priority, text })
      }
    return new Listing(list, [...shown.values()])
  }
  const unchanged = (_: ServerName, own: string): string => own
  const lists = {
    tools: merged('tools', names('tools', speakers, at.naming)),
    resources: merged('resources', unchanged),
    resourceTemplates: merged('resourceTemplates', unchanged),
    prompts: merged('prompts', names('prompts', speakers, at.naming)),
  }
  return { lists, collisions }
}

function names(
  list: 'tools' | 'prompts',
  speakers: readonly Speaker[],
  naming: Naming,
): (server: ServerName, own: string) => string {
  switch (naming) {
    case 'always':
      return publicName
    case 'never':
      return (_, own) => fittedName(own)
    case 'conditional': {
      const holders = new Map<string, number>()
      for (const { contents } of speakers)
        for (const { own } of contents.lists[list]) holders.set(own, (holders.get(own) ?? 0) + 1)
      return (server, own) => ((holders.get(own) ?? 0) > 1 ? publicName(server, own) : fittedName(own))
    }
  }
}

/** Which of two servers precedes: by priority, then by name. */
export function comparePriority(
  a: Pick<ListingEntry, 'server' | 'priority'>,
  b: Pick<ListingEntry, 'server' | 'priority'>,
): number {
  return b.priority - a.priority || compareIds(a.server, b.server)
}
