import { editJson } from '../std/json-text.ts'
import type { Replica } from '../state/command.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import { Listing, sameListing } from './listing.ts'
import type { ListingEntry, ListKind } from './listing.ts'
import { offerContents } from './offer-contents.ts'
import type { OfferContents, OfferFault } from './offer-contents.ts'
import { publicName } from './public-name.ts'
import { TemplateMatcher } from './resource-template.ts'

/**
 * The catalog: what the whole cluster offers, as clients see it on `/mcp` and on `/mcp/{server}`. A function of the
 * replicated replicas only, whatever their order, so it is the same on every node. Which replica takes a call is not
 * decided here (choose.ts).
 */
export type Catalog = {
  /** `/mcp`: every server, tools and prompts under their public names. */
  readonly all: CatalogScope
  /** `/mcp/{server}`: each server that has a replica, under its own names. In order of names. */
  readonly servers: ReadonlyMap<ServerName, ServerCatalog>
  /** Entries that `/mcp` does not show because another has their name. */
  readonly collisions: readonly Collision[]
  /** Parts of offers that are not usable and were left out. */
  readonly faults: readonly CatalogFault[]
}

/** The four lists of one URL. */
export type CatalogScope = Readonly<Record<ListKind, Listing>>

export type ServerCatalog = CatalogScope & {
  readonly server: ServerName
  /** Whose offer is shown; null while no replica is ready, and then the lists are empty. */
  readonly node: NodeId | null
  /** Null until a replica was ready once. */
  readonly capabilities: OfferContents['capabilities'] | null
  readonly instructions: string | null
}

export type Collision = {
  readonly list: ListKind
  readonly name: string
  readonly shown: ServerName
  readonly hidden: ServerName
  /** The hidden server's own name for it. */
  readonly own: string
}

export type CatalogFault = OfferFault & { readonly server: ServerName; readonly node: NodeId }

export function buildCatalog(replicas: readonly Replica[]): Catalog {
  const servers = new Map<ServerName, ServerCatalog>()
  const speakers: Speaker[] = []
  const faults: CatalogFault[] = []
  const ordered = [...replicas].sort((a, b) => compareIds(a.server, b.server) || compareIds(a.node, b.node))
  for (const [server, group] of groupByServer(ordered)) {
    const speaker = findSpeaker(group)
    servers.set(server, serverCatalog(server, speaker, group))
    if (speaker === undefined) continue
    speakers.push(speaker)
    for (const fault of speaker.contents.faults) faults.push({ ...fault, server, node: speaker.node })
  }
  const collisions: Collision[] = []
  const all = {
    tools: mergeByPublicName('tools', speakers, collisions),
    resources: mergeByPriority('resources', speakers, collisions),
    resourceTemplates: mergeByPriority('resourceTemplates', speakers, collisions),
    prompts: mergeByPublicName('prompts', speakers, collisions),
  }
  return { all, servers, collisions, faults }
}

/**
 * Who answers for a URI: the server that lists it, else the first whose template it matches, by priority and then name.
 * Undefined: nobody.
 */
export function findResource(scope: CatalogScope, uri: string): ServerName | undefined {
  const listed = scope.resources.find(uri)
  if (listed !== undefined) return listed.server
  const matcher = new TemplateMatcher(uri)
  let best: ListingEntry | undefined
  for (const entry of scope.resourceTemplates.entries)
    if ((best === undefined || comparePriority(entry, best) < 0) && matcher.matches(entry.name)) best = entry
  return best?.server
}

/** Which lists clients would see change from one catalog's scope to the next. Templates count as resources. */
export type CatalogDiff = Readonly<Record<'tools' | 'resources' | 'prompts', boolean>>

export function catalogDiff(before: CatalogScope, after: CatalogScope): CatalogDiff {
  return {
    tools: !sameListing(before.tools, after.tools),
    resources:
      !sameListing(before.resources, after.resources) ||
      !sameListing(before.resourceTemplates, after.resourceTemplates),
    prompts: !sameListing(before.prompts, after.prompts),
  }
}

