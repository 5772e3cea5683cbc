import type { JsonText } from '../std/json-text.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { ServerName } from '../vocabulary/ids.ts'

/**
 * One list of the catalog (tools, resources, resource templates or prompts) as one scope shows it: ordered by public
 * name, or as its one server orders it; looked up by public name, served in pages whose text is made once. Never changes
 * after it is made.
 */
export const listingPageEntries = 200

/** Whether one of our pages may have given it; servers' own pass by as they are, where both answer. */
export function isCatalogCursor(cursor: unknown): boolean {
  return typeof cursor === 'string' && cursor.startsWith(cursorMark)
}

/** What all cursors of ours begin with. */
const cursorMark = 'catalog~'

export type ListKind = 'tools' | 'resources' | 'resourceTemplates' | 'prompts'

export type ListingEntry = {
  readonly server: ServerName
  /** What clients say: the public name, the URI or the URI template. */
  readonly name: string
  /** What the server says. */
  readonly own: string
  /** Of the server; decides between equal URIs and between templates that match the same URI. */
  readonly priority: number
  /** The server's object, byte for byte but the name. */
  readonly text: JsonText
}

export class Listing {
  readonly kind: ListKind
  /** No name stands twice. */
  readonly entries: readonly ListingEntry[]
  readonly #order: 'by-name' | 'as-given'
  readonly #byName: ReadonlyMap<string, ListingEntry>
  readonly #pages = new Map<number, JsonText>()

  /** `by-name`: bytewise. */
  constructor(kind: ListKind, entries: readonly ListingEntry[], order: 'by-name' | 'as-given' = 'by-name') {
    this.kind = kind
    this.#order = order
    this.entries = order === 'as-given' ? entries : [...entries].sort((a, b) => compareIds(a.name, b.name))
    this.#byName = new Map(this.entries.map((entry) => [entry.name, entry]))
  }

  find(name: string): ListingEntry | undefined {
    return this.#byName.get(name)
  }

  /** The list method's result from the cursor on (null: from the start); undefined when no page of ours gave the cursor. */
  page(cursor: string | null): JsonText | undefined {
    const last = cursor === null ? null : this.#decode(cursor)
    if (last === undefined) return undefined
    const start = last === null ? 0 : this.#firstAfter(last)
    let text = this.#pages.get(start)
    if (text === undefined) {
      text = this.#print(start)
      // Starts that are no multiple come from cursors of an older catalog; they are not worth keeping.
      if (start % listingPageEntries === 0) this.#pages.set(start, text)
    }
    return text
  }

  #print(start: number): JsonText {
    const shown = this.entries.slice(start, start + listingPageEntries)
    const last = shown.at(-1)
    const more = last !== undefined && start + shown.length < this.entries.length
    const next = more
      ? `,"nextCursor":${JSON.stringify(this.#encode({ at: start + shown.length - 1, name: last.name }))}`
      : ''
    return `{"${this.kind}":[${shown.map((entry) => entry.text).join(',')}]${next}}` as JsonText
  }

  /** A cursor names the last entry of its page, so it stays good when the list changes under it. */
  #encode({ at, name }: PageEnd): string {
    return cursorMark + Buffer.from(`${this.kind}:${at}:${name}`).toString('base64url')
  }

  #decode(cursor: string): PageEnd | undefined {
    const text = Buffer.from(cursor.slice(cursorMark.length), 'base64url').toString()
    const [, kind, at, name] = /^(\w+):(\d{1,9}):(.*)$/s.exec(text) ?? []
    if (kind !== this.kind || at === undefined || name === undefined) return undefined
    const end = { at: Number(at), name }
    return this.#encode(end) === cursor ? end : undefined
  }

  #firstAfter({ at, name }: PageEnd): number {
    if (this.#order === 'by-name') return this.#firstAfterName(name)
    const entry = this.#byName.get(name)
    // Of an entry that is gone, what followed has moved into its place.
    if (entry === undefined) return Math.min(at, this.entries.length)
    return this.entries[at] === entry ? at + 1 : this.entries.indexOf(entry) + 1
  }

  #firstAfterName(name: string): number {
    let low = 0
    let high = this.entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const entry = this.entries[middle]
      if (entry !== undefined && compareIds(entry.name, name) <= 0) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Where a page ended. */
type PageEnd = { readonly at: number; readonly name: string }

/** True when clients would see the same list. */
export function sameListing(a: Listing, b: Listing): boolean {
  return (
    a === b ||
    (a.entries.length === b.entries.length && a.entries.every((entry, at) => entry.text === b.entries[at]?.text))
  )
}
