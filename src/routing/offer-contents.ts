import { isObject } from '../std/is-object.ts'
import { asJsonText, jsonElements, jsonMembers, sliceJson } from '../std/json-text.ts'
import type { JsonRange, JsonText } from '../std/json-text.ts'
import type { Offer } from '../vocabulary/offer.ts'
import type { Capabilities } from './capabilities.ts'
import type { ListKind } from './listing.ts'

/**
 * An offer taken apart: what of a server's word can be shown. An offer is a foreign server's text, so whatever is not
 * usable (wrong types, no name, a name twice) is left out and reported, never thrown. Parsed once per offer.
 */
export type OfferContents = {
  readonly capabilities: Capabilities
  readonly instructions: string | null
  /** Initialize's result; null when it is no object. */
  readonly initialize: JsonText | null
  readonly lists: Readonly<Record<ListKind, readonly OwnEntry[]>>
  readonly faults: readonly OfferFault[]
}

export type OwnEntry = {
  readonly own: string
  readonly text: JsonText
  /** Where the naming member's value stands in the text. */
  readonly nameRange: JsonRange
}

export type OfferFault = { readonly list: ListKind | 'initialize'; readonly reason: string }

const namingMember: Readonly<Record<ListKind, string>> = {
  tools: 'name',
  resources: 'uri',
  resourceTemplates: 'uriTemplate',
  prompts: 'name',
}

/** More faults of one offer than this are only counted by their absence. */
const faultsMax = 100

// Offers are never changed once published, so the taken-apart form lives as long as the offer does.
const known = new WeakMap<Offer, OfferContents>()

export function offerContents(offer: Offer): OfferContents {
  let contents = known.get(offer)
  if (contents === undefined) {
    contents = takeApart(offer)
    known.set(offer, contents)
  }
  return contents
}

function takeApart(offer: Offer): OfferContents {
  const faults: OfferFault[] = []
  const report = (fault: OfferFault): void => {
    if (faults.length < faultsMax) faults.push(fault)
  }
  const initialize = parse(offer.initialize)
  if (!isObject(initialize)) report({ list: 'initialize', reason: 'the initialize result is not an object' })
  const { capabilities, instructions } = isObject(initialize) ? initialize : {}
  return {
    capabilities: isObject(capabilities) ? capabilities : {},
    instructions: typeof instructions === 'string' ? instructions : null,
    initialize: isObject(initialize) ? offer.initialize : null,
    lists: {
      tools: ownEntries('tools', offer.tools, report),
      resources: ownEntries('resources', offer.resources, report),
      resourceTemplates: ownEntries('resourceTemplates', offer.resourceTemplates, report),
      prompts: ownEntries('prompts', offer.prompts, report),
    },
    faults,
  }
}

function ownEntries(list: ListKind, text: JsonText, report: (fault: OfferFault) => void): OwnEntry[] {
  const values = parse(text)
  if (!Array.isArray(values)) {
    report({ list, reason: 'the list is not an array' })
    return []
  }
  const entries: OwnEntry[] = []
  const seen = new Set<string>()
  for (const [at, range] of jsonElements(text).entries()) {
    const value: unknown = values[at]
    const own = isObject(value) ? value[namingMember[list]] : undefined
    if (typeof own !== 'string' || own === '') {
      report({ list, reason: `entry ${at} has no ${namingMember[list]}` })
      continue
    }
    if (seen.has(own)) {
      report({ list, reason: `entry ${at} repeats ${JSON.stringify(own.slice(0, 100))}` })
      continue
    }
    const entry = sliceJson(text, range)
    const nameRange = jsonMembers(entry).get(namingMember[list])
    if (nameRange === undefined) continue
    seen.add(own)
    entries.push({ own, text: entry, nameRange })
  }
  return entries
}

function parse(text: string): unknown {
  try {
    return JSON.parse(asJsonText(text))
  } catch {
    return undefined
  }
}
