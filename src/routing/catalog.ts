import type { JsonText } from '../std/json-text.ts'
import type { Replica } from '../state/command.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import { isIsolated } from '../vocabulary/isolation.ts'
import type { Naming } from '../vocabulary/naming.ts'
import { serverCapabilities, sharedCapabilities } from './capabilities.ts'
import type { Capabilities } from './capabilities.ts'
import { Listing, sameListing } from './listing.ts'
import type { ListingEntry, ListKind } from './listing.ts'
import { offerContents } from './offer-contents.ts'
import type { OfferContents, OfferFault } from './offer-contents.ts'
import { comparePriority, publicLists } from './public-lists.ts'
import type { Collision, PublicLists, Speaker } from './public-lists.ts'
import { TemplateMatcher } from './resource-template.ts'

/**
 * The catalog: what the whole cluster offers, as clients see it on `/mcp`, `/mcp/group/{group}` and `/mcp/{server}`. A
 * function of the replicated replicas and the naming policy only, whatever their order, so it is the same on every node.
 * Which replica takes a call is not decided here (choose.ts).
 */
export type Catalog = {
  /** `/mcp`: every server, tools and prompts named by policy. */
  readonly all: CatalogScope
  /** `/mcp/{server}`: each server that has a replica, under its own names and in its own order. In order of names. */
  readonly servers: ReadonlyMap<ServerName, ServerCatalog>
  /** `/mcp/group/{group}`: the servers that say they are in it, named as by `conditional`. In order of names. */
  readonly groups: ReadonlyMap<string, CatalogScope>
  /** Entries that a URL does not show because another has their name. */
  readonly collisions: readonly Collision[]
  /** Parts of offers that are not usable and were left out. */
  readonly faults: readonly CatalogFault[]
}

/** What one URL shows. */
export type CatalogScope = PublicLists & {
  /** Those that it is about, whether or not they are ready. In order of names. */
  readonly servers: ReadonlySet<ServerName>
  readonly capabilities: Capabilities
}

export type ServerCatalog = CatalogScope & {
  readonly server: ServerName
  /** Whose offer is shown; null while none is, and then the lists are empty. */
  readonly node: NodeId | null
  /** The server's own words in initialize; null until a replica was ready once, and where it said nothing. */
  readonly instructions: string | null
  readonly initialize: JsonText | null
  /** A session whose client can be asked has an upstream of it to itself, which may offer it more. */
  readonly isOwnOfAskable: boolean
}

export type CatalogFault = OfferFault & { readonly server: ServerName; readonly node: NodeId }

