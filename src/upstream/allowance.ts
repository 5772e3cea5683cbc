import type { Call, Outcome } from '../calls/call.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText, editJson, jsonElements, jsonMembers, sliceJson, toJsonText } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import type { Offer } from '../vocabulary/offer.ts'
import { parseObject } from './json-rpc.ts'
import { allLists, listAskedBy, namingOf, type ListKind } from './offer-lists.ts'
import type { OfferedNames } from '../vocabulary/configured-server.ts'

/**
 * What of a server this node lets clients see, by the operator's lists of names and patterns. What is not seen is not in the
 * published offer, and a call that names it all the same gets the answer of a server that has no such thing.
 */
type Kind = keyof OfferedNames

export class Allowance {
  readonly #rules: Readonly<Record<Kind, Rules>>
  readonly #isEverything: boolean

  constructor({ allow, deny }: { readonly allow: OfferedNames; readonly deny: OfferedNames }) {
    const rules = (kind: Kind): Rules => ({ allow: allow[kind].map(matcherOf), deny: deny[kind].map(matcherOf) })
    this.#rules = { tools: rules('tools'), resources: rules('resources'), prompts: rules('prompts') }
    this.#isEverything = Object.values(this.#rules).every((each) => each.allow.length + each.deny.length === 0)
  }

  allows(kind: Kind, name: string): boolean {
    const { allow, deny } = this.#rules[kind]
    return (allow.length === 0 || allow.some((matches) => matches(name))) && !deny.some((matches) => matches(name))
  }

  offered(offer: Offer): Offer {
    if (this.#isEverything) return offer
    const seen = { ...offer }
    for (const list of allLists) seen[list] = this.listed(list, offer[list])
    return seen
  }

  /** What of a list is seen. */
  listed(list: ListKind, items: JsonText): JsonText {
    if (this.#isEverything) return items
    const kind = list === 'resourceTemplates' ? 'resources' : list
    return this.#filtered(items, kind, namingOf(list))
  }

  /** A request for a list, or for a page of it, as what is seen of its answer. Others stay what they are. */
  answered(method: string, outcome: Promise<Outcome>): Promise<Outcome> {
    const list = this.#isEverything ? undefined : listAskedBy(method)
    return list === undefined ? outcome : this.#answeredList(list, outcome)
  }

  /** Null: the call may go. */
  refusal({ method, params }: Pick<Call, 'method' | 'params'>): Outcome | null {
    if (this.#isEverything || !Object.hasOwn(namedBy, method)) return null
    const named = namedBy[method]?.(params)
    if (named === undefined || typeof named.name !== 'string' || this.allows(named.kind, named.name)) return null
    return { kind: 'error', error: unknownError(named.kind, named.name) }
  }

  async #answeredList(list: ListKind, asked: Promise<Outcome>): Promise<Outcome> {
    const outcome = await asked
    const range = outcome.kind === 'result' ? jsonMembers(outcome.result).get(list) : undefined
    if (outcome.kind !== 'result' || range === undefined) return outcome
    const text = this.listed(list, sliceJson(outcome.result, range))
    return { kind: 'result', result: editJson(outcome.result, [{ ...range, text }]) }
  }

  #filtered(list: JsonText, kind: Kind, naming: string): JsonText {
    const items: unknown = JSON.parse(list)
    if (!Array.isArray(items)) return list
    const isSeen = (item: unknown): boolean => isObject(item) && this.allows(kind, String(item[naming]))
    if (items.every(isSeen)) return list
    const seen = jsonElements(list).filter((_, at) => isSeen(items[at]))
    return asJsonText(`[${seen.map((range) => sliceJson(list, range)).join(',')}]`)
  }
}

type Rules = { readonly allow: readonly Matcher[]; readonly deny: readonly Matcher[] }
type Matcher = (name: string) => boolean

/** `*` stands for any characters, also none. Takes no longer than name times pattern, whatever stands in them. */
function matcherOf(pattern: string): Matcher {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return (name) => name === pattern
  return (name) => {
    if (!name.startsWith(first)) return false
    let at = first.length
    for (const part of rest) {
      const found = name.indexOf(part, at)
      if (found === -1) return false
      at = found + part.length
    }
    return name.length - last.length >= at && name.endsWith(last)
  }
}

type Named = { readonly kind: Kind; readonly name: unknown }

const byName =
  (kind: Kind, member: string) =>
  (params: JsonText): Named => ({ kind, name: memberOf(params, member) })
const byUri = byName('resources', 'uri')

/** The methods that name something of an offer. */
const namedBy: Readonly<Record<string, (params: JsonText) => Named | undefined>> = {
  'tools/call': byName('tools', 'name'),
  'prompts/get': byName('prompts', 'name'),
  'resources/read': byUri,
  'resources/subscribe': byUri,
  'resources/unsubscribe': byUri,
  'completion/complete': (params) => {
    const ref = parseObject(params)?.['ref']
    if (!isObject(ref)) return undefined
    return ref['type'] === 'ref/prompt'
      ? { kind: 'prompts', name: ref['name'] }
      : { kind: 'resources', name: ref['uri'] }
  },
}

/** Not parsed whole: the arguments beside it may be long. */
function memberOf(params: JsonText, member: string): unknown {
  const range = jsonMembers(params).get(member)
  return range === undefined ? undefined : JSON.parse(sliceJson(params, range))
}

const nameShownMax = 200

function unknownError(kind: Kind, name: string): JsonText {
  const shown = name.slice(0, nameShownMax)
  if (kind === 'resources') return toJsonText({ code: -32_002, message: 'Resource not found', data: { uri: shown } })
  return toJsonText({ code: -32_602, message: `Unknown ${kind === 'tools' ? 'tool' : 'prompt'}: ${shown}` })
}
