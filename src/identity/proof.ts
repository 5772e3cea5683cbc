import { createHmac, timingSafeEqual } from 'node:crypto'

/** Proofs by a key that both sides have, without giving it away. */

/** HMAC-SHA-256 over the parts, each preceded by its length, so that no two lists of parts look alike. */
export function proofBy(key: Uint8Array, label: string, parts: readonly Uint8Array[]): Uint8Array {
  const hmac = createHmac('sha256', key)
  const length = Buffer.alloc(4)
  for (const part of [Buffer.from(label, 'utf8'), ...parts]) {
    length.writeUInt32BE(part.length)
    hmac.update(length)
    hmac.update(part)
  }
  return new Uint8Array(hmac.digest())
}

/** Compares in constant time. */
export function isSameProof(proof: Uint8Array, expected: Uint8Array): boolean {
  return proof.length === expected.length && timingSafeEqual(proof, expected)
}
