import { createHash, hash } from 'node:crypto'
import { crc32 as zlibCrc32 } from 'node:zlib'

/** Hashes for the pure folders, so that none of them imports `node:crypto`. All are functions of their input only. */

/** CRC-32 (IEEE), for damage, not for adversaries. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed)
}

/** The first 8 bytes of SHA-256. */
export function sha256Prefix8(bytes: Uint8Array): Uint8Array {
  const prefix = new Uint8Array(8)
  // As text, because a string costs less to make than a buffer.
  const digest = hash('sha256', bytes, 'binary')
  for (let at = 0; at < 8; at += 1) prefix[at] = digest.charCodeAt(at)
  return prefix
}

export function sha256Hex(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