export function buildCatalog(replicas: readonly Replica[], naming: Naming = 'always'): Catalog {
  const servers = new Map<ServerName, ServerCatalog>()
  const offered = new Map<ServerName, Offered>()
  const groups = new Map<string, ServerName[]>()
  const faults: CatalogFault[] = []
  const ordered = [...replicas].sort((a, b) => compareIds(a.server, b.server) || compareIds(a.node, b.node))
  for (const [server, own] of groupByServer(ordered)) {
    const { speaker, said } = findOffered(own)
    offered.set(server, { speaker, said })
    const isOwnOfAskable = own.some(({ isolation }) => isIsolated(isolation, { asks: true }))
    servers.set(server, { ...serverCatalog(server, { speaker, said }), isOwnOfAskable })
    for (const group of new Set(own.flatMap((replica) => replica.groups)))
      groups.set(group, [...(groups.get(group) ?? []), server])
    if (speaker === null) continue
    for (const fault of speaker.contents.faults) faults.push({ ...fault, server, node: speaker.node })
  }
  const collisions: Collision[] = []
  const shared = (names: readonly ServerName[], at: { path: string; naming: Naming }): CatalogScope => {
    const here = names.flatMap((name) => offered.get(name) ?? [])
    const merged = publicLists(
      here.flatMap(({ speaker }) => speaker ?? []),
      at,
    )
    collisions.push(...merged.collisions)
    const capabilities = sharedCapabilities(here.flatMap(({ said }) => (said === null ? [] : [said.capabilities])))
    return { ...merged.lists, servers: new Set(names), capabilities }
  }
  return {
    all: shared([...servers.keys()], { path: '/mcp', naming }),
    servers,
    groups: new Map(
      [...groups]
        .sort(([a], [b]) => compareIds(a, b))
        .map(([group, names]) => [group, shared(names, { path: `/mcp/group/${group}`, naming: 'conditional' })]),
    ),
    collisions,
    faults,
  }
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

/** What a completion is asked about, as clients name it: a prompt, or a resource template or its URI. */
export type CompletionRef = { readonly kind: 'prompt' | 'resource'; readonly name: string }

/** Whose it is, and the server's own name of it. Undefined: nobody's. */
export function findCompletionTarget(
  scope: CatalogScope,
  { kind, name }: CompletionRef,
): { readonly server: ServerName; readonly own: string } | undefined {
  const entry = kind === 'prompt' ? scope.prompts.find(name) : scope.resourceTemplates.find(name)
  if (entry !== undefined || kind === 'prompt') return entry
  const server = findResource(scope, name)
  return server === undefined ? undefined : { server, own: name }
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

const emptyLists: PublicLists = {
  tools: new Listing('tools', []),
  resources: new Listing('resources', []),
  resourceTemplates: new Listing('resourceTemplates', []),
  prompts: new Listing('prompts', []),
}

/** The scope of a server that has no replica, or of a group that has no server. */
export const emptyScope: CatalogScope = {
  ...emptyLists,
  servers: new Set(),
  capabilities: sharedCapabilities([]),
}

/** What a server offers now, and what it said of itself when it last was ready. */
type Offered = { readonly speaker: Speaker | null; readonly said: OfferContents | null }

function groupByServer(ordered: readonly Replica[]): Map<ServerName, Replica[]> {
  const groups = new Map<ServerName, Replica[]>()
  for (const replica of ordered) {
    const group = groups.get(replica.server)
    if (group === undefined) groups.set(replica.server, [replica])
    else group.push(replica)
  }
  return groups
}

/**
 * The ready replica with the smallest node id speaks; without one, the first whose offer is to be kept. Whoever speaks,
 * what the server once said of itself tells new sessions what to expect of it.
 */
function findOffered(own: readonly Replica[]): Offered {
  const isSpeaking = (replica: Replica): boolean => replica.offer !== null && replica.status === 'ready'
  const isKept = (replica: Replica): boolean => replica.offer !== null && replica.whenUnavailable === 'keep'
  const chosen = own.find(isSpeaking) ?? own.find(isKept)
  const past = (chosen ?? own.find((replica) => replica.offer !== null))?.offer ?? null
  const said = past === null ? null : offerContents(past)
  if (chosen === undefined || said === null) return { speaker: null, said }
  return { speaker: { server: chosen.server, node: chosen.node, priority: chosen.priority, contents: said }, said }
}

function serverCatalog(server: ServerName, { speaker, said }: Offered): Omit<ServerCatalog, 'isOwnOfAskable'> {
  return {
    ...(speaker === null ? emptyLists : ownLists(speaker)),
    server,
    servers: new Set([server]),
    node: speaker?.node ?? null,
    capabilities: serverCapabilities(said?.capabilities ?? null),
    instructions: said?.instructions ?? null,
    initialize: said?.initialize ?? null,
  }
}

function ownLists({ server, priority, contents }: Speaker): PublicLists {
  const listing = (list: ListKind): Listing =>
    new Listing(
      list,
      contents.lists[list].map(({ own, text }) => ({ server, name: own, own, priority, text })),
      'as-given',
    )
  return {
    tools: listing('tools'),
    resources: listing('resources'),
    resourceTemplates: listing('resourceTemplates'),
    prompts: listing('prompts'),
  }
}
