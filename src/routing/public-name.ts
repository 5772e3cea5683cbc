import { sha256Hex } from '../std/hash.ts'
import type { ServerName } from '../vocabulary/ids.ts'

/**
 * The name under which a server's tool or prompt stands where several servers share a URL: `{server}__{name}`, or its own
 * name; cut to 64 characters with a stable hash of the whole name at its end. A public name is looked up in the catalog,
 * never split back.
 */
export const publicNameCharactersMax = 64

const hashDigits = 8

export function publicName(server: ServerName, own: string): string {
  return fittedName(`${server}__${own}`)
}

export function fittedName(whole: string): string {
  if (whole.length <= publicNameCharactersMax) return whole
  // No half of a surrogate pair stays behind at the cut.
  const head = whole.slice(0, publicNameCharactersMax - hashDigits - 1).replace(/[\uD800-\uDBFF]$/, '')
  return `${head}_${sha256Hex(whole).slice(0, hashDigits)}`
}