/** The scope of a server that has no replica. */
export const emptyScope: CatalogScope = {
  tools: new Listing('tools', []),
  resources: new Listing('resources', []),
  resourceTemplates: new Listing('resourceTemplates', []),
  prompts: new Listing('prompts', []),
}

/** The replica whose offer counts for its server: the ready one with the smallest node id. */
type Speaker = {
  readonly server: ServerName
  readonly node: NodeId
  readonly priority: number
  readonly contents: OfferContents
}

function groupByServer(ordered: readonly Replica[]): Map<ServerName, Replica[]> {
  const groups = new Map<ServerName, Replica[]>()
  for (const replica of ordered) {
    const group = groups.get(replica.server)
    if (group === undefined) groups.set(replica.server, [replica])
    else group.push(replica)
  }
  return groups
}

function findSpeaker(group: readonly Replica[]): Speaker | undefined {
  for (const { server, node, status, priority, offer } of group)
    if (status === 'ready' && offer !== null) return { server, node, priority, contents: offerContents(offer) }
  return undefined
}

function serverCatalog(server: ServerName, speaker: Speaker | undefined, group: readonly Replica[]): ServerCatalog {
  // While nobody is ready, what the server once said of itself still tells new sessions what to expect of it.
  const past = group.find((replica) => replica.offer !== null)?.offer ?? null
  const contents = speaker?.contents ?? (past === null ? null : offerContents(past))
  const about = {
    server,
    node: speaker?.node ?? null,
    capabilities: contents?.capabilities ?? null,
    instructions: contents?.instructions ?? null,
  }
  if (speaker === undefined) return { ...about, ...emptyScope }
  const listing = (list: ListKind): Listing =>
    new Listing(
      list,
      speaker.contents.lists[list].map(({ own, text }) => ({
        server,
        name: own,
        own,
        priority: speaker.priority,
        text,
      })),
    )
  return {
    ...about,
    tools: listing('tools'),
    resources: listing('resources'),
    resourceTemplates: listing('resourceTemplates'),
    prompts: listing('prompts'),
  }
}

/** Renamed; of two that get the same public name the first by server, then own name, keeps it. */
function mergeByPublicName(list: 'tools' | 'prompts', speakers: readonly Speaker[], collisions: Collision[]): Listing {
  const shown = new Map<string, ListingEntry>()
  for (const { server, priority, contents } of speakers) {
    for (const entry of [...contents.lists[list]].sort((a, b) => compareIds(a.own, b.own))) {
      const { own } = entry
      const name = publicName(server, own)
      const holder = shown.get(name)
      if (holder !== undefined) {
        collisions.push({ list, name, shown: holder.server, hidden: server, own })
        continue
      }
      const text = editJson(entry.text, [{ ...entry.nameRange, text: JSON.stringify(name) }])
      shown.set(name, { server, name, own, priority, text })
    }
  }
  return new Listing(list, [...shown.values()])
}

/** Unchanged; of two servers with the same URI the one that precedes is shown. */
function mergeByPriority(
  list: 'resources' | 'resourceTemplates',
  speakers: readonly Speaker[],
  collisions: Collision[],
): Listing {
  const shown = new Map<string, ListingEntry>()
  for (const { server, priority, contents } of [...speakers].sort(comparePriority)) {
    for (const { own, text } of contents.lists[list]) {
      const holder = shown.get(own)
      if (holder === undefined) shown.set(own, { server, name: own, own, priority, text })
      else collisions.push({ list, name: own, shown: holder.server, hidden: server, own })
    }
  }
  return new Listing(list, [...shown.values()])
}

function comparePriority(
  a: Pick<ListingEntry, 'server' | 'priority'>,
  b: Pick<ListingEntry, 'server' | 'priority'>,
): number {
  return b.priority - a.priority || compareIds(a.server, b.server)
}
