import type { IncomingMessage } from 'node:http'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { keyBytesMax } from '../vocabulary/kv-limits.ts'
import type { Consistency } from './needs.ts'

/**
 * The parts of a request that are no body, parsed strictly: what the API does not know or can not keep is an error, never
 * left out silently. Works on the request target as it came: a URL object would have resolved dots and escapes in it.
 */
export function rawPath(incoming: IncomingMessage): string {
  return split(incoming).path
}

/** The one that stands under each allowed name; other names and repeated ones are errors. */
export function queryOf<Name extends string>(
  incoming: IncomingMessage,
  allowed: readonly Name[],
): Partial<Record<Name, string>> {
  const { query } = split(incoming)
  if (query === '') return {}
  decodePercent(query.replaceAll('+', ' '), 'the query')
  const found: Partial<Record<Name, string>> = {}
  for (const [name, value] of new URLSearchParams(query)) {
    const known = allowed.find((it) => it === name)
    if (known === undefined) throw bad(`there is no query parameter ${shown(name)} here`)
    if (found[known] !== undefined) throw bad(`the query parameter ${known} stands there twice`)
    found[known] = value
  }
  return found
}

/** The percent-decoded rest of the path behind the prefix. */
function restOfPath(incoming: IncomingMessage, prefix: string): string {
  const rest = rawPath(incoming).slice(prefix.length)
  // No character of a path (RFC 3986): some clients and proxies make a slash of it.
  if (rest.includes('\\')) throw bad('the path holds a backslash that is not percent-encoded')
  return decodePercent(rest, 'the path')
}

export function keyOf(incoming: IncomingMessage, prefix: string): string {
  const key = restOfPath(incoming, prefix)
  if (key === '') throw bad('the key is empty')
  if (Buffer.byteLength(key) > keyBytesMax) {
    throw new OperatingError('too-large', `the key is longer than ${keyBytesMax} bytes`)
  }
  return key
}

export function consistencyOf(value: string | undefined): Consistency {
  if (value === undefined || value === 'linearizable') return 'linearizable'
  if (value === 'stale') return 'stale'
  throw bad(`consistency is linearizable or stale, not ${shown(value)}`)
}

export function limitOf(value: string | undefined): number {
  if (value === undefined) return listDefault
  return wholeNumber(value, { name: 'limit', min: 1, max: listMax })
}

/** Keys of one answer of a list. */
const listDefault = 100
const listMax = 1000

/** Null: no comparison is wanted. */
export function ifMatchOf(incoming: IncomingMessage): number | null {
  const header = incoming.headers['if-match']
  if (header === undefined) return null
  const revision = Number(/^"(\d{1,16})"$/.exec(header)?.[1] ?? Number.NaN)
  if (Number.isSafeInteger(revision)) return revision
  throw bad(`If-Match is one revision in quotes ("0": must not exist), not ${shown(header)}`)
}

/** Null: the request may not be repeated safely. */
export function idempotencyKeyOf(incoming: IncomingMessage): string | null {
  const header = incoming.headers['idempotency-key']
  if (header === undefined) return null
  if (typeof header === 'string' && /^[\x21-\x7e]{1,255}$/.test(header)) return header
  throw bad(`Idempotency-Key is 1 to 255 visible ASCII characters, given once, not ${shown(String(header))}`)
}

/** Null: none is given. */
export function revisionOf(
  text: string | string[] | undefined,
  { name, min }: { readonly name: string; readonly min: number },
): number | null {
  if (text === undefined) return null
  const revision = /^\d{1,16}$/.test(String(text)) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(revision) && revision >= min) return revision
  throw bad(`${name} is a revision, a whole number of at least ${min}, not ${shown(String(text))}`)
}

export function timeoutOf(incoming: IncomingMessage): number {
  const header = incoming.headers['x-request-timeout-ms']
  if (header === undefined) return timeoutDefaultMs
  return wholeNumber(String(header), { name: 'X-Request-Timeout-Ms', min: 1, max: timeoutMaxMs })
}

const timeoutDefaultMs = 5000
const timeoutMaxMs = 60_000

/** Headers that promise something this path does not keep; to leave them out would break that promise. */
export function refusePromises(incoming: IncomingMessage): void {
  for (const [name, advice] of promises) {
    if (name === 'idempotency-key' && rawPath(incoming).startsWith('/v1/kv/')) continue
    if (incoming.headers[name] !== undefined) throw bad(`the header ${name} is not supported yet${advice}`)
  }
}

const promises = [
  ['idempotency-key', ' here: a repeated request may be done twice'],
  ['if-none-match', ' on writes: If-Match: "0" says that the key must not exist'],
  ['if-unmodified-since', ' on writes'],
] as const

function wholeNumber(text: string, range: { name: string; min: number; max: number }): number {
  const { name, min, max } = range
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw bad(`${name} is a whole number from ${min} to ${max}, not ${shown(text)}`)
}

function split(incoming: IncomingMessage): { path: string; query: string } {
  // The absolute form (RFC 9112, 3.2.2) is what proxies send.
  const url = incoming.url ?? '/'
  const target = url.startsWith('/') ? url : url.replace(/^https?:\/\/[^/?#]*/i, '')
  const mark = target.indexOf('?')
  return mark === -1 ? { path: target, query: '' } : { path: target.slice(0, mark), query: target.slice(mark + 1) }
}

/** Bytes outside ASCII never come here: the parser of node:http refuses them. */
function decodePercent(text: string, what: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw bad(`${what} is not percent-encoded UTF-8`)
  }
}

function shown(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}...` : text)
}

function bad(message: string): OperatingError {
  return new OperatingError('bad-request', message)
}
