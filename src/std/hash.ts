import { createHash } from 'node:crypto'
import { crc32 as zlibCrc32 } from 'node:zlib'

/** Hashes for the pure folders, so that none of them imports `node:crypto`. All are functions of their input only. */

/** CRC-32 (IEEE), for damage, not for adversaries. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed)
}

/** The first 8 bytes of SHA-256 over the parts in turn. */
export function sha256Prefix8(...parts: Uint8Array[]): Uint8Array {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest().subarray(0, 8))
}

export function sha256Hex(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
