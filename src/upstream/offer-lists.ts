import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Offer } from '../vocabulary/offer.ts'
import { isObject } from '../std/is-object.ts'
import { asJsonText, jsonMembers, sliceJson, type JsonText } from '../std/json-text.ts'
import { parseObject } from './json-rpc.ts'
import type { UpstreamLimits } from './limits.ts'

/**
 * Collects what a server offers: all pages of each list, joined as the text they came in. An offer past its limits, or
 * with an item that has no name, is refused with a reason; nothing is cut silently.
 */
export type ListKind = 'tools' | 'resources' | 'resourceTemplates' | 'prompts'

type List = { readonly capability: string; readonly method: string; readonly naming: string }

const lists: Readonly<Record<ListKind, List>> = {
  tools: { capability: 'tools', method: 'tools/list', naming: 'name' },
  resources: { capability: 'resources', method: 'resources/list', naming: 'uri' },
  resourceTemplates: { capability: 'resources', method: 'resources/templates/list', naming: 'uriTemplate' },
  prompts: { capability: 'prompts', method: 'prompts/list', naming: 'name' },
}

export const allLists: readonly ListKind[] = ['tools', 'resources', 'resourceTemplates', 'prompts']

/** Which list a method asks for; undefined: none. */
export function listAskedBy(method: string): ListKind | undefined {
  return kindByMethod.get(method)
}

const kindByMethod: ReadonlyMap<string, ListKind> = new Map(allLists.map((kind) => [lists[kind].method, kind]))

/** The member of a list's items that names them. */
export function namingOf(kind: ListKind): string {
  return lists[kind].naming
}

/** How it is told that the list has changed. */
export function changeOf(kind: ListKind): string {
  return `notifications/${lists[kind].capability}/list_changed`
}

/** Of a server that has said no more than who it is. */
export function emptyOffer(initialize: JsonText): Offer {
  const none = asJsonText('[]')
  return { initialize, tools: none, resources: none, resourceTemplates: none, prompts: none }
}

/** Which lists a list_changed notification makes stale. */
export function listsChangedBy(method: string): readonly ListKind[] {
  switch (method) {
    case 'notifications/tools/list_changed':
      return ['tools']
    case 'notifications/resources/list_changed':
      return ['resources', 'resourceTemplates']
    case 'notifications/prompts/list_changed':
      return ['prompts']
    default:
      return []
  }
}

export type ListReply = { readonly kind: 'result'; readonly text: JsonText } | { readonly kind: 'unsupported' }

export type ListRequest = {
  readonly server: string
  readonly offer: Offer
  readonly kinds: Iterable<ListKind>
  readonly limits: UpstreamLimits
  /** Performs one list request; rejects with an OperatingError when there is no list to be had. */
  ask(method: string, params: JsonText): Promise<ListReply>
}

/** The offer with the given lists asked for anew. */
export async function listOffer(request: ListRequest): Promise<Offer> {
  const offer = { ...request.offer }
  const capabilities = parseObject(offer.initialize)?.['capabilities']
  for (const kind of request.kinds) {
    if (!isObject(capabilities) || !isObject(capabilities[lists[kind].capability])) continue
    offer[kind] = asJsonText('[]')
    offer[kind] = await listAll(request, kind, offer)
  }
  return offer
}

async function listAll(request: ListRequest, kind: ListKind, others: Offer): Promise<JsonText> {
  const { method, naming } = lists[kind]
  const { limits, server } = request
  const items: string[] = []
  let pages = 0
  let count = 0
  let bytes = offerBytes(others)
  let cursor: JsonText | undefined
  do {
    const reply = await request.ask(method, asJsonText(cursor === undefined ? '{}' : `{"cursor":${cursor}}`))
    if (reply.kind === 'unsupported') break
    const page = readPage(reply.text, kind, naming)
    if (page === undefined)
      throw new OperatingError('server-failed', `server ${server} answered ${method} without a list of named items`)
    pages += 1
    if (page.next !== undefined && (page.next === cursor || pages === limits.offerPagesMax))
      throw new OperatingError('server-failed', `server ${server} brings ${method} to no end`)
    count += page.count
    bytes += Buffer.byteLength(page.items)
    if (count > limits.offerItemsMax)
      throw new OperatingError(
        'too-large',
        `server ${server} lists more than ${limits.offerItemsMax} items at ${method}`,
      )
    if (bytes > limits.offerBytesMax)
      throw new OperatingError('too-large', `server ${server} offers more than ${limits.offerBytesMax} bytes`)
    if (page.count > 0) items.push(page.items)
    cursor = page.next
  } while (cursor !== undefined)
  return asJsonText(`[${items.join(',')}]`)
}

type Page = { readonly items: string; readonly count: number; readonly next: JsonText | undefined }

function readPage(text: JsonText, kind: ListKind, naming: string): Page | undefined {
  const parsed = parseObject(text)
  const items = parsed?.[kind]
  if (parsed === undefined || !Array.isArray(items)) return undefined
  if (!items.every((item) => isObject(item) && typeof item[naming] === 'string')) return undefined
  const members = jsonMembers(text)
  const list = members.get(kind)
  const next = typeof parsed['nextCursor'] === 'string' ? members.get('nextCursor') : undefined
  return {
    items: list === undefined ? '' : sliceJson(text, list).slice(1, -1).trim(),
    count: items.length,
    next: next === undefined ? undefined : sliceJson(text, next),
  }
}

function offerBytes(offer: Offer): number {
  return Object.values(offer).reduce((sum, text) => sum + Buffer.byteLength(text), 0)
}
